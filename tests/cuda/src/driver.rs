//! The functions of NVIDIA's driver that programs call.
//!
//! Names, arguments and results are those of the CUDA Driver API, with handles and device pointers
//! as numbers. Work is done when it is enqueued: streams keep their order, so nobody can tell the
//! difference, except that an error of a kernel is there at once. It is what the next calls return.
#![allow(non_snake_case, reason = "the names are NVIDIA's")]
#![allow(clippy::missing_safety_doc, reason = "the contract is that of the CUDA Driver API")]

pub mod context;
pub mod device;
pub mod event;
pub mod graph;
pub mod launch;
pub mod memory;
pub mod module;

use crate::fault::{Fault, code};
use std::ffi::{CStr, c_char};

/// A place for a result, which the caller of the driver gives.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Out<T>(*mut T);

impl<T> Out<T> {
    /// The place of a variable.
    pub fn of(place: &mut T) -> Self {
        Self(place)
    }

    /// No place.
    pub fn nowhere() -> Self {
        Self(std::ptr::null_mut())
    }

    fn is_there(&self) -> bool {
        !self.0.is_null()
    }

    fn give(self, value: T) -> Result<(), Fault> {
        if self.0.is_null() {
            return Err(Fault::new(code::INVALID_VALUE, "there is no place for a result"));
        }
        // SAFETY: callers of the driver give places that can be written.
        unsafe { self.0.write(value) };
        Ok(())
    }
}

/// A string of the caller, which ends with a zero.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Text(*const c_char);

impl Text {
    /// A string.
    pub fn of(text: &CStr) -> Self {
        Self(text.as_ptr())
    }

    fn read(self) -> Result<String, Fault> {
        if self.0.is_null() {
            return Err(code::INVALID_VALUE.into());
        }
        // SAFETY: callers of the driver give strings that end with a zero.
        Ok(unsafe { CStr::from_ptr(self.0) }.to_string_lossy().into_owned())
    }
}

/// An error for what is no handle of its kind.
fn no_handle(kind: &str, handle: u64) -> Fault {
    Fault::new(code::INVALID_HANDLE, format!("there is no {kind} {handle:#x}"))
}
