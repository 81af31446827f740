//! What crosses the boundary: options, results and callbacks, as C sees them.
//!
//! Options begin with their size: callers compiled with an older header pass less, which leaves the
//! rest at zero, the default of every field. Callers compiled with a newer one pass more, which is
//! refused unless it is zero. Structs without `struct_size` never change.

use core::ffi::{c_char, c_void};

/// The version of this interface. It only grows: what was compiled for version 1 goes on to work.
pub const KINGLET_ABI_VERSION: u32 = 1;
/// What memory for models and sessions, and weight files in memory, must be aligned to.
pub const KINGLET_ALIGNMENT: usize = 64;
/// Stands for "no token".
pub const KINGLET_NO_TOKEN: u32 = 0xFFFF_FFFF;
/// Entries that `kinglet_sampling.logit_bias` can have.
pub const KINGLET_MAX_LOGIT_BIAS: usize = 64;
/// Texts that a session can have at most.
pub const KINGLET_MAX_TEXTS: usize = 8;
/// Entries that `kinglet_generate_options.stop` can have, each of 1 to 64 bytes.
pub const KINGLET_MAX_STOP: usize = 8;

/// Keys and values as bytes with a scale: half the memory. The default.
pub const KINGLET_KV_INT8: u32 = 0;
/// Keys and values as 16-bit floats.
pub const KINGLET_KV_F16: u32 = 1;

/// Binds every thread of a session to a processor of its own; among them the one that makes it,
/// which is released when it destroys the session. Bind on request only: two processes that do so
/// share processors while others idle.
pub const KINGLET_SESSION_PIN_THREADS: u32 = 1;
/// Takes memory to guess tokens from the text so far and check several in one step, as
/// `kinglet_session_generate` then does where kernels and weights allow it: faster where a reply
/// copies, and the same tokens.
pub const KINGLET_SESSION_SPECULATE: u32 = 2;

/// `kinglet_tokenize`: texts of control tokens such as `<|im_end|>` become the token. For texts
/// that you trust; for conversations there is `kinglet_chat_tokens`.
pub const KINGLET_TOKENIZE_CONTROL: u32 = 1;
/// `kinglet_detokenize`: control tokens are left out.
pub const KINGLET_DETOKENIZE_SKIP_CONTROL: u32 = 1;

/// `kinglet_token_text`: the token ends a reply.
pub const KINGLET_TOKEN_END: u32 = 1;
/// `kinglet_token_text`: the token is a control token, which is not part of a reply's text.
pub const KINGLET_TOKEN_CONTROL: u32 = 2;

/// `kinglet_chat_tokens`, `kinglet_chat_render`: ends with the beginning of the assistant's next
/// reply.
pub const KINGLET_CHAT_REPLY_NEXT: u32 = 1;

/// `kinglet_session_embed`: the mean of all tokens' hidden states.
pub const KINGLET_POOL_MEAN: u32 = 0;
/// `kinglet_session_embed`: the hidden state of the last token, which alone has seen the whole
/// text.
pub const KINGLET_POOL_LAST: u32 = 1;

/// `kinglet_generate_options.flags`: goes on behind tokens that end a reply.
pub const KINGLET_GENERATE_IGNORE_END: u32 = 1;

/// `kinglet_generate_options.flags`: goes on when the context is full, with the text's first 4
/// tokens and its last ones, together half of the context, which are computed anew. A text that was
/// begun with `kinglet_session_prefill` loses its middle by that.
pub const KINGLET_GENERATE_SLIDE: u32 = 2;

