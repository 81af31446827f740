// Kinglet: an embedded runtime for SmolLM models.
//
// Functions return a kinglet_status, 0 for success. They neither end the process nor unwind into
// it, whatever numbers, texts, files and states they are given. Pointers must point to what the
// comments say. What can be found out about them gives a status: null where something is needed, a
// wrong alignment, more elements than memory can have, and KINGLET_STATUS_BAD_ARGUMENT where a
// buffer for text, tokens, candidates or a state, or the memory of a handle, overlaps with
// something else that the call needs at the same time.
//
// A handle is a pointer, which is looked at before anything is done with it. These give
// KINGLET_STATUS_BAD_HANDLE: null; a handle of the other type; a pointer to other memory, if that
// can be read from the multiple of KINGLET_ALIGNMENT below it on; a copy of a handle's bytes at
// another place; and where the memory is the caller's, a handle that was closed, as long as nobody
// but Kinglet has written to that memory. That holds also when the memory has a new handle. For
// this the first handle in some memory has the memory's address, and the 56 that come after it
// there have addresses less than KINGLET_ALIGNMENT behind it; the 57th has the first one's again.
// Kinglet looks at what the memory holds before: where a tool reports that nobody has written to
// it, fill it once.
//
// Undefined, as with free(), and able to end the process: to use a handle in the library's own
// memory after it was closed, since the memory went with it; to use one in the caller's memory
// after that memory was given back or written to; to close a handle while another thread uses it;
// pointers to memory that cannot be read, or not be written where something is written; memory
// shorter than was said, or changed by somebody else during a call; texts without the zero that
// ends them; and weight files that are modified or shortened while they are open.
//
// Text of others belongs into the messages of kinglet_chat_tokens, where it cannot become a control
// token, and must not be tokenized with KINGLET_TOKENIZE_CONTROL. What a model writes is text of
// others, too: pieces can have any characters that its vocabulary has.
//
// Options begin with struct_size, which the caller sets to the size of the struct. All other fields
// may be zero, the default of each. Structs may grow at their end in later versions, and nothing
// else changes.
//
// Where a function fills a struct, struct_size says how much; what is longer than this library
// knows is left as it was. Options that are longer must be zero there. Memory may be longer than
// was asked for: the rest is left alone. How long texts and tokens are is asked for with a null
// buffer of no capacity, which gives KINGLET_STATUS_BUFFER_TOO_SMALL and the number. Saved states
// and schemas may lie at any address.
//
// Every function needs at most 32 KiB of the stack, callbacks not counted. Threads of the library's
// have stacks of 2 MiB, of which they touch as little.
//
// After fork() the child has a copy of each model and session, which takes memory as far as it is
// written to. It may use models, and sessions that have no threads of the library's; those threads
// are not there, and a session of theirs must not be used. It may make sessions of its own.
//
// C99 and C++11 are enough for this header.
//
// Models take no memory after they were opened, and sessions none after they were made; with memory
// of the caller's they take none at all, unless kinglet_session_options.threads asks for threads.
// Callbacks must return: no exceptions and no longjmp through Kinglet.
//
// Made of the Rust sources by cbindgen; do not edit.

#ifndef KINGLET_H
#define KINGLET_H

#include <stddef.h>
#include <stdint.h>

// The version of this interface. It only grows: what was compiled for version 1 goes on to work.
#define KINGLET_ABI_VERSION 1

// What memory for models and sessions, and weight files in memory, must be aligned to.
#define KINGLET_ALIGNMENT 64

// Stands for "no token".
#define KINGLET_NO_TOKEN 4294967295

// Entries that `kinglet_sampling.logit_bias` can have.
#define KINGLET_MAX_LOGIT_BIAS 64

// Texts that a session can have at most.
#define KINGLET_MAX_TEXTS 8

// Entries that `kinglet_generate_options.stop` can have, each of 1 to 64 bytes.
#define KINGLET_MAX_STOP 8

// Keys and values as bytes with a scale: half the memory. The default.
#define KINGLET_KV_INT8 0

// Keys and values as 16-bit floats.
#define KINGLET_KV_F16 1

// Binds every thread of a session to a processor of its own; among them the one that makes it,
// which is released when it destroys the session. Bind on request only: two processes that do so
// share processors while others idle.
#define KINGLET_SESSION_PIN_THREADS 1

// Takes memory to guess tokens from the text so far and check several in one step, as
// `kinglet_session_generate` then does where kernels and weights allow it: faster where a reply
// copies, and the same tokens.
#define KINGLET_SESSION_SPECULATE 2

// `kinglet_tokenize`: texts of control tokens such as `<|im_end|>` become the token. For texts
// that you trust; for conversations there is `kinglet_chat_tokens`.
#define KINGLET_TOKENIZE_CONTROL 1

// `kinglet_detokenize`: control tokens are left out.
#define KINGLET_DETOKENIZE_SKIP_CONTROL 1

// `kinglet_token_text`: the token ends a reply.
#define KINGLET_TOKEN_END 1

// `kinglet_token_text`: the token is a control token, which is not part of a reply's text.
#define KINGLET_TOKEN_CONTROL 2

// `kinglet_chat_tokens`, `kinglet_chat_render`: ends with the beginning of the assistant's next
// reply.
#define KINGLET_CHAT_REPLY_NEXT 1

// `kinglet_session_embed`: the mean of all tokens' hidden states.
#define KINGLET_POOL_MEAN 0

// `kinglet_session_embed`: the hidden state of the last token, which alone has seen the whole
// text.
#define KINGLET_POOL_LAST 1

// `kinglet_generate_options.flags`: goes on behind tokens that end a reply.
#define KINGLET_GENERATE_IGNORE_END 1

// `kinglet_generate_options.flags`: goes on when the context is full, with the text's first 4
// tokens and its last ones, together half of the context, which are computed anew. A text that was
// begun with `kinglet_session_prefill` loses its middle by that.
#define KINGLET_GENERATE_SLIDE 2

// Why generation ended: as many tokens as asked for.
#define KINGLET_STOP_MAX_TOKENS 1

// Why generation ended: the model ended its reply.
#define KINGLET_STOP_END_OF_TEXT 2

// Why generation ended: a stop string appeared.
#define KINGLET_STOP_STRING 3

// Why generation ended: the context is full; reset or rewind makes room. The last token of the
// reply is then not part of the session's text, which has no room for it.
#define KINGLET_STOP_CONTEXT_FULL 4

// Why generation ended: the callback returned something other than 0.
#define KINGLET_STOP_CALLBACK 5

// Why generation ended: `kinglet_session_cancel` was called.
#define KINGLET_STOP_CANCELLED 6

// Why generation ended: the deadline passed.
#define KINGLET_STOP_DEADLINE 7

// Why generation ended: the reply is complete, its grammar lets nothing follow. Where the grammar
// allowed more, a reply that is whole ends with `KINGLET_STOP_END_OF_TEXT`; with any other reason
// it was cut.
#define KINGLET_STOP_COMPLETE 8

// Log levels: failures.
#define KINGLET_LOG_ERROR 1

