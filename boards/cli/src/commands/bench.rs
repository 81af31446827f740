//! `kinglet bench`: speed, with the flags and fields of llama-bench.

use crate::args::BenchArgs;
use crate::bench::energy::Power;
use crate::bench::measure::{Measured, measure};
use crate::bench::plan::{self, Test};
use crate::bench::record;
use crate::bench::report::{Printer, to_stderr};
use crate::bench::settings::{Goal, Settings};
use crate::{interrupt, models, out, settings, system};
use kinglet::Result;
use kinglet_quant::arrange::Preset;
use std::time::Duration;

/// Runs every combination of what the flags list, and prints each as it ends.
pub fn run(args: &BenchArgs) -> Result<()> {
    let tests = plan::tests(args)?;
    interrupt::install();
    let root = system::root();
    let kind = args.kind.map(Preset::from);
    check(&tests, kind, args)?;
    let phase = Duration::from_secs(args.power_seconds.into());
    let repeats = args.repetitions as usize;
    let power = args.power.as_ref().map(|sensor| Power::start(sensor, phase, repeats, &root));
    let power = power.transpose()?;
    let description = power.as_ref().map(Power::describe);
    if let Some(description) = &description {
        out::note(format_args!("power {description}"));
    }
    let settings = Settings {
        repetitions: args.repetitions,
        warmup: !args.no_warmup,
        kind,
        trust: &args.trust,
        goal: Goal { each: power.is_some().then_some(phase), sustained: args.sustain },
        power: power.as_ref(),
        cool: args.cool.map(f64::from),
        root: &root,
        memory: args.memory,
    };
    let printer = |format, write| Printer::new(format, &tests, description.as_deref(), write);
    let mut printers = vec![printer(args.output, out::text)];
    printers.extend(args.output_err.map(|format| printer(format, to_stderr)));
    let mut noted = None;
    for test in &tests {
        let found = measure(test, &settings)?;
        note_selection(&found, &mut noted);
        note_power(&found);
        printers.iter_mut().try_for_each(|printer| printer.add(&found))?;
    }
    printers.iter().try_for_each(Printer::finish)
}

/// Whether all tests can run, before any does: a document that ends in the middle is none. What
/// must be fetched and converted is so beforehand, and does not warm a board that is to be idle.
fn check(tests: &[Test], kind: Option<Preset>, args: &BenchArgs) -> Result<()> {
    // The tests of a model follow one another.
    for tests in tests.chunk_by(|a, b| a.model == b.model) {
        let model = models::open_named(&tests[0].model, kind, &args.trust)?;
        for test in tests {
            let options = settings::fitted(&model, &test.session_options(), &args.memory)?;
            model.plan(&options)?;
        }
    }
    Ok(())
}

/// Says what a test ran on and why, unless that was said last or goes without saying.
fn note_selection(found: &Measured, noted: &mut Option<String>) {
    let Measured { selection, test, .. } = found;
    let sentence = selection.to_string();
    if selection.is_notable() && noted.as_ref() != Some(&sentence) {
        out::note(format_args!("{test}: {sentence}"));
        *noted = Some(sentence);
    }
}

/// Says what figures alone do not: that the board slowed down, or that a sensor is not to be
/// trusted.
fn note_power(found: &Measured) {
    let Measured { watched, test, .. } = found;
    if watched.throttling.throttled == Some(true) {
        let flags = watched.throttling.flags.join(", ");
        out::note(format_args!("{test}: the board slowed itself down: {flags}"));
    }
    for caveat in watched.energy.iter().flat_map(record::caveats) {
        out::note(format_args!("{test}: {caveat}"));
    }
}
