//! A thread of the standard library, on systems other than Linux.

use kinglet_quant::{Code, Error, Result};
use std::ffi::CStr;
use std::thread::{Builder, JoinHandle};

/// The stack of a thread, of which it touches what it uses.
const STACK_BYTES: usize = 2 << 20;

/// A thread that was started, to be joined.
pub(crate) struct Thread(JoinHandle<()>);

impl Thread {
    /// Starts a thread that does this work, which must not panic. `Resource` where the system has
    /// none left.
    pub fn start(name: &CStr, work: impl Fn() + Send + Sync + 'static) -> Result<Self> {
        let builder = Builder::new().name(name.to_string_lossy().into_owned());
        let thread = builder.stack_size(STACK_BYTES).spawn(work).map_err(|error| {
            let message = format_args!("cannot start a thread: {error}; take fewer threads");
            Error::new(Code::Resource, message)
        })?;
        Ok(Self(thread))
    }

    /// Waits for the thread's end.
    pub fn join(self) {
        self.0.join().expect("the work does not panic");
    }
}