/// Why generation ended: as many tokens as asked for.
pub const KINGLET_STOP_MAX_TOKENS: u32 = 1;
/// Why generation ended: the model ended its reply.
pub const KINGLET_STOP_END_OF_TEXT: u32 = 2;
/// Why generation ended: a stop string appeared.
pub const KINGLET_STOP_STRING: u32 = 3;
/// Why generation ended: the context is full; reset or rewind makes room. The last token of the
/// reply is then not part of the session's text, which has no room for it.
pub const KINGLET_STOP_CONTEXT_FULL: u32 = 4;
/// Why generation ended: the callback returned something other than 0.
pub const KINGLET_STOP_CALLBACK: u32 = 5;
/// Why generation ended: `kinglet_session_cancel` was called.
pub const KINGLET_STOP_CANCELLED: u32 = 6;
/// Why generation ended: the deadline passed.
pub const KINGLET_STOP_DEADLINE: u32 = 7;
/// Why generation ended: the reply is complete, its grammar lets nothing follow. Where the grammar
/// allowed more, a reply that is whole ends with `KINGLET_STOP_END_OF_TEXT`; with any other reason
/// it was cut.
pub const KINGLET_STOP_COMPLETE: u32 = 8;

/// Log levels: failures.
pub const KINGLET_LOG_ERROR: u32 = 1;
/// Log levels: what works, but not as well as it could.
pub const KINGLET_LOG_WARNING: u32 = 2;
/// Log levels: what was opened and chosen.
pub const KINGLET_LOG_INFO: u32 = 3;
/// Log levels: details.
pub const KINGLET_LOG_DEBUG: u32 = 4;

/// Computes one part of a pass. Must be called once for every part below `parts`.
pub type RunPart = Option<unsafe extern "C" fn(context: *mut c_void, part: usize)>;
/// Runs a pass on the caller's threads: calls `run_part(context, part)` for every part below
/// `parts`, on as many threads as `kinglet_session_options.threads` says at most, and returns when
/// all calls have. Parts left out are computed by the calling thread, and a part that is called
/// twice does nothing, but `run_part` must not be called once `run_parts` has returned.
pub type RunParts = Option<
    unsafe extern "C" fn(user: *mut c_void, parts: usize, run_part: RunPart, context: *mut c_void),
>;
/// `kinglet_on_piece` for several replies: `reply` is the place of the reply in the array that was
/// given.
pub type OnReplyPiece = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        reply: usize,
        token: u32,
        text: *const c_char,
        text_bytes: usize,
    ) -> i32,
>;
/// Milliseconds since any fixed time.
pub type Clock = Option<unsafe extern "C" fn(user: *mut c_void) -> u64>;
/// Gets tokens and text of a reply as they come. `token` is `KINGLET_NO_TOKEN` when a piece of text
/// comes behind its token; `text` is `text_bytes` of UTF-8 without a terminator. Where these are 0
/// it is not null either, and nothing can be read there. Returns 0 to go on.
pub type OnPiece = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        token: u32,
        text: *const c_char,
        text_bytes: usize,
    ) -> i32,
>;
/// Moves those of `count` tokens, at least one, that may come next in a reply to the front, in
/// their order, and returns how many they are. A token that ends a reply may come where the reply
/// may end.
pub type FilterTokens =
    Option<unsafe extern "C" fn(user: *mut c_void, tokens: *mut u32, count: usize) -> usize>;
/// Takes the next token of a reply: one that may come, and never one that ends it. Returns 0 to go
/// on; anything else ends the reply with `KINGLET_STATUS_BAD_GRAMMAR`.
pub type AdvanceBy = Option<unsafe extern "C" fn(user: *mut c_void, token: u32) -> i32>;
/// Returns the token that must come next in a reply, or `KINGLET_NO_TOKEN` where there are several
/// or where it is not known.
pub type ForcedToken = Option<unsafe extern "C" fn(user: *mut c_void) -> u32>;
/// Returns 1 where a reply is complete, so that nothing can follow, else 0.
pub type IsComplete = Option<unsafe extern "C" fn(user: *mut c_void) -> i32>;
/// Told before every batch of a prompt how many of its tokens are done. Returns 0 to go on.
pub type OnProgress =
    Option<unsafe extern "C" fn(user: *mut c_void, done: usize, total: usize) -> i32>;
/// Gets a line of the log, `text_bytes` of UTF-8 without a terminator. Called on any thread that
/// uses Kinglet.
pub type OnLog = Option<
    unsafe extern "C" fn(user: *mut c_void, level: u32, text: *const c_char, text_bytes: usize),
>;

