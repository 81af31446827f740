//! Encoding of weights into tiles: round-to-nearest with a search over the scales.
//!
//! A quantized weight is `row_scale × group_scale × code` (f32 × int8 × table entry). For each group
//! the scale is searched that makes the error smallest when every weight takes its nearest code, then
//! it is snapped to the int8 grid of its row. The error is weighted by the columns' importance, which
//! is where calibration comes in. Tiles are independent of each other, so the result does not depend
//! on the number of threads.

use crate::format::{BLOCK, LINEAR, MAX_CODE, TILE_ROWS, TileLayout, Type, q4_index, q8_index};
use half::bf16;
use std::ops::AddAssign;

/// Largest group scale.
const MAX_GROUP_SCALE: f32 = 127.0;
/// Largest magnitude of a Q8 code.
const MAX_Q8: f32 = 127.0;
/// Scales tried for a group, of both signs: the largest weight is mapped onto the last code times
/// `FIRST_FACTOR`, `FIRST_FACTOR + FACTOR_STEP` and so on.
const CANDIDATES: usize = 2 * 16;
const FIRST_FACTOR: f32 = 0.70;
const FACTOR_STEP: f32 = 0.03;

/// How a matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scheme {
    kind: Type,
    group: usize,
    table: [i8; 16],
}

/// Squared error and squared weights, summed over a tensor or a part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Power {
    /// Σ (stored − weight)².
    pub error: f64,
    /// Σ weight².
    pub weight: f64,
}

impl Scheme {
    /// 32-bit floats.
    pub const F32: Self = Self { kind: Type::F32, group: 0, table: [0; 16] };
    /// 16-bit brain floats, rounded to nearest even.
    pub const BF16: Self = Self { kind: Type::Bf16, group: 0, table: [0; 16] };
    /// Signed bytes, groups of 32.
    pub const Q8: Self = Self { kind: Type::Q8, group: BLOCK, table: [0; 16] };
    /// 4-bit codes −8 to 7, groups of 16.
    pub const Q4: Self = Self { kind: Type::Q4, group: 16, table: LINEAR };

    /// 4-bit codes into a table. Panics unless `group` is 16 or 32 and the table ascends within ±32.
    pub fn q4_table(group: usize, table: [i8; 16]) -> Self {
        assert!(group == 16 || group == 32);
        assert!(table.is_sorted_by(|a, b| a < b));
        assert!(table.iter().all(|c| c.unsigned_abs() <= MAX_CODE as u8));
        Self { kind: Type::Q4, group, table }
    }

    /// The number format.
    pub fn kind(&self) -> Type {
        self.kind
    }

    /// Columns that share a scale; 0 for unquantized types.
    pub fn group(&self) -> usize {
        self.group
    }

    /// What the 4-bit codes stand for; zeros for other types.
    pub fn table(&self) -> &[i8; 16] {
        &self.table
    }

    /// Bytes of a tile of this many columns (a multiple of 32).
    pub fn tile_bytes(&self, cols: usize) -> usize {
        TileLayout::new(self.kind, cols, self.group).bytes
    }
}

impl Power {
    /// Root of the error's power over the weights' power; 0 when there is no error.
    pub fn relative_error(&self) -> f32 {
        if self.error == 0.0 { 0.0 } else { (self.error / self.weight).sqrt() as f32 }
    }

    fn add(&mut self, weight: f32, stored: f32) {
        self.error += (f64::from(stored) - f64::from(weight)).powi(2);
        self.weight += f64::from(weight).powi(2);
    }
}

impl AddAssign for Power {
    fn add_assign(&mut self, other: Self) {
        self.error += other.error;
        self.weight += other.weight;
    }
}

/// Where encoded tiles go.
#[derive(Debug)]
pub struct Tiles<'a> {
    /// Begins with the first tile.
    pub bytes: &'a mut [u8],
    /// Bytes from one tile to the next.
    pub stride: usize,
}

