//! `kinglet convert`: from a checkpoint to a weight file.

use crate::args::ConvertArgs;
use crate::units::Bytes;
use crate::{interrupt, models, out};
use kinglet::Result;
use kinglet_quant::convert::{Report, Row};
use serde_json::{Value, json};
use std::fmt::Write;

/// Converts, and prints the table of tensors and the file's size.
pub fn run(args: &ConvertArgs) -> Result<()> {
    interrupt::install();
    let checkpoint = models::checkpoint(&args.source)?;
    let threads = args.threads.map_or_else(kinglet::default_threads, |n| n as usize);
    let report = models::convert_checkpoint(&checkpoint, &args.output, args.kind.into(), threads)?;
    if args.json {
        return out::json(&document(&report));
    }
    let mut table = format!(
        "{:<22} {:<5} {:>15} {:>11} {:>14}\n",
        "tensor", "type", "shape", "bits/weight", "relative error"
    );
    for row in &report.rows {
        let shape = format!("{} × {}", row.rows, row.cols);
        writeln!(
            table,
            "{:<22} {:<5} {shape:>15} {:>11.2} {:>14.6}",
            row.name,
            row.kind.name(),
            row.bits_per_weight(),
            row.relative_error
        )
        .expect("strings take everything");
    }
    let path = args.output.display();
    writeln!(table, "{path}: {} ({} bytes)", Bytes(report.file_bytes), report.file_bytes)
        .expect("strings take everything");
    out::text(&table)
}

fn document(report: &Report) -> Value {
    let row = |row: &Row| {
        json!({
            "name": row.name, "type": row.kind.name(), "rows": row.rows, "cols": row.cols,
            "bytes": row.bytes, "bits_per_weight": row.bits_per_weight(),
            "relative_error": row.relative_error,
        })
    };
    let tensors: Vec<Value> = report.rows.iter().map(row).collect();
    json!({ "file_bytes": report.file_bytes, "tensors": tensors })
}
