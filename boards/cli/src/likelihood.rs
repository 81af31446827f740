//! How probable the tokens of a reply were, as JSON tells it.

use kinglet::{Candidate, Model};
use serde::Serialize;

/// A token that was chosen, and those that were the most probable.
#[derive(Clone, Debug, Serialize)]
pub struct Chosen {
    #[serde(flatten)]
    chosen: Likely,
    top: Vec<Likely>,
}

/// A token and the natural logarithm of its probability, over all logits and before temperature.
#[derive(Clone, Debug, Serialize)]
struct Likely {
    token: u32,
    /// Bytes that are no whole character alone are shown as U+FFFD.
    text: String,
    logprob: f32,
}

impl Likely {
    fn new(model: &Model, candidate: &Candidate) -> Self {
        let bytes = model.tokenizer().decode(candidate.token);
        Self {
            token: candidate.token,
            text: String::from_utf8_lossy(bytes).into_owned(),
            logprob: candidate.log_probability,
        }
    }
}

impl Chosen {
    /// What a piece tells; `None` where it has no token.
    pub fn new(model: &Model, candidates: &[Candidate]) -> Option<Self> {
        let (chosen, best) = candidates.split_first()?;
        let top = best.iter().map(|candidate| Likely::new(model, candidate)).collect();
        Some(Self { chosen: Likely::new(model, chosen), top })
    }
}
