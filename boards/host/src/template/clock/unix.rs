//! As POSIX has it.

use libc::tm;
use std::ffi::CStr;
use std::mem::MaybeUninit;

/// What the clocks show here now.
pub fn local_time() -> Option<tm> {
    let mut time = MaybeUninit::<tm>::uninit();
    // SAFETY: a null pointer asks for the time as a result only; `localtime_r` fills `time` or
    // returns null, in which case it is not read.
    unsafe {
        let seconds = libc::time(std::ptr::null_mut());
        let is_known = !libc::localtime_r(&seconds, time.as_mut_ptr()).is_null();
        is_known.then(|| time.assume_init())
    }
}

/// Writes a time; returns its bytes, 0 where it does not fit.
pub fn print(text: &mut [u8], format: &CStr, time: &tm) -> usize {
    // SAFETY: the format ends with a zero, and no more is written than there is room for.
    unsafe { libc::strftime(text.as_mut_ptr().cast(), text.len(), format.as_ptr(), time) }
}
