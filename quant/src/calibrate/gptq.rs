//! Rounding that keeps the outputs close, not the weights, on the inputs of the calibration.
//!
//! The scales of all groups are searched first, with errors weighted by the size of each column's
//! inputs. Then columns are rounded one after the other, and each makes up for the errors of those
//! before it (GPTQ in its LDLQ form). Finally coordinate descent improves codes and scales together
//! in a few passes ([`descent`]). Tiles do not depend on each other.

mod descent;
#[cfg(test)]
mod tests;

use crate::calibrate::metric::Metric;
use crate::fold::multiply_columns;
use crate::format::TILE_ROWS;
use crate::quantize::codes::{Codes, inverse};
use crate::quantize::pack::{Packer, Row};
use crate::quantize::{Job, Power, Scheme, Tiles, UseCodes, deal, jobs, scales};
use bytemuck::{Pod, Zeroable};
use pulp::{Simd, WithSimd};
use std::array;
use std::ops::AddAssign;

/// One value for each row of a tile.
type Lanes = [f32; TILE_ROWS];
/// Sums that run side by side, to hide the latency of additions.
const CHAINS: usize = 4;

/// One of so many tiles is used to try factors.
const TRIED: usize = 8;

/// 16 rows on their way to codes. Scales and integers are whole numbers in floats.
pub(crate) struct Tile {
    row_scales: Lanes,
    /// `[groups]`.
    group_scales: Vec<Lanes>,
    /// `[cols]`.
    integers: Vec<Lanes>,
}

/// Rounds a matrix for inputs with this metric; otherwise as [`crate::quantize::encode`].
pub(crate) fn encode(
    scheme: &Scheme,
    weights: &[f32],
    metric: &Metric,
    threads: usize,
    out: Tiles<'_>,
) -> Errors {
    let cols = metric.cols();
    let silence = vec![0.0; cols];
    let packer = Packer::new(*scheme, cols);
    let importance = metric.diagonal();
    let jobs = jobs(scheme, weights, cols, out).into_iter();
    let mut jobs: Vec<_> = jobs.map(|job| (job, Power::default())).collect();
    deal(&mut jobs, threads, |(job, outputs)| {
        let task = Task { scheme, metric, importance: &importance, rows: job.rows, descend: true };
        let tile = scheme.with_codes(task);
        pack(&tile, &packer, job);
        *outputs = tile.outputs(metric, job.rows, &silence);
    });
    let mut errors = Errors::default();
    for (job, outputs) in jobs {
        errors += Errors { weights: job.power, outputs };
    }
    errors
}

/// The errors that rounding made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Errors {
    pub weights: Power,
    /// Of the outputs on the calibration's inputs.
    pub outputs: Power,
}

impl AddAssign for Errors {
    fn add_assign(&mut self, other: Self) {
        self.weights += other.weights;
        self.outputs += other.outputs;
    }
}

/// The errors in the outputs of some rows when their columns are multiplied by `factors` and
/// rounded, and every input, which has this metric, has an error of the power `noise`.
pub(crate) fn try_rows(
    scheme: &Scheme,
    weights: &[f32],
    factors: &[f32],
    metric: &Metric,
    noise: &[f32],
    threads: usize,
) -> Power {
    let importance = metric.diagonal();
    let tiles = weights.chunks(TILE_ROWS * metric.cols()).step_by(TRIED);
    let mut trials: Vec<(&[f32], Power)> = tiles.map(|rows| (rows, Power::default())).collect();
    deal(&mut trials, threads, |(rows, power)| {
        let mut rows = rows.to_vec();
        multiply_columns(&mut rows, factors);
        let (rows, importance) = (&rows[..], &importance[..]);
        let tile = scheme.with_codes(Task { scheme, metric, importance, rows, descend: false });
        *power = tile.outputs(metric, rows, noise);
    });
    let mut sum = Power::default();
    trials.into_iter().for_each(|(_, power)| sum += power);
    sum
}

/// Rounds the weights of up to 16 rows.
struct Task<'a> {
    scheme: &'a Scheme,
    metric: &'a Metric,
    importance: &'a [f32],
    rows: &'a [f32],
    descend: bool,
}

impl UseCodes for Task<'_> {
    type Output = Tile;

    fn run<C: Codes>(self, codes: &C) -> Tile {
        pulp::Arch::new().dispatch(Rounding { task: self, codes })
    }
}

/// A task with its codes, to be compiled for the instructions of this machine.
struct Rounding<'a, C> {
    task: Task<'a>,
    codes: &'a C,
}

impl<C: Codes> WithSimd for Rounding<'_, C> {
    type Output = Tile;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Tile {
        let Self { task: Task { scheme, metric, importance, rows, descend }, codes } = self;
        let mut tile = Tile::new(codes, scheme.group(), rows, importance);
        tile.round(simd, codes, metric, rows);
        if descend {
            descent::descend(simd, &mut tile, codes, metric, rows);
        }
        tile
    }
}

/// What [`Tile::outputs`] computes.
struct Outputs<'a> {
    tile: &'a Tile,
    metric: &'a Metric,
    rows: &'a [f32],
    noise: &'a [f32],
}

