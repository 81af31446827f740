//! A session: one text in the making, its cache and its position.

mod state;

use crate::forward::{Observer, Step};
use crate::kernels::{Kernels, Workers};
use crate::plan::{Buffers, Limits, Plan, padded_vocab};
use crate::sample::Sampler;
use crate::screen::Screen;
use crate::top::{self, Candidate};
use kinglet_quant::format::ALIGN;
use kinglet_quant::{Code, File, Result, Type, ensure};

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
    /// Rows of logits that the last step computed.
    rows: usize,
    /// What they were computed for, when not all of them are exact.
    screen: Option<Screen>,
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
        Ok(Self { model, plan, buffers, position: 0, rows: 0, screen: None })
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
        self.run(kernels, workers, tokens, wanted, None, None)
    }

    /// [`Session::step`] that computes logits only as far as sampling with `screen`'s sampler needs
    /// them, which reads half of a head in two planes. [`Session::sample`] then chooses the token
    /// that all logits would give.
    pub fn step_for<K: Kernels>(
        &mut self,
        kernels: K,
        workers: &dyn Workers,
        tokens: &[u32],
        wanted: Logits,
        screen: Option<Screen>,
    ) -> Result<()> {
        self.run(kernels, workers, tokens, wanted, screen, None)
    }

    /// Computes the logits of the last step once more, for another way of sampling.
    pub fn repeat_head<K: Kernels>(
        &mut self,
        kernels: K,
        workers: &dyn Workers,
        screen: Option<Screen>,
    ) {
        self.screen = self.possible(screen);
        let (rows, screen) = (self.rows, self.screen);
        if rows > 0 {
            self.begin(kernels, workers, &[], None).head(rows, screen);
        }
    }

    /// [`Session::step`] without logits that hands the inputs of every matrix to `observer`.
    pub fn observe<K: Kernels>(
        &mut self,
        kernels: K,
        workers: &dyn Workers,
        tokens: &[u32],
        observer: Observer<'_>,
    ) -> Result<()> {
        self.run(kernels, workers, tokens, Logits::None, None, Some(observer))
    }

    fn run<K: Kernels>(
        &mut self,
        kernels: K,
        workers: &dyn Workers,
        tokens: &[u32],
        wanted: Logits,
        screen: Option<Screen>,
        observer: Option<Observer<'_>>,
    ) -> Result<()> {
        self.check_step(workers, tokens, wanted)?;
        let outputs = match wanted {
            Logits::None => 0..0,
            Logits::Last => tokens.len() - 1..tokens.len(),
            Logits::All => 0..tokens.len(),
        };
        let rows = outputs.len();
        let screen = self.possible(screen);
        let observer = observer.map(|observer| observer as Observer<'_>);
        self.begin(kernels, workers, tokens, observer).run(outputs, screen);
        (self.rows, self.screen) = (rows, screen);
        self.buffers.history[self.position..][..tokens.len()].copy_from_slice(tokens);
        self.position += tokens.len();
        Ok(())
    }

    fn begin<'s, K: Kernels>(
        &'s mut self,
        kernels: K,
        workers: &'s dyn Workers,
        tokens: &'s [u32],
        observer: Option<Observer<'s>>,
    ) -> Step<'s, 'a, K> {
        Step {
            kernels,
            workers,
            model: &self.model,
            layout: self.plan.layout,
            buffers: &mut self.buffers,
            first: self.position,
            tokens,
            observer,
        }
    }

    /// The screen, if the head can be screened.
    fn possible(&self, screen: Option<Screen>) -> Option<Screen> {
        screen.filter(|_| self.model.head().kind() == Type::Q8Planes)
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

    /// One row of the last step's logits, `[vocabulary]`. Panics when the step computed none there,
    /// or only a part of them, see [`Session::step_for`].
    pub fn logits(&self, row: usize) -> &[f32] {
        assert!(row < self.rows, "the last step has logits in {} rows", self.rows);
        assert!(self.screen.is_none(), "the last step's logits are for sampling only");
        let width = padded_vocab(self.model.config());
        &self.buffers.layers_or_logits[row * width..][..self.model.config().vocab_size as usize]
    }

    /// The most probable tokens by one row of the last step's logits, see [`top::top`]; panics as
    /// [`Session::logits`].
    pub fn top(&mut self, row: usize, out: &mut [Candidate]) -> usize {
        // Also the checks.
        let count = self.logits(row).len();
        let width = padded_vocab(self.model.config());
        let Buffers { layers_or_logits: logits, candidates, .. } = &mut self.buffers;
        top::top(&logits[row * width..][..count], candidates, out)
    }

    /// Chooses a token from the logits in row 0, which this changes. Panics when there are none, or
    /// they were computed for another way of sampling, see [`Session::step_for`].
    pub fn sample(&mut self, sampler: &mut Sampler<'_>) -> u32 {
        self.sample_row(0, self.position, sampler)
    }

    /// Chooses a token from one row of the last step's logits, which this changes; the row is that
    /// behind the first `position` tokens.
    pub fn sample_row(&mut self, row: usize, position: usize, sampler: &mut Sampler<'_>) -> u32 {
        assert!(row < self.rows, "the last step has logits in {} rows", self.rows);
        let width = padded_vocab(self.model.config());
        let Buffers { layers_or_logits: logits, screen, candidates, history, .. } =
            &mut self.buffers;
        let logits = &mut logits[row * width..][..self.model.config().vocab_size as usize];
        if self.screen.is_none() {
            return sampler.pick(logits, candidates, &history[..position]);
        }
        assert!(self.screen == sampler.screen(), "the logits are for another way of sampling");
        let count = screen.list_survivors(row, candidates);
        sampler.pick_among(logits, &mut candidates[..count])
    }

    /// Whether the last step left logits out, see [`Session::step_for`].
    pub fn is_screened(&self) -> bool {
        self.screen.is_some()
    }

    /// Tokens of a row that were looked at exactly; all of them unless the step was screened.
    pub fn survivors(&self, row: usize) -> usize {
        match self.screen {
            Some(_) => self.buffers.screen.count_survivors(row),
            None => self.model.config().vocab_size as usize,
        }
    }
}
