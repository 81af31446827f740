//! The tiers that a run of the tests must have.

use kinglet::Tier;

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
