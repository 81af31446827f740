//! The script for machines with a device and its checks (`device/`), on the stand-in for NVIDIA's
//! driver: that they run and find nothing. There, instructions are compared with themselves, and no
//! time means anything.

use kinglet::Type;
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::devices::as_driver;
use kinglet_tests::models::{SMALL, converted_path, small};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program with the checks.
const CHECKS: &str = env!("CARGO_BIN_EXE_cuda-device");
/// Kernels of both texts.
const KERNELS: [&str; 16] = [
    "embed",
    "norm",
    "quantize",
    "silu_mul",
    "keep",
    "append",
    "attend",
    "join",
    "product_one",
    "product_many",
    "margins",
    "screen_one",
    "screen_many",
    "threshold",
    "rescore",
    "collect",
];

/// A file for the checks.
fn model() -> PathBuf {
    drop(small(SMALL[0], Type::Q8));
    converted_path(SMALL[0], Type::Q8)
}

/// What `tests/cuda/on-device` says on a board, in its short form.
fn on_board(board: &str) -> Said {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = as_driver();
    let mut script = Command::new(root.join("cuda/on-device"));
    script.env("KINGLET", kinglet(folder.path()).get_program());
    script.env("CHECKS", CHECKS).env("LD_LIBRARY_PATH", folder.path());
    script.env("KINGLET_STAND_IN_BOARD", board).arg("--short").arg(model());
    Said::by(script.arg(root.join("README.md")))
}

#[test]
fn the_script_runs_every_check() {
    let said = on_board("orin").ok();
    println!("{said}");
    for text in ["sm_72", "sm_80"] {
        for check in ["compiled by the driver", "instructions, as", "products of", "texts, unq"] {
            assert!(said.contains(&format!("{text}: {check}")), "{text}: {check}");
        }
        let kernels = KERNELS.into_iter().chain((text == "sm_80").then_some("product_tensor"));
        for kernel in kernels {
            let is_timed = |line: &str| {
                line.starts_with(&format!("{text}: ")) && line.contains(&format!(": {kernel} "))
            };
            assert!(said.lines().any(is_timed), "{text}: {kernel}");
        }
    }
    assert!(said.contains("by itself") && said.contains("of the stand-in: meaningless"));
    let verdict = said.lines().last();
    assert_eq!(verdict, Some("verdict: the device computes what the processor computes"));
}

#[test]
fn without_a_device_there_is_nothing_to_check() {
    let said = on_board("none");
    assert_eq!(said.code, Some(77), "{said:?}");
    assert!(said.out.starts_with("no device: the NVIDIA driver finds no device"), "{said:?}");
}

#[test]
fn what_fails_is_a_line_of_its_own() {
    let folder = as_driver();
    let mut checks = Command::new(CHECKS);
    checks.env("LD_LIBRARY_PATH", folder.path()).env("KINGLET_STAND_IN_BOARD", "xavier");
    checks.env("KINGLET_STAND_IN_MEMORY", "1000").arg("--short").arg(model());
    let said = Said::by(&mut checks);
    assert_eq!(said.code, Some(1), "{said:?}");
    let failed: Vec<&str> = said.out.lines().filter(|line| line.contains(" FAILED ")).collect();
    assert!(failed.len() == 4 && failed.iter().all(|line| line.starts_with("sm_72: ")), "{said:?}");
    assert!(failed.iter().any(|line| line.contains("out of memory")), "{said:?}");
    assert!(said.out.contains("sm_80: the device is older"), "{said:?}");
}
