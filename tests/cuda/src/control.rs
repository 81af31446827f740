//! What tests say to the stand-in and ask it, from Rust and, as `kinglet_stand_in_*`, from a
//! library that was opened at run time.

use crate::board::Board;
use crate::counters::Counters;
use crate::state;
use std::ffi::{CStr, c_char};

/// Begins again with the board of the environment: no memory, no modules, no counts.
pub fn reset() {
    state::reset(None);
}

/// Begins again with another board. Whether there is one with this name.
pub fn board(name: &str) -> bool {
    let board = Board::named(name);
    if board.is_some() {
        state::reset(board);
    }
    board.is_some()
}

/// Sets the bytes of memory that can be allocated from now on.
pub fn memory(bytes: u64) {
    state::with(|state| state.memory.total = bytes);
}

/// Makes the driver's `call`th call from now on fail with a code, once; 0 for none.
pub fn fail(call: u64, code: i32) {
    state::with(|state| state.failing = (call > 0).then(|| (state.calls + call, code)));
}

/// Sets the text that is loaded in place of every module from now on, such as one with a fault.
pub fn module(text: &str) {
    state::with(|state| state.module = Some(text.to_owned()));
}

/// Calls of the driver so far.
pub fn calls() -> u64 {
    state::with(|state| state.calls)
}

/// Everything counted so far.
pub fn counters() -> Counters {
    state::with(|state| state.counted())
}

/// Sets the order in which warps and blocks run: 0 for ascending, 1 for descending, anything else
/// for a shuffle of its own.
pub fn order(seed: u64) {
    state::with(|state| state.settings.order = seed);
}

/// Whether races are faults from now on.
pub fn races(are_faults: bool) {
    state::with(|state| state.settings.finds_races = are_faults);
}

/// Whether accesses to memory are counted from now on.
pub fn accesses(are_counted: bool) {
    state::with(|state| state.settings.counts_accesses = are_counted);
}

/// What went wrong last, in words; empty when nothing did.
pub fn last_fault() -> String {
    state::with(|state| state.last_fault.clone())
}

/// [`reset`].
#[unsafe(no_mangle)]
pub extern "C" fn kinglet_stand_in_reset() {
    reset();
}

/// [`board`]: 1 when there is such a board, otherwise 0.
///
/// # Safety
///
/// `name` is a string that ends with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_stand_in_board(name: *const c_char) -> i32 {
    // SAFETY: the caller promises such a string.
    let name = unsafe { CStr::from_ptr(name) };
    board(&name.to_string_lossy()).into()
}

/// [`memory`].
#[unsafe(no_mangle)]
pub extern "C" fn kinglet_stand_in_memory(bytes: u64) {
    memory(bytes);
}

/// [`fail`]; a code of 0 is that of an unknown error, 999.
#[unsafe(no_mangle)]
pub extern "C" fn kinglet_stand_in_fail(call: u64, code: i32) {
    fail(call, if code == 0 { crate::fault::code::UNKNOWN } else { code });
}

/// [`module`].
///
/// # Safety
///
/// `text` is a string that ends with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_stand_in_module(text: *const c_char) {
    // SAFETY: the caller promises such a string.
    module(&unsafe { CStr::from_ptr(text) }.to_string_lossy());
}

/// [`calls`].
#[unsafe(no_mangle)]
pub extern "C" fn kinglet_stand_in_calls() -> u64 {
    calls()
}

/// [`counters`] as a JSON document: the bytes that it needs with its final zero. It is written when
/// `size` is enough.
///
/// # Safety
///
/// `size` bytes at `buffer` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_stand_in_counters(buffer: *mut c_char, size: usize) -> usize {
    // SAFETY: the caller promises that the bytes can be written.
    unsafe { give(&counters().json(), buffer, size) }
}

/// [`order`].
#[unsafe(no_mangle)]
pub extern "C" fn kinglet_stand_in_order(seed: u64) {
    order(seed);
}

/// [`races`]: not 0 for faults.
#[unsafe(no_mangle)]
pub extern "C" fn kinglet_stand_in_races(are_faults: i32) {
    races(are_faults != 0);
}

/// [`accesses`]: not 0 for counting.
#[unsafe(no_mangle)]
pub extern "C" fn kinglet_stand_in_accesses(are_counted: i32) {
    accesses(are_counted != 0);
}

/// [`last_fault`]: the bytes that it needs with its final zero. It is written when `size` is
/// enough.
///
/// # Safety
///
/// `size` bytes at `buffer` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_stand_in_last_fault(buffer: *mut c_char, size: usize) -> usize {
    // SAFETY: the caller promises that the bytes can be written.
    unsafe { give(&last_fault(), buffer, size) }
}

/// Writes a text with a final zero if it fits: the bytes that it needs.
///
/// # Safety
///
/// `size` bytes at `buffer` can be written.
unsafe fn give(text: &str, buffer: *mut c_char, size: usize) -> usize {
    let needed = text.len() + 1;
    if size >= needed && !buffer.is_null() {
        // SAFETY: the caller promises that `size` bytes can be written, and it is enough.
        unsafe {
            buffer.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), text.len());
            *buffer.add(text.len()) = 0;
        }
    }
    needed
}
