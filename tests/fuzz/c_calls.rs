//! Sequences of calls of the C library. `KINGLET_FUZZ_LIBRARY` names the folder of a library that
//! tells a fuzzer where it has been.

use super::calls;
use super::calls::library::Library;
use super::calls::world::Tally;
use super::checkpoint::converted;
use kinglet::Type;
use kinglet_tests::aligned::Aligned;
use kinglet_tests::c::checked_library;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Bytes of the sequences that are begun with.
const SEED_BYTES: usize = 1500;

struct Surroundings {
    library: Library,
    files: Vec<Aligned>,
    tally: Tally,
}

fn surroundings() -> Surroundings {
    let named = std::env::var_os("KINGLET_FUZZ_LIBRARY").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| checked_library().to_owned());
    let files = [Type::Q4, Type::Q8, Type::Bf16].map(converted).into();
    Surroundings { library: Library::load(&folder), files, tally: Tally::default() }
}

pub fn run(input: &[u8]) -> bool {
    static SURROUNDINGS: OnceLock<Surroundings> = OnceLock::new();
    let Surroundings { library, files, tally } = SURROUNDINGS.get_or_init(surroundings);
    calls::run(library, files, input, tally);
    true
}

pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let sequence = |(name, seed): (&'static str, u64)| {
        let mut random = fastrand::Rng::with_seed(seed);
        (name, (0..SEED_BYTES).map(|_| random.u8(..)).collect())
    };
    [("first", 1), ("second", 2), ("third", 3), ("fourth", 4)].map(sequence).to_vec()
}
