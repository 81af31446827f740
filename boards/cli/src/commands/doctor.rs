//! `kinglet doctor`: what this machine has, and what Kinglet takes of it.

use crate::args::DoctorArgs;
use crate::cache::Cache;
use crate::doctor::advice::advice;
use crate::doctor::machine::Machine;
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
    home: String,
    #[serde(flatten)]
    machine: Machine,
    model: Option<Fit>,
    /// A sentence for each thing that costs speed or memory.
    advice: Vec<String>,
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
    let machine = Machine::read(&system::root(), &cpus);
    let lack = device.as_ref().err().map(String::as_str);
    let advice = advice(&machine, cpus.default_threads(&system::root()), lack);
    let model = args.model.as_deref().map(|name| {
        let kind = args.kind.map(Into::into);
        Fit::new(name, &models::open_named(name, kind, &args.trust)?, &options)
    });
    let document = Document {
        version: env!("CARGO_PKG_VERSION"),
        architecture: ARCH,
        system: OS,
        processor: system::cpu_name(),
        processors: cpus.numbers().len(),
        threads: cpus.default_threads(&system::root()),
        tiers: Tier::available().map(Tier::name).collect(),
        cuda_lack: device.as_ref().err().cloned(),
        cuda: device.ok(),
        home: Cache::from_env()?.home().display().to_string(),
        machine,
        model: model.transpose()?,
        advice,
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
        line("board", &self.board());
        let processor = if self.processor.is_empty() { "unnamed" } else { &self.processor };
        let (processors, threads) = (self.processors, self.threads);
        line("processor", &format!("{processor}: {processors} to use, {threads} threads"));
        line("clock", &self.clock());
        line("kernels", &format!("{}; the last is the fastest", self.tiers.join(", ")));
        match (&self.cuda, &self.cuda_lack) {
            (Some(device), _) => line("CUDA", device),
            (None, lack) => {
                line("CUDA", &format!("none: {}", lack.as_deref().unwrap_or("unknown")))
            }
        }
        line("memory", &self.memory());
        let sensor = self.machine.power_sensor.as_deref();
        line("power", sensor.unwrap_or("no sensor that works"));
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
        for sentence in &self.advice {
            line("advice", sentence);
        }
        text
    }

    fn board(&self) -> String {
        let Machine { board, is_known_board, name, l4t, .. } = &self.machine;
        let board = match (board, is_known_board) {
            (Some(board), true) => format!("{board}, as `kinglet boards show {board}` has it"),
            (Some(board), false) => format!("not known; taken for {board}"),
            (None, _) => "not known".into(),
        };
        let name = name.as_ref().map_or(String::new(), |name| format!(" ({name})"));
        let l4t = l4t.as_ref().map_or(String::new(), |l4t| format!(", Jetson Linux {l4t}"));
        format!("{board}{name}{l4t}")
    }

    fn clock(&self) -> String {
        let Machine { fast_cpus, governor, megahertz, celsius, power_mode, .. } = &self.machine;
        let mut parts = vec![format!("fast processors {fast_cpus}")];
        parts.extend(megahertz.map(|megahertz| format!("{megahertz:.0} MHz")));
        parts.extend(governor.as_ref().map(|governor| format!("governor {governor}")));
        parts.extend(power_mode.as_ref().map(|mode| format!("power mode {mode}")));
        parts.extend(celsius.map(|celsius| format!("{celsius:.0} °C")));
        parts.join(", ")
    }

    fn memory(&self) -> String {
        let machine = &self.machine;
        let mut parts = Vec::new();
        let mut bytes = |what: &str, bytes: Option<u64>| {
            parts.extend(bytes.map(|bytes| format!("{} {what}", Bytes(bytes))));
        };
        bytes("available", machine.available_bytes);
        bytes("in all", machine.total_bytes);
        bytes("of swap", machine.swap_bytes.filter(|bytes| *bytes > 0));
        bytes("pages", machine.page_bytes);
        parts.extend(machine.huge_pages.as_ref().map(|mode| format!("huge pages: {mode}")));
        let rate = machine.read_bytes_per_second;
        parts.extend(rate.map(|rate| format!("{:.1} GB/s read", rate / 1e9)));
        if parts.is_empty() { "unknown".into() } else { parts.join(", ") }
    }
}
