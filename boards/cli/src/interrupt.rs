//! Ctrl-C: the first one asks the work to stop, the second one ends the program at once.

#[cfg_attr(unix, path = "interrupt/unix.rs")]
#[cfg_attr(windows, path = "interrupt/windows.rs")]
mod system;

use kinglet_quant::{Code, Result, fail};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
/// Whether the program waits for what may never come.
static WAITING: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Turns Ctrl-C, and what else asks a program to end, into a request, unless whoever started the
/// program has that ignored. Until this is called they end the program. Called once, by the
/// command.
pub use system::install;
#[cfg(unix)]
pub use system::is_ignored;

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
