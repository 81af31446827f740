//! The flags of a text that a command works on.

use clap::{Args, ValueHint};
use std::path::PathBuf;

/// Where a text comes from, and how it ends: see [`crate::input::read`].
#[derive(Debug, Args)]
pub struct TextArgs {
    /// The text
    #[arg(short, long, value_name = "TEXT", conflicts_with = "file", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Read the text from a file
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// Leave out blanks and newlines at the end of the text
    ///
    /// A text from a file or from standard input is taken as it is: the newline that echo and
    /// editors write at its end belongs to it, and the model goes on behind that, in a new line.
    #[arg(long)]
    pub trim: bool,
}
