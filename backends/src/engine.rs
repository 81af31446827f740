//! The closed list of engines, and the one match from an engine to what it is.

use crate::backend::Backend;
#[cfg(feature = "cuda")]
use crate::cuda::CudaEngine;
use crate::tier::Tier;
use kinglet_core::engine::{self, BlockPrefix, Chunk, Observer, OnStates};
use kinglet_core::screen::Screen;
use kinglet_core::{Cpu, Plan, Workers};
use kinglet_quant::{File, Result};

/// What runs the passes of a session.
#[cfg_attr(
    feature = "cuda",
    expect(clippy::large_enum_variant, reason = "a session has one, and firmware has no boxes")
)]
#[derive(Debug)]
pub enum AnyEngine<'a, W> {
    /// The processor, with the kernels of a tier.
    Cpu(Cpu<'a, Tier, W>),
    /// An NVIDIA device, and workers that have nothing to do.
    #[cfg(feature = "cuda")]
    Cuda(std::boxed::Box<CudaEngine<'a>>, W),
}

impl<'a, W: Workers> AnyEngine<'a, W> {
    /// The engine of a backend, with the plan that [`Backend::plan`] made, in `memory` of
    /// [`Plan::engine_bytes`] at a multiple of 64 bytes.
    ///
    /// Fails only where a device does: with `Resource` for its memory, with `TierUnavailable` when
    /// it cannot run the kernels.
    pub fn new(
        backend: Backend,
        workers: W,
        model: File<'a>,
        plan: Plan,
        memory: &'a mut [u8],
    ) -> Result<Self> {
        match backend {
            Backend::Cpu(tier) => Ok(Self::Cpu(Cpu::new(tier, workers, model, plan, memory))),
            #[cfg(feature = "cuda")]
            Backend::Cuda(cuda) => {
                let engine = CudaEngine::new(cuda, model, plan)?;
                Ok(Self::Cuda(std::boxed::Box::new(engine), workers))
            }
        }
    }

    /// What the engine runs on.
    pub fn backend(&self) -> Backend {
        match self {
            Self::Cpu(cpu) => Backend::Cpu(cpu.choice()),
            #[cfg(feature = "cuda")]
            Self::Cuda(engine, _) => Backend::Cuda(engine.cuda()),
        }
    }

    /// Bytes beside the plan's that a device has for it, page-locked memory included; 0 on the
    /// processor.
    pub fn device_bytes(&self) -> usize {
        match self {
            Self::Cpu(_) => 0,
            #[cfg(feature = "cuda")]
            Self::Cuda(engine, _) => engine.device_bytes(),
        }
    }

    /// The workers that the engine has been given.
    pub fn workers(&self) -> &W {
        match self {
            Self::Cpu(cpu) => cpu.workers(),
            #[cfg(feature = "cuda")]
            Self::Cuda(_, workers) => workers,
        }
    }

    fn get(&self) -> &dyn engine::Engine {
        match self {
            Self::Cpu(cpu) => cpu,
            #[cfg(feature = "cuda")]
            Self::Cuda(engine, _) => &**engine,
        }
    }

    fn get_mut(&mut self) -> &mut dyn engine::Engine {
        match self {
            Self::Cpu(cpu) => cpu,
            #[cfg(feature = "cuda")]
            Self::Cuda(engine, _) => &mut **engine,
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

    fn hidden_states(&mut self, chunk: &Chunk<'_>, on_states: OnStates<'_>) -> Result<()> {
        self.get_mut().hidden_states(chunk, on_states)
    }
}
