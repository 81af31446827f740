//! `kinglet bench`: speed, with the flags and fields of llama-bench.

use crate::args::BenchArgs;
use crate::bench::measure::{Measured, Settings, measure};
use crate::bench::plan;
use crate::bench::report::{Printer, to_stderr};
use crate::{interrupt, out};
use kinglet::Result;
use kinglet_quant::arrange::Preset;

/// Runs every combination of what the flags list, and prints each as it ends.
pub fn run(args: &BenchArgs) -> Result<()> {
    let tests = plan::tests(args)?;
    let settings = Settings {
        repetitions: args.repetitions,
        warmup: !args.no_warmup,
        kind: args.kind.map(Preset::from),
        memory: args.memory,
    };
    interrupt::install();
    let mut printers = vec![Printer::new(args.output, &tests, out::text)];
    printers.extend(args.output_err.map(|format| Printer::new(format, &tests, to_stderr)));
    let mut noted = None;
    for test in &tests {
        let found = measure(test, &settings)?;
        note_selection(&found, &mut noted);
        printers.iter_mut().try_for_each(|printer| printer.add(&found))?;
    }
    printers.iter().try_for_each(Printer::finish)
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