// Log levels: what works, but not as well as it could.
#define KINGLET_LOG_WARNING 2

// Log levels: what was opened and chosen.
#define KINGLET_LOG_INFO 3

// Log levels: details.
#define KINGLET_LOG_DEBUG 4

// `kinglet_trust.flags`: weights are not compared with their checksum, so that opening reads only
// what comes before them. Altered weights change what the model says, and nothing else.
#define KINGLET_TRUST_SKIP_WEIGHTS 1

// What a function returns: 0, or what went wrong, in numbered blocks that never change meaning.
//
// 1xx the world around us, 2xx the weight file, 3xx a checkpoint to import, 4xx what the caller
// asked for, 5xx this machine, 6xx Kinglet itself.
enum kinglet_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // It worked.
  KINGLET_STATUS_OK = 0,
  // A file does not exist.
  KINGLET_STATUS_NOT_FOUND = 101,
  // A file exists but cannot be read.
  KINGLET_STATUS_UNREADABLE = 102,
  // An output cannot be written.
  KINGLET_STATUS_UNWRITABLE = 103,
  // The disk is full.
  KINGLET_STATUS_DISK_FULL = 104,
  // The network or the server failed.
  KINGLET_STATUS_NETWORK = 105,
  // The server refuses access.
  KINGLET_STATUS_UNAUTHORIZED = 106,
  // Downloaded bytes are not the expected ones.
  KINGLET_STATUS_WRONG_HASH = 107,
  // The work was cancelled, or a callback said to stop.
  KINGLET_STATUS_INTERRUPTED = 108,
  // The file is not a Kinglet file.
  KINGLET_STATUS_NOT_KINGLET = 201,
  // The file has a version that this library does not read.
  KINGLET_STATUS_UNKNOWN_VERSION = 202,
  // The file, or a saved state, ends too early.
  KINGLET_STATUS_TRUNCATED = 203,
  // The file, or a saved state, contradicts itself or its checksums.
  KINGLET_STATUS_CORRUPT = 204,
  // Memory is not aligned to 64 bytes.
  KINGLET_STATUS_MISALIGNED = 205,
  // A signature is required, and the file has none.
  KINGLET_STATUS_NOT_SIGNED = 206,
  // The file's signature is wrong, or by another key than the required one.
  KINGLET_STATUS_WRONG_SIGNATURE = 207,
  // The file is signed, but is an older version than is accepted, or another model.
  KINGLET_STATUS_REPLAYED = 208,
  // The checkpoint is not of a supported architecture.
  KINGLET_STATUS_UNSUPPORTED_ARCHITECTURE = 301,
  // A tensor has an unsupported number format.
  KINGLET_STATUS_UNSUPPORTED_TENSOR_TYPE = 302,
  // The checkpoint lacks a tensor.
  KINGLET_STATUS_MISSING_TENSOR = 303,
  // A tensor has the wrong shape.
  KINGLET_STATUS_WRONG_SHAPE = 304,
  // A checkpoint, or the model's chat template, cannot be parsed.
  KINGLET_STATUS_BAD_SOURCE = 305,
  // The tokenizer is of an unsupported kind.
  KINGLET_STATUS_UNSUPPORTED_TOKENIZER = 306,
  // Tokenizer and model have different vocabularies.
  KINGLET_STATUS_TOKENIZER_MISMATCH = 307,
  // The prompt does not fit into the context.
  KINGLET_STATUS_PROMPT_TOO_LONG = 401,
  // The context is full; the session stays usable after a reset or rewind.
  KINGLET_STATUS_CONTEXT_FULL = 402,
  // The memory given is smaller than the plan.
  KINGLET_STATUS_BUDGET_TOO_SMALL = 403,
  // An argument makes no sense.
  KINGLET_STATUS_BAD_ARGUMENT = 404,
  // The model has no chat template.
  KINGLET_STATUS_NO_CHAT_TEMPLATE = 405,
  // A token lies outside the vocabulary.
  KINGLET_STATUS_TOKEN_OUT_OF_RANGE = 406,
  // The handle is in use: on another thread, by the function that called this callback, or by
  // sessions of the model.
  KINGLET_STATUS_BUSY = 407,
  // A buffer of the caller is smaller than what belongs into it.
  KINGLET_STATUS_BUFFER_TOO_SMALL = 408,
  // A saved state is of another model or of a session with other options.
  KINGLET_STATUS_STATE_MISMATCH = 409,
  // The deadline passed.
  KINGLET_STATUS_DEADLINE_PASSED = 410,
  // A handle is null, was closed, or is not Kinglet's.
  KINGLET_STATUS_BAD_HANDLE = 411,
  // A grammar is wrong, needs what is not supported, or fits nothing.
  KINGLET_STATUS_BAD_GRAMMAR = 412,
  // This machine cannot run the requested kernels.
  KINGLET_STATUS_TIER_UNAVAILABLE = 501,
  // This machine, or this build, lacks a resource such as memory, threads or files.
  KINGLET_STATUS_RESOURCE = 502,
  // The device that computes failed and cannot be used any more. The tokens of texts survive it:
  // give them to a session on the processor.
  KINGLET_STATUS_DEVICE_LOST = 503,
  // A fault of Kinglet's own; the handle can only be closed.
  KINGLET_STATUS_INTERNAL = 601,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kinglet_status kinglet_status;
#else
typedef int32_t kinglet_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A model: a checked weight file in memory that is only read.
//
// All functions of a model can be called from several threads at the same time, except that
// `kinglet_model_close` must be the last.
typedef struct kinglet_model kinglet_model;

// A model, the memory of one or several texts, and the threads that work on them.
//
// One thread at a time can use a session: a second one gets `Busy`, and so does a callback that
// uses the session which called it. `kinglet_session_cancel` alone can be called at any time.
typedef struct kinglet_session kinglet_session;

// Gets a line of the log, `text_bytes` of UTF-8 without a terminator. Called on any thread that
// uses Kinglet.
typedef void (*kinglet_on_log)(void *user, uint32_t level, const char *text, size_t text_bytes);

// Where the log goes. Kept by the caller for as long as it is set.
typedef struct kinglet_log_sink {
  // Size of this struct.
  size_t struct_size;
  // Gets every line up to `level`.
  kinglet_on_log on_log;
  // Handed to `on_log`.
  void *user;
  // The last of the `KINGLET_LOG_` levels that is wanted.
  uint32_t level;
  // Zero.
  uint32_t reserved;
} kinglet_log_sink;

// What a model is.
typedef struct kinglet_model_info {
  // Size of this struct, set by the caller; as much is filled.
  size_t struct_size;
  // Bytes of the weight file.
  size_t file_bytes;
  // Bytes of weights that one generated token reads.
  size_t read_bytes_per_token;
  // Tokens of the vocabulary: the length of logits.
  uint32_t vocabulary;
  // Positions that the model was trained for: the largest context.
  uint32_t max_context;
  // Bytes of the longest token.
  uint32_t longest_token_bytes;
  // 1 when `kinglet_chat_tokens` and `kinglet_chat_render` have a template to render, else 0.
  uint32_t has_chat_template;
  // SHA-256 over the file's header and the checksums in it: equal for equal files.
  uint8_t fingerprint[32];
  // Numbers of an embedding, see `kinglet_session_embed`.
  uint32_t embedding_size;
  // Zero.
  uint32_t reserved;
} kinglet_model_info;