impl WithSimd for Outputs<'_> {
    type Output = Power;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Power {
        let Self { tile, metric, rows, noise } = self;
        let cols = metric.cols();
        let weights: Vec<Lanes> = (0..cols).map(|col| column(rows, cols, col)).collect();
        let mut errors = vec![[0f32; TILE_ROWS]; cols];
        let mut outputs = Power::default();
        for col in 0..cols {
            for r in 0..TILE_ROWS {
                let stored = tile.stored(r, col);
                errors[col][r] = weights[col][r] - stored;
                outputs.error += f64::from(noise[col] * stored * stored);
            }
        }
        for col in 0..cols {
            let error = weighted_sum(simd, &errors, metric.row(col));
            let exact = weighted_sum(simd, &weights, metric.row(col));
            for r in 0..TILE_ROWS {
                outputs.error += f64::from(errors[col][r] * error[r]);
                outputs.exact += f64::from(weights[col][r] * exact[r]);
            }
        }
        outputs
    }
}

impl Tile {
    /// Scales without codes.
    #[inline(always)]
    fn new<C: Codes>(codes: &C, width: usize, rows: &[f32], importance: &[f32]) -> Self {
        let cols = importance.len();
        let mut tile = Self {
            row_scales: [0.0; TILE_ROWS],
            group_scales: vec![[0.0; TILE_ROWS]; cols / width],
            integers: vec![[0.0; TILE_ROWS]; cols],
        };
        for (r, row) in rows.chunks_exact(cols).enumerate() {
            // Rows without scales stay zero.
            if let Some((row_scale, scales)) = scales(codes, width, row, importance) {
                tile.row_scales[r] = row_scale;
                tile.group_scales.iter_mut().zip(scales).for_each(|(lanes, s)| lanes[r] = s);
            }
        }
        tile
    }

    /// Columns that share a scale.
    #[inline(always)]
    fn width(&self) -> usize {
        self.integers.len() / self.group_scales.len()
    }

    /// The weight that is stored at row `r`, column `col`.
    #[inline(always)]
    fn stored(&self, r: usize, col: usize) -> f32 {
        self.row_scales[r] * self.group_scales[col / self.width()][r] * self.integers[col][r]
    }

    /// The errors in the outputs of `rows` when every input has an error of the power `noise`.
    fn outputs(&self, metric: &Metric, rows: &[f32], noise: &[f32]) -> Power {
        pulp::Arch::new().dispatch(Outputs { tile: self, metric, rows, noise })
    }

    /// Rounds column by column in the order of the metric.
    #[inline(always)]
    fn round<S: Simd, C: Codes>(&mut self, simd: S, codes: &C, metric: &Metric, rows: &[f32]) {
        let (cols, width) = (metric.cols(), self.width());
        let mut errors: Vec<Lanes> = Vec::with_capacity(cols);
        for (k, &col) in metric.order().iter().enumerate() {
            let made_up = weighted_sum(simd, &errors, metric.feedback(k));
            let group = &self.group_scales[col / width];
            let mut error = column(rows, cols, col);
            for r in 0..TILE_ROWS {
                let scale = self.row_scales[r] * group[r];
                let code = codes.nearest((error[r] + made_up[r]) * inverse(scale));
                self.integers[col][r] = code;
                error[r] -= scale * code;
            }
            errors.push(error);
        }
    }
}

/// One weight of every row; zeros for rows that are not there.
#[inline(always)]
fn column(rows: &[f32], cols: usize, col: usize) -> Lanes {
    array::from_fn(|r| rows.get(r * cols + col).copied().unwrap_or(0.0))
}

/// `Σ_i factors[i] · lanes[i]`.
#[inline(always)]
fn weighted_sum<S: Simd>(simd: S, lanes: &[Lanes], factors: &[f32]) -> Lanes {
    let mut out = [0f32; TILE_ROWS];
    let (chunks, rest) = lanes.as_chunks::<CHAINS>();
    let (factor_chunks, factor_rest) = factors.as_chunks::<CHAINS>();
    for (part, out) in S::as_mut_simd_f32s(&mut out).0.iter_mut().enumerate() {
        let lanes_of = |lanes: &Lanes| S::as_simd_f32s(lanes).0[part];
        let mut sums = [simd.splat_f32s(0.0); CHAINS];
        for (lanes, factors) in chunks.iter().zip(factor_chunks) {
            for chain in 0..CHAINS {
                let factor = simd.splat_f32s(factors[chain]);
                sums[chain] = simd.mul_add_f32s(lanes_of(&lanes[chain]), factor, sums[chain]);
            }
        }
        for (lanes, &factor) in rest.iter().zip(factor_rest) {
            sums[0] = simd.mul_add_f32s(lanes_of(lanes), simd.splat_f32s(factor), sums[0]);
        }
        let [a, b, c, d] = sums;
        *out = simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d));
    }
    out
}

/// Writes a tile and measures its errors.
fn pack(tile: &Tile, packer: &Packer, job: &mut Job<'_>) {
    let cols = tile.integers.len();
    job.place.tile.fill(0);
    job.place.low.fill(0);
    for (r, row) in job.rows.chunks_exact(cols).enumerate() {
        for (col, &weight) in row.iter().enumerate() {
            job.power.add(weight, tile.stored(r, col));
        }
        if tile.row_scales[r] > 0.0 {
            let bytes = |lanes: &[Lanes]| lanes.iter().map(|lanes| lanes[r] as i8).collect();
            let row = Row {
                row_scale: tile.row_scales[r],
                group_scales: bytes(&tile.group_scales),
                integers: bytes(&tile.integers),
            };
            packer.put(r, &row, &mut job.place);
        }
    }
}
