//! The targets under libFuzzer, which `run` and `long` build and start. `KINGLET_FUZZ_TARGET` names
//! the target.
#![no_main]

#[path = "mod.rs"]
mod fuzz;

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

static TARGET: OnceLock<&fuzz::Target> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("KINGLET_FUZZ_TARGET").expect("KINGLET_FUZZ_TARGET names a target");
        TARGET.get_or_init(|| fuzz::target(&name));
    },
    |bytes: &[u8]| (TARGET.get().expect("it was chosen in the beginning").run)(bytes)
);
