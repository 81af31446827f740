//! What crosses the boundary: options, results and callbacks, as C sees them.
//!
//! Options begin with their size: callers compiled with an older header pass less, which leaves the
//! rest at zero, the default of every field. Callers compiled with a newer one pass more, which is
//! refused unless it is zero. Structs without `struct_size` never change.

use core::ffi::{c_char, c_void};
use kinglet_quant::{Code, Result, ensure};

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
/// Keys and values as 4 bits, of heads turned by a Hadamard matrix: 53% of the memory of bytes, and
/// less exact. A key has a scale per 32 numbers, a value one.
pub const KINGLET_KV_INT4: u32 = 2;

/// Binds every thread of a session, the caller's included, to a processor of its own.
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
/// comes behind its token; `text` is `text_bytes` of UTF-8 without a terminator, possibly none.
/// Returns 0 to go on.
pub type OnPiece = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        token: u32,
        text: *const c_char,
        text_bytes: usize,
    ) -> i32,
>;
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
    /// `KINGLET_KV_INT8`, `KINGLET_KV_F16` or `KINGLET_KV_INT4`.
    pub kv: u32,
    /// `KINGLET_SESSION_` flags.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
    /// The name of what computes, terminated by a zero: kernels of the processor, or `cuda` for an
    /// NVIDIA device, where the library is built for one. Null takes the processor's best.
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

/// How to generate. Zero, and no struct at all, generates until the model ends or the context is
/// full.
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

/// One turn of a conversation, both texts terminated by a zero. Never changes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: *const c_char,
    /// What was said, in UTF-8.
    pub content: *const c_char,
}

/// A struct that begins with its size and may grow at its end.
///
/// # Safety
///
/// The type must be `repr(C)`, begin with a `usize` that tells its size, and be valid whatever its
/// bytes are, as numbers and pointers that nobody follows yet.
pub(crate) unsafe trait Versioned: Copy {
    /// Bytes of the struct in the first version of the interface.
    const FIRST: usize;
}

macro_rules! versioned {
    ($($name:ty: $first:literal on 64 bits, $first32:literal on 32;)+) => {$(
        // SAFETY: the struct is `repr(C)`, begins with `struct_size` and consists of numbers and
        // pointers; functions among them are valid because the caller's compiler has made them.
        unsafe impl Versioned for $name {
            const FIRST: usize = if size_of::<usize>() == 8 { $first } else { $first32 };
        }
        const _: () = assert!(size_of::<$name>() >= <$name as Versioned>::FIRST);
    )+};
}

versioned! {
    LogSink: 32 on 64 bits, 20 on 32;
    ModelInfo: 72 on 64 bits, 60 on 32;
    SessionOptions: 72 on 64 bits, 48 on 32;
    SessionInfo: 48 on 64 bits, 40 on 32;
    Sampling: 64 on 64 bits, 48 on 32;
    GenerateOptions: 32 on 64 bits, 20 on 32;
    Generation: 16 on 64 bits, 12 on 32;
}

/// Reads a struct of any version; null gives zeros.
///
/// `BadArgument` for a size below the first version's, and for bytes beyond this version's that are
/// not zero.
///
/// # Safety
///
/// `given` must be null or point to as many bytes as it says itself, aligned for the type.
pub(crate) unsafe fn read<T: Versioned>(given: *const T) -> Result<T> {
    let mut own = core::mem::MaybeUninit::<T>::zeroed();
    if !given.is_null() {
        ensure!(given.is_aligned(), Code::BadArgument, "the options are not aligned");
        // SAFETY: aligned; the caller passes a struct, and every one begins with its size.
        let bytes = unsafe { given.cast::<usize>().read() };
        check_size::<T>(bytes)?;
        let known = bytes.min(size_of::<T>());
        // SAFETY: the struct has as many bytes as it says; `own` has at least `known`.
        unsafe { own.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(given.cast(), known) };
        // SAFETY: as above, all within the bytes that the struct says it has.
        let rest = unsafe { core::slice::from_raw_parts(given.cast::<u8>(), bytes) };
        ensure!(
            rest[known..].iter().all(|&byte| byte == 0),
            Code::BadArgument,
            "the options are of a newer Kinglet: leave the fields that this one lacks at zero"
        );
    }
    // SAFETY: all zeros are valid, and so is what the caller wrote over them.
    Ok(unsafe { own.assume_init() })
}

/// Fills as much of the caller's struct as it has.
///
/// # Safety
///
/// `out` must point to as many bytes as it says itself, aligned for the type.
pub(crate) unsafe fn fill<T: Versioned>(out: *mut T, own: &T) -> Result<()> {
    ensure!(
        !out.is_null() && out.is_aligned(),
        Code::BadArgument,
        "the struct to fill is null or not aligned"
    );
    // SAFETY: aligned; the caller passes a struct, and every one begins with its size.
    let bytes = unsafe { out.cast::<usize>().read() };
    check_size::<T>(bytes)?;
    let sized = size_of::<usize>();
    let known = bytes.min(size_of::<T>()) - sized;
    // SAFETY: both have `known` bytes behind their size.
    unsafe {
        let from = core::ptr::from_ref(own).cast::<u8>().add(sized);
        out.cast::<u8>().add(sized).copy_from_nonoverlapping(from, known);
    }
    Ok(())
}

/// No struct of any version is as long as this.
pub(crate) const SIZE_LIMIT: usize = 4096;

fn check_size<T: Versioned>(bytes: usize) -> Result<()> {
    ensure!(
        (T::FIRST..SIZE_LIMIT).contains(&bytes),
        Code::BadArgument,
        "struct_size is {bytes}: set it to the size of the struct"
    );
    Ok(())
}
