//! The machine, as the commands ask about it.

use kinglet::Root;
use kinglet_machine::{Board, Memory, Resident};
use std::env;
use std::fs;

/// Names a recorded tree of a board to read instead of this machine's `/proc` and `/sys`.
const ROOT_VARIABLE: &str = "KINGLET_ROOT";

/// Where the files of the system lie: here, unless tests name a recorded tree.
pub fn root() -> Root {
    env::var_os(ROOT_VARIABLE).map_or_else(Root::here, Root::at)
}

/// The largest resident memory of this process so far, in bytes; 0 where Linux's `/proc` is absent.
pub fn peak_rss_bytes() -> u64 {
    Resident::read(&Root::here()).peak_bytes
}

/// Starts [`peak_rss_bytes`] anew from what is resident now, where the system allows it.
pub fn reset_peak_rss() {
    // A refusal leaves the peak of the whole run, which is still true of the process.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The name of the processor; empty where the system gives none.
pub fn cpu_name() -> String {
    Board::processor(&root()).unwrap_or_default()
}

/// Memory that can be had without swapping and that the control groups allow, in bytes.
pub fn available_bytes() -> Option<u64> {
    Memory::read(&root()).map(|memory| memory.usable_bytes())
}
