//! Unix: any bytes may be a path, and whoever knows a descriptor can use it.

use core::ffi::{CStr, c_int};
use core::mem::ManuallyDrop;
use kinglet_quant::Result;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The path that the caller means.
pub fn path(path: &CStr) -> Result<&Path> {
    Ok(Path::new(OsStr::from_bytes(path.to_bytes())))
}

/// The file behind the caller's descriptor.
pub fn file(fd: c_int) -> Result<ManuallyDrop<File>> {
    // SAFETY: the descriptor stays the caller's: the file is never dropped, so never closed.
    Ok(ManuallyDrop::new(unsafe { File::from_raw_fd(fd) }))
}
