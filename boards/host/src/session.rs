//! A session with memory and threads of its own.

use crate::generate::{self, GenerateOptions, Generation, Piece};
use crate::{Cpus, Model, Pool, ReadStream};
use kinglet_backends::Tier;
use kinglet_backends::lookahead::{LOOKAHEAD_ROWS, Lookahead};
use kinglet_core::forward::Observer;
use kinglet_core::plan::{Limits, Plan};
use kinglet_core::sample::Sampler;
use kinglet_core::screen::Screen;
use kinglet_core::session::Logits;
use kinglet_core::{KvType, Workers};
use kinglet_quant::{Code, Config, Error, Result, ensure};
use memmap2::MmapMut;
use std::ops::ControlFlow;

/// What a session must be able to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Positions of the cache; `None` takes 2048, or the model's context where that is smaller.
    pub context: Option<usize>,
    /// How keys and values are stored.
    pub kv: KvType,
    /// Threads, the caller included; `None` takes [`Cpus::default_threads`].
    pub threads: Option<usize>,
    /// Tokens per step of prefill.
    pub batch: usize,
    /// Positions of one step that can have logits, at most the batch. Each is a row of the
    /// vocabulary in f32. With 1, generation takes one token after the other; beyond
    /// [`crate::LOOKAHEAD_ROWS`], the default, only [`Session::score`] is faster.
    pub logit_rows: usize,
    /// Kernels to use; `None` takes the best of this machine.
    pub tier: Option<Tier>,
    /// Refuses to make a session that needs more bytes than this.
    pub budget_bytes: Option<usize>,
    /// Processors that the session's threads run on; `None` takes [`Cpus::fastest`].
    pub cpus: Option<Cpus>,
    /// Binds every thread, the caller's included, to a processor of its own; where there are fewer
    /// processors than threads, to all of them.
    pub pin_threads: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            context: None,
            kv: KvType::Int8,
            threads: None,
            batch: 64,
            logit_rows: LOOKAHEAD_ROWS,
            tier: None,
            budget_bytes: None,
            cpus: None,
            pin_threads: false,
        }
    }
}

/// The context that a session has unless told otherwise.
const DEFAULT_CONTEXT: usize = 2048;

impl SessionOptions {
    pub(crate) fn limits(&self, config: &Config) -> Limits {
        Limits {
            context: self.context.unwrap_or(DEFAULT_CONTEXT.min(config.max_context as usize)),
            batch: self.batch,
            logit_rows: self.logit_rows.min(self.batch),
            workers: self.threads.unwrap_or_else(|| self.cpus().default_threads()),
            kv: self.kv,
        }
    }

    fn cpus(&self) -> Cpus {
        self.cpus.clone().unwrap_or_else(Cpus::fastest)
    }
}

/// A model, the memory of one text and the threads that work on it.
pub struct Session {
    /// Borrows from `memory` and from `model`'s mapping, both below.
    core: kinglet_core::Session<'static>,
    pool: Pool,
    tier: Tier,
    /// The row of the logits behind the last token.
    row: usize,
    _memory: MmapMut,
    model: Model,
}

