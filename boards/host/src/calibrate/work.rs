//! A calibrated conversion from beginning to end: the model as it is, a text, what the model
//! computes on it, and the rounding. What is finished stays on the disk until all of it is.

use super::observed::Observed;
use super::writing::{Writing, write};
use crate::Model;
use kinglet_quant::arrange::Preset;
use kinglet_quant::convert::{self, Options, Report, convert};
use kinglet_quant::tensor::{LAYER_ROLES, NO_LAYER};
use kinglet_quant::{Code, Config, Error, Result, Role, Source, ensure, partial};
use sha2::{Digest, Sha256};
use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Tokens of a text that is observed at a time, from an empty cache.
const LENGTH: usize = 512;
/// Texts at most: with 48k tokens little is left to gain.
const TEXTS: usize = 96;
/// The number format of the model that is observed.
const OBSERVED: Preset = Preset::Q8;
/// Shares of the work: until the observed model is there, and until the model has written its text.
const PREPARED: f64 = 0.03;
const WRITTEN: f64 = 0.4;
/// The share of observing in what follows.
const OBSERVING: f64 = 0.55;
/// Seconds that a thread takes for a million weights, to write and to do the rest: half more than
/// the 2.4 that 4 bits took for 135M and 360M together on two cores of a Zen 4 server, because most
/// machines are slower.
const WRITING_SECONDS: f64 = 1.4;
const OTHER_SECONDS: f64 = 2.2;
/// Memory for moments: as much as the weights take in f32, and so much at least.
const MIN_BUDGET: usize = 256 << 20;

/// What a model is calibrated on.
#[derive(Clone, Copy, Debug)]
pub enum TextSource<'a> {
    /// What the model itself writes.
    Own {
        /// Other seeds give other texts.
        seed: u64,
    },
    /// A text in UTF-8; of a long one, parts from all over it.
    Given(&'a [u8]),
}

/// How to calibrate.
#[derive(Clone, Copy, Debug)]
pub struct Calibrate<'a> {
    /// The text.
    pub text: TextSource<'a>,
    /// A folder for finished work, made when it is not there and removed when all is done.
    pub work: &'a Path,
    /// A folder where the model's own text is kept for its next conversion.
    pub cache: Option<&'a Path>,
}

/// How far a calibrated conversion is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// What is being done.
    pub name: &'static str,
    /// The share of the whole work that is done, roughly.
    pub done: f64,
}

/// About how long a calibrated conversion of a model of this shape takes.
pub fn expected_seconds(config: &Config, text: &TextSource<'_>, threads: usize) -> f64 {
    let writing = if matches!(text, TextSource::Own { .. }) { WRITING_SECONDS } else { 0.0 };
    config.parameters() as f64 / 1e6 * (writing + OTHER_SECONDS) / threads as f64
}

/// Converts a checkpoint so that the model computes nearly the same on a text, see
/// [`kinglet_quant::convert::convert_calibrated`].
///
/// The same source, options and text give the same bytes on a machine, whatever the threads.
/// `progress` is called often; when it breaks, the result is `Interrupted`, and the next call with
/// the same arguments goes on where this one stopped.
pub fn convert_calibrated(
    source: &Source,
    output: &Path,
    options: &Options,
    calibrate: &Calibrate<'_>,
    progress: &mut dyn FnMut(Stage) -> ControlFlow<()>,
) -> Result<Report> {
    let reporter = Reporter { progress: RefCell::new(progress), highest: Cell::new(0.0) };
    let work = calibrate.work;
    fs::create_dir_all(work).map_err(|error| unwritable(work, &error))?;
    let key = source_key(source)?;
    let observed = work.join(format!("{key}.kinglet"));
    if !observed.exists() {
        let options = Options::new(OBSERVED, options.threads);
        convert(source, &observed, &options, &mut |progress| {
            reporter.control("preparing", PREPARED * progress.share())
        })?;
    }
    let model = Model::open(&observed)?;
    let texts = texts(&model, &key, calibrate, options.threads, &reporter)?;
    let layers = layer_folder(work, &key, options, &texts)?;
    let budget = (model.config().parameters() as usize * 4).max(MIN_BUDGET);
    let mut goes_on =
        |done: f64| reporter.goes_on("observing", WRITTEN + (1.0 - WRITTEN) * OBSERVING * done);
    let mut moments = Observed::new(&model, &texts, options.threads, budget, &mut goes_on)?;
    let report = convert::convert_calibrated(
        source,
        output,
        options,
        &mut moments,
        Some(&layers),
        &mut |progress| {
            let done = OBSERVING + (1.0 - OBSERVING) * progress.share();
            reporter.control("rounding", WRITTEN + (1.0 - WRITTEN) * done)
        },
    )?;
    // Windows removes no file that is mapped.
    drop(moments);
    drop(model);
    fs::remove_dir_all(work).map_err(|error| unwritable(work, &error))?;
    Ok(report)
}

