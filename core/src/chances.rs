//! How probable the tokens of a reply were: over all logits, before bias, penalties and
//! temperature.

use crate::top::{Candidate, log_sum_exp, top};

/// Memory in which the probabilities of a reply's tokens are computed.
#[derive(Debug)]
pub struct Chances<'r> {
    /// The logits that a token is chosen from `[vocabulary]`.
    logits: &'r mut [f32],
    /// `[vocabulary]`
    scratch: &'r mut [u32],
    /// The chosen token, then the most probable ones.
    candidates: &'r mut [Candidate],
}

impl<'r> Chances<'r> {
    /// `logits` and `scratch` have the length of the vocabulary; `candidates` has room for the
    /// chosen token and for as many of the most probable ones as are wanted.
    pub fn new(
        logits: &'r mut [f32],
        scratch: &'r mut [u32],
        candidates: &'r mut [Candidate],
    ) -> Self {
        assert_eq!(logits.len(), scratch.len());
        assert!(!candidates.is_empty(), "the chosen token needs room");
        Self { logits, scratch, candidates }
    }

    /// Where the logits go before a token is chosen from them.
    pub(crate) fn logits(&mut self) -> &mut [f32] {
        self.logits
    }

    /// The chosen token, then the most probable ones, with the logarithms of their probabilities.
    pub(crate) fn of(&mut self, token: u32) -> &[Candidate] {
        let (chosen, best) = self.candidates.split_first_mut().expect("checked when made");
        let chance = f64::from(self.logits[token as usize]) - log_sum_exp(self.logits);
        *chosen = Candidate { token, log_probability: chance as f32 };
        let count = top(self.logits, self.scratch, best);
        &self.candidates[..1 + count]
    }
}
