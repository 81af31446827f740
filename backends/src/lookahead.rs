//! Decoding with drafts: several tokens in one step where the text lets them be guessed.
//!
//! A step takes a chosen token and a draft, and computes logits behind each. As long as the tokens
//! chosen from these rows are those drafted, the next row is the next position's. The rows are what
//! single steps would give, to the bit, and every token is drawn once: the text is the same with
//! drafts and without.

use crate::Tier;
use kinglet_core::draft::{Draft, Drafter, MAX_DRAFT};
use kinglet_core::sample::Sampler;
use kinglet_core::screen::Screen;
use kinglet_core::session::Logits;
use kinglet_core::{Session, Workers};
use kinglet_quant::Result;

/// Logit rows of a session that verifies drafts of any length.
pub const LOOKAHEAD_ROWS: usize = MAX_DRAFT + 1;

/// A session that may have taken tokens ahead of the text; none are left when this is dropped.
pub struct Lookahead<'s, 'a> {
    session: &'s mut Session<'a>,
    /// The row of the logits behind the text.
    row: &'s mut usize,
    tier: Tier,
    workers: &'s dyn Workers,
    drafter: Drafter,
    /// Tokens of a draft at most.
    most: usize,
    /// What the last step took behind its first token.
    draft: Draft,
    /// Which logits its rows have.
    screen: Option<Screen>,
    /// How many of them, from the end, are not in the text yet.
    left: usize,
    counts: Counts,
}

/// What decoding took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Passes through the model.
    pub steps: usize,
    /// Tokens that were drafted.
    pub drafted: usize,
    /// Those of them that came.
    pub accepted: usize,
}

impl<'s, 'a> Lookahead<'s, 'a> {
    /// Decodes ahead where `is_wanted` and where it cannot change the text: a session with one row
    /// of logits, or with unquantized weights, takes one token after the other.
    ///
    /// `row` is that of the logits behind the text, and stays so. Steps compute the logits that
    /// `screen` asks for, that of the sampler.
    pub fn new(
        session: &'s mut Session<'a>,
        row: &'s mut usize,
        tier: Tier,
        workers: &'s dyn Workers,
        is_wanted: bool,
        screen: Option<Screen>,
    ) -> Self {
        let rows = session.plan().limits().logit_rows.min(LOOKAHEAD_ROWS);
        let is_possible = is_wanted && session.plan().is_batch_exact();
        let most = if is_possible { rows - 1 } else { 0 };
        let drafter = Drafter::new(tier.further_token_cost());
        let (draft, counts) = (Draft::new(), Counts::default());
        Self { session, row, tier, workers, drafter, most, draft, screen, left: 0, counts }
    }

    /// What decoding took until now.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Positions that are still free.
    pub fn room(&self) -> usize {
        self.session.room() + self.left
    }

    /// Chooses the token behind the text, which is not appended yet.
    pub fn sample(&mut self, sampler: &mut Sampler<'_>) -> u32 {
        let position = self.position();
        self.session.sample_row(*self.row, position, sampler)
    }

    /// Appends the chosen token: with a step, unless the last one took it already. The step takes a
    /// draft of `most` tokens at most behind it.
    pub fn push(&mut self, token: u32, most: usize) -> Result<()> {
        if self.left > 0 && self.draft[self.draft.len() - self.left] == token {
            self.left -= 1;
            *self.row += 1;
            self.counts.accepted += 1;
            return Ok(());
        }
        self.drafter.settle(self.draft.len(), self.draft.len() - self.left);
        self.drop_rest();
        let most = most.min(self.most).min(self.session.room().saturating_sub(1));
        self.draft = self.drafter.draft(self.session.tokens(), token, most);
        let mut tokens = [token; LOOKAHEAD_ROWS];
        let tokens = &mut tokens[..=self.draft.len()];
        tokens[1..].copy_from_slice(&self.draft);
        self.tier.step(self.session, self.workers, tokens, Logits::All, self.screen)?;
        (self.left, *self.row) = (self.draft.len(), 0);
        self.counts.steps += 1;
        self.counts.drafted += self.draft.len();
        Ok(())
    }

    /// Tokens of the text.
    fn position(&self) -> usize {
        // Saturates because it must not panic when this is dropped by a panic.
        self.session.position().saturating_sub(self.left)
    }

    /// Takes what did not come of the draft out of the session.
    fn drop_rest(&mut self) {
        self.session.rewind(self.position());
        self.left = 0;
    }
}

impl Drop for Lookahead<'_, '_> {
    fn drop(&mut self) {
        self.drop_rest();
    }
}
