//! Texts on the device of the stand-in.

use crate::aligned::Aligned;
use kinglet::Model;
use kinglet_backends::{Cuda, CudaEngine};
use kinglet_core::Texts;
use kinglet_core::plan::{Limits, Plan};

/// Runs `check` with texts of a model on the stand-in's device.
pub fn on_device<T>(
    model: &Model,
    limits: &Limits,
    check: impl FnOnce(&mut Texts<'_, CudaEngine<'_>>) -> T,
) -> T {
    let plan = Plan::new(&model.file(), limits).unwrap().without_engine();
    assert_eq!(plan.engine_bytes(), 0);
    let mut memory = Aligned::zeroed(plan.total_bytes());
    let engine = CudaEngine::new(Cuda::detect().unwrap(), model.file(), plan).unwrap();
    check(&mut Texts::new(model.file(), engine, memory.as_mut()))
}