// Which signed models are accepted.
typedef struct kinglet_trust {
  // Size of this struct.
  size_t struct_size;
  // Who must have signed: a public key as minisign writes it, all of its file or the line in it
  // that begins with RW, terminated by a zero. Needed.
  const char *key;
  // Which model it must be, terminated by a zero; null takes any that the key has signed.
  const char *model_id;
  // Zero.
  size_t reserved;
  // The oldest version that is accepted: where it is the newest one that was ever used, nobody
  // can bring back an older file. 0 takes all.
  uint64_t least_version;
  // `KINGLET_TRUST_` flags.
  uint32_t flags;
  // Zero.
  uint32_t reserved_flags;
} kinglet_trust;

// What a model's signature says.
typedef struct kinglet_signature_info {
  // Size of this struct, set by the caller; as much is filled.
  size_t struct_size;
  // Zero.
  size_t reserved;
  // The version of the model, which only grows.
  uint64_t version;
  // The number of the key that has signed; minisign shows it with 16 hexadecimal digits.
  uint64_t key_id;
  // Which model it is a version of, filled with zeros.
  char model_id[72];
} kinglet_signature_info;

// One turn of a conversation, both texts terminated by a zero. Never changes.
typedef struct kinglet_message {
  // `system`, `user` or `assistant`; for `kinglet_tools_tokens` also `tool`, what a function
  // returned.
  const char *role;
  // What was said, in UTF-8.
  const char *content;
} kinglet_message;

// Computes one part of a pass. Must be called once for every part below `parts`.
typedef void (*kinglet_run_part)(void *context, size_t part);

// Runs a pass on the caller's threads: calls `run_part(context, part)` for every part below
// `parts`, on as many threads as `kinglet_session_options.threads` says at most, and returns when
// all calls have. Parts left out are computed by the calling thread, and a part that is called
// twice does nothing, but `run_part` must not be called once `run_parts` has returned.
typedef void (*kinglet_run_parts)(void *user, size_t parts, kinglet_run_part run_part, void *context);

// Milliseconds since any fixed time.
typedef uint64_t (*kinglet_clock)(void *user);

// What a session must be able to do. Zero, and no struct at all, gives every default.
typedef struct kinglet_session_options {
  // Size of this struct.
  size_t struct_size;
  // Positions of the cache; 0 takes 2048, or the model's context where that is smaller.
  uint32_t context;
  // Tokens per step of a prompt; 0 takes 64. Progress, cancellation and deadline are looked at
  // before every step.
  uint32_t batch;
  // Threads that work on a step, the caller's included; 0 takes 1. With more than one the
  // library starts the others, unless there is a `run_parts`.
  uint32_t threads;
  // `KINGLET_KV_INT8` or `KINGLET_KV_F16`.
  uint32_t kv;
  // `KINGLET_SESSION_` flags.
  uint32_t flags;
  // Zero.
  uint32_t reserved;
  // The name of what computes, terminated by a zero: kernels of the processor, or `cuda` for an
  // NVIDIA device, where the library is built for one. Null takes the processor's best, also
  // where there is a device: `kinglet_session_choose_tier` finds out whether that is faster.
  const char *tier;
  // Runs passes on the caller's threads; null for none.
  kinglet_run_parts run_parts;
  // Handed to `run_parts`.
  void *run_parts_user;
  // Tells the time for deadlines; null takes the operating system's.
  kinglet_clock clock;
  // Handed to `clock`.
  void *clock_user;
  // Texts, each with a cache and a way of choosing tokens of its own, up to
  // `KINGLET_MAX_TEXTS`; 0 takes 1. See `kinglet_session_select` and
  // `kinglet_session_generate_all`.
  uint32_t texts;
  // Zero.
  uint32_t reserved_texts;
  // Bytes that the weight file, of which every page is read in time, the session and 32 KiB for
  // each thread's stack may take together; 0 for no limit. Where `context` is 0 the context
  // becomes the largest that fits, at most the usual one. What does not fit is
  // `KINGLET_STATUS_BUDGET_TOO_SMALL`. The program itself is the caller's to count. A build
  // without an operating system takes 0 only: there the memory is the caller's in any case.
  size_t memory_budget_bytes;
} kinglet_session_options;

// What a session is, and how far its text is.
typedef struct kinglet_session_info {
  // Size of this struct, set by the caller; as much is filled.
  size_t struct_size;
  // Bytes of the session's memory.
  size_t bytes;
  // Tokens of the text.
  uint32_t tokens;
  // Positions of the cache.
  uint32_t context;
  // Tokens per step of a prompt.
  uint32_t batch;
  // Threads that work on a step.
  uint32_t threads;
  // The name of what computes, filled with zeros.
  char tier[16];
  // Texts.
  uint32_t texts;
  // The text that calls work on.
  uint32_t text;
  // Bytes beside the session's memory that a device takes, page-locked memory included; 0 where
  // the processor computes.
  size_t device_bytes;
} kinglet_session_info;

// A change of one token's logit. Never changes.
typedef struct kinglet_logit_bias {
  // The token.
  uint32_t token;
  // Added to its logit.
  float bias;
} kinglet_logit_bias;

// How tokens are chosen; the steps apply in the order of the fields. Zero, and no struct at all,
// always takes the most probable token.
typedef struct kinglet_sampling {
  // Size of this struct.
  size_t struct_size;
  // Changes of logits; copied.
  const struct kinglet_logit_bias *logit_bias;
  // Entries of `logit_bias`, up to `KINGLET_MAX_LOGIT_BIAS`.
  size_t logit_bias_count;
  // Zero.
  size_t reserved;
  // Equal seeds give equal texts.
  uint64_t seed;
  // Divides positive and multiplies negative logits of recent tokens; 0 and 1 are off.
  float repetition_penalty;
  // Tokens that count as recent; 0 takes 64.
  uint32_t repetition_window;
  // Divides logits; 0 always takes the largest.
  float temperature;
  // Keeps this many of the most probable tokens; 0 keeps all.
  uint32_t top_k;
  // Keeps the most probable tokens up to this sum; 0 and 1 keep all.
  float top_p;
  // Keeps tokens at least this probable relative to the most probable; 0 keeps all.
  float min_p;
  // Subtracted from the logits of tokens that have occurred in the reply, as the OpenAI protocol
  // defines it; 0 is off.
  float presence_penalty;
  // Subtracted from the logits of tokens once for each time that they have occurred in the
  // reply; 0 is off.
  float frequency_penalty;
  // 1 when these two count what came before the reply, too, else 0. With `kinglet_session_next`
  // there is no reply, and they count the whole text.
  uint32_t penalizes_prompt;
  // Zero.
  uint32_t reserved_penalties;
} kinglet_sampling;

