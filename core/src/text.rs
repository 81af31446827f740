//! One text: how it begins, goes on, and is taken back.
//!
//! The last token of a text may be chosen but not yet in the cache: a pass takes it when logits
//! behind it are wanted. So a chosen token is handed out before the work for the next one begins,
//! and a text that was rewound, restored or interrupted has logits as soon as they are asked for.

mod embed;
mod state;

pub use embed::Pooling;

use crate::engine::{Chunk, Engine, Logits, Observer};
use crate::sample::Sampler;
use crate::screen::Screen;
use crate::texts::Texts;
use crate::top::{self, Candidate};
use kinglet_quant::{Code, Result, ensure};

/// One of the texts of an engine.
#[derive(Debug)]
pub struct Text<'t, 'a, E> {
    texts: &'t mut Texts<'a, E>,
    number: usize,
}

impl<'a, E: Engine> Texts<'a, E> {
    /// One of the texts. Panics when there are fewer.
    pub fn text(&mut self, number: usize) -> Text<'_, 'a, E> {
        let count = self.plan().limits().texts;
        assert!(number < count, "there are {count} texts");
        Text { texts: self, number }
    }
}

impl<'a, E: Engine> Text<'_, 'a, E> {
    /// Its tokens.
    pub fn tokens(&self) -> &[u32] {
        self.texts.tokens(self.number)
    }

    /// Tokens that it can still take.
    pub fn room(&self) -> usize {
        self.texts.room(self.number)
    }

    /// Appends a prompt and computes the logits behind it.
    ///
    /// `PromptTooLong` when it does not fit, `TokenOutOfRange`, `BadArgument` for an empty one; the
    /// text is unchanged then. `goes_on` gets the number of tokens done before every pass; when it
    /// fails, so does this, and the tokens taken until then stay.
    pub fn prefill(
        &mut self,
        tokens: &[u32],
        goes_on: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        ensure!(!tokens.is_empty(), Code::BadArgument, "the prompt is empty");
        self.check_prompt(tokens)?;
        self.extend(tokens, None, goes_on)
    }

    /// Appends one token and computes the logits behind it, those that `screen` asks for.
    /// `ContextFull`, `TokenOutOfRange`.
    pub fn push(&mut self, token: u32, screen: Option<Screen>) -> Result<()> {
        self.check_room()?;
        self.texts.check_token(token)?;
        self.extend(&[token], screen, &mut |_| Ok(()))
    }

    /// Appends tokens and hands out the logits behind each: `(index in tokens, [vocabulary])`.
    ///
    /// Faster with more of [`crate::Limits::logit_rows`]. Errors as [`Text::prefill`].
    pub fn score(&mut self, tokens: &[u32], each: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        self.check_prompt(tokens)?;
        // A token without its place in the cache would get a row of its own.
        if self.texts.state(self.number).cached < self.tokens().len() {
            self.texts.compute_logits(self.number, None)?;
        }
        let rows = self.texts.plan().limits().logit_rows;
        self.take(tokens, rows, &mut |texts, number, Share { count, done, .. }| {
            texts.run_one(number, count, Logits::All, None)?;
            for row in 0..count {
                each(done + row, texts.row_logits(row)?);
            }
            Ok(())
        })
    }

    /// Appends tokens and hands the inputs of every matrix to `observer`: for calibration. Those of
    /// a chosen token that the cache does not have yet come first.
    pub fn observe(&mut self, tokens: &[u32], observer: Observer<'_>) -> Result<()> {
        self.take_chunks(tokens, &mut |engine, chunk| engine.observe(chunk, &mut *observer))
    }

    /// Appends tokens and hands them to the engine in chunks, without logits.
    fn take_chunks(
        &mut self,
        tokens: &[u32],
        take: &mut dyn FnMut(&mut E, &Chunk<'_>) -> Result<()>,
    ) -> Result<()> {
        self.check_prompt(tokens)?;
        let batch = self.texts.plan().limits().batch;
        self.take(tokens, batch, &mut |texts, number, share| {
            texts.take_chunk(number, share.count, take)
        })
    }

    /// Chooses the next token and appends it. `ContextFull`; `BadArgument` for an empty text.
    pub fn next(&mut self, sampler: &mut Sampler<'_>) -> Result<u32> {
        self.check_room()?;
        let token = self.sample(sampler)?;
        self.texts.append(self.number, token);
        Ok(token)
    }

    /// Chooses the next token without appending it. `BadArgument` for an empty text.
    pub fn sample(&mut self, sampler: &mut Sampler<'_>) -> Result<u32> {
        self.texts.sample(self.number, sampler, None, None)
    }

    /// All logits behind the text, `[vocabulary]`. `BadArgument` for an empty text.
    pub fn logits(&mut self) -> Result<&[f32]> {
        self.texts.logits(self.number)
    }

    /// The most probable next tokens, see [`top::top`]. `BadArgument` for an empty text.
    pub fn top(&mut self, out: &mut [Candidate]) -> Result<usize> {
        let (logits, scratch) = self.texts.logits_and_scratch(self.number)?;
        Ok(top::top(logits, scratch, out))
    }

    /// Keeps the first `count` tokens. `BadArgument` when there are fewer.
    pub fn rewind(&mut self, count: usize) -> Result<()> {
        ensure!(
            count <= self.tokens().len(),
            Code::BadArgument,
            "cannot rewind to {count} tokens: the text has {}",
            self.tokens().len()
        );
        self.texts.state_mut(self.number).cut(count);
        Ok(())
    }

    /// Appends tokens and computes the logits behind the last, those that `screen` asks for.
    fn extend(
        &mut self,
        tokens: &[u32],
        screen: Option<Screen>,
        goes_on: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        let batch = self.texts.plan().limits().batch;
        self.take(tokens, batch, &mut |texts, number, Share { count, done, is_last }| {
            goes_on(done)?;
            let logits = if is_last { Logits::Last } else { Logits::None };
            texts.run_one(number, count, logits, screen)
        })
    }

    /// Appends tokens and runs passes of `most` until the cache has them. Those that it has not
    /// when a pass fails are not the text's.
    fn take(&mut self, tokens: &[u32], most: usize, pass: &mut Pass<'_, 'a, E>) -> Result<()> {
        let state = self.texts.state_mut(self.number);
        state.drop_guesses();
        state.drop_logits();
        let (before, end) = (state.length, state.length + tokens.len());
        state.history[before..end].copy_from_slice(tokens);
        let mut cached = state.cached;
        while cached < end {
            let count = (end - cached).min(most);
            let (done, is_last) = (cached.saturating_sub(before), cached + count == end);
            pass(self.texts, self.number, Share { count, done, is_last })?;
            let state = self.texts.state_mut(self.number);
            cached = state.cached;
            state.length = cached.max(before);
        }
        Ok(())
    }

    fn check_room(&self) -> Result<()> {
        ensure!(
            self.room() > 0,
            Code::ContextFull,
            "the context of {} positions is full: reset or rewind the session",
            self.texts.plan().limits().context
        );
        Ok(())
    }

    fn check_prompt(&self, tokens: &[u32]) -> Result<()> {
        ensure!(
            tokens.len() <= self.room(),
            Code::PromptTooLong,
            "the prompt has {} tokens, {} of {} are free: shorten it or raise the context",
            tokens.len(),
            self.room(),
            self.texts.plan().limits().context
        );
        tokens.iter().try_for_each(|&token| self.texts.check_token(token))
    }
}

/// What one pass of [`Text::take`] takes.
struct Share {
    /// Tokens of the pass.
    count: usize,
    /// Given tokens that the cache has already.
    done: usize,
    /// Whether nothing follows.
    is_last: bool,
}

/// Runs one pass for the text of a number.
type Pass<'p, 'a, E> = dyn FnMut(&mut Texts<'a, E>, usize, Share) -> Result<()> + 'p;
