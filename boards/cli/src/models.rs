//! MODEL arguments: from what the user names to an opened weight file.

use crate::args::{AdapterArg, ModelArgs, TrustArgs};
use crate::cache::Cache;
use crate::manifest::Look;
use crate::progress::{Meter, Unit};
use crate::units::Bytes;
use crate::{errors, fetch, interrupt, names, out, units};
use kinglet::calibrate::{Calibrate, Stage, TextSource, convert_calibrated, expected_seconds};
use kinglet::{Code, Model, Result};
use kinglet_quant::arrange::{Mix, Preset};
use kinglet_quant::convert::{Options, Progress, Report, convert};
use kinglet_quant::source::{locate, parts};
use kinglet_quant::{Source, ensure, fail};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The number format of models that are converted on the way.
const DEFAULT_TYPE: Preset = Preset::Q8;

/// The seed of the text that a model writes for its calibration.
const SEED: u64 = 1;
/// Parts that the progress of a calibration is counted in.
const SHARES: u64 = 1000;

/// A checkpoint that can be converted.
#[derive(Clone)]
pub struct Checkpoint {
    /// A folder or a GGUF file.
    pub path: PathBuf,
    /// The model's name, where the path does not tell it.
    pub name: Option<String>,
    /// The licence that was fetched with a single file, which has no text of it inside.
    pub licence: Option<String>,
    /// What is merged into it, in this order.
    pub adapters: Vec<AdapterArg>,
}

impl Checkpoint {
    /// Opens the checkpoint and merges its adapters.
    pub fn open(&self) -> Result<Source> {
        let mut source = Source::open(&self.path)?;
        source.notes().iter().for_each(out::note);
        let was_tied = source.config().tied == 1;
        for AdapterArg { path, scale } in &self.adapters {
            source.merge(path, *scale)?;
        }
        for merged in source.adapters() {
            out::note(format_args!("merging {merged}"));
        }
        if was_tied && source.config().tied == 0 {
            out::note(format_args!(
                "an adapter parts the head from the embedding: the model gets a matrix more"
            ));
        }
        Ok(source)
    }
}

/// Opens a model; fetches and converts it first where that is needed.
pub fn open(args: &ModelArgs) -> Result<Model> {
    open_named(&args.model, args.kind.map(Preset::from), &args.trust)
}

/// Opens the model that a text names, in a number format where it has to be converted.
pub fn open_named(name: &str, kind: Option<Preset>, trust: &TrustArgs) -> Result<Model> {
    // A key that is none is told before a model is looked for.
    match trust.trust()? {
        Some(trust) => Model::open_signed(weight_file(name, kind, true)?, &trust),
        None => open_mended(name, kind),
    }
}

/// Opens a model; converts it again where the conversion in the cache is damaged.
fn open_mended(name: &str, kind: Option<Preset>) -> Result<Model> {
    let path = weight_file(name, kind, false)?;
    let damage = match Model::open(&path) {
        Err(error) if path != Path::new(name) && (200..300).contains(&(error.code() as i32)) => {
            error
        }
        opened => return opened,
    };
    out::note(format_args!("{}: converting again", damage.message()));
    fs::remove_file(&path).map_err(|cause| errors::unwritable(&path, &cause))?;
    Model::open(weight_file(name, kind, false)?)
}

/// The checkpoint that a text names; fetches it where that is needed.
pub fn checkpoint(name: &str) -> Result<Checkpoint> {
    let path = PathBuf::from(name);
    if path.exists() {
        return Ok(Checkpoint { path, name: None, licence: None, adapters: Vec::new() });
    }
    let model = resolve(name)?;
    let path = fetch::fetch(&Cache::from_env()?, &model, Look::Lengths)?;
    let licence = path.is_file().then(|| fs::read_to_string(path.with_file_name("LICENSE")).ok());
    let (name, licence) = (Some(model.key), licence.flatten());
    Ok(Checkpoint { path, name, licence, adapters: Vec::new() })
}

/// What weights are rounded by.
#[derive(Clone, Debug)]
pub enum Rounding {
    /// Their own values; channels of quantized types are re-scaled.
    Quick,
    /// Their own values alone.
    Nearest,
    /// What the model computes on a text of its own.
    OwnText,
    /// What the model computes on this text.
    Given(Vec<u8>),
}

impl Rounding {
    /// The best choice for a type that does not take minutes for a small gain.
    pub fn usual(preset: Preset) -> Self {
        match preset {
            Preset::F32 | Preset::Bf16 | Preset::Q8 => Self::Quick,
            Preset::Q5 | Preset::Q4 | Preset::Q3 | Preset::Q4s => Self::OwnText,
        }
    }
}