// Told before every batch of a prompt how many of its tokens are done. Returns 0 to go on.
typedef int32_t (*kinglet_on_progress)(void *user, size_t done, size_t total);

// A token and how probable it is. Never changes.
typedef struct kinglet_candidate {
  // The token.
  uint32_t token;
  // Natural logarithm of its probability.
  float log_probability;
} kinglet_candidate;

// Moves those of `count` tokens, at least one, that may come next in a reply to the front, in
// their order, and returns how many they are. A token that ends a reply may come where the reply
// may end.
typedef size_t (*kinglet_filter_tokens)(void *user, uint32_t *tokens, size_t count);

// Takes the next token of a reply: one that may come, and never one that ends it. Returns 0 to go
// on; anything else ends the reply with `KINGLET_STATUS_BAD_GRAMMAR`.
typedef int32_t (*kinglet_advance_by)(void *user, uint32_t token);

// Returns the token that must come next in a reply, or `KINGLET_NO_TOKEN` where there are several
// or where it is not known.
typedef uint32_t (*kinglet_forced_token)(void *user);

// Returns 1 where a reply is complete, so that nothing can follow, else 0.
typedef int32_t (*kinglet_is_complete)(void *user);

// What a reply may be, decided by functions of the caller's. They are called on the thread that
// generates, and begin with the reply.
//
// A token is drawn as without a constraint, then `filter` is asked about it; only where it is
// refused is `filter` asked about many, and another one is drawn among those that it leaves. So
// the probabilities are exactly those of the tokens that may come, and most steps ask about one
// token. Tokens that `forced` tells go into the model together, in one step.
typedef struct kinglet_constraint {
  // Size of this struct.
  size_t struct_size;
  // Handed to the functions.
  void *user;
  // Which tokens may come next. Needed.
  kinglet_filter_tokens filter;
  // Takes the next token. Needed.
  kinglet_advance_by advance;
  // Which token must come next, or null.
  kinglet_forced_token forced;
  // Whether nothing can follow, or null: then a reply ends where the model ends it.
  kinglet_is_complete is_complete;
} kinglet_constraint;

// How to generate. Zero, and no struct at all, generates until the model ends or the context is
// full.
//
// An example of `schema`: of a file `order.json` with
//
//     {"type": "object", "required": ["item", "count"], "properties": {
//       "item": {"enum": ["tea", "coffee"]},
//       "count": {"type": "integer", "minimum": 1, "maximum": 9}}}
//
// the commands `kinglet compile-schema order.json -o order.kschema` and `xxd -i order.kschema
// order.h` write a table of 288 bytes as an array. With
//
//     #include "order.h"
//     kinglet_generate_options options = {0};
//     kinglet_generation told = {0};
//     options.struct_size = sizeof options;
//     options.max_tokens = 40;
//     options.schema = order_kschema;
//     options.schema_bytes = order_kschema_len;
//     told.struct_size = sizeof told;
//     status = kinglet_session_generate(session, &options, on_piece, user, &told);
//
// the pieces together are `{"item": "tea", "count": 2}` or another order. It is whole where
// `told.stop_reason` is `KINGLET_STOP_COMPLETE`, or `KINGLET_STOP_END_OF_TEXT` for a schema with
// which a text may end and may go on; any other reason has cut it.
typedef struct kinglet_generate_options {
  // Size of this struct.
  size_t struct_size;
  // Tokens to generate at most; 0 sets no limit.
  uint32_t max_tokens;
  // `KINGLET_GENERATE_` flags.
  uint32_t flags;
  // Strings that end the reply and are not part of it, each terminated by a zero.
  const char *const *stop;
  // Entries of `stop`, up to `KINGLET_MAX_STOP`.
  size_t stop_count;
  // What the reply may be, or null. Not with `KINGLET_GENERATE_IGNORE_END`.
  const struct kinglet_constraint *constraint;
  // Where each token's probability goes before `on_piece` gets the token, or null for nowhere:
  // first the token itself, then the `top_count` most probable ones, best first. They count over
  // all logits, before bias, penalties and temperature, so every logit of every token is
  // computed. Where the vocabulary has fewer tokens, `KINGLET_NO_TOKEN` fills the rest. See
  // `kinglet_session_generate` for an example.
  struct kinglet_candidate *candidates;
  // Entries of `candidates`: twice those that it gets, and as many as the vocabulary has tokens,
  // `kinglet_model_info.vocabulary + 2 * (1 + top_count)`. The rest of them is what the call
  // works in.
  size_t candidate_capacity;
  // The most probable tokens that `candidates` gets, beside the one that was chosen.
  uint32_t top_count;
  // Zero.
  uint32_t reserved;
  // What the reply may be, or null: a table that `kinglet compile-schema` has made of a JSON
  // schema, or of functions (see `kinglet_tools_tokens`), at any address, such as in flash. One
  // table serves all models. It stays as it is until the call returns, and nothing is
  // allocated. Each call checks all of its bytes, and returns `KINGLET_STATUS_NOT_KINGLET`,
  // `KINGLET_STATUS_UNKNOWN_VERSION`, `KINGLET_STATUS_TRUNCATED` or `KINGLET_STATUS_CORRUPT` for
  // what is none. Neither with `constraint` nor with `KINGLET_GENERATE_IGNORE_END`.
  const void *schema;
  // Bytes of `schema`.
  size_t schema_bytes;
} kinglet_generate_options;

// Gets tokens and text of a reply as they come. `token` is `KINGLET_NO_TOKEN` when a piece of text
// comes behind its token; `text` is `text_bytes` of UTF-8 without a terminator. Where these are 0
// it is not null either, and nothing can be read there. Returns 0 to go on.
typedef int32_t (*kinglet_on_piece)(void *user, uint32_t token, const char *text, size_t text_bytes);

// What a generation did.
typedef struct kinglet_generation {
  // Size of this struct, set by the caller; as much is filled.
  size_t struct_size;
  // Tokens generated, without the one that ends a reply.
  uint32_t tokens;
  // Why it ended: one of `KINGLET_STOP_`.
  uint32_t stop_reason;
  // Steps through the model; each reads the weights once.
  uint32_t steps;
  // Tokens that were guessed, see `KINGLET_SESSION_SPECULATE`.
  uint32_t drafted;
  // Guesses that came true; each saved a step.
  uint32_t accepted;
  // Zero.
  uint32_t reserved;
  // How often the context was full and the text went on, see `KINGLET_GENERATE_SLIDE`.
  uint32_t slides;
  // Zero.
  uint32_t reserved_slides;
  // Tokens that a constraint forced; each saved a step.
  uint32_t forced;
  // Zero.
  uint32_t reserved_forced;
} kinglet_generation;

// A reply to one of several texts. Never changes.
typedef struct kinglet_reply {
  // The number of the text.
  uint32_t text;
  // Zero.
  uint32_t reserved;
  // How to generate, or null.
  const struct kinglet_generate_options *options;
  // What was done, or null.
  struct kinglet_generation *generation;
} kinglet_reply;