/// Where the log goes. Kept by the caller for as long as it is set.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LogSink {
    /// Size of this struct.
    pub struct_size: usize,
    /// Gets every line up to `level`.
    pub on_log: OnLog,
    /// Handed to `on_log`.
    pub user: *mut c_void,
    /// The last of the `KINGLET_LOG_` levels that is wanted.
    pub level: u32,
    /// Zero.
    pub reserved: u32,
}

/// What a model is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ModelInfo {
    /// Size of this struct, set by the caller; as much is filled.
    pub struct_size: usize,
    /// Bytes of the weight file.
    pub file_bytes: usize,
    /// Bytes of weights that one generated token reads.
    pub read_bytes_per_token: usize,
    /// Tokens of the vocabulary: the length of logits.
    pub vocabulary: u32,
    /// Positions that the model was trained for: the largest context.
    pub max_context: u32,
    /// Bytes of the longest token.
    pub longest_token_bytes: u32,
    /// 1 when `kinglet_chat_tokens` and `kinglet_chat_render` have a template to render, else 0.
    pub has_chat_template: u32,
    /// SHA-256 over the file's header and the checksums in it: equal for equal files.
    pub fingerprint: [u8; 32],
    /// Numbers of an embedding, see `kinglet_session_embed`.
    pub embedding_size: u32,
    /// Zero.
    pub reserved: u32,
}

/// What a session must be able to do. Zero, and no struct at all, gives every default.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SessionOptions {
    /// Size of this struct.
    pub struct_size: usize,
    /// Positions of the cache; 0 takes 2048, or the model's context where that is smaller.
    pub context: u32,
    /// Tokens per step of a prompt; 0 takes 64. Progress, cancellation and deadline are looked at
    /// before every step.
    pub batch: u32,
    /// Threads that work on a step, the caller's included; 0 takes 1. With more than one the
    /// library starts the others, unless there is a `run_parts`.
    pub threads: u32,
    /// `KINGLET_KV_INT8` or `KINGLET_KV_F16`.
    pub kv: u32,
    /// `KINGLET_SESSION_` flags.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
    /// The name of what computes, terminated by a zero: kernels of the processor, or `cuda` for an
    /// NVIDIA device, where the library is built for one. Null takes the processor's best, also
    /// where there is a device: `kinglet_session_choose_tier` finds out whether that is faster.
    pub tier: *const c_char,
    /// Runs passes on the caller's threads; null for none.
    pub run_parts: RunParts,
    /// Handed to `run_parts`.
    pub run_parts_user: *mut c_void,
    /// Tells the time for deadlines; null takes the operating system's.
    pub clock: Clock,
    /// Handed to `clock`.
    pub clock_user: *mut c_void,
    /// Texts, each with a cache and a way of choosing tokens of its own, up to
    /// `KINGLET_MAX_TEXTS`; 0 takes 1. See `kinglet_session_select` and
    /// `kinglet_session_generate_all`.
    pub texts: u32,
    /// Zero.
    pub reserved_texts: u32,
    /// Bytes that the weight file, of which every page is read in time, the session and 32 KiB for
    /// each thread's stack may take together; 0 for no limit. Where `context` is 0 the context
    /// becomes the largest that fits, at most the usual one. What does not fit is
    /// `KINGLET_STATUS_BUDGET_TOO_SMALL`. The program itself is the caller's to count. A build
    /// without an operating system takes 0 only: there the memory is the caller's in any case.
    pub memory_budget_bytes: usize,
}

/// What a session is, and how far its text is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SessionInfo {
    /// Size of this struct, set by the caller; as much is filled.
    pub struct_size: usize,
    /// Bytes of the session's memory.
    pub bytes: usize,
    /// Tokens of the text.
    pub tokens: u32,
    /// Positions of the cache.
    pub context: u32,
    /// Tokens per step of a prompt.
    pub batch: u32,
    /// Threads that work on a step.
    pub threads: u32,
    /// The name of what computes, filled with zeros.
    pub tier: [c_char; 16],
    /// Texts.
    pub texts: u32,
    /// The text that calls work on.
    pub text: u32,
    /// Bytes beside the session's memory that a device takes, page-locked memory included; 0 where
    /// the processor computes.
    pub device_bytes: usize,
}