/// Tells how far the work is; it never goes back.
struct Reporter<'a> {
    progress: RefCell<&'a mut dyn FnMut(Stage) -> ControlFlow<()>>,
    highest: Cell<f64>,
}

impl Reporter<'_> {
    fn control(&self, name: &'static str, done: f64) -> ControlFlow<()> {
        self.highest.set(self.highest.get().max(done));
        (self.progress.borrow_mut())(Stage { name, done: self.highest.get() })
    }

    fn goes_on(&self, name: &'static str, done: f64) -> bool {
        self.control(name, done).is_continue()
    }
}

/// The tokens to calibrate on.
fn texts(
    model: &Model,
    key: &str,
    calibrate: &Calibrate<'_>,
    threads: usize,
    reporter: &Reporter<'_>,
) -> Result<Vec<Vec<u32>>> {
    let longest = LENGTH.min(model.config().max_context as usize);
    let seed = match calibrate.text {
        TextSource::Given(text) => return given(model, text, longest),
        TextSource::Own { seed } => seed,
    };
    let folder = calibrate.cache.unwrap_or(calibrate.work);
    let path = folder.join(format!("{key}.{seed}.tokens"));
    let count = TEXTS * longest;
    let vocabulary = model.config().vocab_size;
    if let Ok(bytes) = fs::read(&path) {
        let tokens = bytes.chunks_exact(4).map(bytemuck::pod_read_unaligned);
        let tokens: Vec<u32> = tokens.collect();
        if tokens.len() == count && tokens.iter().all(|&token| token < vocabulary) {
            return Ok(tokens.chunks(longest).map(<[u32]>::to_vec).collect());
        }
    }
    let writing = Writing { texts: TEXTS, length: longest, seed };
    let texts = write(model, &writing, threads, &mut |done| {
        reporter.goes_on("writing text", PREPARED + (WRITTEN - PREPARED) * done)
    })?;
    let save = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut file = partial::file(&path)?;
        file.write_all(bytemuck::cast_slice(&texts.concat()))?;
        file.persist(&path)?;
        Ok(())
    };
    save().map_err(|error| unwritable(&path, &error))?;
    Ok(texts)
}

/// Parts of a given text, evenly from all over it.
fn given(model: &Model, text: &[u8], longest: usize) -> Result<Vec<Vec<u32>>> {
    ensure!(
        !text.is_empty(),
        Code::BadArgument,
        "the calibration text is empty: take a longer one"
    );
    let tokens = model.tokenize_as(text, crate::Specials::Parse)?;
    let parts: Vec<&[u32]> = tokens.chunks(longest).collect();
    let taken = parts.len().min(TEXTS);
    Ok((0..taken).map(|i| parts[i * parts.len() / taken].to_vec()).collect())
}

/// A name for what a source holds: its shape, where it comes from, its adapters, and a part of the
/// weights as they are after any re-scaling.
fn source_key(source: &Source) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(bytemuck::bytes_of(source.config()));
    hash.update(source.texts().origin.as_bytes());
    for adapter in source.adapters() {
        hash.update(adapter.scale.to_le_bytes());
        hash.update(adapter.sha256);
    }
    for layer in 0..source.config().layers as u16 {
        for role in LAYER_ROLES {
            let mut row = Vec::new();
            source.load_rows(role, layer, 0..1, &mut row)?;
            hash.update(bytemuck::cast_slice::<f32, u8>(&row));
        }
    }
    hash.update(bytemuck::cast_slice::<f32, u8>(&source.load(Role::FinalNorm, NO_LAYER)?));
    Ok(hex(&hash.finalize()))
}

/// A folder for the layers of this conversion and no other.
fn layer_folder(work: &Path, key: &str, options: &Options, texts: &[Vec<u32>]) -> Result<PathBuf> {
    let mut hash = Sha256::new();
    hash.update(key);
    hash.update(env!("CARGO_PKG_VERSION"));
    for class in LAYER_ROLES {
        let scheme = options.mix.scheme(class);
        hash.update(scheme.name());
        hash.update(bytemuck::cast_slice::<i8, u8>(scheme.table()));
    }
    for text in texts {
        hash.update(bytemuck::cast_slice::<u32, u8>(text));
    }
    let folder = work.join(hex(&hash.finalize()));
    fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, &error))?;
    Ok(folder)
}

/// The first 6 bytes of a hash.
fn hex(hash: &[u8]) -> String {
    hash[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    Error::new(Code::Unwritable, format_args!("cannot write {}: {error}", path.display()))
}
