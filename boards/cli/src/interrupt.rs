//! Ctrl-C: the first one asks the work to stop, the second one ends the program at once.

use kinglet_quant::{Code, Result, fail};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
/// Whether the program waits for what may never come.
static WAITING: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Turns SIGINT and SIGTERM into a request, unless whoever started the program has them ignored.
/// Until this is called they end the program. Called once, by the command.
pub fn install() {
    for signal in [SIGINT, SIGTERM].into_iter().filter(|&signal| !is_ignored(signal)) {
        // The order counts: the second signal finds the flag that the first one has set.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&WAITING))
            .and_then(|_| {
                signal_hook::flag::register_conditional_default(signal, Arc::clone(&REQUESTED))
            })
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&REQUESTED)))
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

/// As long as it lives, the first signal ends the program at once: reading from a pipe goes on
/// after a signal, and whoever holds its other end may never write.
pub struct Waiting(());

impl Waiting {
    /// Begins to wait. `Interrupted` where that was asked for already.
    pub fn begin() -> Result<Self> {
        WAITING.store(true, Ordering::SeqCst);
        let waiting = Self(());
        check()?;
        Ok(waiting)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.store(false, Ordering::SeqCst);
    }
}

/// Whether the user asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Forgets a request that has been obeyed.
pub fn clear() {
    REQUESTED.store(false, Ordering::SeqCst);
}

/// `Interrupted` once the user asked to stop.
pub fn check() -> Result<()> {
    if requested() {
        fail!(Code::Interrupted, "interrupted: run the same command again to go on");
    }
    Ok(())
}
