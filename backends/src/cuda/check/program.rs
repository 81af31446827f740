//! Kernels that are not the shipped ones, on a device.

use crate::cuda::device::Device;
use crate::cuda::launch::Launch;
use crate::cuda::memory::Arena;
use crate::cuda::module::Module;
use crate::cuda::probe::Cuda;
use core::ffi::CStr;
use kinglet_quant::Result;
use std::sync::Arc;

/// Kernels of a test, compiled for a device. Each takes the addresses of its input and its output.
#[derive(Debug)]
pub struct Program {
    module: Module,
    device: Arc<Device>,
}

impl Program {
    /// Has the driver compile a text in PTX.
    pub fn new(cuda: Cuda, text: &str) -> Result<Self> {
        let device = Device::open(cuda)?;
        Ok(Self { module: Module::load(&device, text)?, device })
    }

    /// Runs a kernel in so many blocks of so many threads, with a copy of `input`, and copies back
    /// what it has written to as many bytes as `output` has, which are 0 before.
    ///
    /// # Safety
    ///
    /// The text must have such a kernel with two parameters of 64 bits, which touches nothing
    /// outside of the two and uses no shared memory beyond what it declares.
    pub unsafe fn run(
        &self,
        kernel: &CStr,
        [blocks, threads]: [u32; 2],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<()> {
        let function = self.module.function(kernel)?;
        let memory =
            [input.len(), output.len()].map(|bytes| Arena::new(&self.device, bytes, "a check"));
        let [source, target] = memory;
        let (source, target) = (source?, target?);
        source.range().write(input)?;
        let (source_at, target_at) = (source.pointer(), target.pointer());
        // SAFETY: the caller promises what the kernel is; both arenas live until it is done.
        let launch = unsafe { Launch::new(&self.device, [blocks, 1, 1], threads) };
        launch.with(&source_at).with(&target_at).run(function)?;
        target.range().read(output)
    }
}
