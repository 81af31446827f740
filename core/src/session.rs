//! A session: one text in the making, its cache and its position.

use crate::forward::{Observer, Step};
use crate::kernels::{Kernels, Workers};
use crate::plan::{Buffers, Limits, Plan, padded_vocab};
use crate::sample::Sampler;
use kinglet_quant::format::ALIGN;
use kinglet_quant::{Code, File, Result, ensure};

/// For which tokens of a step logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logits {
    /// None: more of the prompt follows.
    None,
    /// The last one, in row 0.
    Last,
    /// Each, in rows 0 and up.
    All,
}

/// A model, its memory and the tokens so far.
///
/// When the context is full, steps return `ContextFull` and change nothing: [`Session::rewind`]
/// makes room.
#[derive(Debug)]
pub struct Session<'a> {
    model: File<'a>,
    plan: Plan,
    buffers: Buffers<'a>,
    position: usize,
}

impl<'a> Session<'a> {
    /// A session in `memory`, which must start at a multiple of 64 bytes (`Misaligned`) and hold
    /// [`Plan::total_bytes`] (`BudgetTooSmall`).
    pub fn new(model: File<'a>, limits: &Limits, memory: &'a mut [u8]) -> Result<Self> {
        let plan = Plan::new(&model, limits)?;
        ensure!(
            memory.len() >= plan.total_bytes(),
            Code::BudgetTooSmall,
            "the session needs {} bytes, {} are given: lower the context or the batch",
            plan.total_bytes(),
            memory.len()
        );
        ensure!(
            memory.as_ptr().addr().is_multiple_of(ALIGN),
            Code::Misaligned,
            "session memory must start at a multiple of {ALIGN} bytes"
        );
        let buffers = Buffers::cut(&plan, memory);
        Ok(Self { model, plan, buffers, position: 0 })
    }

    /// The model.
    pub fn model(&self) -> &File<'a> {
        &self.model
    }

    /// The memory that the session uses.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Tokens in the cache; the next one gets this position.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Positions that are still free.
    pub fn room(&self) -> usize {
        self.plan.limits().context - self.position
    }

    /// The tokens so far, `[position]`.
    pub fn tokens(&self) -> &[u32] {
        &self.buffers.history[..self.position]
    }

    /// Forgets everything from `position` on. Panics when the session is not that far.
    pub fn rewind(&mut self, position: usize) {
        assert!(position <= self.position);
        self.position = position;
    }

    /// Takes 1 to `batch` tokens, computes the logits that are wanted.
    ///
    /// `ContextFull` when there is no room, `TokenOutOfRange`, `BadArgument` for more tokens than
    /// the batch or more logits than rows; the session is unchanged then.
    pub fn step<K: Kernels>(
        &mut self,
        kernels: K,
        workers: &dyn Workers,
        tokens: &[u32],
        wanted: Logits,
    ) -> Result<()> {
        self.run(kernels, workers, tokens, wanted, None)
    }

    /// [`Session::step`] without logits that hands the inputs of every matrix to `observer`.
    pub fn observe<K: Kernels>(
        &mut self,
        kernels: K,
        workers: &dyn Workers,
        tokens: &[u32],
        observer: Observer<'_>,
    ) -> Result<()> {
        self.run(kernels, workers, tokens, Logits::None, Some(observer))
    }

    fn run<K: Kernels>(
        &mut self,
        kernels: K,
        workers: &dyn Workers,
        tokens: &[u32],
        wanted: Logits,
        observer: Option<Observer<'_>>,
    ) -> Result<()> {
        self.check_step(workers, tokens, wanted)?;
        let outputs = match wanted {
            Logits::None => 0..0,
            Logits::Last => tokens.len() - 1..tokens.len(),
            Logits::All => 0..tokens.len(),
        };
        let mut step = Step {
            kernels,
            workers,
            model: &self.model,
            layout: self.plan.layout,
            buffers: &mut self.buffers,
            first: self.position,
            tokens,
            observer: observer.map(|observer| observer as Observer<'_>),
        };
        step.run(outputs);
        self.buffers.history[self.position..][..tokens.len()].copy_from_slice(tokens);
        self.position += tokens.len();
        Ok(())
    }

    fn check_step(&self, workers: &dyn Workers, tokens: &[u32], wanted: Logits) -> Result<()> {
        let limits = self.plan.limits();
        let count = tokens.len();
        ensure!(
            (1..=limits.batch).contains(&count),
            Code::BadArgument,
            "a step of {count} tokens: 1 to {} are possible",
            limits.batch
        );
        ensure!(
            workers.count() <= limits.workers,
            Code::BadArgument,
            "{} workers: the session's memory is planned for {}",
            workers.count(),
            limits.workers
        );
        ensure!(
            wanted != Logits::All || count <= limits.logit_rows,
            Code::BadArgument,
            "logits of {count} tokens: the session's memory is planned for {}",
            limits.logit_rows
        );
        ensure!(
            count <= self.room(),
            Code::ContextFull,
            "the context of {} positions is full: start a new text or raise the context",
            limits.context
        );
        self.check_tokens(tokens)
    }

    fn check_tokens(&self, tokens: &[u32]) -> Result<()> {
        let vocab = self.model.config().vocab_size;
        for &token in tokens {
            ensure!(
                token < vocab,
                Code::TokenOutOfRange,
                "token {token} is not in the vocabulary of {vocab}"
            );
        }
        Ok(())
    }

    /// Takes a prompt in steps of the batch and computes the logits of its last token.
    ///
    /// `PromptTooLong` when it does not fit, `TokenOutOfRange`, `BadArgument` for an empty one; the
    /// session is unchanged then. `goes_on` is asked before every step; when it says no, the tokens
    /// taken until then stay and the result is `Interrupted`.
    pub fn prefill<K: Kernels>(
        &mut self,
        kernels: K,
        workers: &dyn Workers,
        tokens: &[u32],
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<()> {
        ensure!(!tokens.is_empty(), Code::BadArgument, "the prompt is empty");
        ensure!(
            tokens.len() <= self.room(),
            Code::PromptTooLong,
            "the prompt has {} tokens, {} of {} are free: shorten it or raise the context",
            tokens.len(),
            self.room(),
            self.plan.limits().context
        );
        self.check_tokens(tokens)?;
        let batch = self.plan.limits().batch;
        let steps = tokens.len().div_ceil(batch);
        for (i, chunk) in tokens.chunks(batch).enumerate() {
            ensure!(goes_on(), Code::Interrupted, "interrupted while reading the prompt");
            let wanted = if i + 1 == steps { Logits::Last } else { Logits::None };
            self.step(kernels, workers, chunk, wanted)?;
        }
        Ok(())
    }

    /// One row of the last step's logits, `[vocabulary]`.
    pub fn logits(&self, row: usize) -> &[f32] {
        let width = padded_vocab(self.model.config());
        &self.buffers.logits[row * width..][..self.model.config().vocab_size as usize]
    }

    /// Chooses a token from the logits in row 0, which this changes.
    pub fn sample(&mut self, sampler: &mut Sampler<'_>) -> u32 {
        self.sample_row(0, self.position, sampler)
    }

    /// Chooses a token from one row of the last step's logits, which this changes; the row is that
    /// behind the first `position` tokens.
    pub fn sample_row(&mut self, row: usize, position: usize, sampler: &mut Sampler<'_>) -> u32 {
        let width = padded_vocab(self.model.config());
        let vocab = self.model.config().vocab_size as usize;
        let logits = &mut self.buffers.logits[row * width..][..vocab];
        sampler.pick(logits, self.buffers.candidates, &self.buffers.history[..position])
    }
}