/// Converts a checkpoint, with progress; Ctrl-C stops it. Calibrations that were stopped go on from
/// the folder `work`.
pub fn convert_checkpoint(
    checkpoint: &Checkpoint,
    output: &Path,
    mix: &Mix,
    rounding: &Rounding,
    work: &Path,
    threads: usize,
) -> Result<Report> {
    let mut source = checkpoint.open()?;
    let preset = mix.preset();
    let Checkpoint { name, licence, .. } = checkpoint.clone();
    let options = Options { name, licence, ..Options::new(mix.clone(), threads) };
    let label = format!("converting to {}", preset.name());
    let text = match rounding {
        Rounding::OwnText => TextSource::Own { seed: SEED },
        Rounding::Given(text) => TextSource::Given(text),
        Rounding::Quick | Rounding::Nearest => {
            if preset.is_quantized() && matches!(rounding, Rounding::Quick) {
                with_meter("calibrating", |progress| {
                    kinglet::calibrate::smooth(&mut source, output, threads, progress)
                })?;
            }
            return with_meter(&label, |progress| convert(&source, output, &options, progress));
        }
    };
    let cache = Cache::from_env().and_then(|cache| cache.folder("texts")).ok();
    let calibrate = Calibrate { text, work, cache: cache.as_deref() };
    let seconds = expected_seconds(source.config(), &text, threads);
    out::note(format_args!(
        "calibrating on {}: about {} on {threads} threads",
        if matches!(rounding, Rounding::OwnText) {
            "the model's own text"
        } else {
            "the given text"
        },
        units::rough_duration(seconds)
    ));
    let mut meter = Meter::new(&label, Unit::Share, 0, SHARES);
    let report = convert_calibrated(&source, output, &options, &calibrate, &mut |stage: Stage| {
        meter.set((stage.done * SHARES as f64) as u64);
        if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match report {
        Err(error) if error.code() == Code::Interrupted => fail!(
            Code::Interrupted,
            "interrupted: run the same command again to go on; what is finished is kept in {}",
            work.display()
        ),
        Err(error) => {
            if work.exists() {
                out::note(format_args!("what is finished is kept in {}", work.display()));
            }
            Err(error)
        }
        Ok(report) => {
            meter.finish();
            Ok(report)
        }
    }
}

/// Does work that reports its progress as a conversion does; Ctrl-C stops it.
fn with_meter<T>(
    label: &str,
    work: impl FnOnce(&mut dyn FnMut(Progress<'_>) -> ControlFlow<()>) -> Result<T>,
) -> Result<T> {
    let mut meter: Option<Meter> = None;
    let done = work(&mut |progress| {
        let meter = meter.get_or_insert_with(|| Meter::new(label, Unit::Bytes, 0, progress.total));
        meter.set(progress.done);
        if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if let Some(meter) = meter {
        meter.finish();
    }
    Ok(done)
}

fn resolve(name: &str) -> Result<names::Remote> {
    match names::resolve(name) {
        Some(model) => Ok(model),
        None => fail!(
            Code::NotFound,
            "{name} is neither a file or folder nor a known name: check the path, or see \
             `kinglet pull --list`"
        ),
    }
}

/// The weight file that a text names. What is converted on the way is not signed.
fn weight_file(name: &str, kind: Option<Preset>, is_signed: bool) -> Result<PathBuf> {
    let path = Path::new(name);
    if path.is_file() && !is_gguf(path)? {
        ensure!(
            kind.is_none(),
            Code::BadArgument,
            "--type is for models that are converted on the way, and {name} is not: leave it out"
        );
        return Ok(path.to_owned());
    }
    let kind = kind.unwrap_or(DEFAULT_TYPE);
    let cache = Cache::from_env()?;
    let key = if path.exists() { local_key(path)? } else { resolve(name)?.key };
    ensure!(
        !is_signed,
        Code::BadArgument,
        "{name} is converted on the way, and what is required is signed: name a .kinglet file that \
         `kinglet sign` has signed"
    );
    let converted = cache.model(&key, kind);
    if !converted.exists() {
        convert_into_cache(&cache, name, &key, kind)?;
    }
    Ok(converted)
}

fn convert_into_cache(cache: &Cache, name: &str, key: &str, kind: Preset) -> Result<()> {
    let checkpoint = checkpoint(name)?;
    let place = cache.model(key, kind);
    let lock = cache.lock(key)?;
    if place.exists() {
        return Ok(());
    }
    out::note(format_args!("converting {name} to {}, once", kind.name()));
    let scratch = cache.scratch(key, &lock)?;
    let output = scratch.path().join("model.kinglet");
    let work = cache.folder("calibration")?.join(format!("{key}.{}", kind.name()));
    let rounding = Rounding::usual(kind);
    let threads = kinglet::default_threads();
    let report = convert_checkpoint(&checkpoint, &output, &kind.into(), &rounding, &work, threads)?;
    cache.install(&output, &place)?;
    out::note(format_args!("wrote {}, {}", place.display(), Bytes(report.file_bytes)));
    Ok(())
}

fn is_gguf(path: &Path) -> Result<bool> {
    let mut magic = [0; 4];
    let mut file = File::open(path).map_err(|cause| errors::unreadable(path, &cause))?;
    Ok(file.read_exact(&mut magic).is_ok() && magic == *b"GGUF")
}

/// The cache's name for a local checkpoint; it changes when a file of the checkpoint does.
fn local_key(path: &Path) -> Result<String> {
    let unreadable = |cause| errors::unreadable(path, &cause);
    let path = locate(path)?.canonicalize().map_err(unreadable)?;
    let mut files = parts(&path);
    if path.is_dir() {
        let entries = fs::read_dir(&path).map_err(unreadable)?.flatten();
        files = entries.map(|entry| entry.path()).filter(|file| file.is_file()).collect();
        files.sort();
    }
    let mut hash = Sha256::new();
    for file in files {
        let data = fs::metadata(&file).map_err(unreadable)?;
        let modified = data.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        hash.update(file.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(data.len().to_le_bytes());
        hash.update(modified.map_or(0, |time| time.as_nanos()).to_le_bytes());
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok(format!("{name}-{}", &units::hex(&hash.finalize())[..12]))
}
