//! The matrix of models and boards that `kinglet plan --all-boards` prints.

use crate::out;
use crate::place::Place;
use crate::planned::{Planned, unit_name};
use kinglet::{Model, Result, SessionOptions};
use kinglet_machine::Profile;
use serde_json::{Value, json};

/// One model on one board.
struct Cell {
    /// Bytes left on the board with the least memory it is sold with.
    left_bytes: Option<i64>,
    unit: &'static str,
    decode: f64,
    prefill: Option<f64>,
    joules_per_token: Option<f64>,
}

/// Prints a line for each board, with what each model fits and reaches there.
pub fn print(
    names: &[String],
    models: &[Model],
    options: &SessionOptions,
    as_json: bool,
) -> Result<()> {
    let mut lines = Vec::new();
    for profile in Profile::all() {
        let id = profile.id.clone();
        let place = Place::of_board(profile);
        let cells = models.iter().map(|model| cell(model, &place, options));
        lines.push((id, cells.collect::<Result<Vec<Cell>>>()?));
    }
    if as_json {
        let document: Vec<Value> =
            lines.iter().map(|(id, cells)| document(id, names, cells)).collect();
        return out::json(&document);
    }
    for (i, name) in names.iter().enumerate() {
        out::text(&format!(
            "{name}\n{:<16} {:>12} {:<9} {:>9} {:>9} {:>8}\n",
            "board", "memory left", "unit", "decode/s", "prefill/s", "J/token"
        ))?;
        for (id, cells) in &lines {
            out::text(&line(id, &cells[i]))?;
        }
    }
    out::text("predicted, not measured; memory left on the smallest of each board\n")
}

fn cell(model: &Model, place: &Place, options: &SessionOptions) -> Result<Cell> {
    let planned = Planned::new(model, place, options)?;
    let fastest = planned.fastest().expect("every board has a processor");
    Ok(Cell {
        left_bytes: planned.left_bytes(),
        unit: unit_name(fastest.unit),
        decode: fastest.decode,
        prefill: fastest.prefill,
        joules_per_token: fastest.joules_per_token,
    })
}

fn line(id: &str, cell: &Cell) -> String {
    let left = match cell.left_bytes {
        Some(left @ 0..) => format!("{} MB", left / 1_000_000),
        Some(_) => "too small".into(),
        None => "unknown".into(),
    };
    let number = |value: Option<f64>, digits| value.map_or("-".into(), |v| format!("{v:.digits$}"));
    format!(
        "{id:<16} {left:>12} {:<9} {:>9.1} {:>9} {:>8}\n",
        cell.unit,
        cell.decode,
        number(cell.prefill, 0),
        number(cell.joules_per_token, 3)
    )
}

fn document(id: &str, names: &[String], cells: &[Cell]) -> Value {
    let models = names.iter().zip(cells).map(|(name, cell)| {
        json!({
            "model": name,
            "left_bytes": cell.left_bytes,
            "unit": cell.unit,
            "decode_tokens_per_second": cell.decode,
            "prefill_tokens_per_second": cell.prefill,
            "joules_per_token": cell.joules_per_token,
        })
    });
    json!({ "board": id, "models": models.collect::<Vec<Value>>() })
}
