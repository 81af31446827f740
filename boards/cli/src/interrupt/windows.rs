//! Ctrl-C and Ctrl-Break of a console.

use super::{REQUESTED, WAITING};
use std::sync::atomic::Ordering;
use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, CTRL_C_EVENT, SetConsoleCtrlHandler};
use windows_sys::core::BOOL;

pub fn install() {
    // SAFETY: the handler may run on any thread at any time, and stays.
    let is_set = unsafe { SetConsoleCtrlHandler(Some(handle), 1) };
    assert_ne!(is_set, 0, "a handler may be set");
}

/// Whether the event is dealt with; otherwise it ends the program. Windows calls this on a thread
/// of its own.
unsafe extern "system" fn handle(event: u32) -> BOOL {
    let asks_to_stop = matches!(event, CTRL_C_EVENT | CTRL_BREAK_EVENT);
    if !asks_to_stop || WAITING.load(Ordering::SeqCst) {
        return 0;
    }
    let is_second = REQUESTED.swap(true, Ordering::SeqCst);
    BOOL::from(!is_second)
}
