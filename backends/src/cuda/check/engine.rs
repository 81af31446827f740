//! What checks ask of an engine beyond what sessions do.

use crate::cuda::engine::CudaEngine;
use crate::cuda::probe::Cuda;
use crate::cuda::ptx::Ptx;
use crate::cuda::step::LaunchTime;
use kinglet_core::engine::{Chunk, Engine};
use kinglet_core::plan::Plan;
use kinglet_quant::{File, Result};
use std::vec::Vec;

impl<'a> CudaEngine<'a> {
    /// [`CudaEngine::new`] with these kernels, also where the device could take others.
    pub fn with_kernels(cuda: Cuda, ptx: Ptx, model: File<'a>, plan: Plan) -> Result<Self> {
        Self::of_kernels(cuda, ptx, model, plan)
    }

    /// Runs a pass and takes the time of each of its launches. What the engine holds afterwards
    /// means nothing.
    pub fn times(&mut self, pass: &[Chunk<'_>]) -> Result<Vec<LaunchTime>> {
        self.run(pass)?;
        let (step, device, rows) = self.last_step();
        step.times(device, rows.are_screened)
    }
}
