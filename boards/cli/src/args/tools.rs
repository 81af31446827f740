//! The flags of functions that a model can call.

use clap::{Args, ValueHint};
use std::path::PathBuf;

/// Functions that the model can call.
#[derive(Debug, Args)]
#[command(next_help_heading = "Functions")]
pub struct ToolArgs {
    /// Functions that the model can call, as a JSON list of the OpenAI protocol's tools
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "shape")]
    pub tools: Option<PathBuf>,
    /// Whether it calls: auto where it likes, required, or the name of the function that it calls
    #[arg(long, value_name = "CHOICE", default_value = "auto", requires = "tools")]
    pub tool_choice: String,
}
