//! Texts on the device of the stand-in.

use crate::aligned::Aligned;
use crate::command::{Said, kinglet};
use crate::stand_in::library;
use kinglet::Model;
use kinglet_backends::{Cuda, CudaEngine};
use kinglet_core::Texts;
use kinglet_core::plan::{Limits, Plan};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

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

/// `kinglet` with a library, `libcuda.so.1` in a folder, as the driver of a board.
pub fn with_driver(folder: &Path, board: &str) -> Command {
    let mut command = kinglet(folder);
    command.env("LD_LIBRARY_PATH", folder).env("KINGLET_STAND_IN_BOARD", board);
    command
}

/// `kinglet` with the stand-in as the driver of a board, and these variables of the environment.
pub fn on_board_with(variables: &[(&str, &str)], board: &str, arguments: &[&str]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    symlink(library(), folder.path().join("libcuda.so.1")).unwrap();
    let mut command = with_driver(folder.path(), board);
    Said::by(command.envs(variables.iter().copied()).args(arguments))
}

/// `kinglet` with the stand-in as the driver of a board.
pub fn on_board(board: &str, arguments: &[&str]) -> Said {
    on_board_with(&[], board, arguments)
}
