//! NVIDIA devices: whole passes on a GPU, through the functions of the driver alone.
//!
//! | file | noun | what it is |
//! |---|---|---|
//! | `probe.rs` | [`Cuda`], [`Lack`] | the proof that there is a device, or why there is none |
//! | `driver.rs` | `Survey`, `Driver` | the driver's functions, each looked up by its name |
//! | `error.rs` | | what a failure of the driver means to people |
//! | `device.rs` | `Device` | a device in use: its context and its stream |
//! | `memory.rs` | | whether there is enough memory |
//! | `memory/arena.rs` | `Arena` | a block of the device's memory |
//! | `memory/pinned.rs` | `Pinned` | memory of the processor's that the device copies by itself |
//! | `memory/weights.rs` | `Weights` | the bytes of a weight file, as the device sees them |
//! | `transfer.rs` | `Range` | a part of the device's memory, and copies |
//! | `ptx.rs` | `Ptx` | the kernels' texts, and which of them a device takes |
//! | `module.rs` | `Module`, `Function` | the compiled kernels, and the launch of one |
//! | `functions.rs` | `Functions` | every kernel by its name |
//! | `launch.rs` | `Launch` | a kernel that is about to run, and what it is given |
//! | `graph.rs` | `Graph` | launches that are recorded once and repeated as a whole |
//! | `shapes.rs` | | the structs that kernels are given |
//! | `plan.rs` | `DevicePlan` | every buffer of the device's memory, with its shape |
//! | `product.rs` | | which kernel computes products, and in how many blocks |
//! | `step.rs` | `Step` | the Llama step, a launch for each phase |
//! | `engine.rs` | [`CudaEngine`] | the engine: passes, logits, blocks of the cache |
//! | `step/times.rs` | `LaunchTime` | what each launch of a step takes, for tests |
//! | `check.rs` | `Checker` | single kernels, for tests |
//! | `check/engine.rs` | | engines with a choice of kernels, for tests |
//! | `check/program.rs` | `Program` | kernels that are not the shipped ones, for tests |
//! | `kernels/` | | the kernels; `build` compiles them to the two files of `ptx/` |
//!
//! Whatever lives on a device keeps the [`Cuda`] and the device alive, waits for the device before
//! it is freed, and can be moved between threads. A thread enters the device before it uses what
//! says so.

#[cfg(feature = "check")]
mod check;
mod device;
mod driver;
mod engine;
mod error;
mod functions;
mod graph;
mod launch;
mod memory;
mod module;
mod plan;
mod probe;
mod product;
mod ptx;
mod shapes;
mod step;
mod transfer;

#[cfg(feature = "check")]
pub use check::{Checked, Checker, LaunchTime, Program};
pub use engine::CudaEngine;
pub(crate) use engine::device_parts;
pub use probe::{Cuda, Lack};
#[cfg(feature = "check")]
pub use ptx::Ptx;
