//! `kinglet doctor`: what this machine has, and what Kinglet takes of it.

use crate::args::DoctorArgs;
use crate::cache::Cache;
use crate::units::Bytes;
use crate::{interrupt, models, out, settings, system};
use kinglet::{Model, Result, SessionOptions, Tier};
use serde::Serialize;
use std::env::consts::{ARCH, OS};
use std::fmt::Write;

/// The document of `--json`.
#[derive(Serialize)]
struct Document {
    version: &'static str,
    architecture: &'static str,
    system: &'static str,
    /// Empty where the system does not tell.
    processor: String,
    processors: usize,
    threads: usize,
    /// What this processor can run, fastest last.
    tiers: Vec<&'static str>,
    /// The device.
    cuda: Option<String>,
    /// Why there is none.
    cuda_lack: Option<String>,
    available_bytes: Option<u64>,
    home: String,
    model: Option<Fit>,
}

/// A model and its session on this machine.
#[derive(Serialize)]
struct Fit {
    path: String,
    file_bytes: usize,
    session_bytes: usize,
    fits: Option<bool>,
    tier: &'static str,
    reason: String,
}

/// Looks around, and tries what there is to try with a model.
pub fn run(args: &DoctorArgs) -> Result<()> {
    let options = settings::session_options(&args.session)?;
    interrupt::install();
    let cpus = settings::cpus(args.session.cpus.as_ref());
    let device = device();
    let model = args.model.as_deref().map(|name| {
        Fit::new(name, &models::open_named(name, args.kind.map(Into::into))?, &options)
    });
    let document = Document {
        version: env!("CARGO_PKG_VERSION"),
        architecture: ARCH,
        system: OS,
        processor: system::cpu_name(),
        processors: cpus.numbers().len(),
        threads: cpus.default_threads(),
        tiers: Tier::available().map(Tier::name).collect(),
        cuda_lack: device.as_ref().err().cloned(),
        cuda: device.ok(),
        available_bytes: system::available_bytes(),
        home: Cache::from_env()?.home().display().to_string(),
        model: model.transpose()?,
    };
    if args.json { out::json(&document) } else { out::text(&document.lines()) }
}

/// The device that can be used, or why there is none.
#[cfg(feature = "cuda")]
fn device() -> std::result::Result<String, String> {
    match kinglet::Cuda::detect() {
        Ok(cuda) => Ok(cuda.to_string()),
        Err(lack) => Err(lack.to_string()),
    }
}

#[cfg(not(feature = "cuda"))]
fn device() -> std::result::Result<String, String> {
    Err("this program was built without it".into())
}

impl Fit {
    fn new(path: &str, model: &Model, options: &SessionOptions) -> Result<Self> {
        let selection = model.select(options);
        let on_device: usize = model.device_parts(options)?.iter().map(|part| part.bytes).sum();
        let (file_bytes, session_bytes) =
            (model.file_bytes(), model.plan(options)?.total_bytes() + on_device);
        let needed = (file_bytes + session_bytes) as u64;
        Ok(Self {
            path: path.to_owned(),
            file_bytes,
            session_bytes,
            fits: system::available_bytes().map(|available| needed <= available),
            tier: selection.backend().name(),
            reason: selection.to_string(),
        })
    }
}

impl Document {
    fn lines(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, what: &str| {
            writeln!(text, "{name:<11}{what}").expect("strings take everything");
        };
        line("kinglet", &format!("{} for {} on {}", self.version, self.architecture, self.system));
        let processor = if self.processor.is_empty() { "unnamed" } else { &self.processor };
        let (processors, threads) = (self.processors, self.threads);
        line("processor", &format!("{processor}: {processors} to use, {threads} threads"));
        line("kernels", &format!("{}; the last is the fastest", self.tiers.join(", ")));
        match (&self.cuda, &self.cuda_lack) {
            (Some(device), _) => line("CUDA", device),
            (None, lack) => {
                line("CUDA", &format!("none: {}", lack.as_deref().unwrap_or("unknown")))
            }
        }
        if let Some(available) = self.available_bytes {
            line("memory", &format!("{} available", Bytes(available)));
        }
        line("cache", &self.home);
        if let Some(Fit { path, file_bytes, session_bytes, fits, reason, .. }) = &self.model {
            let sizes = [file_bytes, session_bytes].map(|&bytes| Bytes(bytes as u64));
            let [file, session] = sizes;
            let verdict = match fits {
                Some(true) => ", which fits",
                Some(false) => ", which is more than what is available",
                None => "",
            };
            line("model", &format!("{path}: file {file}, session {session}{verdict}"));
            line("runs on", reason);
        }
        text
    }
}
