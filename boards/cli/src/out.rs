//! Standard output and standard error.

use kinglet::Selection;
use kinglet_quant::{Code, Error, Result};
use serde::Serialize;
use std::io::{self, ErrorKind, Write};
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
