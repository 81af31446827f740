//! Ctrl-C: the first one asks the work to stop, the second one ends the program at once.

use kinglet_quant::{Code, Result, fail};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Turns SIGINT and SIGTERM into a request. Until this is called they end the
/// program. Called once, by the command.
pub fn install() {
    for signal in [SIGINT, SIGTERM] {
        // The order counts: the second signal finds the flag that the first one has set.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&REQUESTED))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&REQUESTED)))
            .expect("both signals may be handled");
    }
}

/// Whether the user asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Forgets a request that has been obeyed.
pub fn clear() {
    REQUESTED.store(false, Ordering::Relaxed);
}

/// `Interrupted` once the user asked to stop.
pub fn check() -> Result<()> {
    if requested() {
        fail!(Code::Interrupted, "interrupted: run the same command again to go on");
    }
    Ok(())
}
