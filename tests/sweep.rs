//! Damaged and hostile files: an error or a normal run, never a crash or a read outside the file.
//!
//! `tests/run` runs this program under valgrind as well, which sees every stray read, and with
//! fewer files on emulated cores.

use kinglet::{Code, File, Tier};
use kinglet_quant::Type;
use kinglet_quant::file::SectionKind;
use kinglet_tests::aligned::Aligned;
use kinglet_tests::hostile_file::{HEADER_BYTES, repair_checksums, use_file};
use kinglet_tests::models::small;
use std::fs;

/// Bits that are flipped in each file, unless `KINGLET_TEST_FLIPS` says otherwise.
const FLIPS: usize = 1000;
fn flips() -> usize {
    std::env::var("KINGLET_TEST_FLIPS").map_or(FLIPS, |flips| flips.parse().unwrap())
}

/// The bytes of a small model of `kind`.
fn file_bytes(kind: Type) -> Vec<u8> {
    let path = kinglet_tests::models::converted_path("gqa3-head32-untied", kind);
    drop(small("gqa3-head32-untied", kind));
    fs::read(path).unwrap()
}

/// The bytes of a file that describe the rest: header, configuration, tensor table, tokenizer,
/// texts.
fn described(bytes: &[u8]) -> Vec<usize> {
    let file = Aligned::copy_of(bytes);
    let file = File::open(file.as_ref()).unwrap();
    let bodies = file.sections().iter().filter(|s| s.kind != SectionKind::Weights as u32);
    let bodies = bodies.flat_map(|s| s.offset as usize..(s.offset + s.bytes) as usize);
    (0..HEADER_BYTES).chain(bodies).collect()
}

#[test]
fn truncated_files_are_refused() {
    for kind in [Type::Q4, Type::Bf16] {
        let bytes = file_bytes(kind);
        for length in (0..bytes.len()).step_by(4096).chain([1, 63, 64, 100, bytes.len() - 1]) {
            let error = use_file(Aligned::copy_of(&bytes[..length]).as_ref(), Tier::best());
            let code = error.expect_err("a truncated file was accepted").code();
            assert!([Code::NotKinglet, Code::Truncated].contains(&code), "{length}: {code:?}");
        }
        use_file(Aligned::copy_of(&bytes).as_ref(), Tier::best()).unwrap();
    }
}

#[test]
fn flipped_bits_give_an_error_or_a_normal_run() {
    for kind in [Type::Q4, Type::Q8, Type::Bf16] {
        let bytes = file_bytes(kind);
        let mut random = fastrand::Rng::with_seed(kind as u64);
        let mut refused = 0;
        for _ in 0..flips() {
            let mut altered = Aligned::copy_of(&bytes);
            let at = random.usize(..bytes.len());
            altered.as_mut()[at] ^= 1 << random.u32(..8);
            refused += usize::from(use_file(altered.as_ref(), Tier::best()).is_err());
        }
        assert!(refused < flips(), "weights may change without making a file unreadable");
    }
}

#[test]
fn hostile_descriptions_give_an_error_or_a_normal_run() {
    let bytes = file_bytes(Type::Q4);
    let places = described(&bytes);
    let mut random = fastrand::Rng::with_seed(7);
    let mut refused = 0;
    for _ in 0..flips() {
        let mut altered = Aligned::copy_of(&bytes);
        for _ in 0..random.usize(1..4) {
            let at = places[random.usize(..places.len())];
            // Small fields matter most, and those of the header and configuration are few.
            let at = if random.bool() { at } else { places[random.usize(..HEADER_BYTES + 128)] };
            altered.as_mut()[at] = random.u8(..);
        }
        repair_checksums(altered.as_mut());
        refused += usize::from(use_file(altered.as_ref(), Tier::best()).is_err());
    }
    assert!(refused > 0, "no description was refused");
}
