//! Standard output and standard error.

use kinglet::Selection;
use kinglet_quant::{Code, Error, Result};
use serde::Serialize;
use std::borrow::Cow;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

static QUIET: AtomicBool = AtomicBool::new(false);

/// Silences [`note`] and progress.
pub fn set_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

/// Whether notes and progress are silenced.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Writes to standard output at once.
///
/// When the reader is gone (`kinglet … | head`) the program ends quietly: nobody is left to tell.
pub fn text(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(cause) if cause.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(cause) if cause.kind() == ErrorKind::StorageFull => Err(Error::new(
            Code::DiskFull,
            format_args!("the disk is full, writing the output: free some space and try again"),
        )),
        Err(cause) => {
            Err(Error::new(Code::Unwritable, format_args!("cannot write the output: {cause}")))
        }
    }
}

/// [`text`] that a model or a stranger has written: a terminal shows its control characters instead
/// of obeying them.
pub fn foreign_text(written: &str) -> Result<()> {
    text(&shown(written, io::stdout().is_terminal()))
}

/// Writes what a reply goes on with, dimmed; only for terminals.
pub fn prompt(prompt: &[u8]) -> Result<()> {
    text(&format!("\x1b[2m{}\x1b[22m", shown(&String::from_utf8_lossy(prompt), true)))
}

/// A text with its control characters as pictures, where it goes to a terminal; line breaks and
/// tabs stay.
fn shown(text: &str, is_terminal: bool) -> Cow<'_, str> {
    let is_control = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !is_terminal || !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let picture = |c: char| match u32::from(c) {
        code @ 0..0x20 => char::from_u32(0x2400 + code).expect("a picture for each"),
        0x7F => '\u{2421}',
        _ => char::REPLACEMENT_CHARACTER,
    };
    text.chars().map(|c| if is_control(c) { picture(c) } else { c }).collect()
}

/// Writes one JSON document and a line break.
pub fn json(document: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_string_pretty(document).expect("reports serialize");
    line.push('\n');
    text(&line)
}

/// Writes a line to standard error, unless `--quiet`.
pub fn note(line: impl std::fmt::Display) {
    if !is_quiet() {
        // Nothing can be done about a closed standard error.
        let _ = writeln!(io::stderr(), "{line}");
    }
}

/// Says what a session runs on and why, where that does not go without saying.
pub fn note_selection(selection: &Selection) {
    if selection.is_notable() {
        note(format_args!("tier {selection}"));
    }
}

/// Writes a failure to standard error, in colour where that is wanted.
pub fn failure(error: &Error) {
    let _ = writeln!(anstream::stderr(), "\x1b[1;31merror:\x1b[0m {error}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_on_terminals_alone() {
        let text = "a\x1b[2J\tb\r\n\x7f\u{9b}1m ü";
        assert_eq!(shown(text, false), text);
        assert_eq!(shown(text, true), "a␛[2J\tb␍\n␡\u{fffd}1m ü");
        assert!(matches!(shown("plain\ntext", true), Cow::Borrowed(_)));
    }
}
