//! What a reply may be: which tokens may follow one another.
//!
//! A token is drawn as without a constraint, then tested; only where it is refused is another one
//! drawn among those that fit. So the head stays screened, guesses stay possible, and the
//! probabilities are exact: with `P` the chance that a drawn token fits, one that fits is chosen
//! with `p + (1 − P) p / P = p / P`.

use kinglet_quant::{Code, Result, ensure};

/// Decides which tokens a reply may have. It is at the reply's beginning when it is given to one.
pub trait Constraint {
    /// Moves those of `tokens`, at least one, that may come next to the front, in their order, and
    /// returns their number. A token that ends the model's text fits where the reply may end.
    fn filter(&mut self, tokens: &mut [u32]) -> Result<usize>;

    /// Takes the next token of the reply, which fits. Tokens that end the model's text never come.
    fn advance(&mut self, token: u32) -> Result<()>;

    /// A token that must come next, whatever the model says. It saves a pass; none where there are
    /// several, or where it is not known.
    fn forced(&mut self) -> Result<Option<u32>> {
        Ok(None)
    }

    /// Whether the reply is complete, so that nothing can follow.
    fn is_complete(&mut self) -> Result<bool>;
}

/// Moves those of `tokens` that fit to the front, in their order, and returns their number: what
/// [`Constraint::filter`] does where each token can be asked about alone.
pub fn keep(tokens: &mut [u32], mut fits: impl FnMut(u32) -> bool) -> usize {
    let mut count = 0;
    for i in 0..tokens.len() {
        if fits(tokens[i]) {
            tokens[count] = tokens[i];
            count += 1;
        }
    }
    count
}

/// A constraint over a vocabulary of a known size, whose answers are checked.
pub(crate) struct Checked<'c> {
    constraint: &'c mut dyn Constraint,
    vocabulary: usize,
}

impl<'c> Checked<'c> {
    pub fn new(constraint: &'c mut dyn Constraint, vocabulary: usize) -> Self {
        Self { constraint, vocabulary }
    }

    /// Whether a token may come next.
    pub fn allows(&mut self, token: u32) -> Result<bool> {
        Ok(self.filter(&mut [token])? == 1)
    }

    /// See [`Constraint::filter`]. `BadArgument` for an answer that is none.
    pub fn filter(&mut self, tokens: &mut [u32]) -> Result<usize> {
        let count = self.constraint.filter(tokens)?;
        let is_subset = count <= tokens.len()
            && tokens[..count].iter().all(|&token| (token as usize) < self.vocabulary);
        ensure!(is_subset, Code::BadArgument, "the constraint kept tokens that it was not given");
        Ok(count)
    }
}
