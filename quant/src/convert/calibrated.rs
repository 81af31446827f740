//! Layers that are re-scaled and rounded for the inputs that calibration has seen.

use super::kept::{self, Kept};
use super::vector_bytes;
use crate::arrange::Step;
use crate::calibrate::gptq::{self, Errors};
use crate::calibrate::metric::{DAMPING, Metric};
use crate::calibrate::moments::{LayerMoments, Moments};
use crate::calibrate::smooth::{self, Layer};
use crate::format::{ALIGN, TILE_ROWS};
use crate::quantize::{Scheme, Tiles};
use crate::source::Source;
use crate::{Result, Role};

/// Vocabulary matrices with codes of so many bits or more are rounded to the nearest code.
const PLAIN_BITS: usize = 8;
/// Rows of a tied matrix are embeddings too, whose errors count in every direction. On
/// SmolLM2-135M the KL divergence is least at this value, and changes by 2% from 0.02 to 0.4.
const TIED_DAMPING: f32 = 0.1;

/// Gives the moments of the matrices' inputs.
pub trait Calibration {
    /// Those of a layer. Layers are asked for in ascending order, each once at most.
    fn layer(&mut self, layer: u16) -> Result<LayerMoments>;

    /// Those of what the head reads.
    fn head(&mut self) -> Result<Moments>;
}

/// A source seen through its calibration.
pub(super) struct Calibrated<'a> {
    source: &'a Source,
    calibration: &'a mut dyn Calibration,
    kept: Option<Kept>,
    threads: usize,
}

impl<'a> Calibrated<'a> {
    pub fn new(
        source: &'a Source,
        calibration: &'a mut dyn Calibration,
        kept: Option<Kept>,
        threads: usize,
    ) -> Self {
        Self { source, calibration, kept, threads }
    }

    /// A layer as it goes into the file; one that was finished before is not computed again.
    pub fn layer(&mut self, steps: &[Step]) -> Result<kept::Layer> {
        let number = steps[0].layer;
        let bytes = steps.iter().map(|step| self.step_bytes(step)).sum();
        let tensors = steps.iter().map(|step| step.tensors.len()).sum();
        let kept = self.kept.as_ref().and_then(|kept| kept.load(number, bytes, tensors));
        if let Some(layer) = kept {
            return Ok(layer);
        }
        let layer = self.round(steps)?;
        assert_eq!(layer.bytes.len(), bytes);
        if let Some(kept) = &self.kept {
            kept.save(number, &layer)?;
        }
        Ok(layer)
    }

    fn step_bytes(&self, step: &Step) -> usize {
        let (role, _) = step.tensors[0];
        let (rows, cols) = role.shape(self.source.config());
        match role.is_vector() {
            true => (cols * size_of::<f32>()).next_multiple_of(ALIGN),
            false => rows.div_ceil(TILE_ROWS) * step.stride,
        }
    }

    /// Re-scales and rounds a layer.
    fn round(&mut self, steps: &[Step]) -> Result<kept::Layer> {
        let number = steps[0].layer;
        let config = self.source.config();
        let moments = self.calibration.layer(number)?;
        let mut layer = Layer::load(self.source, number)?;
        let schemes = |role| {
            let mut tensors = steps.iter().flat_map(|step| &step.tensors);
            tensors.find(|(other, _)| *other == role).expect("a layer has every matrix").1
        };
        let folds = smooth::search(&layer, &moments, &schemes, self.threads);
        layer.fold(&folds);
        let metrics = [
            Metric::new(&moments.attention, &folds.attention, DAMPING),
            Metric::new(&moments.output, &folds.output_factors(config), DAMPING),
            Metric::new(&moments.feed_forward, &folds.feed_forward, DAMPING),
            Metric::new(&moments.down, &folds.up, DAMPING),
        ];
        drop(moments);
        let metric = |role| match role {
            Role::Q | Role::K | Role::V => &metrics[0],
            Role::O => &metrics[1],
            Role::Gate | Role::Up => &metrics[2],
            _ => &metrics[3],
        };
        let (mut bytes, mut errors) = (Vec::new(), Vec::new());
        for step in steps {
            let start = bytes.len();
            if let [(role, _)] = step.tensors[..]
                && role.is_vector()
            {
                bytes.extend(vector_bytes(layer.tensor(role)));
                errors.push(Errors::default());
                continue;
            }
            bytes.resize(start + self.step_bytes(step), 0);
            let mut offset = start;
            for &(role, scheme) in &step.tensors {
                let metric = metric(role);
                let out = &mut bytes[offset..];
                let tiles = Tiles { bytes: out, stride: step.stride, low: &mut [] };
                errors.push(gptq::encode(&scheme, layer.tensor(role), metric, self.threads, tiles));
                offset += scheme.layout(metric.cols()).bytes;
            }
        }
        Ok(kept::Layer { bytes, errors })
    }

    /// The metric of what a vocabulary matrix reads, for schemes that it helps. Nothing reads an
    /// embedding that is not the head, too.
    pub fn vocabulary_metric(&mut self, role: Role, scheme: &Scheme) -> Result<Option<Metric>> {
        let is_tied = self.source.config().tied != 0;
        if scheme.code_bits() >= PLAIN_BITS || (role == Role::Embedding && !is_tied) {
            return Ok(None);
        }
        let moments = self.calibration.head()?;
        let damping = if is_tied { TIED_DAMPING } else { DAMPING };
        Ok(Some(Metric::new(&moments, &vec![1.0; moments.width()], damping)))
    }
}
