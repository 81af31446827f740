//! Checks of the CUDA engine that need a device: `tests/cuda/on-device` runs them on a real one,
//! and `tests/cuda_device.rs` on the stand-in for NVIDIA's driver, where figures say nothing.
//!
//! `cuda-device [--short] MODEL` runs every part for each text of the kernels that the device
//! takes, in a process of its own: a fault of a kernel ends what a process can do with a device. It
//! prints a line for each check. Exit code 1: a check failed; 77: there is no device.
//! `cuda-device --module sm_72` or `sm_80` prints the kernels that instructions are checked with,
//! for NVIDIA's assembler.

mod forms;
mod opcodes;
mod times;

use kinglet::Model;
use kinglet_backends::{Checked, Checker, Cuda, Ptx};
use kinglet_core::check;
use kinglet_tests::devices::{kernels, texts};
use kinglet_tests::models::SMALL;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// What a part does.
type Run = fn(&Part);

/// The parts, in their order.
const PARTS: [(&str, Run); 5] = [
    ("compile", Part::compile),
    ("opcodes", Part::opcodes),
    ("kernels", Part::kernels),
    ("texts", Part::texts),
    ("times", Part::times),
];

/// The texts of the kernels, by the devices from which on they run.
const TEXTS: [(&str, Ptx); 2] = [("sm_72", Ptx::Dot), ("sm_80", Ptx::Tensor)];

/// What to do.
struct Options {
    is_short: bool,
    /// A part and a text of the kernels; all where there is none.
    part: Option<[String; 2]>,
    model: PathBuf,
}

impl Options {
    fn of(arguments: Vec<String>) -> Option<Self> {
        let (mut is_short, mut part, mut model) = (false, None, None);
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--short" => is_short = true,
                "--part" => part = Some([arguments.next()?, arguments.next()?]),
                path if model.is_none() => model = Some(path.into()),
                _ => return None,
            }
        }
        Some(Self { is_short, part, model: model? })
    }
}

/// One part of the checks on a device.
struct Part {
    cuda: Cuda,
    ptx: Ptx,
    /// The name of the kernels' text.
    text: &'static str,
    is_short: bool,
    model: PathBuf,
}

/// Whether the device is the stand-in's, as its name says.
fn is_stand_in(cuda: Cuda) -> bool {
    cuda.name().contains("(stand-in)")
}

/// Prints the line of a check.
fn line(what: &str, holds: bool, figures: &str) {
    let verdict = if holds { "ok" } else { "FAILED" };
    println!("{what:<50} {verdict:<7} {figures}");
}

/// The first line of what a panic says.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
    text.lines().next().unwrap_or_default()
}

impl Part {
    /// Prints the line of a check that panics where it does not hold and otherwise says something.
    fn check(&self, what: &str, check: impl FnOnce() -> String) {
        let start = Instant::now();
        let what = format!("{}: {what}", self.text);
        match catch_unwind(AssertUnwindSafe(check)) {
            Ok(figures) => {
                line(&what, true, &format!("{figures}{:.1} s", start.elapsed().as_secs_f64()));
            }
            Err(panic) => {
                line(&what, false, said(&*panic));
                // Whatever comes behind a fault of a kernel fails, too.
                std::process::exit(1);
            }
        }
    }

    /// Prints a figure.
    fn figure(&self, what: &str, figure: &str) {
        let remark = if is_stand_in(self.cuda) { ", of the stand-in: meaningless" } else { "" };
        line(&format!("{}: {what}", self.text), true, &format!("{figure}{remark}"));
    }

    fn checker(&self) -> Checker {
        Checker::new(self.cuda, self.ptx).unwrap()
    }

    fn compile(&self) {
        let took = times::compiling(self.cuda, self.ptx);
        self.figure("compiled by the driver", &format!("{:.0} ms", took.as_secs_f64() * 1e3));
    }

    fn opcodes(&self) {
        let count = if self.is_short { 2048 } else { 1 << 18 };
        self.check("instructions, as interpreted", || {
            let (differences, forms) = opcodes::compare(self.cuda, self.ptx, count);
            assert!(differences.is_empty(), "{}", differences.join("; "));
            let itself = if is_stand_in(self.cuda) { ", by itself" } else { "" };
            format!("{forms} forms, {count} inputs{itself}, ")
        });
    }