/// Encodes rows of a matrix into tiles and returns the error made.
///
/// `weights` holds whole rows of `cols` (a multiple of 32) finite values; when their number is no
/// multiple of 16 the last tile is filled up with rows of zero bytes. `importance` is one weight of
/// the error for each column, all 1 when absent. Bytes between tiles are left alone.
pub fn encode(
    scheme: &Scheme,
    weights: &[f32],
    cols: usize,
    importance: Option<&[f32]>,
    threads: usize,
    out: Tiles<'_>,
) -> Power {
    assert!(cols > 0 && cols.is_multiple_of(BLOCK) && weights.len().is_multiple_of(cols));
    let equal;
    let importance = match importance {
        Some(importance) => importance,
        None => {
            equal = vec![1.0; cols];
            &equal
        }
    };
    assert_eq!(importance.len(), cols);
    let encoder = Encoder::new(*scheme, cols, importance);
    let tile_bytes = encoder.layout.bytes;
    let parts = weights.chunks(TILE_ROWS * cols).zip(out.bytes.chunks_mut(out.stride));
    let mut jobs: Vec<Job<'_>> = parts
        .map(|(rows, out)| Job { rows, out: &mut out[..tile_bytes], power: Power::default() })
        .collect();
    assert_eq!(jobs.len(), weights.len().div_ceil(TILE_ROWS * cols));
    let share = jobs.len().div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        let mut shares = jobs.chunks_mut(share);
        let own = shares.next();
        for share in shares {
            scope.spawn(|| share.iter_mut().for_each(|job| encoder.tile(job)));
        }
        own.into_iter().flatten().for_each(|job| encoder.tile(job));
    });
    let mut power = Power::default();
    jobs.iter().for_each(|job| power += job.power);
    power
}

/// One tile to encode.
struct Job<'a> {
    rows: &'a [f32],
    out: &'a mut [u8],
    power: Power,
}

/// What all tiles of a matrix share.
struct Encoder<'a> {
    scheme: Scheme,
    cols: usize,
    importance: &'a [f32],
    layout: TileLayout,
    codebook: Codebook,
}

impl<'a> Encoder<'a> {
    fn new(scheme: Scheme, cols: usize, importance: &'a [f32]) -> Self {
        let layout = TileLayout::new(scheme.kind, cols, scheme.group);
        Self { scheme, cols, importance, layout, codebook: Codebook::new(&scheme.table) }
    }

    fn tile(&self, job: &mut Job<'_>) {
        job.out.fill(0);
        for (r, row) in job.rows.chunks_exact(self.cols).enumerate() {
            match self.scheme.kind {
                Type::F32 => self.f32_row(r, row, job),
                Type::Bf16 => self.bf16_row(r, row, job),
                Type::Q8 => self.q8_row(r, row, job),
                Type::Q4 if self.scheme.table == LINEAR => self.q4_row(&Linear, r, row, job),
                Type::Q4 => self.q4_row(&self.codebook, r, row, job),
            }
        }
    }

    fn f32_row(&self, r: usize, row: &[f32], job: &mut Job<'_>) {
        let bytes = size_of_val(row);
        job.out[r * bytes..][..bytes].copy_from_slice(bytemuck::cast_slice(row));
        row.iter().for_each(|&weight| job.power.add(weight, weight));
    }

    fn bf16_row(&self, r: usize, row: &[f32], job: &mut Job<'_>) {
        let start = r * self.cols * size_of::<bf16>();
        for (&weight, out) in row.iter().zip(job.out[start..].chunks_exact_mut(2)) {
            let stored = bf16::from_f32(weight);
            out.copy_from_slice(&stored.to_le_bytes());
            job.power.add(weight, stored.to_f32());
        }
    }

