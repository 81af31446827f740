//! Texts on a device, which is the stand-in's where a test has opened that, and the command with
//! the stand-in as its driver.

pub mod kernels;
pub mod texts;

use crate::aligned::Aligned;
use crate::command::{Said, kinglet};
use crate::stand_in::library;
use kinglet::Model;
use kinglet_backends::{Cuda, CudaEngine, Ptx};
use kinglet_core::Texts;
use kinglet_core::plan::{Limits, Plan};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Runs `check` with texts of a model on a device, computed by the kernels that it takes.
pub fn on_device<T>(
    model: &Model,
    limits: &Limits,
    check: impl FnOnce(&mut Texts<'_, CudaEngine<'_>>) -> T,
) -> T {
    with_kernels(Ptx::of(Cuda::detect().unwrap()), model, limits, check)
}

/// [`on_device`] with these kernels.
pub fn with_kernels<T>(
    ptx: Ptx,
    model: &Model,
    limits: &Limits,
    check: impl FnOnce(&mut Texts<'_, CudaEngine<'_>>) -> T,
) -> T {
    let plan = Plan::new(&model.file(), limits).unwrap().without_engine();
    assert_eq!(plan.engine_bytes(), 0);
    let mut memory = Aligned::zeroed(plan.total_bytes());
    let cuda = Cuda::detect().unwrap();
    let engine = CudaEngine::with_kernels(cuda, ptx, model.file(), plan).unwrap();
    check(&mut Texts::new(model.file(), engine, memory.as_mut()))
}

/// The shipped kernels of both texts as one, for a device that takes both: what can be loaded in
/// place of either.
pub fn shipped_kernels() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../backends/src/cuda/ptx");
    let text = |name| fs::read_to_string(folder.join(name)).unwrap();
    let (all, of_tensor) = (text("sm_72.ptx"), text("sm_80.ptx"));
    let kernels = all.split_once(".address_size 64\n").expect("a header").1;
    of_tensor + kernels
}

/// `kinglet` with a library, `libcuda.so.1` in a folder, as the driver of a board.
pub fn with_driver(folder: &Path, board: &str) -> Command {
    let mut command = kinglet(folder);
    command.env("LD_LIBRARY_PATH", folder).env("KINGLET_STAND_IN_BOARD", board);
    command
}

/// A folder that has the stand-in under the name of the driver.
pub fn as_driver() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    symlink(library(), folder.path().join("libcuda.so.1")).unwrap();
    folder
}

/// `kinglet` with the stand-in as the driver of a board, and these variables of the environment.
pub fn on_board_with(variables: &[(&str, &str)], board: &str, arguments: &[&str]) -> Said {
    let folder = as_driver();
    let mut command = with_driver(folder.path(), board);
    Said::by(command.envs(variables.iter().copied()).args(arguments))
}

/// `kinglet` with the stand-in as the driver of a board.
pub fn on_board(board: &str, arguments: &[&str]) -> Said {
    on_board_with(&[], board, arguments)
}