impl Session {
    pub(crate) fn new(model: Model, options: &SessionOptions) -> Result<Self> {
        options.cpus.as_ref().map_or(Ok(()), Cpus::check_online)?;
        let limits = options.limits(model.config());
        let plan = Plan::new(&model.file(), &limits)?;
        let needed = plan.total_bytes();
        ensure!(
            options.budget_bytes.is_none_or(|budget| needed <= budget),
            Code::BudgetTooSmall,
            "the session needs {needed} bytes, the budget is {}: lower the context or the batch",
            options.budget_bytes.unwrap_or(0)
        );
        let mut memory = MmapMut::map_anon(needed).map_err(|error| {
            Error::new(Code::Resource, format_args!("cannot take {needed} bytes: {error}"))
        })?;
        // SAFETY: the mapping does not move when `memory` does, nothing else touches it, and it is
        // dropped after `core`, the only user (field order).
        let bytes = unsafe {
            std::slice::from_raw_parts_mut::<'static, u8>(memory.as_mut_ptr(), memory.len())
        };
        let core = kinglet_core::Session::new(model.file_for_session(), &limits, bytes)?;
        let pool = Pool::on(&options.cpus(), limits.workers, options.pin_threads)?;
        let tier = options.tier.unwrap_or_else(Tier::best);
        Ok(Self { core, pool, tier, row: 0, _memory: memory, model })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The kernels in use.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Threads in use, the caller included.
    pub fn threads(&self) -> usize {
        self.pool.count()
    }

    /// Bytes per second that the session's threads read from memory together; takes about a tenth
    /// of a second.
    pub fn read_bandwidth(&self, stream: &ReadStream) -> f64 {
        stream.bytes_per_second(&self.pool)
    }

    /// The memory that the session took.
    pub fn plan(&self) -> &Plan {
        self.core.plan()
    }

    /// The tokens in the cache.
    pub fn tokens(&self) -> &[u32] {
        self.core.tokens()
    }

    /// Positions that are still free.
    pub fn room(&self) -> usize {
        self.core.room()
    }

    /// Forgets everything from `position` on. Panics when the session is not that far.
    pub fn rewind(&mut self, position: usize) {
        self.core.rewind(position);
    }

    /// Forgets the whole text.
    pub fn reset(&mut self) {
        self.core.rewind(0);
    }

    /// Appends tokens and computes the logits behind the last.
    ///
    /// `PromptTooLong` when they do not fit, `TokenOutOfRange`, `BadArgument` when there are none;
    /// the session is unchanged then.
    pub fn prefill(&mut self, tokens: &[u32]) -> Result<()> {
        self.prefill_while(tokens, &mut || true)
    }

    /// [`Session::prefill`] that asks before every batch whether to go on; otherwise `Interrupted`.
    pub fn prefill_while(
        &mut self,
        tokens: &[u32],
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<()> {
        let Self { core, pool, tier, row, .. } = self;
        *row = 0;
        tier.prefill(core, pool, tokens, goes_on)
    }

    /// Logits behind the last token, `[vocabulary]`.
    pub fn logits(&self) -> &[f32] {
        self.core.logits(self.row)
    }

    /// Appends tokens and hands out the logits behind each: `(index in tokens, [vocabulary])`.
    ///
    /// Faster with more [`SessionOptions::logit_rows`]. Errors as [`Session::prefill`].
    pub fn score(&mut self, tokens: &[u32], each: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        ensure!(
            tokens.len() <= self.room(),
            Code::PromptTooLong,
            "the text has {} tokens, {} positions are free: raise the context",
            tokens.len(),
            self.room()
        );
        let rows = self.core.plan().limits().logit_rows;
        for (i, chunk) in tokens.chunks(rows).enumerate() {
            self.step(chunk, Logits::All, None)?;
            for row in 0..chunk.len() {
                each(i * rows + row, self.core.logits(row));
            }
        }
        Ok(())
    }

    /// Appends tokens and hands the inputs of every matrix to `observer`: for calibration.
    pub fn observe(&mut self, tokens: &[u32], observer: Observer<'_>) -> Result<()> {
        let batch = self.core.plan().limits().batch;
        for chunk in tokens.chunks(batch) {
            let Self { core, pool, tier, .. } = self;
            tier.observe(core, pool, chunk, &mut *observer)?;
        }
        Ok(())
    }

    /// Appends one token and computes the logits behind it. `ContextFull` when there is no room.
    pub fn push(&mut self, token: u32) -> Result<()> {
        self.step(&[token], Logits::Last, None)
    }

    /// [`Session::push`] that computes only those logits that a [`Sampler::screen`] asks for.
    ///
    /// [`Session::sample`] with that sampler chooses the token that all logits would give;
    /// [`Session::logits`] panics until the next step.
    pub fn push_for(&mut self, token: u32, screen: Option<Screen>) -> Result<()> {
        self.step(&[token], Logits::Last, screen)
    }

    /// Chooses a token from the logits, which this changes; the token is not appended.
    pub fn sample(&mut self, sampler: &mut Sampler<'_>) -> u32 {
        self.core.sample_row(self.row, self.core.position(), sampler)
    }

    /// Computes all logits of the last step if it left some out.
    pub(crate) fn complete_logits(&mut self) {
        let Self { core, pool, tier, .. } = self;
        if core.is_screened() {
            tier.complete_head(core, pool);
        }
    }

    /// Decodes behind the last token, see [`Lookahead::new`].
    pub(crate) fn lookahead(
        &mut self,
        is_wanted: bool,
        screen: Option<Screen>,
    ) -> Lookahead<'_, 'static> {
        let Self { core, pool, tier, row, .. } = self;
        Lookahead::new(core, row, *tier, pool, is_wanted, screen)
    }

    /// Appends a prompt and generates until something stops it; see [`GenerateOptions`].
    ///
    /// `on_piece` gets every token as it is chosen, with the text that became certain, and can
    /// stop. A full context stops with [`crate::StopReason::ContextFull`], which keeps the session
    /// usable.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        options: &GenerateOptions<'_>,
        on_piece: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>,
    ) -> Result<Generation> {
        generate::generate(self, prompt, options, on_piece)
    }

    pub(crate) fn core(&self) -> &kinglet_core::Session<'static> {
        &self.core
    }

    fn step(&mut self, tokens: &[u32], wanted: Logits, screen: Option<Screen>) -> Result<()> {
        let Self { core, pool, tier, row, .. } = self;
        tier.step(core, pool, tokens, wanted, screen)?;
        *row = if wanted == Logits::All { tokens.len() - 1 } else { 0 };
        Ok(())
    }
}
