//! The arguments of `kinglet embed`.

use crate::args::{ModelArgs, SessionArgs, TextArgs};
use clap::{Args, ValueEnum};
use kinglet::Pooling;

/// Arguments of `kinglet embed`.
#[derive(Debug, Args)]
#[command(after_help = "\
An embedding is what the model makes of a text: its hidden states behind the final norm, pooled
and scaled to a length of 1. Texts that mean something similar have a larger product. Without -p and
-f the text is read from standard input; special tokens in it are plain text. --kv f16 comes
closest to the unquantized model's embeddings.

Examples:
  kinglet embed smollm2-135m -p \"a small bird\"
  kinglet embed model.kinglet -f notes.txt --lines --json > notes.json")]
pub struct EmbedArgs {
    /// Which model
    #[command(flatten)]
    pub model: ModelArgs,
    /// Its text
    #[command(flatten)]
    pub text: TextArgs,
    /// Every line that is not empty is a text of its own
    #[arg(long)]
    pub lines: bool,
    /// How the hidden states of all tokens become one
    #[arg(long, value_name = "WAY", default_value = "mean")]
    pub pooling: PoolingArg,
    /// Print one JSON document instead of a line of numbers for each text
    #[arg(long)]
    pub json: bool,
    /// Session
    #[command(flatten)]
    pub session: SessionArgs,
}

/// How hidden states become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PoolingArg {
    /// Their mean
    Mean,
    /// That of the last token
    Last,
}

impl PoolingArg {
    /// Its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Last => "last",
        }
    }
}

impl From<PoolingArg> for Pooling {
    fn from(arg: PoolingArg) -> Self {
        match arg {
            PoolingArg::Mean => Self::Mean,
            PoolingArg::Last => Self::Last,
        }
    }
}
