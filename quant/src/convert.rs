//! From a checkpoint to a weight file.

mod calibrated;
mod kept;
#[cfg(test)]
mod tests;

use crate::arrange::{Arrangement, Mix, Step, tensor_bytes};
use crate::calibrate::gptq::{self, Errors};
use crate::file::TextKey;
use crate::format::{ALIGN, TILE_ROWS, Type};
use crate::quantize::{Power, Tiles, encode};
use crate::source::{Merged, Source};
use crate::template::SpecialTexts;
use crate::tensor::{self, NO_LAYER};
use crate::write::{Writer, text_section};
use crate::{Code, Result, Role, ensure};
use calibrated::Calibrated;
pub use calibrated::Calibration;
use kept::Kept;
use std::ops::ControlFlow;
use std::path::Path;

/// Weights of one tensor that are in memory at a time (32 MiB).
const CHUNK_WEIGHTS: usize = 8 << 20;

/// What to make.
#[derive(Clone, Debug)]
pub struct Options {
    /// How tensors are stored.
    pub mix: Mix,
    /// Threads that encode; the result does not depend on it.
    pub threads: usize,
    /// The model's name, where the checkpoint's own is not wanted.
    pub name: Option<String>,
    /// The text of the licence, where the checkpoint has none.
    pub licence: Option<String>,
}

impl Options {
    /// The checkpoint's own name and licence.
    pub fn new(mix: impl Into<Mix>, threads: usize) -> Self {
        Self { mix: mix.into(), threads, name: None, licence: None }
    }
}

/// How far a conversion has come.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// The tensor that was worked on last.
    pub tensor: &'a str,
    /// Bytes of weights written.
    pub done: u64,
    /// Bytes of weights to write.
    pub total: u64,
}

impl Progress<'_> {
    /// The share of the bytes that is written.
    pub fn share(&self) -> f64 {
        self.done as f64 / self.total.max(1) as f64
    }
}

/// One tensor of a finished conversion.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What the tensor does in the model.
    pub role: Role,
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
    /// The same of the outputs on the calibration's inputs; 0 where nothing was calibrated.
    pub output_error: f32,
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

