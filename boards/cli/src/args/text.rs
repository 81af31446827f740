//! The flags of a text that a command works on.

use clap::{Args, ValueHint};
use std::path::PathBuf;

/// Where a text comes from: see [`crate::input::read`].
#[derive(Debug, Args)]
pub struct TextArgs {
    /// The text
    #[arg(short, long, value_name = "TEXT", conflicts_with = "file", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Read the text from a file
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
}
