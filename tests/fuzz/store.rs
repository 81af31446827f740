//! Files in the folder where `kinglet serve` keeps beginnings of texts.

use super::checkpoint::scratch;
use kinglet_cli::check::{found, keep};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The tokens of the text that is kept.
const TOKENS: [u32; 3] = [5, 6, 7];
const STATE: &[u8] = b"the state";
/// Bytes that the folder's files may take.
const LIMIT: u64 = 1 << 16;

/// A folder with one file, and where that lies.
fn folder() -> &'static (TempDir, PathBuf) {
    static FOLDER: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = scratch();
        keep(folder.path(), &TOKENS, STATE, LIMIT).unwrap();
        let file = only_file(folder.path()).expect("it was kept");
        (folder, file)
    })
}

fn only_file(folder: &Path) -> Option<PathBuf> {
    fs::read_dir(folder).unwrap().next().map(|file| file.unwrap().path())
}

pub fn run(input: &[u8]) -> bool {
    let (folder, file) = folder();
    fs::write(file, input).unwrap();
    match found(folder.path(), &TOKENS, LIMIT).unwrap() {
        // Its name says which tokens it has, so that it has all of them or is of no use.
        Some((state, shared)) => {
            assert_eq!(shared, TOKENS.len());
            assert!(input.ends_with(&state));
            true
        }
        None => {
            assert_eq!(only_file(folder.path()), None, "what is of no use goes");
            false
        }
    }
}

pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let folder = scratch();
    keep(folder.path(), &TOKENS, STATE, LIMIT).unwrap();
    vec![("kept", fs::read(only_file(folder.path()).unwrap()).unwrap())]
}
