//! Devices and drivers that nothing can be computed with are refused with the reason.

use kinglet::{Tier, Type};
use kinglet_backends::{Cuda, CudaLack};
use kinglet_tests::command::Said;
use kinglet_tests::devices::{on_board, with_driver};
use kinglet_tests::models::{SMALL, converted_path, small};
use kinglet_tests::stand_in::{StandIn, library_without};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The number of errors that say that a tier cannot be used.
const TIER_UNAVAILABLE: u32 = kinglet_quant::Code::TierUnavailable as u32;

/// A function that drivers have since CUDA 11.4.
const NEW: &str = "cuGraphInstantiateWithFlags";

/// The arguments of a command that computes on a device.
fn with_arguments<T>(run: impl FnOnce(&[&str]) -> T) -> T {
    drop(small(SMALL[1], Type::Q8));
    let path = converted_path(SMALL[1], Type::Q8);
    let file = path.to_str().unwrap();
    run(&["run", file, "-p", "a b c", "-n", "2", "--temp", "0", "--tier", "cuda"])
}

/// What a command says on a board whose driver lacks a function.
fn without(function: &str, board: &str, arguments: &[&str]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    library_without(function, folder.path());
    Said::by(with_driver(folder.path(), board).args(arguments))
}

#[test]
fn old_devices_are_refused_by_their_compute_capability() {
    with_arguments(|run| {
        for (board, device, capability) in
            [("nano", "NVIDIA Tegra X1", "5.3"), ("tx2", "NVIDIA Tegra X2", "6.2")]
        {
            let reason = format!(
                "no CUDA: the device {device} (stand-in) has compute capability {capability}, and \
                 Kinglet's kernels need 7.2 (Jetson Xavier) or later",
            );
            // The drivers of these boards lack functions as well, but no other driver would help.
            for said in [on_board(board, run), without(NEW, board, run)] {
                said.fails(1, TIER_UNAVAILABLE);
                assert!(said.err.contains(&format!("error: {reason}; the tier")), "{said:?}");
            }
            let said = on_board(board, &run[..run.len() - 2]);
            assert_eq!(said.code, Some(0), "{said:?}");
            let taken = format!("tier {} is used, because there is {reason}", Tier::best().name());
            assert!(said.err.contains(&taken), "{said:?}");
        }
    });
}

/// The functions that are looked up in the driver's library.
fn functions() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../backends/src/cuda/driver.rs");
    let source = fs::read_to_string(path).unwrap();
    let declared = source.lines().filter_map(|line| line.trim_start().strip_prefix("fn cu"));
    declared.map(|rest| format!("cu{}", rest.split('(').next().unwrap())).collect()
}

/// What is looked up is kept for a process, so every function is missing in a process of its own:
/// this test again, which is told the function.
#[test]
fn a_missing_function_is_named() {
    const TEST: &str = "a_missing_function_is_named";
    const FUNCTION: &str = "KINGLET_TEST_WITHOUT";
    if let Ok(function) = std::env::var(FUNCTION) {
        return lacks(&function);
    }
    let functions = functions();
    assert!(functions.len() > 30 && functions.iter().any(|name| name == NEW), "{functions:?}");
    for function in functions {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", TEST, "--nocapture"]).env(FUNCTION, &function);
        let said = Said::by(&mut again);
        assert!(said.code == Some(0) && said.out.contains("1 passed"), "{function}: {said:?}");
    }
    with_arguments(|run| {
        let said = without(NEW, "orin", run);
        said.fails(1, TIER_UNAVAILABLE);
        assert!(said.err.contains(&format!("libcuda lacks {NEW}; ")), "{said:?}");
    });
}

/// Looks for a device where the driver lacks a function.
fn lacks(function: &str) {
    let folder = tempfile::tempdir().unwrap();
    let stand_in = StandIn::open(&library_without(function, folder.path()));
    for _ in 0..2 {
        let Err(CudaLack::Function(name)) = Cuda::detect() else {
            panic!("{:?} without {function}", Cuda::detect());
        };
        assert_eq!(name, function);
    }
    let counters = stand_in.counters();
    assert_eq!((&counters["live_bytes"], &counters["live_allocations"]), (&0.into(), &0.into()));
}
