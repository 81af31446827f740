//! Weight files that the system opens and maps.

#[cfg_attr(unix, path = "files/unix.rs")]
#[cfg_attr(windows, path = "files/windows.rs")]
mod system;

use crate::model::Weights;
use crate::reserve;
use core::ffi::{CStr, c_char, c_int};
use kinglet::Mapping;
use kinglet_quant::{Code, Result, ensure};

/// Bytes of a path that Linux opens, with its terminator.
const PATH_BYTES: usize = 4096;

pub(crate) fn map_path(path: *const c_char) -> Result<(&'static [u8], Weights)> {
    ensure!(!path.is_null(), Code::BadArgument, "the path is null");
    // SAFETY: the caller's path ends with a zero.
    let path = unsafe { CStr::from_ptr(path) };
    // A longer one would be copied, and be refused by the system.
    let is_short = path.count_bytes() < PATH_BYTES;
    ensure!(is_short, Code::Unreadable, "the path has {PATH_BYTES} bytes or more");
    reserve::check()?;
    keep(Mapping::open(system::path(path)?)?)
}

pub(crate) fn map_fd(fd: c_int, offset: u64, bytes: u64) -> Result<(&'static [u8], Weights)> {
    ensure!(fd >= 0, Code::BadArgument, "{fd} is no file descriptor");
    reserve::check()?;
    let file = system::file(fd)?;
    keep(Mapping::of(&file, offset, Some(bytes).filter(|&bytes| bytes > 0))?)
}

/// The bytes of a mapping, and the mapping.
fn keep(mapping: Mapping) -> Result<(&'static [u8], Weights)> {
    let bytes = mapping.bytes();
    // SAFETY: the mapping does not move, and the model drops it with the only user of the bytes.
    let bytes = unsafe { core::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) };
    Ok((bytes, Weights::Mapped(mapping)))
}
