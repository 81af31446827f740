//! The one error type of the whole project: a number for programs and a sentence for people.

use core::fmt::{self, Write};

/// Bytes of message that an [`Error`] holds; longer sentences are cut at a character boundary.
const MESSAGE_BYTES: usize = 320;

/// What went wrong, in numbered blocks that never change meaning.
///
/// 1xx the world around us, 2xx the weight file, 3xx a checkpoint to import, 4xx what the caller
/// asked for, 5xx this machine, 6xx Kinglet itself. The C interface returns the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum Code {
    /// A file, folder or model name does not exist.
    NotFound = 101,
    /// A file exists but cannot be read.
    Unreadable = 102,
    /// An output cannot be written.
    Unwritable = 103,
    /// The disk is full.
    DiskFull = 104,
    /// The network or the server failed.
    Network = 105,
    /// The server refuses access.
    Unauthorized = 106,
    /// Downloaded bytes are not the expected ones.
    WrongHash = 107,
    /// The user interrupted the work.
    Interrupted = 108,
    /// The file is not a Kinglet file.
    NotKinglet = 201,
    /// The file has a version this program does not read.
    UnknownVersion = 202,
    /// The file ends too early.
    Truncated = 203,
    /// The file contradicts itself or its checksums.
    Corrupt = 204,
    /// The memory that holds the file is not aligned to 64 bytes.
    Misaligned = 205,
    /// A signature is required, and the file has none.
    NotSigned = 206,
    /// The file's signature is wrong, or by another key than the required one.
    WrongSignature = 207,
    /// The file is signed, but is an older version than is accepted, or another model.
    Replayed = 208,
    /// The checkpoint is not of a supported architecture.
    UnsupportedArchitecture = 301,
    /// The checkpoint has a tensor of an unsupported number format.
    UnsupportedTensorType = 302,
    /// The checkpoint lacks a tensor.
    MissingTensor = 303,
    /// A tensor has the wrong shape.
    WrongShape = 304,
    /// The checkpoint cannot be parsed.
    BadSource = 305,
    /// The tokenizer is of an unsupported kind.
    UnsupportedTokenizer = 306,
    /// Tokenizer and model, or two models that are compared, have different vocabularies.
    TokenizerMismatch = 307,
    /// The prompt does not fit into the context.
    PromptTooLong = 401,
    /// The context is full; the session stays usable after a reset or rewind.
    ContextFull = 402,
    /// The memory given is smaller than the plan.
    BudgetTooSmall = 403,
    /// An argument makes no sense.
    BadArgument = 404,
    /// The model has no chat template.
    NoChatTemplate = 405,
    /// A token id lies outside the vocabulary.
    TokenOutOfRange = 406,
    /// A session or model is in use elsewhere.
    Busy = 407,
    /// A buffer of the caller is too small for its content.
    BufferTooSmall = 408,
    /// A saved state is of another model or of a session with other options.
    StateMismatch = 409,
    /// The time that the caller allowed is over.
    DeadlinePassed = 410,
    /// A handle is null, was closed, or is not Kinglet's.
    BadHandle = 411,
    /// A grammar or schema is wrong, needs what is not supported, takes too much, or fits nothing.
    BadGrammar = 412,
    /// This machine cannot run the requested kernels.
    TierUnavailable = 501,
    /// The operating system refuses a resource such as memory or a thread.
    Resource = 502,
    /// The device that computes failed and cannot be used any more; the tokens of texts survive it.
    DeviceLost = 503,
    /// A fault in Kinglet itself; the object it happened to can no longer be used.
    Internal = 601,
}

/// A failure: its [`Code`] and one sentence that says what to do.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    code: Code,
    message: heapless::String<MESSAGE_BYTES>,
}

/// The result of everything that can fail.
pub type Result<T> = core::result::Result<T, Error>;

/// Writes as much as fits and drops the rest.
struct Cut<'a>(&'a mut heapless::String<MESSAGE_BYTES>);

impl Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MESSAGE_BYTES - self.0.len();
        // Cannot fail: the piece is at most `room` bytes long.
        self.0.push_str(&text[..text.floor_char_boundary(room)]).map_err(|_| fmt::Error)
    }
}

impl Error {
    /// An error with a formatted sentence: `Error::new(code, format_args!(...))`.
    #[cold]
    pub fn new(code: Code, message: fmt::Arguments<'_>) -> Self {
        let mut text = heapless::String::new();
        // `Cut` never fails, so only a `Display` implementation could.
        let _ = Cut(&mut text).write_fmt(message);
        Self { code, message: text }
    }

    /// The error's number.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The error's sentence.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (error {})", self.message, self.code as i32)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error {{ {:?}: {} }}", self.code, self.message)
    }
}

impl core::error::Error for Error {}

/// Returns early with an [`Error`]: `fail!(Code::Corrupt, "the file {what}")`.
#[macro_export]
macro_rules! fail {
    ($code:expr, $($message:tt)+) => {
        return Err($crate::Error::new($code, format_args!($($message)+)))
    };
}

/// Fails unless a condition holds: `ensure!(a == b, Code::Corrupt, "…")`.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $code:expr, $($message:tt)+) => {
        if !$condition {
            $crate::fail!($code, $($message)+)
        }
    };
}
