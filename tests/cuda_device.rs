//! The checks for machines with a device (`device/`), on the stand-in for NVIDIA's driver: that they
//! run and find nothing. There, instructions are compared with themselves, and no time means
//! anything.

use kinglet::Type;
use kinglet_tests::command::Said;
use kinglet_tests::devices::as_driver;
use kinglet_tests::models::{SMALL, converted_path, small};
use std::process::Command;

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

/// What the checks say on a board, in their short form.
fn on_board(board: &str) -> Said {
    drop(small(SMALL[0], Type::Q8));
    let folder = as_driver();
    let mut checks = Command::new(env!("CARGO_BIN_EXE_cuda-device"));
    checks.env("LD_LIBRARY_PATH", folder.path()).env("KINGLET_STAND_IN_BOARD", board);
    Said::by(checks.arg("--short").arg(converted_path(SMALL[0], Type::Q8)))
}

#[test]
fn checks_of_a_device_run() {
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
}

#[test]
fn without_a_device_there_is_nothing_to_check() {
    let said = on_board("none");
    assert_eq!(said.code, Some(77), "{said:?}");
    assert!(said.out.starts_with("no device: the NVIDIA driver finds no device"), "{said:?}");
}
