//! Lines that a person edits at a terminal.

#[cfg_attr(unix, path = "editor/unix.rs")]
#[cfg_attr(windows, path = "editor/windows.rs")]
mod terminal;

use crate::out;
use kinglet::{Code, Error, Result};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use terminal::Terminal;

/// An editor with a history. SIGTERM ends the program while a line is edited, with the terminal as
/// it was, and otherwise after the reply.
pub struct Editor {
    editor: Box<DefaultEditor>,
    terminal: Terminal,
}

impl Editor {
    /// The editor of the terminal on standard input.
    pub fn open() -> Result<Self> {
        let editor = Box::new(DefaultEditor::new().map_err(|cause| unreadable(&cause))?);
        let terminal = Terminal::watch().map_err(|cause| unreadable(&cause))?;
        Ok(Self { editor, terminal })
    }

    /// The next line; `None` at the end.
    pub fn next(&mut self) -> Result<Option<String>> {
        loop {
            self.terminal.begin_line().map_err(|cause| unreadable(&cause))?;
            let line = self.editor.readline("> ");
            self.terminal.end_line();
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
}

/// Standard input that cannot be read.
pub fn unreadable(cause: &dyn std::fmt::Display) -> Error {
    Error::new(Code::Unreadable, format_args!("cannot read standard input: {cause}"))
}
