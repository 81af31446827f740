//! The inputs that are kept in `fuzz/seeds`, what fuzzers have found among them, go through their
//! targets: `fuzz/mod.rs` has those.
//!
//! `KINGLET_RECORD` writes the inputs that targets begin with anew.

mod fuzz;

use fuzz::{TARGETS, target};
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of all inputs that are kept.
const MOST_BYTES: u64 = 400_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds")
}

/// The files of a folder in the order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_seed_is_taken() {
    let mut bytes = 0;
    for folder in files(&folder()) {
        let target = target(folder.file_name().unwrap().to_str().unwrap());
        for file in files(&folder) {
            let input = fs::read(&file).unwrap();
            println!("{}", file.display());
            (target.run)(&input);
            bytes += input.len() as u64;
        }
    }
    assert!(bytes <= MOST_BYTES, "{bytes} bytes of seeds: keep the small ones");
}

#[test]
fn every_target_has_what_it_begins_with() {
    for target in TARGETS {
        let folder = folder().join(target.name);
        for (name, made) in (target.seeds)() {
            let path = folder.join(name);
            if std::env::var_os("KINGLET_RECORD").is_some() {
                fs::create_dir_all(&folder).unwrap();
                fs::write(&path, &made).unwrap();
            }
            // Processors and features of packages may make other bytes of it.
            let kept = fs::read(&path).unwrap_or_default();
            for bytes in [made, kept] {
                assert!((target.run)(&bytes), "{} is refused: see KINGLET_RECORD", path.display());
            }
        }
    }
}