    /// Group scales start at the smallest that keeps every code within ±127; finer ones cut off the
    /// largest weight, coarser ones may still round better.
    fn q8_row(&self, r: usize, row: &[f32], job: &mut Job<'_>) {
        let scales: Vec<f32> =
            row.chunks_exact(BLOCK).map(|group| largest(group) / MAX_Q8).collect();
        let Some(row_scale) = row_scale(&scales) else {
            return self.zero_row(row, job);
        };
        self.put_row_scale(r, row_scale, job);
        for (g, weights) in row.chunks_exact(BLOCK).enumerate() {
            let importance = &self.importance[g * BLOCK..][..BLOCK];
            let start = (scales[g] / row_scale).ceil();
            let best =
                best_scale(&Bytes, [start, start - 1.0, start + 1.0, start + 2.0], |scale| Fit {
                    weights,
                    importance,
                    scale: row_scale * scale,
                });
            self.put_group_scale(r, g, best, job);
            let scale = row_scale * best;
            for (i, &weight) in weights.iter().enumerate() {
                let code = Bytes.nearest(weight * inverse(scale));
                job.out[self.layout.codes + q8_index(r, g * BLOCK + i)] = code as i8 as u8;
                job.power.add(weight, scale * code);
            }
        }
    }

    fn q4_row<C: Codes>(&self, codes: &C, r: usize, row: &[f32], job: &mut Job<'_>) {
        let width = self.scheme.group;
        let importance = |g: usize| &self.importance[g * width..][..width];
        let groups = || row.chunks_exact(width).enumerate();
        let scales: Vec<f32> =
            groups().map(|(g, weights)| search_scale(codes, weights, importance(g))).collect();
        let Some(row_scale) = row_scale(&scales) else {
            return self.zero_row(row, job);
        };
        self.put_row_scale(r, row_scale, job);
        for (g, weights) in groups() {
            let start = (scales[g] / row_scale).round_ties_even();
            let best = best_scale(codes, [start, start - 1.0, start + 1.0], |scale| Fit {
                weights,
                importance: importance(g),
                scale: row_scale * scale,
            });
            self.put_group_scale(r, g, best, job);
            let scale = row_scale * best;
            for (i, &weight) in weights.iter().enumerate() {
                let scaled = weight * inverse(scale);
                let (index, shift) = q4_index(r, g * width + i);
                job.out[self.layout.codes + index] |= self.codebook.index(scaled) << shift;
                job.power.add(weight, scale * codes.nearest(scaled));
            }
        }
    }

    /// A row of zeros, or of weights too small for any scale: its zero bytes say zero.
    fn zero_row(&self, row: &[f32], job: &mut Job<'_>) {
        row.iter().for_each(|&weight| job.power.add(weight, 0.0));
    }

    fn put_row_scale(&self, r: usize, scale: f32, job: &mut Job<'_>) {
        job.out[r * size_of::<f32>()..][..size_of::<f32>()].copy_from_slice(&scale.to_le_bytes());
    }

    fn put_group_scale(&self, r: usize, g: usize, scale: f32, job: &mut Job<'_>) {
        job.out[self.layout.group_scales + g * TILE_ROWS + r] = scale as i8 as u8;
    }
}

/// The values that a weight divided by its scale can take.
trait Codes {
    /// The nearest of them.
    fn nearest(&self, x: f32) -> f32;
    /// The largest magnitude.
    fn reach(&self) -> f32;
}

/// The bytes −127 to 127.
struct Bytes;

/// The codes −8 to 7.
struct Linear;

/// Any ascending table of 16.
struct Codebook {
    values: [f32; 16],
    /// `middles[i]` lies between `values[i]` and `values[i + 1]`.
    middles: [f32; 15],
}

impl Codes for Bytes {
    fn nearest(&self, x: f32) -> f32 {
        round(x.clamp(-MAX_Q8, MAX_Q8))
    }

    fn reach(&self) -> f32 {
        MAX_Q8
    }
}

impl Codes for Linear {
    fn nearest(&self, x: f32) -> f32 {
        round(x.clamp(-8.0, 7.0))
    }

    fn reach(&self) -> f32 {
        8.0
    }
}

impl Codebook {
    fn new(table: &[i8; 16]) -> Self {
        let values = table.map(f32::from);
        let middles = std::array::from_fn(|i| (values[i] + values[i + 1]) / 2.0);
        Self { values, middles }
    }

    /// Position in the table of the value nearest to `x`.
    fn index(&self, x: f32) -> u8 {
        self.middles.iter().map(|&middle| u8::from(x > middle)).sum()
    }
}