// `kinglet_on_piece` for several replies: `reply` is the place of the reply in the array that was
// given.
typedef int32_t (*kinglet_on_reply_piece)(void *user,
                                          size_t reply,
                                          uint32_t token,
                                          const char *text,
                                          size_t text_bytes);

// A call of a function, as parts of the reply's text. Never changes.
typedef struct kinglet_call {
  // The function's name; no terminating zero.
  const char *name;
  // Bytes of `name`.
  size_t name_bytes;
  // The arguments, an object in JSON that fits the function's schema; no terminating zero.
  const char *arguments;
  // Bytes of `arguments`.
  size_t arguments_bytes;
} kinglet_call;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of the interface that this library has, `KINGLET_ABI_VERSION` of its header.
//
// What was compiled for a version works with every library of that version or a higher one.
//
// Threads: any number at once.
uint32_t kinglet_abi_version(void);

// The version of the library, such as "0.1.0".
//
// Threads: any number at once.
const char *kinglet_version(void);

// What a status means; never null, also for numbers that are no status.
//
// Threads: any number at once.
const char *kinglet_status_text(int32_t status);

// Sends the log of the whole process's Kinglet to a function; null silences it, as at the start.
//
// `sink` must stay as it is until another one is set and no call of Kinglet is under way. This is
// the one setting that is not a handle's. `KINGLET_STATUS_RESOURCE` when the program that this
// library is linked into has given the `log` facade to something else.
//
// Threads: one at a time in the process.
kinglet_status kinglet_log_to(const struct kinglet_log_sink *sink);

// Bytes of memory that a model's handle needs, when the caller gives it.
//
// Threads: any number at once.
size_t kinglet_model_bytes(void);

// Opens a weight file by its path, on Windows in UTF-8, and maps it. Weights are not read before
// they are used.
//
// `memory` is where the handle will be: `kinglet_model_bytes` at a multiple of
// `KINGLET_ALIGNMENT`, or null and 0 for memory of the library's. `message` gets a sentence about
// a failure, cut to `message_bytes`, or may be null. The file must be neither modified nor
// shortened while it is open, as it is read where the system has mapped it: to replace a file,
// write another one and rename it.
//
// Threads: any number at once.
kinglet_status kinglet_model_open_path(const char *path,
                                       void *memory,
                                       size_t memory_bytes,
                                       struct kinglet_model **model,
                                       char *message,
                                       size_t message_bytes);

// Opens a weight file that is part of an open file, `bytes` from `offset` on, and maps it; 0 bytes
// are all to the end. The descriptor is only borrowed.
//
// `offset` must be a multiple of 64. The rest is as for `kinglet_model_open_path`, also that the
// file must be neither modified nor shortened. `KINGLET_STATUS_RESOURCE` on Windows, where
// descriptors belong to one of several C runtimes.
//
// Threads: any number at once.
kinglet_status kinglet_model_open_fd(int fd,
                                     uint64_t offset,
                                     uint64_t bytes,
                                     void *memory,
                                     size_t memory_bytes,
                                     struct kinglet_model **model,
                                     char *message,
                                     size_t message_bytes);

// Opens a weight file that lies in memory, such as flash or a mapped partition. Nothing is copied:
// the caller keeps the `bytes` at `data`, unchanged, until the model is closed.
//
// `data` must start at a multiple of `KINGLET_ALIGNMENT`. The rest is as for
// `kinglet_model_open_path`.
//
// Threads: any number at once.
kinglet_status kinglet_model_open_memory(const void *data,
                                         size_t bytes,
                                         void *memory,
                                         size_t memory_bytes,
                                         struct kinglet_model **model,
                                         char *message,
                                         size_t message_bytes);

// Closes a model; null is nothing. `KINGLET_STATUS_BUSY` while there are sessions of it.
//
// A model in the library's memory is gone then, like memory after free(): nobody can find out that
// a pointer to it is used once more. One in the caller's memory can be told to be closed.
//
// Threads: the last call with this model.
kinglet_status kinglet_model_close(struct kinglet_model *model);

// What a model is. `info->struct_size` must be set.
//
// Threads: any number at once.
kinglet_status kinglet_model_describe(const struct kinglet_model *model,
                                      struct kinglet_model_info *info);

// Compares the checksums of the whole file, weights included, which reads all of it.
// `KINGLET_STATUS_CORRUPT` when one is wrong.
//
// Threads: any number at once.
kinglet_status kinglet_model_verify(const struct kinglet_model *model);

// Writes the sentence about the model's last failure, cut to `capacity` bytes with the
// terminating zero. With several threads the last failure can be another thread's.
//
// Threads: any number at once.
kinglet_status kinglet_model_message(const struct kinglet_model *model,
                                     char *buffer,
                                     size_t capacity);

// Opens a weight file by its path as `kinglet_model_open_path` does, once it is known to be what a
// trusted key has signed. The signature is checked first, then the checksums of all sections,
// which reads the whole file unless `KINGLET_TRUST_SKIP_WEIGHTS` is set, and only then is anything
// parsed. What is altered later is not noticed: nobody but who is trusted may write to the file.
//
// `KINGLET_STATUS_NOT_SIGNED`, `KINGLET_STATUS_WRONG_SIGNATURE`, and `KINGLET_STATUS_REPLAYED` for
// an older version or another model. `trust` is needed until the call returns.
//
// A device that updates itself keeps the version of `kinglet_model_describe_signature` once a new
// model has worked, where nobody can lower it, and gives it as `least_version` from then on.
//
// Threads: any number at once.
kinglet_status kinglet_model_open_signed_path(const char *path,
                                              const struct kinglet_trust *trust,
                                              void *memory,
                                              size_t memory_bytes,
                                              struct kinglet_model **model,
                                              char *message,
                                              size_t message_bytes);

// Opens a weight file that is part of an open file as `kinglet_model_open_fd` does, once it is
// known to be what a trusted key has signed: see `kinglet_model_open_signed_path`.
//
// Threads: any number at once.
kinglet_status kinglet_model_open_signed_fd(int fd,
                                            uint64_t offset,
                                            uint64_t bytes,
                                            const struct kinglet_trust *trust,
                                            void *memory,
                                            size_t memory_bytes,
                                            struct kinglet_model **model,
                                            char *message,
                                            size_t message_bytes);

// Opens a weight file that lies in memory as `kinglet_model_open_memory` does, once it is known to
// be what a trusted key has signed: see `kinglet_model_open_signed_path`.
//
// Threads: any number at once.
kinglet_status kinglet_model_open_signed_memory(const void *data,
                                                size_t bytes,
                                                const struct kinglet_trust *trust,
                                                void *memory,
                                                size_t memory_bytes,
                                                struct kinglet_model **model,
                                                char *message,
                                                size_t message_bytes);

// What the signature of a model says that was opened with a key. `info->struct_size` must be set.
// `KINGLET_STATUS_NOT_SIGNED` for a model that was opened without one, whatever its file says.
//
// Threads: any number at once.
kinglet_status kinglet_model_describe_signature(const struct kinglet_model *model,
                                                struct kinglet_signature_info *info);

