//! The signals SIGINT and SIGTERM.

use super::{REQUESTED, WAITING};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_default};
use std::fs;
use std::sync::Arc;

pub fn install() {
    for signal in [SIGINT, SIGTERM].into_iter().filter(|&signal| !is_ignored(signal)) {
        // The order counts: the second signal finds the flag that the first one has set.
        register_conditional_default(signal, Arc::clone(&WAITING))
            .and_then(|_| register_conditional_default(signal, Arc::clone(&REQUESTED)))
            .and_then(|_| register(signal, Arc::clone(&REQUESTED)))
            .expect("both signals may be handled");
    }
}

/// Whether whoever started the program has a signal ignored; false where the system does not tell.
pub fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
