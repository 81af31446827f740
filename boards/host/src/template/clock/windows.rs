//! As the C runtime of Windows has it.

use libc::tm;
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;

/// What may follow a `%`. The runtime ends the process for anything else.
const KNOWN: &[u8] = b"aAbBcdHIjmMpSUwWxXyYZ%";

unsafe extern "C" {
    fn strftime(text: *mut c_char, bytes: usize, format: *const c_char, time: *const tm) -> usize;
}

/// What the clocks show here now.
pub fn local_time() -> Option<tm> {
    let mut time = MaybeUninit::<tm>::uninit();
    // SAFETY: a null pointer asks for the time as a result only; `localtime_s` fills `time` or
    // returns an error, in which case it is not read.
    unsafe {
        let seconds = libc::time(std::ptr::null_mut());
        let is_known = libc::localtime_s(time.as_mut_ptr(), &seconds) == 0;
        is_known.then(|| time.assume_init())
    }
}

/// Writes a time; returns its bytes, 0 where it does not fit or the format is not known.
pub fn print(text: &mut [u8], format: &CStr, time: &tm) -> usize {
    if !is_known(format.to_bytes()) {
        return 0;
    }
    // SAFETY: the format is a known one that ends with a zero, and no more is written than there is
    // room for.
    unsafe { strftime(text.as_mut_ptr().cast(), text.len(), format.as_ptr(), time) }
}

fn is_known(format: &[u8]) -> bool {
    let mut bytes = format.iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'%' && !bytes.next().is_some_and(|letter| KNOWN.contains(letter)) {
            return false;
        }
    }
    true
}