// The tokens of a text of `text_bytes` bytes.
//
// `flags` are `KINGLET_TOKENIZE_`. Writes up to `capacity` tokens and their number to `count`.
// While it works it needs more room than the tokens: `text_bytes` are always enough for valid
// UTF-8, three times as many for any bytes. `KINGLET_STATUS_BUFFER_TOO_SMALL` when there was too
// little; `count` is then what is always enough.
//
// Some models, none of SmolLM's, begin every text with a token of its own or with a space: these
// come first, and need room for two tokens more.
//
// Threads: any number at once.
kinglet_status kinglet_tokenize(const struct kinglet_model *model,
                                const char *text,
                                size_t text_bytes,
                                uint32_t flags,
                                uint32_t *tokens,
                                size_t capacity,
                                size_t *count);

// The bytes that tokens stand for, which are not always whole characters; no terminating zero.
//
// `flags` are `KINGLET_DETOKENIZE_`. Writes up to `capacity` bytes and the number of all of them
// to `text_bytes`. `KINGLET_STATUS_BUFFER_TOO_SMALL` when they did not fit; then nothing is
// written to `text`.
//
// Threads: any number at once.
kinglet_status kinglet_detokenize(const struct kinglet_model *model,
                                  const uint32_t *tokens,
                                  size_t count,
                                  uint32_t flags,
                                  char *text,
                                  size_t capacity,
                                  size_t *text_bytes);

// The bytes that one token stands for, where they lie in the weight file, and what kind of token
// it is.
//
// Writes a pointer that is good until the model is closed to `text`, the number of bytes to
// `text_bytes`, and `KINGLET_TOKEN_` flags to `kind`.
//
// Threads: any number at once.
kinglet_status kinglet_token_text(const struct kinglet_model *model,
                                  uint32_t token,
                                  const char **text,
                                  size_t *text_bytes,
                                  uint32_t *kind);

// The text of a conversation, by the model's own template; no terminating zero.
//
// For eyes, and for conversations whose every message you trust: control tokens of the template
// and those that somebody has typed look alike in the text, and `kinglet_tokenize` with
// `KINGLET_TOKENIZE_CONTROL` finds both. `kinglet_chat_tokens` tells them apart.
//
// `flags` are `KINGLET_CHAT_`. Writes up to `capacity` bytes and the number of all of them to
// `text_bytes`. `KINGLET_STATUS_BUFFER_TOO_SMALL` when they did not fit; `text` then has a part of
// them. `KINGLET_STATUS_NO_CHAT_TEMPLATE` when the model has none. `KINGLET_STATUS_BAD_SOURCE`
// when the weight file has a template but no frame, which is what this library renders: the file
// was made by an earlier version (convert the model again), or the template is one of the few that
// cannot be reduced to a frame (use the command or the Rust library).
// `KINGLET_STATUS_BAD_ARGUMENT` when the template refuses the conversation; roles are `system`,
// `user` and `assistant`.
//
// Threads: any number at once.
kinglet_status kinglet_chat_render(const struct kinglet_model *model,
                                   const struct kinglet_message *messages,
                                   size_t count,
                                   uint32_t flags,
                                   char *text,
                                   size_t capacity,
                                   size_t *text_bytes);

// The tokens of a conversation, by the model's own template: what a session is given to reply.
//
// Safe for messages from anywhere: control tokens such as `<|im_end|>` are found in the template's
// own texts only, and those that are spelled out in a message are split like any text. Otherwise
// the tokens are those of the text that `kinglet_chat_render` has.
//
// A conversation goes on with the tokens of all its messages, the last reply among them. Those at
// their beginning that the session's text has, which `kinglet_session_tokens` tells, are kept by
// `kinglet_session_rewind`, and the rest is the next prompt. The token that ended the reply, which
// is not part of the text, comes with the rest.
//
// `flags` are `KINGLET_CHAT_`. Writes the tokens, at most `capacity`, and their number to
// `token_count`. While it works it needs more room than the tokens, five entries for every four
// bytes of the text: `KINGLET_STATUS_BUFFER_TOO_SMALL` when there was less; `token_count` is then
// what is enough. All of the buffer may be overwritten. Other failures are those of
// `kinglet_chat_render`.
//
// Threads: any number at once.
kinglet_status kinglet_chat_tokens(const struct kinglet_model *model,
                                   const struct kinglet_message *messages,
                                   size_t count,
                                   uint32_t flags,
                                   uint32_t *tokens,
                                   size_t capacity,
                                   size_t *token_count);

// Chooses between the processor and an NVIDIA device for a session that does not exist yet, and
// tells why in a sentence.
//
// Where `options->tier` is null, a device that computes this model faster makes it `cuda`;
// otherwise it stays null, which is the processor. A tier that is named stays, and is only checked
// for. The options then give the same to `kinglet_session_bytes` and `kinglet_session_new`, which
// choose nothing themselves:
//
//     kinglet_session_options options = {.struct_size = sizeof options};
//     char reason[256];
//     size_t bytes;
//     kinglet_session_choose_tier(model, &options, 0, 0, reason, sizeof reason);
//     fprintf(stderr, "%s\n", reason);
//     kinglet_session_bytes(model, &options, &bytes);
//
// prints which of the two was faster in a trial, with the tokens per second of both; or what the
// device lacks or how it failed, where the processor computes because of that; or that no driver
// was found. In a build without CUDA it says so.
//
// `prompt_tokens` and `new_tokens` are what the session is going to read and to generate, since
// one of the two can be faster for prompts and the other for replies; 256 each when both are 0.
// `reason` gets the sentence, cut to `reason_bytes` with its terminating zero, or may be null.
//
// Where there is a device, this runs some 40 tokens on each of the two, with the options' threads,
// `run_parts` and clock, but without binding threads. It takes memory for that and gives it back:
// on the device as much as the session, so that one without the memory for it is not chosen. It
// does all of that anew in every call: keep the options.
//
// `KINGLET_STATUS_TIER_UNAVAILABLE` when the tier that is named is not there,
// `KINGLET_STATUS_BAD_ARGUMENT` and `KINGLET_STATUS_BUDGET_TOO_SMALL` as for
// `kinglet_session_bytes`; the options are unchanged then.
//
// Threads: any number at once.
kinglet_status kinglet_session_choose_tier(const struct kinglet_model *model,
                                           struct kinglet_session_options *options,
                                           uint32_t prompt_tokens,
                                           uint32_t new_tokens,
                                           char *reason,
                                           size_t reason_bytes);

// Bytes of memory that a session with these options needs. `options` may be null.
//
// Threads: any number at once.
kinglet_status kinglet_session_bytes(const struct kinglet_model *model,
                                     const struct kinglet_session_options *options,
                                     size_t *bytes);

// Makes a session, which takes all of its memory now. `options` may be null.
//
// `memory` is `kinglet_session_bytes` at a multiple of `KINGLET_ALIGNMENT`, the caller's until the
// session is destroyed; or null and 0 for memory of the library's. `message` gets a sentence about
// a failure, cut to `message_bytes`, or may be null. The model must stay open.
//
// Threads: any number at once.
kinglet_status kinglet_session_new(const struct kinglet_model *model,
                                   const struct kinglet_session_options *options,
                                   void *memory,
                                   size_t memory_bytes,
                                   struct kinglet_session **session,
                                   char *message,
                                   size_t message_bytes);

