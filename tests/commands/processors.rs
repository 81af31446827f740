//! The command on x86 processors that this machine does not have, emulated.

use kinglet::{Tier, Type};
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models::{converted_path, small};
use kinglet_tests::skip::skip;
use serde_json::Value;
use std::process::Command;
use tempfile::TempDir;

const EMULATOR: &str = "qemu-x86_64";
const MODEL: &str = "gqa3-head64";
/// Processors as the emulator names them, and the tier that each should get.
const PROCESSORS: [(&str, &str); 5] = [
    ("qemu64", "portable"),
    // SSSE3, but not SSE4.1.
    ("core2duo", "portable"),
    ("Nehalem", "sse"),
    ("Denverton", "sse"),
    ("Haswell", "avx2"),
];

/// What `kinglet run` says when `start` starts it.
fn run(home: &TempDir, start: impl FnOnce(&Command) -> Command, args: &[&str]) -> Value {
    let kinglet = kinglet(home.path());
    let mut command = start(&kinglet);
    for (name, value) in kinglet.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.arg("run").arg(converted_path(MODEL, Type::Q4));
    command.args(["-p", "one two", "-n", "4", "--temp", "0", "--json"]).args(args);
    Said::by(&mut command).json()
}

#[test]
fn processors_get_the_tier_that_they_can_run() {
    if Command::new(EMULATOR).arg("--version").output().is_err() {
        skip("processors_get_the_tier_that_they_can_run", "qemu-x86_64 is not installed");
        return;
    }
    drop(small(MODEL, Type::Q4));
    let home = TempDir::new().unwrap();
    for (processor, tier) in PROCESSORS {
        let emulated = |kinglet: &Command| {
            let mut command = Command::new(EMULATOR);
            command.args(["-cpu", processor]).arg(kinglet.get_program());
            command
        };
        let found = run(&home, emulated, &[]);
        assert_eq!(found["tier"], tier, "{processor}");
        if Tier::from_name(tier).is_ok() {
            let here = |kinglet: &Command| Command::new(kinglet.get_program());
            let expected = run(&home, here, &["--tier", tier]);
            assert_eq!(found["tokens"], expected["tokens"], "{processor}");
        }
    }
}
