//! `kinglet inspect`: what a weight file holds.

use crate::args::InspectArgs;
use crate::units::Bytes;
use crate::{interrupt, models, out, units};
use kinglet::{File, Model, Result, Role, TextKey, Type};
use kinglet_quant::file::SECTIONS;
use kinglet_quant::tensor::{self, Record};
use kinglet_quant::tile::TileLayout;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Prints the model's shape, texts, sections and tensors.
pub fn run(args: &InspectArgs) -> Result<()> {
    interrupt::install();
    let model = models::open(&args.model)?;
    let file = model.file();
    if args.verify {
        file.verify()?;
    }
    // Wrong signatures and checksums are errors by now.
    let trust = args.model.trust.trust()?;
    let is_checked = trust.is_some();
    let is_verified = args.verify || trust.is_some_and(|trust| trust.checks_weights);
    if args.json {
        return out::json(&document(&model, is_verified, is_checked));
    }
    let mut text = describe(&model, is_checked);
    if is_verified {
        text.push_str("checksums  all sections are intact\n");
    }
    out::text(&text)
}

/// The number format of a stored tensor.
fn kind(record: &Record) -> Type {
    Type::from_file(record.kind).expect("checked when the file was opened")
}

/// Bytes of a tensor without the padding between tiles.
fn bytes(record: &Record) -> u64 {
    let (kind, cols) = (kind(record), record.cols as usize);
    if record.rows == 1 && kind == Type::F32 {
        return (cols * size_of::<f32>()) as u64;
    }
    let tiles = record.rows.div_ceil(kinglet_quant::format::TILE_ROWS as u32);
    u64::from(tiles) * TileLayout::new(kind, cols, record.group.into()).stored_bytes() as u64
}

fn bits_per_weight(record: &Record) -> f64 {
    bytes(record) as f64 * 8.0 / (f64::from(record.rows) * f64::from(record.cols))
}

/// All tensors with their records, in file order.
fn tensors<'a>(file: &File<'a>) -> impl Iterator<Item = (Role, u16, &'a Record)> {
    let records = file.records();
    tensor::order(file.config()).zip(records).map(|((role, layer), record)| (role, layer, record))
}

/// The adapters that were merged, each as a line.
fn adapters<'a>(file: &File<'a>) -> impl Iterator<Item = &'a str> {
    file.text(TextKey::Adapters).unwrap_or_default().lines()
}

fn describe(model: &Model, is_checked: bool) -> String {
    let (file, config) = (model.file(), model.config());
    let first_line = |key| file.text(key).and_then(|text| text.lines().find(|l| !l.is_empty()));
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        writeln!(text, "{label:<10} {value}").expect("strings take everything");
    };
    line("name", first_line(TextKey::Name).unwrap_or("unnamed"));
    line("origin", first_line(TextKey::Provenance).unwrap_or("unknown"));
    for adapter in adapters(&file) {
        line("adapter", adapter);
    }
    line("licence", first_line(TextKey::Licence).unwrap_or("unknown").trim());
    let size = Bytes(model.file_bytes() as u64);
    line("file", &format!("{size}, {} bytes, version {}", model.file_bytes(), file.version()));
    line("signature", &signed(&file, is_checked));
    let read = model.read_bytes_per_token();
    line("token", &format!("reads {}, {read} bytes", Bytes(read as u64)));
    line("weights", &format!("{:.1} million", config.parameters() as f64 / 1e6));
    line(
        "layers",
        &format!(
            "{} × hidden {}, ffn {}, {} heads of {}, {} key-value heads",
            config.layers,
            config.hidden,
            config.ffn,
            config.heads,
            config.head_dim,
            config.kv_heads
        ),
    );
    let head = if config.tied == 1 { "shares the embedding" } else { "has its own matrix" };
    line("vocabulary", &format!("{} tokens; the head {head}", config.vocab_size));
    let own = if file.rotary_frequencies().is_some() { ", frequencies of its own" } else { "" };
    let (context, theta) = (config.max_context, config.rope_theta);
    line("context", &format!("{context} positions, rope theta {theta}{own}"));
    let chat = match (file.text(TextKey::ChatTemplate), file.text(TextKey::ChatFrame)) {
        (_, Some(_)) => "yes",
        (Some(_), None) => "yes, but not in the C library: the file has no frame",
        (None, None) => "no",
    };
    line("chat", chat);
    text.push_str(&tensor_table(&file));
    text
}

