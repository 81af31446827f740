//! The models that tests run: small random ones in the repository, and the real one where it is.

use kinglet::{Model, Type};
use kinglet_quant::convert::{Options, convert};
use kinglet_quant::source::Source;
use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The small models of `goldens/models`: every way of sharing key heads, head sizes 32, 64 and 128,
/// an untied head, vocabularies that fill no tile. `goldens/make.py` has their shapes.
pub const SMALL: [&str; 5] =
    ["mha-head32", "gqa3-head64", "gqa3-head32-untied", "mqa4-head32", "gqa2-head128"];

/// The name of the real model.
pub const REAL: &str = "smollm2-135m-instruct";

/// Names the checkpoint of the real model: a folder or a GGUF file.
pub const SOURCE_VARIABLE: &str = "KINGLET_TEST_SOURCE";

/// The folder of this package.
fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where `tests/run` keeps what it has fetched.
fn cache() -> PathBuf {
    package().join("../target/test-models")
}

/// A file of `goldens`.
pub fn golden_path(name: &str) -> PathBuf {
    package().join("goldens").join(name)
}

/// The Hugging Face folder of a small model.
pub fn small_source(name: &str) -> PathBuf {
    golden_path("models").join(name)
}

/// The real model's checkpoint: what [`SOURCE_VARIABLE`] names, else what `tests/run` has fetched.
///
/// Where there is none, says that `test` is skipped. A variable that names nothing is a failure.
pub fn real_source(test: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(SOURCE_VARIABLE).map(PathBuf::from) {
        assert!(path.exists(), "{SOURCE_VARIABLE} names {}, which is not there", path.display());
        return Some(path);
    }
    let pulled = fs::read_to_string(cache().join("pulled").join(REAL)).ok();
    let path = pulled.map(|relative| cache().join(relative)).filter(|path| path.exists());
    if path.is_none() {
        eprintln!("SKIPPED {test}: {REAL} is not there; tests/run fetches it");
    }
    path
}

/// The checkpoint `source`, converted to `kind` once in every run of a test program.
pub fn converted(name: &str, source: &Path, kind: Type) -> Model {
    static MADE: Mutex<Option<HashMap<PathBuf, Model>>> = Mutex::new(None);
    let path = cache().join("converted").join(format!("{name}.{}.kinglet", kind.name()));
    // A conversion that failed has failed its test; others may still try.
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let made = made.get_or_insert_default();
    if let Some(model) = made.get(&path) {
        return model.clone();
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let options = Options { kind, threads, name: Some(name.to_owned()) };
    let source = Source::open(source).unwrap();
    convert(&source, &path, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    let model = Model::open(&path).unwrap();
    made.insert(path, model.clone());
    model
}

/// A small model, converted to `kind`.
pub fn small(name: &str, kind: Type) -> Model {
    converted(name, &small_source(name), kind)
}

/// The real model, converted to `kind`; where it is not there, says that `test` is skipped.
pub fn real(test: &str, kind: Type) -> Option<Model> {
    Some(converted(REAL, &real_source(test)?, kind))
}
