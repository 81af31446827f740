//! The flags of what a reply may be.

use clap::{Args, ValueHint};
use std::path::PathBuf;

/// What a reply may be: at most one of these.
#[derive(Debug, Args)]
#[command(next_help_heading = "Shape of the reply")]
#[group(id = "shape", multiple = false)]
pub struct GrammarArgs {
    /// Reply with JSON of this schema, or of a table of `kinglet compile-schema`: properties in its
    /// order, on one line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub json_schema: Option<PathBuf>,
    /// Reply with a text that this regular expression matches as a whole
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true)]
    pub regex: Option<String>,
    /// Reply with a text of this grammar, in Lark's notation; it begins with the rule start
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub grammar: Option<PathBuf>,
}