/// One line for all tensors of a role and number format.
fn tensor_table(file: &File<'_>) -> String {
    let mut groups: BTreeMap<(u16, &str), Vec<&Record>> = BTreeMap::new();
    for (role, _, record) in tensors(file) {
        groups.entry((role as u16, kind(record).name())).or_default().push(record);
    }
    let mut table = format!(
        "\n{:<10} {:>5} {:<5} {:>15} {:>11} {:>10} {:>14}\n",
        "tensor", "count", "type", "shape", "bits/weight", "bytes", "relative error"
    );
    for ((role, kind), records) in groups {
        let name = tensors(file).find(|t| t.0 as u16 == role).map_or("", |t| t.0.name());
        let first = records[0];
        let total: u64 = records.iter().map(|record| bytes(record)).sum();
        let error: f32 =
            records.iter().map(|r| r.relative_error).sum::<f32>() / records.len() as f32;
        writeln!(
            table,
            "{name:<10} {:>5} {kind:<5} {:>15} {:>11.2} {:>10} {error:>14.6}",
            records.len(),
            format!("{} × {}", first.rows, first.cols),
            bits_per_weight(first),
            Bytes(total)
        )
        .expect("strings take everything");
    }
    table
}

/// Who has signed what, as far as that is known.
fn signed(file: &File<'_>, is_checked: bool) -> String {
    let Some(signature) = file.signature() else { return "none".to_owned() };
    let (id, version, key) = (signature.model_id(), signature.version(), signature.key_id());
    let verdict = if is_checked { "right" } else { "not checked, which needs --require-key" };
    format!("{id}, version {version}, by key {key}: {verdict}")
}

fn document(model: &Model, verified: bool, is_checked: bool) -> Value {
    let (file, config) = (model.file(), model.config());
    let tensor = |(role, layer, record): (Role, u16, &Record)| {
        json!({
            "name": tensor::name(role, layer).to_string(), "type": kind(record).name(),
            "group": record.group, "rows": record.rows, "cols": record.cols,
            "offset": record.offset, "bytes": bytes(record),
            "bits_per_weight": bits_per_weight(record), "relative_error": record.relative_error,
        })
    };
    let section = |section: &kinglet_quant::file::Section| {
        let name = SECTIONS.iter().find(|s| s.0 as u32 == section.kind).map(|s| s.1);
        json!({
            "name": name, "offset": section.offset, "bytes": section.bytes,
            "sha256": units::hex(&section.sha256),
        })
    };
    json!({
        "version": file.version(),
        "file_bytes": model.file_bytes(),
        "read_bytes_per_token": model.read_bytes_per_token(),
        "verified": verified,
        "signature": file.signature().map(|signature| json!({
            "model_id": signature.model_id(), "version": signature.version(),
            "key_id": signature.key_id().to_string(), "checked": is_checked,
        })),
        "name": file.text(TextKey::Name),
        "provenance": file.text(TextKey::Provenance),
        "adapters": adapters(&file).collect::<Vec<_>>(),
        "licence": file.text(TextKey::Licence),
        "chat_template": file.text(TextKey::ChatTemplate),
        "chat_frame": file.text(TextKey::ChatFrame),
        "parameters": config.parameters(),
        "config": {
            "vocab_size": config.vocab_size, "hidden": config.hidden, "layers": config.layers,
            "heads": config.heads, "kv_heads": config.kv_heads, "head_dim": config.head_dim,
            "ffn": config.ffn, "max_context": config.max_context,
            "rope_theta": config.rope_theta, "rms_eps": config.rms_eps,
            "tied": config.tied == 1, "eos": config.eos_tokens(),
        },
        "sections": file.sections().iter().map(section).collect::<Vec<_>>(),
        "tensors": tensors(&file).map(tensor).collect::<Vec<_>>(),
    })
}
