//! The tiers that a run of the tests must have.

use kinglet::Tier;
use std::thread;

/// Runs `test` for every one of [`available`], side by side: emulators are slow.
pub fn each(test: impl Fn(Tier) + Sync) {
    thread::scope(|scope| {
        for tier in available() {
            let (test, thread) = (&test, thread::Builder::new().name(tier.name().to_owned()));
            thread.spawn_scoped(scope, move || test(tier)).unwrap();
        }
    });
}

/// The tiers of this processor, which are those that `KINGLET_TEST_TIERS` names where it is set.
///
/// An emulator's `/proc/cpuinfo` is its host's, so whoever starts one says what it must have: a
/// tier that should run and does not fails every test of tiers.
pub fn available() -> Vec<Tier> {
    let found: Vec<Tier> = Tier::available().collect();
    if let Ok(expected) = std::env::var("KINGLET_TEST_TIERS") {
        let names: Vec<_> = found.iter().map(|tier| tier.name()).collect();
        assert_eq!(names.join(","), expected);
    }
    found
}

/// Whether a tier rounds every operation by itself, as the definition does. Those that do give its
/// bits; the others round products together with sums, and give the same bits among themselves.
pub fn rounds_as_scalar(tier: Tier) -> bool {
    ["scalar", "portable", "sse"].contains(&tier.name())
}
