//! Lines that a person edits at a terminal.

use crate::{interrupt, out};
use kinglet::{Code, Error, Result};
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// An editor with a history. SIGTERM ends the program while a line is edited, with the terminal as
/// it was, and otherwise after the reply.
pub struct Editor {
    editor: Box<DefaultEditor>,
    /// Held while a line is edited: what the terminal was before.
    edited: Arc<Mutex<Option<Termios>>>,
    ended: Arc<AtomicBool>,
}

impl Editor {
    /// The editor of the terminal on standard input.
    pub fn open() -> Result<Self> {
        let editor = Box::new(DefaultEditor::new().map_err(|cause| unreadable(&cause))?);
        let (edited, ended) = (Arc::<Mutex<Option<Termios>>>::default(), Arc::default());
        if !interrupt::is_ignored(SIGTERM) {
            let mut signals = Signals::new([SIGTERM]).map_err(|cause| unreadable(&cause))?;
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
        Ok(Self { editor, edited, ended })
    }

    /// The next line; `None` at the end.
    pub fn next(&mut self) -> Result<Option<String>> {
        loop {
            self.note_edited(tcgetattr(stdin()).ok());
            if self.ended.load(Ordering::SeqCst) {
                emulate_default_handler(SIGTERM).map_err(|cause| unreadable(&cause))?;
            }
            let line = self.editor.readline("> ");
            self.note_edited(None);
            match line {
                Ok(line) => {
                    // A history that is full drops its oldest line.
                    let _ = self.editor.add_history_entry(&line);
                    return Ok(Some(line));
                }
                Err(ReadlineError::Eof) => return Ok(None),
                Err(ReadlineError::Interrupted) => out::note("/quit or Ctrl-D ends"),
                Err(cause) => return Err(unreadable(&cause)),
            }
        }
    }

    fn note_edited(&self, before: Option<Termios>) {
        *self.edited.lock().unwrap_or_else(PoisonError::into_inner) = before;
    }
}

/// Standard input that cannot be read.
pub fn unreadable(cause: &dyn std::fmt::Display) -> Error {
    Error::new(Code::Unreadable, format_args!("cannot read standard input: {cause}"))
}
