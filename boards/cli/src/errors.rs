//! From the failures of files and processes to the project's own error.

use kinglet_quant::{Code, Error};
use std::io::{self, ErrorKind};
use std::path::Path;

/// The exit code for a failure: 130 when interrupted, 2 for what the caller asked for, else 1.
pub fn exit_code(error: &Error) -> u8 {
    match error.code() {
        Code::Interrupted => 130,
        code if (400..500).contains(&(code as i32)) => 2,
        _ => 1,
    }
}

/// A file or folder that cannot be read.
pub fn unreadable(path: &Path, cause: &io::Error) -> Error {
    let path = path.display();
    if cause.kind() == ErrorKind::NotFound {
        return Error::new(Code::NotFound, format_args!("{path} does not exist: check the path"));
    }
    Error::new(Code::Unreadable, format_args!("cannot read {path}: {cause}"))
}

/// A file or folder that cannot be written.
pub fn unwritable(path: &Path, cause: &io::Error) -> Error {
    let path = path.display();
    match cause.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::new(
            Code::DiskFull,
            format_args!("the disk is full, writing {path}: free some space and try again"),
        ),
        _ => Error::new(
            Code::Unwritable,
            format_args!("cannot write {path}: {cause}; choose another place or its permissions"),
        ),
    }
}