/// A reply to one of several texts. Never changes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// The number of the text.
    pub text: u32,
    /// Zero.
    pub reserved: u32,
    /// How to generate, or null.
    pub options: *const GenerateOptions,
    /// What was done, or null.
    pub generation: *mut Generation,
}

/// A change of one token's logit. Never changes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LogitBias {
    /// The token.
    pub token: u32,
    /// Added to its logit.
    pub bias: f32,
}

/// How tokens are chosen; the steps apply in the order of the fields. Zero, and no struct at all,
/// always takes the most probable token.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Size of this struct.
    pub struct_size: usize,
    /// Changes of logits; copied.
    pub logit_bias: *const LogitBias,
    /// Entries of `logit_bias`, up to `KINGLET_MAX_LOGIT_BIAS`.
    pub logit_bias_count: usize,
    /// Zero.
    pub reserved: usize,
    /// Equal seeds give equal texts.
    pub seed: u64,
    /// Divides positive and multiplies negative logits of recent tokens; 0 and 1 are off.
    pub repetition_penalty: f32,
    /// Tokens that count as recent; 0 takes 64.
    pub repetition_window: u32,
    /// Divides logits; 0 always takes the largest.
    pub temperature: f32,
    /// Keeps this many of the most probable tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps the most probable tokens up to this sum; 0 and 1 keep all.
    pub top_p: f32,
    /// Keeps tokens at least this probable relative to the most probable; 0 keeps all.
    pub min_p: f32,
    /// Subtracted from the logits of tokens that have occurred in the reply, as the OpenAI protocol
    /// defines it; 0 is off.
    pub presence_penalty: f32,
    /// Subtracted from the logits of tokens once for each time that they have occurred in the
    /// reply; 0 is off.
    pub frequency_penalty: f32,
    /// 1 when these two count what came before the reply, too, else 0. With `kinglet_session_next`
    /// there is no reply, and they count the whole text.
    pub penalizes_prompt: u32,
    /// Zero.
    pub reserved_penalties: u32,
}

/// What a reply may be, decided by functions of the caller's. They are called on the thread that
/// generates, and begin with the reply.
///
/// A token is drawn as without a constraint, then `filter` is asked about it; only where it is
/// refused is `filter` asked about many, and another one is drawn among those that it leaves. So
/// the probabilities are exactly those of the tokens that may come, and most steps ask about one
/// token. Tokens that `forced` tells go into the model together, in one step.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Constraint {
    /// Size of this struct.
    pub struct_size: usize,
    /// Handed to the functions.
    pub user: *mut c_void,
    /// Which tokens may come next. Needed.
    pub filter: FilterTokens,
    /// Takes the next token. Needed.
    pub advance: AdvanceBy,
    /// Which token must come next, or null.
    pub forced: ForcedToken,
    /// Whether nothing can follow, or null: then a reply ends where the model ends it.
    pub is_complete: IsComplete,
}

