//! Saying what is not tested.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{Write, stderr};
#[cfg(unix)]
use std::os::unix::process::parent_id;
use std::path::PathBuf;
/// A system that does not tell it: each program notes apart what it skips, for nobody to read.
#[cfg(windows)]
use std::process::id as parent_id;

/// Where the test programs of one `cargo test` note what they skip; `z_skipped.rs` reads it.
pub fn notes() -> PathBuf {
    std::env::temp_dir().join(format!("kinglet-skipped-{}", parent_id()))
}

/// Says that `what`, a test or a part of one, cannot run here.
pub fn skip(what: &str, reason: impl Display) {
    let line = format!("SKIPPED {what}: {reason}\n");
    // The harness hides what passing tests print with macros.
    stderr().write_all(line.as_bytes()).unwrap();
    let mut notes = OpenOptions::new().create(true).append(true).open(notes()).unwrap();
    notes.write_all(line.as_bytes()).unwrap();
}
