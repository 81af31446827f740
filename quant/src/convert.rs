//! From a checkpoint to a weight file.

#[cfg(test)]
mod tests;

use crate::arrange::{Arrangement, Step, scheme, tensor_bytes};
use crate::file::TextKey;
use crate::format::{ALIGN, TILE_ROWS, Type};
use crate::quantize::{Power, Tiles, encode};
use crate::source::Source;
use crate::tensor;
use crate::write::{Writer, text_section};
use crate::{Code, Result, Role, ensure};
use std::ops::ControlFlow;
use std::path::Path;

/// Weights of one tensor that are in memory at a time (32 MiB).
const CHUNK_WEIGHTS: usize = 8 << 20;

/// What to make.
#[derive(Clone, Debug)]
pub struct Options {
    /// The number format; see [`scheme`] for what it means for each tensor.
    pub kind: Type,
    /// Threads that encode; the result does not depend on it.
    pub threads: usize,
    /// The model's name, where the checkpoint's own is not wanted.
    pub name: Option<String>,
    /// The text of the licence, where the checkpoint has not got it.
    pub licence: Option<String>,
}

impl Options {
    /// The checkpoint's own name and licence.
    pub fn new(kind: Type, threads: usize) -> Self {
        Self { kind, threads, name: None, licence: None }
    }
}

/// How far a conversion is.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// The tensor that was worked on last.
    pub tensor: &'a str,
    /// Bytes of weights written.
    pub done: u64,
    /// Bytes of weights to write.
    pub total: u64,
}

/// One tensor of a finished conversion.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// As [`tensor::name`] has it.
    pub name: String,
    /// How it is stored.
    pub kind: Type,
    /// Output width; 1 for norms.
    pub rows: usize,
    /// Input width.
    pub cols: usize,
    /// Bytes with scales and padding.
    pub bytes: u64,
    /// Root of the error's power over the weights' power.
    pub relative_error: f32,
}

/// What a conversion has made.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Every tensor in the order of the records.
    pub rows: Vec<Row>,
    /// Bytes of the file.
    pub file_bytes: u64,
}

impl Row {
    /// Bits that a weight takes on average.
    pub fn bits_per_weight(&self) -> f64 {
        self.bytes as f64 * 8.0 / (self.rows * self.cols) as f64
    }
}

/// Converts a checkpoint. The same checkpoint and options give the same bytes.
///
/// `progress` is called after every few MiB; when it breaks, the conversion ends with
/// `Interrupted`. A failed conversion leaves nothing behind, and a file that was at `output` before
/// stays as it was.
pub fn convert(
    source: &Source,
    output: &Path,
    options: &Options,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Report> {
    let config = source.config();
    let Arrangement { mut records, steps, bytes } = Arrangement::new(config, options.kind);
    let text = make_text(source, options);
    let writer = Writer::create(output, config, source.tokenizer().to_section(), text)?;
    let threads = options.threads;
    let mut conversion = Conversion { source, threads, total: bytes, writer, progress };
    for step in &steps {
        let powers = conversion.run(step)?;
        for (&(role, layer), power) in step.tensors.iter().zip(powers) {
            records[tensor::index(config, role, layer)].relative_error = power.relative_error();
        }
    }
    let file_bytes = conversion.writer.finish(&records)?;
    let rows = tensor::order(config).zip(&records);
    let rows = rows.map(|((role, layer), record)| Row {
        name: tensor::name(role, layer).to_string(),
        kind: scheme(options.kind, role).kind(),
        rows: record.rows as usize,
        cols: record.cols as usize,
        bytes: tensor_bytes(record, role, &scheme(options.kind, role)),
        relative_error: record.relative_error,
    });
    Ok(Report { rows: rows.collect(), file_bytes })
}

/// The `TEXT` section.
fn make_text(source: &Source, options: &Options) -> Vec<u8> {
    let texts = source.texts();
    let provenance = format!(
        "Converted from {} to {}{} by Kinglet {}.",
        texts.origin,
        options.kind.name(),
        if source.is_folded() { ", channels re-scaled," } else { "" },
        env!("CARGO_PKG_VERSION")
    );
    let entries = [
        (TextKey::Name, Some(options.name.as_ref().unwrap_or(&texts.name))),
        (TextKey::ChatTemplate, texts.chat_template.as_ref()),
        (TextKey::Licence, options.licence.as_ref().or(texts.licence.as_ref())),
        (TextKey::Provenance, Some(&provenance)),
        (TextKey::GenerationConfig, texts.generation_config.as_ref()),
    ];
    let present = entries.iter().filter_map(|&(key, text)| Some((key, text?.as_str())));
    text_section(&present.collect::<Vec<_>>())
}

/// A conversion under way.
struct Conversion<'a> {
    source: &'a Source,
    threads: usize,
    total: u64,
    writer: Writer,
    progress: &'a mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
}

impl Conversion<'_> {
    /// Reads, encodes and writes the tensors of a step; returns their errors.
    fn run(&mut self, step: &Step) -> Result<Vec<Power>> {
        let (role, layer) = step.tensors[0];
        if role.is_norm() {
            return self.norm(role, layer);
        }
        let (rows, cols) = role.shape(self.source.config());
        let layout = step.scheme.layout(cols);
        let stride = layout.bytes * step.tensors.len();
        let chunk_rows = (CHUNK_WEIGHTS / cols / TILE_ROWS).max(1) * TILE_ROWS;
        let (mut weights, mut out) = (Vec::new(), Vec::new());
        // Follows when all tiles are written, so it stays in memory: half a byte for each weight.
        let mut low_plane = vec![0; rows.div_ceil(TILE_ROWS) * layout.low];
        let mut powers = vec![Power::default(); step.tensors.len()];
        for start in (0..rows).step_by(chunk_rows) {
            let chunk = start..rows.min(start + chunk_rows);
            out.resize(chunk.len().div_ceil(TILE_ROWS) * stride, 0);
            for (i, &(role, layer)) in step.tensors.iter().enumerate() {
                self.source.load_rows(role, layer, chunk.clone(), &mut weights)?;
                let low = start / TILE_ROWS * layout.low;
                let low = low..low + chunk.len().div_ceil(TILE_ROWS) * layout.low;
                let bytes = &mut out[i * layout.bytes..];
                let tiles = Tiles { bytes, stride, low: &mut low_plane[low] };
                powers[i] += encode(&step.scheme, &weights, cols, None, self.threads, tiles);
            }
            self.writer.write(&out)?;
            self.report(role, layer)?;
        }
        if !low_plane.is_empty() {
            self.writer.write(&low_plane)?;
            self.report(role, layer)?;
        }
        Ok(powers)
    }

    fn norm(&mut self, role: Role, layer: u16) -> Result<Vec<Power>> {
        let gains = self.source.load(role, layer)?;
        let mut bytes = bytemuck::cast_slice::<f32, u8>(&gains).to_vec();
        bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
        self.writer.write(&bytes)?;
        self.report(role, layer)?;
        Ok(vec![Power::default()])
    }

    fn report(&mut self, role: Role, layer: u16) -> Result<()> {
        let tensor = &tensor::name(role, layer).to_string();
        let progress = Progress { tensor, done: self.writer.weights_bytes(), total: self.total };
        ensure!(
            (self.progress)(progress).is_continue(),
            Code::Interrupted,
            "the conversion was interrupted: nothing has been written"
        );
        Ok(())
    }
}