    fn kernels(&self) {
        let checker = self.checker();
        self.check("keys, rotated and appended", || {
            kernels::rotated_and_appended_keys(&checker);
            String::new()
        });
        self.check("products of batches", || format!("{} products, ", kernels::batches(&checker)));
        self.check("attention over 2,048 positions", || {
            kernels::attention_over_a_long_context(&checker);
            String::new()
        });
        if self.is_short {
            return;
        }
        self.check("products of 64 vectors", || {
            kernels::products_of_many_vectors(&checker);
            String::new()
        });
        self.check("every kernel, as scalar", || {
            check::kernels(Checked(&checker));
            String::new()
        });
    }

    fn texts(&self) {
        let none = String::new;
        let ptx = self.ptx;
        self.check("states move to the processor and back", || {
            texts::moved(ptx);
            none()
        });
        self.check("searches of the head", || {
            texts::searched(ptx);
            none()
        });
        let models = if self.is_short { &SMALL[..1] } else { &SMALL[..] };
        self.check("texts, unquantized", || {
            texts::unquantized(ptx, models);
            format!("{} models, ", models.len())
        });
        if self.is_short {
            return;
        }
        self.check("texts, quantized, are the same again", || {
            texts::repeated(ptx, [0, 1, 2], |_| {});
            none()
        });
        self.check("logits, quantized", || format!("{:.1e} off, ", texts::quantized(ptx)));
        self.check("embeddings", || format!("{:.1e} off, ", texts::embedded(ptx)));
        self.check("logits behind long texts", || format!("{:.1e} off, ", texts::long(ptx)));
    }

    fn times(&self) {
        let model = Model::open(&self.model).unwrap();
        for pass in times::passes(self.cuda, self.ptx, &model) {
            let name = &pass.name;
            for time in &pass.launches {
                let what = format!("{name}: {} {}", time.kernel, time.phase);
                let micros = time.launch_ns as f64 / 1e3;
                self.figure(what.trim(), &format!("{} × {micros:.1} µs", time.launches));
            }
            let total = format!("{:.2} ms", pass.total_ns() as f64 / 1e6);
            self.figure(&format!("{name}: all kernels"), &total);
        }
    }
}

/// Runs a part here.
fn run(cuda: Cuda, options: &Options, [part, text]: &[String; 2]) -> ExitCode {
    let known = PARTS.iter().find(|(name, _)| name == part);
    let (Some((_, run)), Some((text, ptx))) = (known, find(text)) else {
        eprintln!("there is no part {part} of {text}");
        return ExitCode::from(2);
    };
    let part = Part { cuda, ptx, text, is_short: options.is_short, model: options.model.clone() };
    run(&part);
    ExitCode::SUCCESS
}

/// Runs a part in a process of its own. Whether all of it holds.
fn start(options: &Options, part: &str, text: &str) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(options.is_short.then_some("--short")).args(["--part", part, text]);
    if part == "compile" {
        command.env(times::NO_CACHE.0, times::NO_CACHE.1);
    }
    let status = command.arg(&options.model).status().unwrap();
    // With code 1, the line of the check that failed has been printed.
    if !status.success() && status.code() != Some(1) {
        line(&format!("{text}: {part}"), false, &status.to_string());
    }
    status.success()
}

/// The text of a name.
fn find(text: &str) -> Option<(&'static str, Ptx)> {
    TEXTS.into_iter().find(|(name, _)| *name == text)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [option, text] = &arguments[..]
        && let ("--module", Some((_, ptx))) = (option.as_str(), find(text))
    {
        print!("{}", forms::module(ptx));
        return ExitCode::SUCCESS;
    }
    let Some(options) = Options::of(arguments) else {
        eprintln!("usage: cuda-device [--short] MODEL.kinglet");
        return ExitCode::from(2);
    };
    let cuda = match Cuda::detect() {
        Ok(cuda) => cuda,
        Err(lack) => {
            println!("no device: {lack}");
            return ExitCode::from(77);
        }
    };
    if let Some(part) = &options.part {
        return run(cuda, &options, part);
    }
    let mut failures = 0;
    for (text, ptx) in TEXTS {
        if ptx == Ptx::Tensor && Ptx::of(cuda) != Ptx::Tensor {
            println!("{text}: the device is older");
            continue;
        }
        failures += PARTS.iter().filter(|(part, _)| !start(&options, part, text)).count();
    }
    if failures > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
