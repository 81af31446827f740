//! Windows: paths are UTF-8, and descriptors belong to the C runtime that has opened them, of which
//! a program has several.

use core::ffi::{CStr, c_int};
use core::mem::ManuallyDrop;
use kinglet_quant::{Code, Result, fail};
use std::fs::File;
use std::path::Path;

/// The path that the caller means. `Unreadable` for one that is not UTF-8.
pub fn path(path: &CStr) -> Result<&Path> {
    let Ok(path) = path.to_str() else {
        fail!(Code::Unreadable, "the path is not UTF-8, which paths must be on Windows");
    };
    Ok(Path::new(path))
}

/// `Resource`: no descriptor can be understood.
pub fn file(_fd: c_int) -> Result<ManuallyDrop<File>> {
    fail!(Code::Resource, "Windows shares no file descriptors: open the model by its path")
}