// Ends a session and its threads; null is nothing. The memory is the caller's again, if it was.
// `KINGLET_STATUS_BUSY` while another thread uses the session.
//
// A session in the library's memory is gone then, as with `kinglet_model_close`.
//
// Threads: the last call with this session.
kinglet_status kinglet_session_destroy(struct kinglet_session *session);

// What a session is, and how far its text is. `info->struct_size` must be set.
//
// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
kinglet_status kinglet_session_describe(const struct kinglet_session *session,
                                        struct kinglet_session_info *info);

// Chooses the text that the session's later calls work on; the first one has the number 0.
// `KINGLET_STATUS_BAD_ARGUMENT` when there are fewer, see `kinglet_session_options.texts`.
//
// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
kinglet_status kinglet_session_select(struct kinglet_session *session, uint32_t text);

// Writes the sentence about the session's last failure, cut to `capacity` bytes with the
// terminating zero. Can be called while another thread uses the session.
//
// Threads: any number at once, also while another one uses the session.
kinglet_status kinglet_session_message(const struct kinglet_session *session,
                                       char *buffer,
                                       size_t capacity);

// Ends what the session does at its next look, before a token or a batch of a prompt; when it does
// nothing, the next `kinglet_session_prefill`, `_next` or `_generate` ends at once. Where that is
// not wanted any more, `kinglet_session_next` clears it: it returns `KINGLET_STATUS_INTERRUPTED`
// and leaves the text as it is, and the call after it works.
//
// Can be called from any thread and from signal handlers, at any time between the session's
// creation and its destruction.
//
// Threads: any number at once, also while another one uses the session, and signal handlers.
kinglet_status kinglet_session_cancel(const struct kinglet_session *session);

// Chooses tokens in this way from now on, from the start of the seed's random sequence. `sampling`
// may be null.
//
// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
kinglet_status kinglet_session_set_sampling(struct kinglet_session *session,
                                            const struct kinglet_sampling *sampling);

// Gives every later call of `kinglet_session_prefill`, `_generate` and `_generate_all` this many
// milliseconds; 0 for as many as it takes. Time is looked at before a token and before a batch of
// a prompt. `KINGLET_STATUS_RESOURCE` without an operating system, when the options had no clock.
//
// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
kinglet_status kinglet_session_set_deadline(struct kinglet_session *session, uint32_t milliseconds);

// Tells the function how far prompts are; null tells nobody.
//
// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
kinglet_status kinglet_session_set_progress(struct kinglet_session *session,
                                            kinglet_on_progress on_progress,
                                            void *user);

// Appends a prompt to the text.
//
// `KINGLET_STATUS_PROMPT_TOO_LONG`, `KINGLET_STATUS_TOKEN_OUT_OF_RANGE` and
// `KINGLET_STATUS_BAD_ARGUMENT`, also for no tokens, leave the text unchanged. After
// `KINGLET_STATUS_INTERRUPTED` and `KINGLET_STATUS_DEADLINE_PASSED` it has the tokens that were
// taken until then, see `kinglet_session_describe`; the rest of the prompt can be appended later.
//
// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
kinglet_status kinglet_session_prefill(struct kinglet_session *session,
                                       const uint32_t *tokens,
                                       size_t count);

// Chooses the next token, appends it to the text and writes it to `token`.
//
// A token that ends a reply is appended as well: `kinglet_token_text` tells which do.
// `KINGLET_STATUS_CONTEXT_FULL`, `KINGLET_STATUS_INTERRUPTED`; `KINGLET_STATUS_BAD_ARGUMENT` for
// an empty text. The text is unchanged then.
//
// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
kinglet_status kinglet_session_next(struct kinglet_session *session, uint32_t *token);

// All logits behind the text: writes a pointer to them and their number to `count`.
// `KINGLET_STATUS_BAD_ARGUMENT` for an empty text.
//
// They lie in the session's memory and are good until its next call: any one may compute there,
// except for `kinglet_session_describe`, `_message`, `_cancel`, `_tokens` and `_top`. Copy what is
// needed for longer.
//
// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
kinglet_status kinglet_session_logits(struct kinglet_session *session,
                                      const float **logits,
                                      size_t *count);

// Replaces the text by these tokens and writes what the model makes of it: the hidden states of
// the tokens behind the final norm, pooled as `KINGLET_POOL_` says and scaled to a length of 1.
// Needs room for `kinglet_model_info.embedding_size` numbers, which people compare by their
// products.
//
// `KINGLET_STATUS_BAD_ARGUMENT` for no tokens, `KINGLET_STATUS_BUFFER_TOO_SMALL`,
// `KINGLET_STATUS_PROMPT_TOO_LONG`, `KINGLET_STATUS_TOKEN_OUT_OF_RANGE`.
//
// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
kinglet_status kinglet_session_embed(struct kinglet_session *session,
                                     const uint32_t *tokens,
                                     size_t token_count,
                                     uint32_t pooling,
                                     float *embedding,
                                     size_t capacity);

// The most probable next tokens, best first: writes up to `capacity` of them and their number to
// `count`. `KINGLET_STATUS_BAD_ARGUMENT` for an empty text.
//
// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
kinglet_status kinglet_session_top(struct kinglet_session *session,
                                   struct kinglet_candidate *candidates,
                                   size_t capacity,
                                   size_t *count);

// Goes on with the text until something ends it, and streams it.
//
// `options`, `on_piece` and `generation` may be null. The token that ends a reply is not appended.
// Cancellation, deadline and a full context are reasons to end, not failures. Tokens of a stop
// string stay in the session's text, though they are not part of the reply.
// `KINGLET_STATUS_BUFFER_TOO_SMALL` when `options->candidate_capacity` is too small.
//
// This prints every token, the natural logarithm of its probability, and the text as it comes:
//
//     int32_t print(void *user, uint32_t token, const char *text, size_t text_bytes) {
//       const kinglet_candidate *candidates = user;
//       if (token != KINGLET_NO_TOKEN) {
//         printf("%u %.4f ", (unsigned)token, candidates[0].log_probability);
//       }
//       printf("%.*s\n", (int)text_bytes, text);
//       return 0;
//     }
//
//     kinglet_generate_options options = {.struct_size = sizeof options, .top_count = 5};
//     options.candidate_capacity = info.vocabulary + 2 * (1 + options.top_count);
//     options.candidates = malloc(options.candidate_capacity * sizeof *options.candidates);
//     kinglet_session_generate(session, &options, print, options.candidates, NULL);
//
// `candidates[1]` to `[5]` are the most probable tokens in the place of this one.
//
// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
kinglet_status kinglet_session_generate(struct kinglet_session *session,
                                        const struct kinglet_generate_options *options,
                                        kinglet_on_piece on_piece,
                                        void *user,
                                        struct kinglet_generation *generation);