impl Codes for Codebook {
    fn nearest(&self, x: f32) -> f32 {
        // Sums of steps instead of a look-up: vectors have no cheap one.
        let steps = self.values.windows(2).zip(&self.middles);
        let steps = steps.map(|(pair, &middle)| if x > middle { pair[1] - pair[0] } else { 0.0 });
        self.values[0] + steps.sum::<f32>()
    }

    fn reach(&self) -> f32 {
        self.values[0].abs().max(self.values[15].abs())
    }
}

/// Rounds to the nearest integer, ties to even, for |x| up to 2²²: without a library call on
/// processors that lack the instruction, so that loops around it stay vectors.
fn round(x: f32) -> f32 {
    const SHIFT: f32 = 1.5 * (1 << 23) as f32;
    (x + SHIFT) - SHIFT
}

fn largest(weights: &[f32]) -> f32 {
    weights.iter().fold(0.0, |largest, weight| weight.abs().max(largest))
}

/// 1/x, and 0 for 0: groups without a scale get the code nearest to zero.
fn inverse(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

/// The row scale that lets the largest of these group scales be 127, unless all are (nearly) zero.
fn row_scale(scales: &[f32]) -> Option<f32> {
    let scale = largest(scales) / MAX_GROUP_SCALE;
    // The factor leaves room for the inverse of the scale to be finite.
    (scale > 4.0 * f32::MIN_POSITIVE).then_some(scale)
}

/// A group with the scale it is tried with.
struct Fit<'a> {
    weights: &'a [f32],
    importance: &'a [f32],
    scale: f32,
}

impl Fit<'_> {
    /// Σ importance × (weight − scale × nearest code)².
    fn error<C: Codes>(&self, codes: &C) -> f32 {
        let inverse = inverse(self.scale);
        let error = |weight: f32| weight - self.scale * codes.nearest(weight * inverse);
        let pairs = self.weights.iter().zip(self.importance);
        pairs.map(|(&weight, importance)| importance * error(weight).powi(2)).sum()
    }
}

/// The candidate within ±127 with the least error; the first of equals.
fn best_scale<'a, C: Codes, const N: usize>(
    codes: &C,
    candidates: [f32; N],
    fit: impl Fn(f32) -> Fit<'a>,
) -> f32 {
    let mut best = (f32::INFINITY, 0.0);
    for scale in candidates {
        let scale = scale.clamp(-MAX_GROUP_SCALE, MAX_GROUP_SCALE);
        let error = fit(scale).error(codes);
        if error < best.0 {
            best = (error, scale);
        }
    }
    best.1
}

/// The real scale, of either sign, with the least error among the candidates.
///
/// With nearest codes `c` and the least-squares scale `Σhwc / Σhc²` the error is
/// `Σhw² − (Σhwc)² / Σhc²`, so the largest quotient wins.
fn search_scale<C: Codes>(codes: &C, weights: &[f32], importance: &[f32]) -> f32 {
    let step = codes.reach() / largest(weights);
    if !step.is_finite() {
        return 0.0;
    }
    let inverses: [f32; CANDIDATES] = std::array::from_fn(|k| {
        let factor = FIRST_FACTOR + (k / 2) as f32 * FACTOR_STEP;
        if k % 2 == 0 { factor * step } else { -factor * step }
    });
    let (mut cross, mut square) = ([0.0; CANDIDATES], [0.0; CANDIDATES]);
    for (&weight, &importance) in weights.iter().zip(importance) {
        // Candidates side by side: compilers make vector instructions of this loop.
        for k in 0..CANDIDATES {
            let code = codes.nearest(weight * inverses[k]);
            cross[k] += importance * weight * code;
            square[k] += importance * code * code;
        }
    }
    let mut best = (0.0, 0.0);
    for (cross, square) in cross.into_iter().zip(square) {
        let gain = cross * cross / square;
        // Not true for the NaN of codes that are all zero.
        if gain > best.0 {
            best = (gain, cross / square);
        }
    }
    best.1
}
