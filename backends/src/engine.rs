//! The closed list of engines, and the one match from an engine to what it is.

use crate::Tier;
use kinglet_core::engine::{self, BlockPrefix, Chunk, Observer};
use kinglet_core::screen::Screen;
use kinglet_core::{Cpu, Plan, Workers};
use kinglet_quant::{File, Result};

/// What runs the passes of a session.
#[derive(Debug)]
pub enum AnyEngine<'a, W> {
    /// The processor, with the kernels of a tier.
    Cpu(Cpu<'a, Tier, W>),
}

impl<'a, W: Workers> AnyEngine<'a, W> {
    /// The engine of a tier: that of the processor for every tier so far, see [`Cpu::new`].
    pub fn new(tier: Tier, workers: W, model: File<'a>, plan: Plan, memory: &'a mut [u8]) -> Self {
        Self::Cpu(Cpu::new(tier, workers, model, plan, memory))
    }

    /// The kernels that the processor has been given.
    pub fn tier(&self) -> Tier {
        match self {
            Self::Cpu(cpu) => cpu.choice(),
        }
    }

    /// The workers that the engine has been given.
    pub fn workers(&self) -> &W {
        match self {
            Self::Cpu(cpu) => cpu.workers(),
        }
    }

    fn get(&self) -> &dyn engine::Engine {
        match self {
            Self::Cpu(cpu) => cpu,
        }
    }

    fn get_mut(&mut self) -> &mut dyn engine::Engine {
        match self {
            Self::Cpu(cpu) => cpu,
        }
    }
}

impl<W: Workers> engine::Engine for AnyEngine<'_, W> {
    fn plan(&self) -> &Plan {
        self.get().plan()
    }

    fn further_token_cost(&self) -> u8 {
        self.get().further_token_cost()
    }

    fn run(&mut self, pass: &[Chunk<'_>]) -> Result<()> {
        self.get_mut().run(pass)
    }

    fn repeat_head(&mut self, screen: Option<Screen>) -> Result<()> {
        self.get_mut().repeat_head(screen)
    }

    fn logits(&mut self, row: usize) -> Result<&mut [f32]> {
        self.get_mut().logits(row)
    }

    fn survivors(&mut self, row: usize, tokens: &mut [u32]) -> Result<Option<usize>> {
        self.get_mut().survivors(row, tokens)
    }

    fn read_block(
        &mut self,
        text: usize,
        block: usize,
        positions: usize,
    ) -> Result<BlockPrefix<'_>> {
        self.get_mut().read_block(text, block, positions)
    }

    fn write_block(
        &mut self,
        text: usize,
        block: usize,
        positions: usize,
        prefix: BlockPrefix<'_>,
    ) -> Result<()> {
        self.get_mut().write_block(text, block, positions, prefix)
    }

    fn copy_text(&mut self, from: usize, to: usize, positions: usize) -> Result<()> {
        self.get_mut().copy_text(from, to, positions)
    }

    fn observe(&mut self, chunk: &Chunk<'_>, observer: Observer<'_>) -> Result<()> {
        self.get_mut().observe(chunk, observer)
    }
}
