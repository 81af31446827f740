//! A terminal that a signal leaves as it was.

use crate::interrupt;
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The terminal on standard input.
pub struct Terminal {
    /// Held while a line is edited: what the terminal was before.
    edited: Arc<Mutex<Option<Termios>>>,
    ended: Arc<AtomicBool>,
}

impl Terminal {
    /// Has a thread wait for SIGTERM, unless whoever started the program has it ignored.
    pub fn watch() -> io::Result<Self> {
        let (edited, ended) = (Arc::<Mutex<Option<Termios>>>::default(), Arc::default());
        if !interrupt::is_ignored(SIGTERM) {
            let mut signals = Signals::new([SIGTERM])?;
            let (edited, ended) = (Arc::clone(&edited), Arc::<AtomicBool>::clone(&ended));
            thread::spawn(move || {
                for signal in signals.forever() {
                    ended.store(true, Ordering::SeqCst);
                    let before = edited.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(before) = &*before {
                        // The program ends either way.
                        let _ = tcsetattr(stdin(), OptionalActions::Now, before);
                        let _ = emulate_default_handler(signal);
                    }
                }
            });
        }
        Ok(Self { edited, ended })
    }

    /// A line is edited from now on. Ends the program where a signal asked for that before.
    pub fn begin_line(&self) -> io::Result<()> {
        self.note_edited(tcgetattr(stdin()).ok());
        if self.ended.load(Ordering::SeqCst) {
            emulate_default_handler(SIGTERM)?;
        }
        Ok(())
    }

    /// The line has ended.
    pub fn end_line(&self) {
        self.note_edited(None);
    }

    fn note_edited(&self, before: Option<Termios>) {
        *self.edited.lock().unwrap_or_else(PoisonError::into_inner) = before;
    }
}
