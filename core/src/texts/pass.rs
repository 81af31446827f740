//! Passes that the caller makes up: tokens of several texts, and the logits that it wants.

use super::{Rows, Texts};
use crate::engine::{Chunk, Engine};
use crate::plan::MAX_TEXTS;
use kinglet_quant::{Code, Result, ensure};

impl<E: Engine> Texts<'_, E> {
    /// Runs one pass. Each chunk's text keeps its first [`Chunk::first`] tokens and goes on with
    /// those of the chunk. `each` gets all logits that are wanted: `(index in pass, index in the
    /// chunk's tokens, [vocabulary])`; screens are not looked at.
    ///
    /// `BadArgument` where texts do not ascend, a text has fewer than `first` tokens, a chunk is
    /// empty, and where all chunks have more tokens or rows than [`crate::Limits`] allow;
    /// `ContextFull`, `TokenOutOfRange`. Nothing is changed then. When the engine fails, the texts
    /// end where the chunks begin.
    pub fn run_pass(
        &mut self,
        pass: &[Chunk<'_>],
        each: &mut dyn FnMut(usize, usize, &[f32]),
    ) -> Result<()> {
        self.check_pass(pass)?;
        for chunk in pass {
            let state = &mut self.states[chunk.text];
            state.cut(chunk.first);
            state.drop_logits();
            self.catch_up(chunk.text, chunk.first)?;
        }
        let chunks = pass.iter().map(|chunk| Chunk { screen: None, ..*chunk });
        let chunks: heapless::Vec<Chunk<'_>, MAX_TEXTS> = chunks.collect();
        if chunks.is_empty() {
            return Ok(());
        }
        self.passes += 1;
        self.engine.run(&chunks)?;
        let mut row = 0;
        for chunk in pass {
            let (state, count) = (&mut self.states[chunk.text], chunk.tokens.len());
            let end = chunk.first + count;
            state.history[chunk.first..end].copy_from_slice(chunk.tokens);
            (state.length, state.cached) = (end, end);
            let rows = chunk.logits.rows(count);
            let (pass, first) = (self.passes, end + 1 - rows);
            state.rows = Rows { pass, row, first, count: rows, screen: None };
            row += rows;
        }
        let mut row = 0;
        for (index, chunk) in pass.iter().enumerate() {
            let count = chunk.tokens.len();
            for token in count - chunk.logits.rows(count)..count {
                each(index, token, self.row_logits(row)?);
                row += 1;
            }
        }
        Ok(())
    }

    fn check_pass(&self, pass: &[Chunk<'_>]) -> Result<()> {
        let limits = *self.plan().limits();
        let (mut tokens, mut rows, mut least_text) = (0, 0, 0);
        for Chunk { text, first, tokens: given, logits, .. } in pass {
            let is_behind = *text >= least_text && *text < limits.texts;
            ensure!(
                is_behind && !given.is_empty() && *first <= self.states[*text].length,
                Code::BadArgument,
                "{} tokens at {first} of text {text}: give each of the {} texts one chunk at most, \
                 in their order, behind tokens that it has",
                given.len(),
                limits.texts
            );
            ensure!(
                first + given.len() <= limits.context,
                Code::ContextFull,
                "{} tokens at {first} of text {text}: its context is {}",
                given.len(),
                limits.context
            );
            given.iter().try_for_each(|&token| self.check_token(token))?;
            least_text = text + 1;
            tokens += given.len();
            rows += logits.rows(given.len());
        }
        ensure!(
            tokens <= limits.batch && rows <= limits.logit_rows,
            Code::BadArgument,
            "a pass of {tokens} tokens, {rows} with logits: {} and {} are planned for",
            limits.batch,
            limits.logit_rows
        );
        Ok(())
    }
}
