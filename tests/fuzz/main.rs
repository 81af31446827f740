//! The targets under libFuzzer, which `run` builds and starts. `KINGLET_FUZZ_TARGET` names the
//! target.
#![no_main]

#[path = "mod.rs"]
#[expect(dead_code, reason = "inputs to begin with come from files here")]
mod fuzz;

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

static TARGET: OnceLock<&fuzz::Target> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("KINGLET_FUZZ_TARGET").expect("the variable names a target");
        TARGET.get_or_init(|| fuzz::target(&name));
    },
    |bytes: &[u8]| {
        let target = TARGET.get().expect("it was chosen in the beginning");
        (target.run)(bytes);
    }
);