// Goes on with several texts of the session in one pass, until something ends each, and streams
// them: faster than one after the other, and each text is what it would be alone.
//
// `replies` has `count` entries, each for another text. `on_piece` may be null; when it returns
// something other than 0, the reply that it was called for ends. Otherwise as
// `kinglet_session_generate`; a cancellation ends all replies. `KINGLET_STATUS_BAD_ARGUMENT` for
// an empty text and for a text that comes twice.
//
// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
kinglet_status kinglet_session_generate_all(struct kinglet_session *session,
                                            const struct kinglet_reply *replies,
                                            size_t count,
                                            kinglet_on_reply_piece on_piece,
                                            void *user);

// Forgets the whole text.
//
// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
kinglet_status kinglet_session_reset(struct kinglet_session *session);

// Keeps the first `count` tokens of the text. `KINGLET_STATUS_BAD_ARGUMENT` when there are fewer.
//
// The session can go on with the reply at once, as also after `kinglet_session_fork`, `_copy_text`
// and `_restore`: what is needed of the last token is computed again.
//
// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
kinglet_status kinglet_session_rewind(struct kinglet_session *session, size_t count);

// Replaces the session's text by the first `count` tokens of another session's, without computing
// them again. The sampling stays the session's own.
//
// `KINGLET_STATUS_STATE_MISMATCH` when the sessions have different models or types of keys and
// values, `KINGLET_STATUS_BAD_ARGUMENT` when the other text is shorter,
// `KINGLET_STATUS_CONTEXT_FULL` when this context is, `KINGLET_STATUS_BUSY` when either session is
// in use. The text is unchanged then.
//
// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
kinglet_status kinglet_session_fork(struct kinglet_session *session,
                                    struct kinglet_session *source,
                                    size_t count);

// Replaces the session's text by the first `count` tokens of another text of the same session, so
// that several go on from one prompt. The sampling stays the text's own.
//
// `KINGLET_STATUS_BAD_ARGUMENT` when there is no such text or it is shorter; nothing changes then.
//
// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
kinglet_status kinglet_session_copy_text(struct kinglet_session *session,
                                         uint32_t source,
                                         size_t count);

// Writes the tokens of the text, up to `capacity`, and the number of all of them to `count`.
// `KINGLET_STATUS_BUFFER_TOO_SMALL` when they did not fit; then nothing is written to `tokens`.
//
// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
kinglet_status kinglet_session_tokens(struct kinglet_session *session,
                                      uint32_t *tokens,
                                      size_t capacity,
                                      size_t *count);

// Bytes that `kinglet_session_save` needs for the text as it is now.
//
// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
kinglet_status kinglet_session_state_bytes(struct kinglet_session *session, size_t *bytes);

// Writes the text, its keys and values, and how many random numbers were drawn for it to a buffer
// of `capacity` bytes, and the bytes written to `bytes`. `KINGLET_STATUS_BUFFER_TOO_SMALL`.
//
// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
kinglet_status kinglet_session_save(struct kinglet_session *session,
                                    void *buffer,
                                    size_t capacity,
                                    size_t *bytes);

// Replaces the text by a saved one. With the sampling that the saved session had, it goes on as
// that one would have.
//
// `KINGLET_STATUS_STATE_MISMATCH` for a state of another model, context or type of keys and
// values, `KINGLET_STATUS_UNKNOWN_VERSION` for one of a later library, `KINGLET_STATUS_TRUNCATED`
// and `KINGLET_STATUS_CORRUPT` for altered bytes; the text is unchanged then.
//
// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
kinglet_status kinglet_session_restore(struct kinglet_session *session,
                                       const void *state,
                                       size_t bytes);

// The tokens of a conversation in which the model can call functions: `kinglet_chat_tokens` with
// what the model is told of them.
//
// `tools` are `tools_bytes` of a table that `kinglet compile-schema --tools` has made of a list of
// functions, at any address, such as in flash. One table serves all models whose template knows no
// functions, such as SmolLM2's; for another template it is made with `--model`. The functions are
// told in the system message, behind the conversation's own where its first message is one. Given
// to `kinglet_generate_options.schema`, the table lets a reply be words, or calls of these
// functions with arguments that their schemas allow, which `kinglet_tools_calls` finds. A reply
// with calls becomes a message of the role `assistant` as it is, and what a function returned one
// of the role `tool`, in the order of the calls. Nothing is allocated.
//
// Of a file `functions.json` with
//
//     [{"name": "set_light", "description": "Switches a lamp.", "parameters": {
//       "type": "object", "required": ["room", "on"], "properties": {
//         "room": {"enum": ["kitchen", "bath"]}, "on": {"type": "boolean"}}}}]
//
// the commands `kinglet compile-schema --tools functions.json -o functions.ktools` and `xxd -i
// functions.ktools functions.h` make an array. With
//
//     #include "functions.h"
//     kinglet_message messages[3] = {{"user", "Light in the kitchen, please."}};
//     kinglet_tools_tokens(model, functions_ktools, functions_ktools_len, messages, 1,
//                          KINGLET_CHAT_REPLY_NEXT, tokens, capacity, &count);
//     options.schema = functions_ktools;
//     options.schema_bytes = functions_ktools_len;
//
// the reply is words, or text such as
//
//     <tool_call>[{"name": "set_light", "arguments": {"room": "kitchen", "on": true}}]</tool_call>
//
// The program does that and appends `{"assistant", reply}` and `{"tool", "done"}` to the messages;
// the next reply tells the user. `boards/c/examples/calls.c` is such a program.
//
// `KINGLET_STATUS_NOT_KINGLET`, `KINGLET_STATUS_UNKNOWN_VERSION`, `KINGLET_STATUS_TRUNCATED` or
// `KINGLET_STATUS_CORRUPT` for a table that is none; other failures are those of
// `kinglet_chat_tokens`.
//
// Threads: any number at once.
kinglet_status kinglet_tools_tokens(const struct kinglet_model *model,
                                    const void *tools,
                                    size_t tools_bytes,
                                    const struct kinglet_message *messages,
                                    size_t count,
                                    uint32_t flags,
                                    uint32_t *tokens,
                                    size_t capacity,
                                    size_t *token_count);

// The calls of a reply, whose `reply_bytes` of text a table of functions has allowed: see
// `kinglet_tools_tokens`.
//
// Writes up to `capacity` calls and the number of all of them to `count`, and to `in_words` 1 for
// a reply in words, which has no calls, else 0. A reply that says by an empty list that no
// function helps has no calls either. `KINGLET_STATUS_BUFFER_TOO_SMALL` when the calls did not
// fit; `KINGLET_STATUS_BAD_ARGUMENT` for a reply that ends within a call, because it was cut. For
// the table the failures of `kinglet_tools_tokens`.
//
// Threads: any number at once.
kinglet_status kinglet_tools_calls(const void *tools,
                                   size_t tools_bytes,
                                   const char *reply,
                                   size_t reply_bytes,
                                   struct kinglet_call *calls,
                                   size_t capacity,
                                   size_t *count,
                                   uint32_t *in_words);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KINGLET_H */
