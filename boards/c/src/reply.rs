//! A reply in the making: a text that goes on token by token.

use kinglet_backends::lookahead::{Counts, Lookahead};
use kinglet_core::sample::Sampler;
use kinglet_quant::Result;

/// A text that goes on.
///
/// A chosen token is taken in when the next one is wanted, so that it is handed out before the work
/// for the next one begins. One for which there is no room is handed out as well, and is not part
/// of the text.
pub(crate) struct Reply<'t, 'a> {
    pub(crate) ahead: Lookahead<'t, 'a>,
    pub(crate) sampler: Sampler<'t>,
    /// Random numbers taken so far, the text's.
    pub(crate) draws: &'t mut u64,
    /// The last token, when the cache does not have it yet; the text's.
    pub(crate) chosen: &'t mut Option<u32>,
    /// Whether there was no room for the last token, so that there is none behind it.
    pub(crate) is_full: bool,
}

impl Reply<'_, '_> {
    /// Whether the last token was one for which there is no room.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Chooses the next token and appends it. Guesses at most `most` tokens behind the last one.
    pub fn next(&mut self, most: usize) -> Result<u32> {
        if let Some(token) = *self.chosen {
            self.ahead.push(token, most)?;
            *self.chosen = None;
        }
        let token = self.ahead.sample(&mut self.sampler);
        *self.draws = self.sampler.draws();
        self.is_full = self.ahead.room() == 0;
        *self.chosen = Some(token).filter(|_| !self.is_full);
        Ok(token)
    }

    /// Takes the last chosen token back.
    pub fn take_back(&mut self) {
        *self.chosen = None;
    }

    /// What it took until now.
    pub fn counts(&self) -> Counts {
        self.ahead.counts()
    }
}
