//! The numbers that functions return.

use core::ffi::CStr;
use kinglet_quant::{Code, Result};

/// What a function returns: 0, or what went wrong, in numbered blocks that never change meaning.
///
/// 1xx the world around us, 2xx the weight file, 3xx a checkpoint to import, 4xx what the caller
/// asked for, 5xx this machine, 6xx Kinglet itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// It worked.
    Ok = 0,
    /// A file does not exist.
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
    /// The work was cancelled, or a callback said to stop.
    Interrupted = 108,
    /// The file is not a Kinglet file.
    NotKinglet = 201,
    /// The file has a version that this library does not read.
    UnknownVersion = 202,
    /// The file, or a saved state, ends too early.
    Truncated = 203,
    /// The file, or a saved state, contradicts itself or its checksums.
    Corrupt = 204,
    /// Memory is not aligned to 64 bytes.
    Misaligned = 205,
    /// A signature is required, and the file has none.
    NotSigned = 206,
    /// The file's signature is wrong, or by another key than the required one.
    WrongSignature = 207,
    /// The file is signed, but is an older version than is accepted, or another model.
    Replayed = 208,
    /// The checkpoint is not of a supported architecture.
    UnsupportedArchitecture = 301,
    /// A tensor has an unsupported number format.
    UnsupportedTensorType = 302,
    /// The checkpoint lacks a tensor.
    MissingTensor = 303,
    /// A tensor has the wrong shape.
    WrongShape = 304,
    /// A checkpoint, or the model's chat template, cannot be parsed.
    BadSource = 305,
    /// The tokenizer is of an unsupported kind.
    UnsupportedTokenizer = 306,
    /// Tokenizer and model have different vocabularies.
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
    /// A token lies outside the vocabulary.
    TokenOutOfRange = 406,
    /// The handle is in use: on another thread, by the function that called this callback, or by
    /// sessions of the model.
    Busy = 407,
    /// A buffer of the caller is smaller than what belongs into it.
    BufferTooSmall = 408,
    /// A saved state is of another model or of a session with other options.
    StateMismatch = 409,
    /// The deadline passed.
    DeadlinePassed = 410,
    /// A handle is null, was closed, or is not Kinglet's.
    BadHandle = 411,
    /// A grammar is wrong, needs what is not supported, or fits nothing.
    BadGrammar = 412,
    /// This machine cannot run the requested kernels.
    TierUnavailable = 501,
    /// This machine, or this build, lacks a resource such as memory, threads or files.
    Resource = 502,
    /// The device that computes failed and cannot be used any more. The tokens of texts survive it:
    /// give them to a session on the processor.
    DeviceLost = 503,
    /// A fault of Kinglet's own; the handle can only be closed.
    Internal = 601,
}

/// Every failure: its code in Rust, its number in C, and what it means.
const FAILURES: [(Code, Status, &CStr); 39] = {
    use Status as S;
    [
        (Code::NotFound, S::NotFound, c"a file does not exist"),
        (Code::Unreadable, S::Unreadable, c"a file cannot be read"),
        (Code::Unwritable, S::Unwritable, c"an output cannot be written"),
        (Code::DiskFull, S::DiskFull, c"the disk is full"),
        (Code::Network, S::Network, c"the network or the server failed"),
        (Code::Unauthorized, S::Unauthorized, c"the server refuses access"),
        (Code::WrongHash, S::WrongHash, c"downloaded bytes are not the expected ones"),
        (Code::Interrupted, S::Interrupted, c"the work was interrupted"),
        (Code::NotKinglet, S::NotKinglet, c"the file is not a Kinglet file"),
        (Code::UnknownVersion, S::UnknownVersion, c"the version is not one that this reads"),
        (Code::Truncated, S::Truncated, c"the file or state ends too early"),
        (Code::Corrupt, S::Corrupt, c"the file or state contradicts itself"),
        (Code::Misaligned, S::Misaligned, c"memory is not aligned to 64 bytes"),
        (Code::NotSigned, S::NotSigned, c"the file is not signed"),
        (Code::WrongSignature, S::WrongSignature, c"the signature is wrong, or of another key"),
        (Code::Replayed, S::Replayed, c"the file is an older version or another model"),
        (
            Code::UnsupportedArchitecture,
            S::UnsupportedArchitecture,
            c"the architecture is not supported",
        ),
        (
            Code::UnsupportedTensorType,
            S::UnsupportedTensorType,
            c"a tensor's number format is not supported",
        ),
        (Code::MissingTensor, S::MissingTensor, c"a tensor is missing"),
        (Code::WrongShape, S::WrongShape, c"a tensor has the wrong shape"),
        (Code::BadSource, S::BadSource, c"the checkpoint or template cannot be parsed"),
        (
            Code::UnsupportedTokenizer,
            S::UnsupportedTokenizer,
            c"the tokenizer is of an unsupported kind",
        ),
        (Code::TokenizerMismatch, S::TokenizerMismatch, c"tokenizer and model do not agree"),
        (Code::PromptTooLong, S::PromptTooLong, c"the prompt does not fit into the context"),
        (Code::ContextFull, S::ContextFull, c"the context is full"),
        (Code::BudgetTooSmall, S::BudgetTooSmall, c"the memory is smaller than the plan"),
        (Code::BadArgument, S::BadArgument, c"an argument makes no sense"),
        (Code::NoChatTemplate, S::NoChatTemplate, c"the model has no chat template"),
        (Code::TokenOutOfRange, S::TokenOutOfRange, c"a token lies outside the vocabulary"),
        (Code::Busy, S::Busy, c"the handle is in use"),
        (Code::BufferTooSmall, S::BufferTooSmall, c"a buffer is too small"),
        (Code::StateMismatch, S::StateMismatch, c"the state is of another model or session"),
        (Code::DeadlinePassed, S::DeadlinePassed, c"the deadline passed"),
        (Code::BadHandle, S::BadHandle, c"the handle is null, closed or not Kinglet's"),
        (Code::BadGrammar, S::BadGrammar, c"the grammar is wrong, unsupported or fits nothing"),
        (Code::TierUnavailable, S::TierUnavailable, c"this machine lacks the kernels"),
        (Code::Resource, S::Resource, c"a resource is missing"),
        (Code::DeviceLost, S::DeviceLost, c"the device is lost"),
        (Code::Internal, S::Internal, c"a fault of Kinglet's own"),
    ]
};

impl Status {
    /// The sentence for a number; of no status too.
    pub fn text(number: i32) -> &'static CStr {
        if number == Self::Ok as i32 {
            return c"success";
        }
        let found = FAILURES.iter().find(|(_, status, _)| *status as i32 == number);
        found.map_or(c"no status of this library", |(.., text)| *text)
    }
}

impl From<Code> for Status {
    fn from(code: Code) -> Self {
        let found = FAILURES.iter().find(|(own, ..)| *own == code);
        found.map_or(Self::Internal, |(_, status, _)| *status)
    }
}

impl<T> From<&Result<T>> for Status {
    fn from(result: &Result<T>) -> Self {
        result.as_ref().map_or_else(|error| error.code().into(), |_| Self::Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_rust_errors() {
        for (code, status, text) in FAILURES {
            assert_eq!(code as i32, status as i32);
            assert_eq!(Status::from(code), status);
            assert_eq!(Status::text(status as i32), text);
        }
        assert_eq!(Status::text(0), c"success");
        assert_eq!(Status::text(1), c"no status of this library");
    }
}
