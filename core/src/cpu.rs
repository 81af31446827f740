//! The engine over [`Kernels`]: passes on the processor, in one buffer of the caller's.

use crate::engine::{BlockPrefix, Chunk, Engine, LogitRows, Observer};
use crate::forward::Step;
use crate::kernels::{Choice, Kernels, UseKernels, Workers};
use crate::plan::{Buffers, MAX_TEXTS, Plan, padded_vocab};
use crate::screen::Screen;
use core::ops::Range;
use kinglet_quant::{File, Result};

/// Kernels, workers, a model, and the memory of its passes.
#[derive(Debug)]
pub struct Cpu<'a, C, W> {
    choice: C,
    workers: W,
    model: File<'a>,
    plan: Plan,
    buffers: Buffers<'a>,
    /// Rows of logits that the last pass computed.
    rows: LogitRows,
}

impl<'a, C: Choice, W: Workers> Cpu<'a, C, W> {
    /// An engine in `memory`, [`Plan::engine_bytes`] at a multiple of 64 bytes. There must be no
    /// more workers than the plan has.
    pub fn new(choice: C, workers: W, model: File<'a>, plan: Plan, memory: &'a mut [u8]) -> Self {
        assert!(workers.count() <= plan.limits().workers);
        let buffers = Buffers::cut(&plan, memory);
        Self { choice, workers, model, plan, buffers, rows: LogitRows::default() }
    }

    /// The chosen kernels.
    pub fn choice(&self) -> C {
        self.choice
    }

    /// Who runs the parts of a pass.
    pub fn workers(&self) -> &W {
        &self.workers
    }

    fn work(&mut self, chunks: &[Chunk<'_>], observer: Option<Observer<'_>>, job: Job) {
        let Ok(chunks) = heapless::Vec::from_slice(chunks) else {
            panic!("a pass has MAX_TEXTS chunks at most");
        };
        self.choice.with(Work {
            workers: &self.workers,
            model: &self.model,
            plan: &self.plan,
            buffers: &mut self.buffers,
            chunks,
            observer: observer.map(|observer| observer as Observer<'_>),
            job,
        });
    }

    /// One block of the cache, `[texts][layers][kv_heads][block]`.
    fn block(&self, text: usize, block: usize) -> Range<usize> {
        let bytes = self.plan.layout.block_bytes();
        let start = text * self.plan.text_cache_bytes() + block * bytes;
        start..start + bytes
    }
}

/// What is to be computed.
#[derive(Clone, Copy)]
enum Job {
    /// A pass.
    Pass { is_screened: bool },
    /// The head alone, for the rows of the last pass.
    Head { rows: usize, screen: Option<Screen> },
}

struct Work<'s, 'a> {
    workers: &'s dyn Workers,
    model: &'s File<'a>,
    plan: &'s Plan,
    buffers: &'s mut Buffers<'a>,
    chunks: heapless::Vec<Chunk<'s>, MAX_TEXTS>,
    observer: Option<Observer<'s>>,
    job: Job,
}

impl UseKernels for Work<'_, '_> {
    type Output = ();

    fn run<K: Kernels>(self, kernels: K) {
        let Self { workers, model, plan, buffers, chunks, observer, job } = self;
        let count = chunks.iter().map(|chunk| chunk.tokens.len()).sum();
        let (layout, text_cache_bytes) = (plan.layout, plan.text_cache_bytes());
        let mut step = Step {
            kernels,
            workers,
            model,
            layout,
            text_cache_bytes,
            buffers,
            chunks,
            count,
            observer,
        };
        match job {
            Job::Pass { is_screened } => step.run(is_screened),
            Job::Head { rows, screen: None } => step.whole_head(rows),
            Job::Head { rows, screen: Some(screen) } => {
                step.screened_head(rows, core::iter::repeat_n(screen, rows));
            }
        }
    }
}

impl<C: Choice, W: Workers> Engine for Cpu<'_, C, W> {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn further_token_cost(&self) -> u8 {
        self.choice.further_token_cost()
    }

    fn run(&mut self, pass: &[Chunk<'_>]) -> Result<()> {
        let rows = LogitRows::of(pass);
        self.work(pass, None, Job::Pass { is_screened: rows.are_screened });
        self.rows = rows;
        Ok(())
    }

    fn repeat_head(&mut self, screen: Option<Screen>) -> Result<()> {
        let rows = self.rows.count;
        if rows > 0 {
            self.work(&[], None, Job::Head { rows, screen });
            self.rows.are_screened = screen.is_some();
        }
        Ok(())
    }

    fn logits(&mut self, row: usize) -> Result<&mut [f32]> {
        assert!(row < self.rows.count, "the last pass has logits in {} rows", self.rows.count);
        let width = padded_vocab(self.model.config());
        let logits = &mut self.buffers.layers_or_logits[row * width..];
        Ok(&mut logits[..self.model.config().vocab_size as usize])
    }

    fn survivors(&mut self, row: usize, tokens: &mut [u32]) -> Result<Option<usize>> {
        assert!(row < self.rows.count, "the last pass has logits in {} rows", self.rows.count);
        let screen = &self.buffers.screen;
        Ok(self.rows.are_screened.then(|| screen.list_survivors(row, tokens)))
    }

    fn read_block(
        &mut self,
        text: usize,
        block: usize,
        positions: usize,
    ) -> Result<BlockPrefix<'_>> {
        let block = &self.buffers.cache[self.block(text, block)];
        Ok(self.plan.layout.prefix(positions).map(|range| &block[range]))
    }

    fn write_block(
        &mut self,
        text: usize,
        block: usize,
        positions: usize,
        prefix: BlockPrefix<'_>,
    ) -> Result<()> {
        let block = self.block(text, block);
        let block = &mut self.buffers.cache[block];
        for (range, bytes) in self.plan.layout.prefix(positions).into_iter().zip(prefix) {
            block[range].copy_from_slice(bytes);
        }
        Ok(())
    }

    fn copy_text(&mut self, from: usize, to: usize, positions: usize) -> Result<()> {
        for block in 0..self.plan.blocks_of_text() {
            let (from, to) = (self.block(from, block), self.block(to, block));
            for range in self.plan.layout.prefix(positions) {
                let source = from.start + range.start..from.start + range.end;
                self.buffers.cache.copy_within(source, to.start + range.start);
            }
        }
        Ok(())
    }

    fn observe(&mut self, chunk: &Chunk<'_>, observer: Observer<'_>) -> Result<()> {
        self.work(&[*chunk], Some(observer), Job::Pass { is_screened: false });
        self.rows = LogitRows::default();
        Ok(())
    }
}