/// How to generate. Zero, and no struct at all, generates until the model ends or the context is
/// full.
///
/// An example of `schema`: of a file `order.json` with
///
///     {"type": "object", "required": ["item", "count"], "properties": {
///       "item": {"enum": ["tea", "coffee"]},
///       "count": {"type": "integer", "minimum": 1, "maximum": 9}}}
///
/// the commands `kinglet compile-schema order.json -o order.kschema` and `xxd -i order.kschema
/// order.h` write a table of 288 bytes as an array. With
///
///     #include "order.h"
///     kinglet_generate_options options = {0};
///     kinglet_generation told = {0};
///     options.struct_size = sizeof options;
///     options.max_tokens = 40;
///     options.schema = order_kschema;
///     options.schema_bytes = order_kschema_len;
///     told.struct_size = sizeof told;
///     status = kinglet_session_generate(session, &options, on_piece, user, &told);
///
/// the pieces together are `{"item": "tea", "count": 2}` or another order. It is whole where
/// `told.stop_reason` is `KINGLET_STOP_COMPLETE`, or `KINGLET_STOP_END_OF_TEXT` for a schema with
/// which a text may end and may go on; any other reason has cut it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GenerateOptions {
    /// Size of this struct.
    pub struct_size: usize,
    /// Tokens to generate at most; 0 sets no limit.
    pub max_tokens: u32,
    /// `KINGLET_GENERATE_` flags.
    pub flags: u32,
    /// Strings that end the reply and are not part of it, each terminated by a zero.
    pub stop: *const *const c_char,
    /// Entries of `stop`, up to `KINGLET_MAX_STOP`.
    pub stop_count: usize,
    /// What the reply may be, or null. Not with `KINGLET_GENERATE_IGNORE_END`.
    pub constraint: *const Constraint,
    /// Where each token's probability goes before `on_piece` gets the token, or null for nowhere:
    /// first the token itself, then the `top_count` most probable ones, best first. They count over
    /// all logits, before bias, penalties and temperature, so every logit of every token is
    /// computed. Where the vocabulary has fewer tokens, `KINGLET_NO_TOKEN` fills the rest. See
    /// `kinglet_session_generate` for an example.
    pub candidates: *mut Candidate,
    /// Entries of `candidates`: twice those that it gets, and as many as the vocabulary has tokens,
    /// `kinglet_model_info.vocabulary + 2 * (1 + top_count)`. The rest of them is what the call
    /// works in.
    pub candidate_capacity: usize,
    /// The most probable tokens that `candidates` gets, beside the one that was chosen.
    pub top_count: u32,
    /// Zero.
    pub reserved: u32,
    /// What the reply may be, or null: a table that `kinglet compile-schema` has made of a JSON
    /// schema, or of functions (see `kinglet_tools_tokens`), at any address, such as in flash. One
    /// table serves all models. It stays as it is until the call returns, and nothing is
    /// allocated. Each call checks all of its bytes, and returns `KINGLET_STATUS_NOT_KINGLET`,
    /// `KINGLET_STATUS_UNKNOWN_VERSION`, `KINGLET_STATUS_TRUNCATED` or `KINGLET_STATUS_CORRUPT` for
    /// what is none. Neither with `constraint` nor with `KINGLET_GENERATE_IGNORE_END`.
    pub schema: *const c_void,
    /// Bytes of `schema`.
    pub schema_bytes: usize,
}

/// What a generation did.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Generation {
    /// Size of this struct, set by the caller; as much is filled.
    pub struct_size: usize,
    /// Tokens generated, without the one that ends a reply.
    pub tokens: u32,
    /// Why it ended: one of `KINGLET_STOP_`.
    pub stop_reason: u32,
    /// Steps through the model; each reads the weights once.
    pub steps: u32,
    /// Tokens that were guessed, see `KINGLET_SESSION_SPECULATE`.
    pub drafted: u32,
    /// Guesses that came true; each saved a step.
    pub accepted: u32,
    /// Zero.
    pub reserved: u32,
    /// How often the context was full and the text went on, see `KINGLET_GENERATE_SLIDE`.
    pub slides: u32,
    /// Zero.
    pub reserved_slides: u32,
    /// Tokens that a constraint forced; each saved a step.
    pub forced: u32,
    /// Zero.
    pub reserved_forced: u32,
}

/// A token and how probable it is. Never changes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// The token.
    pub token: u32,
    /// Natural logarithm of its probability.
    pub log_probability: f32,
}

/// A call of a function, as parts of the reply's text. Never changes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The function's name; no terminating zero.
    pub name: *const c_char,
    /// Bytes of `name`.
    pub name_bytes: usize,
    /// The arguments, an object in JSON that fits the function's schema; no terminating zero.
    pub arguments: *const c_char,
    /// Bytes of `arguments`.
    pub arguments_bytes: usize,
}

/// One turn of a conversation, both texts terminated by a zero. Never changes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// `system`, `user` or `assistant`; for `kinglet_tools_tokens` also `tool`, what a function
    /// returned.
    pub role: *const c_char,
    /// What was said, in UTF-8.
    pub content: *const c_char,
}
