//! Without a system there are no files.

use crate::model::Weights;
use core::ffi::{c_char, c_int};
use kinglet_quant::{Code, Result, fail};

pub(crate) fn map_path(_path: *const c_char) -> Result<(&'static [u8], Weights)> {
    fail!(Code::Resource, "this build has no files: open the model from memory")
}

pub(crate) fn map_fd(_fd: c_int, _offset: u64, _bytes: u64) -> Result<(&'static [u8], Weights)> {
    fail!(Code::Resource, "this build has no files: open the model from memory")
}
