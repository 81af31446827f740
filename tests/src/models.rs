//! The models that tests run: small random ones in the repository, and the real one where it is.

use crate::rescale::random_folds;
use crate::skip::skip;
use kinglet::calibrate::{Calibrate, TextSource, Writing, convert_calibrated, smooth, write};
use kinglet::{Model, Type};
use kinglet_quant::arrange::Preset;
use kinglet_quant::convert::{Options, convert};
use kinglet_quant::source::Source;
use std::collections::HashMap;
use std::env::consts::ARCH;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The small models of `goldens/models`: every way of sharing key heads, head sizes 32, 64 and 128,
/// an untied head, vocabularies that fill no tile. `goldens/make.py` has their shapes.
pub const SMALL: [&str; 5] =
    ["mha-head32", "gqa3-head64", "gqa3-head32-untied", "mqa4-head32", "gqa2-head128"];

/// Small models that are Llamas with what SmolLM does not have: biases, scaled positions, widths
/// that fill no blocks. `goldens/make_relatives.py` has their shapes.
pub const RELATIVES: [&str; 2] = ["llama3-biases", "narrow-linear"];

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
    // A manifest, whose first line is the checkpoint.
    let relative = pulled.as_deref().and_then(|manifest| manifest.lines().next());
    let path = relative.map(|relative| cache().join(relative)).filter(|path| path.exists());
    if path.is_none() {
        skip(test, format_args!("{REAL} is not there; tests/run fetches it"));
    }
    path
}

/// Where a model lies that has been converted: each processor's apart, since `tests/run` tests on
/// emulators at the same time.
fn converted_file(name: &str, kind: &str) -> PathBuf {
    cache().join("converted").join(ARCH).join(format!("{name}.{kind}.kinglet"))
}

/// Where a model lies that has been converted without calibration.
pub fn converted_path(name: &str, kind: Type) -> PathBuf {
    converted_file(name, kind.name())
}

/// Set by `tests/run`, which first removes what other versions have converted.
const REUSE_VARIABLE: &str = "KINGLET_TEST_REUSE";

/// What `open` opens, converted to `kind`: once in a run of a test program, or of `tests/run`.
fn converted(name: &str, kind: Type, open: impl FnOnce() -> Source) -> Model {
    static MADE: Mutex<Option<HashMap<PathBuf, Model>>> = Mutex::new(None);
    let path = converted_path(name, kind);
    // A conversion that failed has failed its test; others may still try.
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let made = made.get_or_insert_default();
    if let Some(model) = made.get(&path) {
        return model.clone();
    }
    if std::env::var_os(REUSE_VARIABLE).is_none() || !path.exists() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let options = Options { name: Some(name.to_owned()), ..Options::new(kind, threads()) };
        convert(&open(), &path, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    }
    let model = Model::open(&path).unwrap();
    made.insert(path, model.clone());
    model
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A small model, converted to `kind`.
pub fn small(name: &str, kind: Type) -> Model {
    converted(name, kind, || Source::open(&small_source(name)).unwrap())
}

/// The real model, converted to `kind`; where it is not there, says that `test` is skipped.
pub fn real(test: &str, kind: Type) -> Option<Model> {
    let path = real_source(test)?;
    Some(converted(REAL, kind, || Source::open(&path).unwrap()))
}

/// The real model with re-scaled channels, see [`random_folds`]; where it is not there, says that
/// `test` is skipped.
fn rescaled_source(test: &str) -> Option<Source> {
    let mut source = Source::open(&real_source(test)?).unwrap();
    source.fold(random_folds(source.config(), 1));
    Some(source)
}

/// The real model with re-scaled channels, converted to `kind` without calibration but with
/// smoothing where it is quantized.
pub fn rescaled(test: &str, kind: Type) -> Option<Model> {
    let mut source = rescaled_source(test)?;
    Some(converted(&format!("{REAL}-rescaled"), kind, || {
        if kind.is_quantized() {
            let output = cache().join(REAL);
            smooth(&mut source, &output, threads(), &mut |_| ControlFlow::Continue(())).unwrap();
        }
        source
    }))
}

/// What the real model writes to be calibrated on here: an eighth of what `kinglet convert` takes.
const WRITING: Writing = Writing { texts: 12, length: 512, seed: 1 };

/// What the real model has written to be calibrated on: `goldens/own.txt`, which takes a minute to
/// write again. With `KINGLET_RECORD` in the environment `author` does.
fn own_text(author: &Model) -> Vec<u8> {
    let path = golden_path("own.txt");
    if std::env::var_os("KINGLET_RECORD").is_some() {
        let tokens = write(author, &WRITING, threads(), &mut |_| true).unwrap().concat();
        let tokenizer = author.tokenizer();
        let pieces = tokens.iter().flat_map(|&token| tokenizer.decode(token));
        fs::write(&path, pieces.copied().collect::<Vec<u8>>()).unwrap();
    }
    fs::read(path).unwrap()
}

/// The real model with re-scaled channels, calibrated on its own text: takes minutes.
pub fn calibrated(test: &str, preset: Preset) -> Option<Model> {
    let (source, author) = (rescaled_source(test)?, rescaled(test, Type::Q8)?);
    let text = own_text(&author);
    let path = converted_file(&format!("{REAL}-calibrated"), preset.name());
    let work = path.with_extension("work");
    let calibrate = Calibrate { text: TextSource::Given(&text), work: &work, cache: None };
    let options = Options::new(preset, threads());
    convert_calibrated(&source, &path, &options, &calibrate, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    Some(Model::open(&path).unwrap())
}
