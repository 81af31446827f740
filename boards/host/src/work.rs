//! What a session is going to do.

use std::fmt;

/// What a session is going to do. It decides between backends of which one is faster for prompts
/// and the other for new tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Tokens that are read.
    pub prompt_tokens: usize,
    /// Tokens that are generated.
    pub new_tokens: usize,
}

impl Default for Work {
    /// A question and its answer.
    fn default() -> Self {
        Self { prompt_tokens: 256, new_tokens: 256 }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self { new_tokens: 0, .. } => f.write_str("prompts"),
            Self { prompt_tokens: 0, .. } => f.write_str("new tokens"),
            Self { prompt_tokens, new_tokens } => {
                write!(f, "{prompt_tokens} tokens of prompt and {new_tokens} new ones")
            }
        }
    }
}