/// Converts a checkpoint, rounding every weight to the nearest code. The same checkpoint and
/// options give the same bytes.
///
/// `progress` is called after every few MiB; when it returns `Break`, the conversion ends with
/// `Interrupted`. A failed conversion leaves nothing behind, and a file that was at `output` before
/// stays as it was.
pub fn convert(
    source: &Source,
    output: &Path,
    options: &Options,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Report> {
    run(source, output, options, None, progress)
}

/// [`convert`] that re-scales channels and rounds weights so that the model computes nearly the
/// same on the inputs that `calibration` has seen.
///
/// Finished layers stay in the folder `kept`, which must exist; those that are there, of the same
/// source, options and calibration, are not computed again.
pub fn convert_calibrated(
    source: &Source,
    output: &Path,
    options: &Options,
    calibration: &mut dyn Calibration,
    kept: Option<&Path>,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Report> {
    let kept = kept.map(Kept::new);
    let calibrated = Calibrated::new(source, calibration, kept, options.threads);
    run(source, output, options, Some(calibrated), progress)
}

fn run<'a>(
    source: &'a Source,
    output: &Path,
    options: &Options,
    calibrated: Option<Calibrated<'a>>,
    progress: &'a mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Report> {
    let config = source.config();
    let Arrangement { mut records, steps, bytes } = Arrangement::new(config, &options.mix);
    let text = make_text(source, options, calibrated.is_some());
    let writer = Writer::create(output, config, source.tokenizer().to_section(), text)?;
    let threads = options.threads;
    let mut conversion = Conversion { source, threads, total: bytes, writer, calibrated, progress };
    let mut output_errors = vec![0.0; records.len()];
    for part in steps.chunk_by(|a, b| a.layer == b.layer) {
        let errors = conversion.part(part)?;
        let tensors = part.iter().flat_map(|step| &step.tensors);
        for (&(role, _), errors) in tensors.zip(errors) {
            let index = tensor::index(config, role, part[0].layer);
            records[index].relative_error = errors.weights.relative_error();
            output_errors[index] = errors.outputs.relative_error();
        }
    }
    let file_bytes = conversion.writer.finish(&records)?;
    let rows = tensor::order(config).zip(records.iter().zip(output_errors));
    let rows = rows.map(|((role, layer), (record, output_error))| Row {
        role,
        name: tensor::name(role, layer).to_string(),
        kind: options.mix.scheme(role).kind(),
        rows: record.rows as usize,
        cols: record.cols as usize,
        bytes: tensor_bytes(record, role, &options.mix.scheme(role)),
        relative_error: record.relative_error,
        output_error,
    });
    Ok(Report { rows: rows.collect(), file_bytes })
}

/// The frame of the checkpoint's chat template, and the special tokens of one that has no frame.
fn chat_texts(source: &Source) -> (Option<String>, Option<String>) {
    // What is wrong with a template, the source's notes say.
    let Some(Ok(template)) = source.chat_template() else { return (None, None) };
    let frame = template.reduce();
    if frame.is_some() {
        return (frame, None);
    }
    log::warn!("the chat template has no frame: the C library cannot write conversations");
    (None, source.texts().specials.as_ref().map(SpecialTexts::to_text))
}

/// The `TEXT` section.
fn make_text(source: &Source, options: &Options, is_calibrated: bool) -> Vec<u8> {
    let texts = source.texts();
    let adapters: Vec<String> = source.adapters().map(Merged::to_string).collect();
    let provenance = format!(
        "Converted from {}{} to {}{} by Kinglet {}.",
        texts.origin,
        match adapters.len() {
            0 => String::new(),
            1 => ", an adapter merged,".to_owned(),
            count => format!(", {count} adapters merged,"),
        },
        options.mix.preset().name(),
        match (is_calibrated, source.is_folded()) {
            (true, _) => ", calibrated,",
            (false, true) => ", channels re-scaled,",
            (false, false) => "",
        },
        env!("CARGO_PKG_VERSION")
    );
    let (frame, specials) = chat_texts(source);
    let adapters = (!adapters.is_empty()).then(|| adapters.join("\n"));
    let entries = [
        (TextKey::Name, Some(options.name.as_ref().unwrap_or(&texts.name))),
        (TextKey::ChatTemplate, texts.chat_template.as_ref()),
        (TextKey::Licence, options.licence.as_ref().or(texts.licence.as_ref())),
        (TextKey::Provenance, Some(&provenance)),
        (TextKey::GenerationConfig, texts.generation_config.as_ref()),
        (TextKey::ChatFrame, frame.as_ref()),
        (TextKey::Adapters, adapters.as_ref()),
        (TextKey::SpecialTexts, specials.as_ref()),
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
    calibrated: Option<Calibrated<'a>>,
    progress: &'a mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
}

impl Conversion<'_> {
    /// Encodes and writes the steps of a layer, or what belongs to none; returns the errors of
    /// their tensors.
    fn part(&mut self, steps: &[Step]) -> Result<Vec<Errors>> {
        let layer = steps[0].layer;
        match &mut self.calibrated {
            Some(calibrated) if layer != NO_LAYER => {
                let kept::Layer { bytes, errors } = calibrated.layer(steps)?;
                self.writer.write(&bytes)?;
                self.report(steps[steps.len() - 1].tensors[0].0, layer)?;
                Ok(errors)
            }
            _ => {
                let errors = steps.iter().map(|step| self.step(step));
                Ok(errors.collect::<Result<Vec<_>>>()?.concat())
            }
        }
    }

    /// Reads, encodes and writes the tensors of a step; returns their errors.
    fn step(&mut self, step: &Step) -> Result<Vec<Errors>> {
        let (first, scheme) = step.tensors[0];
        if first.is_vector() {
            return self.vector(first, step.layer);
        }
        let (rows, cols) = first.shape(self.source.config());
        let metric = match &mut self.calibrated {
            Some(calibrated) => calibrated.vocabulary_metric(first, &scheme)?,
            None => None,
        };
        let chunk_rows = (CHUNK_WEIGHTS / cols / TILE_ROWS).max(1) * TILE_ROWS;
        let (mut weights, mut out) = (Vec::new(), Vec::new());
        // It comes after all tiles, so it stays in memory until then: half a byte per weight.
        let mut low_plane = vec![0; rows.div_ceil(TILE_ROWS) * scheme.layout(cols).low];
        let mut all = vec![Errors::default(); step.tensors.len()];
        for start in (0..rows).step_by(chunk_rows) {
            let chunk = start..rows.min(start + chunk_rows);
            out.resize(chunk.len().div_ceil(TILE_ROWS) * step.stride, 0);
            let mut offset = 0;
            for (&(role, scheme), errors) in step.tensors.iter().zip(&mut all) {
                let layout = scheme.layout(cols);
                self.source.load_rows(role, step.layer, chunk.clone(), &mut weights)?;
                let low = start / TILE_ROWS * layout.low;
                let low = low..low + chunk.len().div_ceil(TILE_ROWS) * layout.low;
                let bytes = &mut out[offset..];
                let tiles = Tiles { bytes, stride: step.stride, low: &mut low_plane[low] };
                *errors += match &metric {
                    Some(metric) => gptq::encode(&scheme, &weights, metric, self.threads, tiles),
                    None => {
                        let weights = encode(&scheme, &weights, cols, None, self.threads, tiles);
                        Errors { weights, outputs: Power::default() }
                    }
                };
                offset += layout.bytes;
            }
            self.writer.write(&out)?;
            self.report(first, step.layer)?;
        }
        if !low_plane.is_empty() {
            self.writer.write(&low_plane)?;
            self.report(first, step.layer)?;
        }
        Ok(all)
    }

    fn vector(&mut self, role: Role, layer: u16) -> Result<Vec<Errors>> {
        let values = self.source.load(role, layer)?;
        self.writer.write(&vector_bytes(&values))?;
        self.report(role, layer)?;
        Ok(vec![Errors::default()])
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

/// A vector with the padding behind it.
fn vector_bytes(values: &[f32]) -> Vec<u8> {
    let mut bytes = bytemuck::cast_slice::<f32, u8>(values).to_vec();
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
    bytes
}
