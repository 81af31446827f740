//! `kinglet convert`: from a checkpoint to a weight file.

use crate::args::ConvertArgs;
use crate::models::{Checkpoint, Rounding};
use crate::units::Bytes;
use crate::{errors, input, interrupt, models, out};
use kinglet::{Code, Result, Role};
use kinglet_quant::arrange::{CLASSES, Mix, Preset};
use kinglet_quant::calibrate::smooth::sensitivity;
use kinglet_quant::convert::{Report, Row};
use kinglet_quant::ensure;
use kinglet_quant::format::TILE_ROWS;
use kinglet_quant::write::check_output;
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;

/// Converts, and prints the table of tensors, what each class costs, and the file's size.
pub fn run(args: &ConvertArgs) -> Result<()> {
    let mut mix = Mix::from(Preset::from(args.kind));
    match args.mix.as_deref() {
        None => {}
        Some("") => return show_mix(args, &mix),
        Some(changes) => mix.change(changes)?,
    }
    check_output(&args.output)?;
    let rounding = match &args.calibrate {
        None => Rounding::usual(mix.preset()),
        Some(path) if path.as_os_str() == "none" => Rounding::Nearest,
        Some(path) => Rounding::Given(input::file(path)?),
    };
    ensure!(
        mix.preset().is_quantized() || !matches!(rounding, Rounding::Given(_)),
        Code::BadArgument,
        "{} is not rounded, so there is nothing to calibrate: leave --calibrate out",
        mix.preset().name()
    );
    interrupt::install();
    let checkpoint = checkpoint(args)?;
    let threads = args.threads.map_or_else(kinglet::default_threads, |n| n as usize);
    let name = args.output.file_name().unwrap_or_default().to_string_lossy();
    let work = args.output.with_file_name(format!(".{name}.calibration"));
    let report =
        models::convert_checkpoint(&checkpoint, &args.output, &mix, &rounding, &work, threads)?;
    // What an earlier conversion to the same place was stopped in is of no use any more.
    if work.exists() {
        fs::remove_dir_all(&work).map_err(|cause| errors::unwritable(&work, &cause))?;
    }
    if args.json {
        return out::json(&document(&report));
    }
    if out::is_quiet() {
        return Ok(());
    }
    let mut table = format!(
        "{:<22} {:<5} {:>15} {:>11} {:>14} {:>12}\n",
        "tensor", "type", "shape", "bits/weight", "relative error", "output error"
    );
    for row in &report.rows {
        let shape = format!("{} × {}", row.rows, row.cols);
        writeln!(
            table,
            "{:<22} {:<5} {shape:>15} {:>11.2} {:>14.6} {:>12.6}",
            row.name,
            row.kind.name(),
            row.bits_per_weight(),
            row.relative_error,
            row.output_error
        )
        .expect("strings take everything");
    }
    table += &classes(&report);
    let path = args.output.display();
    writeln!(table, "{path}: {} ({} bytes)", Bytes(report.file_bytes), report.file_bytes)
        .expect("strings take everything");
    out::text(&table)
}

/// What to convert, with its adapters.
fn checkpoint(args: &ConvertArgs) -> Result<Checkpoint> {
    let adapters = args.lora.clone();
    Ok(Checkpoint { adapters, ..models::checkpoint(&args.source)? })
}

/// What each class of matrices takes, and what its rounding costs.
fn classes(report: &Report) -> String {
    let mut text = format!("\n{:<10} {:<5} {:>9} {:>8}\n", "class", "type", "size", "cost");
    for class in CLASSES {
        let rows: Vec<&Row> = report.rows.iter().filter(|row| row.role == class).collect();
        let Some(first) = rows.first() else { continue };
        let bytes = rows.iter().map(|row| row.bytes).sum();
        let cost = cost(&rows).map_or("-".to_owned(), |cost| format!("{cost:.4}"));
        let (name, kind, size) = (class.name(), first.kind.name(), Bytes(bytes).to_string());
        writeln!(text, "{name:<10} {kind:<5} {size:>9} {cost:>8}")
            .expect("strings take everything");
    }
    text + "cost: an estimate of the KL divergence that the class causes\n\n"
}

/// An estimate of the KL divergence that rounding a class of matrices causes.
fn cost(rows: &[&Row]) -> Option<f64> {
    let errors = rows.iter().map(|row| f64::from(row.output_error).powi(2));
    let mean = errors.sum::<f64>() / rows.len() as f64;
    (mean > 0.0).then(|| sensitivity(rows[0].role) * mean)
}

/// Prints how the classes of a mix are stored and what they take.
fn show_mix(args: &ConvertArgs, mix: &Mix) -> Result<()> {
    let source = checkpoint(args)?.open()?;
    let config = source.config();
    let mut text = format!("{:<10} {:<7} {:>9}\n", "class", "type", "size");
    for class in CLASSES {
        let count = match class {
            Role::Embedding => 1,
            Role::Head => 1 - config.tied as usize,
            _ => config.layers as usize,
        };
        let (rows, cols) = class.shape(config);
        let scheme = mix.scheme(class);
        let bytes = count * rows.div_ceil(TILE_ROWS) * scheme.layout(cols).stored_bytes();
        if count > 0 {
            let (name, size) = (scheme.name(), Bytes(bytes as u64).to_string());
            writeln!(text, "{:<10} {name:<7} {size:>9}", class.name())
                .expect("strings take everything");
        }
    }
    out::text(&text)
}

fn document(report: &Report) -> Value {
    let row = |row: &Row| {
        json!({
            "name": row.name, "type": row.kind.name(), "rows": row.rows, "cols": row.cols,
            "bytes": row.bytes, "bits_per_weight": row.bits_per_weight(),
            "relative_error": row.relative_error, "output_error": row.output_error,
        })
    };
    let tensors: Vec<Value> = report.rows.iter().map(row).collect();
    json!({ "file_bytes": report.file_bytes, "tensors": tensors })
}
