//! Sequences of calls of the C library, made of random bytes: whatever is called with whatever, in
//! any order, comes back with a status, and writes nowhere else.
//!
//! Without settings a few seconds with always the same seeds. For longer, and to repeat one:
//!
//!     KINGLET_FUZZ_SECONDS=3600 cargo test -p kinglet-tests --test c_fuzz -- --nocapture
//!     KINGLET_FUZZ_SEED=12345 cargo test -p kinglet-tests --test c_fuzz
//!
//! The first one takes other seeds, on from the time, and keeps the one under way in
//! `target/c_fuzz.seed`, for the case that it ends the process.

#[path = "fuzz/calls/mod.rs"]
mod calls;

use calls::library::Library;
use calls::world::Tally;
use kinglet::Type;
use kinglet_tests::aligned::Aligned;
use kinglet_tests::c::{checked_library, sources};
use kinglet_tests::keys;
use kinglet_tests::models::{converted_path, small};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Sequences without settings.
const SEQUENCES: u64 = 1500;
/// What sequences lead to: success, and the failures that arguments, files and states can have.
const REACHED: [i32; 22] = [
    0, 101, 102, 108, 201, 202, 203, 204, 205, 206, 207, 208, 401, 402, 403, 404, 406, 407, 408,
    409, 411, 412,
];
/// Bytes of a sequence at most.
const MOST_BYTES: usize = 4096;

/// Small models: with a chat template and without, with one head for all and two, in three types.
/// Two of them are signed.
fn files() -> Vec<Aligned> {
    [("gqa3-head64", Type::Q4), ("mha-head32", Type::Q8), ("gqa3-head32-untied", Type::Bf16)]
        .map(|(name, kind)| {
            drop(small(name, kind));
            let mut file = Aligned::copy_of(&fs::read(converted_path(name, kind)).unwrap());
            if kind != Type::Q8 {
                keys::sign(file.as_mut(), "bird", 3).unwrap();
            }
            file
        })
        .into()
}

fn bytes(seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let length = random.usize(..MOST_BYTES);
    (0..length).map(|_| random.u8(..)).collect()
}

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is {value}, not a number")))
}

#[test]
fn every_sequence_of_calls_comes_back() {
    let (library, files, tally) = (Library::load(checked_library()), files(), Tally::default());
    let run = |seed| calls::run(&library, &files, &bytes(seed), &tally);
    let start = Instant::now();
    let sequences = if let Some(seed) = setting("KINGLET_FUZZ_SEED") {
        run(seed);
        1
    } else if let Some(seconds) = setting("KINGLET_FUZZ_SECONDS") {
        run_for(Duration::from_secs(seconds), &run, &tally)
    } else {
        (0..SEQUENCES).for_each(run);
        SEQUENCES
    };
    let seconds = start.elapsed().as_secs_f64();
    println!("{sequences} sequences, {} calls in {seconds:.0} s", tally.calls());
    println!("statuses: {:?}", tally.statuses());
    if sequences >= SEQUENCES {
        let statuses = tally.statuses();
        let missing: Vec<i32> =
            REACHED.into_iter().filter(|status| !statuses.contains_key(status)).collect();
        assert!(missing.is_empty(), "the sequences never lead to {missing:?}");
    }
}

/// Runs sequences of new seeds for as long; returns their number.
fn run_for(time: Duration, run: &dyn Fn(u64), tally: &Tally) -> u64 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/c_fuzz.seed");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let under_way = fs::File::create(path).unwrap();
    let first = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() << 24;
    let start = Instant::now();
    let (mut sequences, mut minutes) = (0, 0);
    while start.elapsed() < time {
        let seed = first + sequences;
        under_way.write_all_at(seed.to_string().as_bytes(), 0).unwrap();
        run(seed);
        sequences += 1;
        if start.elapsed().as_secs() / 60 > minutes {
            minutes += 1;
            let calls = tally.calls();
            println!("{minutes} min: {sequences} sequences, {calls} calls");
        }
    }
    sequences
}

/// A function that is added is called here as well.
#[test]
fn every_function_is_called() {
    let recorded = fs::read_to_string(sources().join("interface.txt")).unwrap();
    let recorded: Vec<&str> =
        recorded.lines().filter_map(|line| line.strip_prefix("function kinglet_")).collect();
    let mut own = Library::NAMES.to_vec();
    own.sort_unstable();
    assert_eq!(own, recorded);
}
