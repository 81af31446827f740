//! Encoding of weights into tiles: round-to-nearest with a search over the scales.
//!
//! A quantized weight is `row_scale × group_scale × code` (f32 × int8 × table entry). For each
//! group the scale is searched that makes the error smallest when every weight takes its nearest
//! code, then it is snapped to the int8 grid of its row. The error is weighted by the columns'
//! importance, which is where calibration comes in. Tiles are independent of each other, so the
//! result does not depend on the number of threads.

#[cfg(test)]
mod tests;

use crate::format::{BLOCK, LINEAR, MAX_CODE, PLANES_OFFSET, TILE_ROWS, Type};
use crate::tile::{TileLayout, low_index, q4_index, q8_index};
use half::bf16;
use std::ops::AddAssign;

/// Largest group scale.
const MAX_GROUP_SCALE: f32 = 127.0;
/// Rows of smaller scales count as zeros: products with it would lose their precision.
const MIN_ROW_SCALE: f32 = 4.0 * f32::MIN_POSITIVE;
/// Largest magnitude of a Q8 code.
const MAX_Q8: f32 = 127.0;
/// Mean of the nibbles in a low plane.
const MEAN_LOW: f32 = 7.5;
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
    /// [`Scheme::Q8`] as a plane of high and a plane of low nibbles.
    pub const Q8_PLANES: Self = Self { kind: Type::Q8Planes, group: BLOCK, table: [0; 16] };
    /// 4-bit codes −8 to 7, groups of 16.
    pub const Q4: Self = Self { kind: Type::Q4, group: 16, table: LINEAR };

    /// 4-bit codes into a table. Panics unless `group` is 16 or 32 and the table ascends within
    /// ±32.
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

    /// The layout of a tile of this many columns (a multiple of 32).
    pub fn layout(&self, cols: usize) -> TileLayout {
        TileLayout::new(self.kind, cols, self.group)
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
    /// The tiles' rows of the low plane; empty for types without one.
    pub low: &'a mut [u8],
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
    let TileLayout { bytes: tile_bytes, low: low_bytes, .. } = encoder.layout;
    let parts = weights.chunks(TILE_ROWS * cols).zip(out.bytes.chunks_mut(out.stride));
    let mut lows = out.low.chunks_mut(low_bytes.max(1));
    let mut jobs: Vec<Job<'_>> = parts
        .map(|(rows, out)| {
            let low = lows.next().unwrap_or_default();
            Job { rows, out: &mut out[..tile_bytes], low, power: Power::default() }
        })
        .collect();
    assert_eq!(jobs.len(), weights.len().div_ceil(TILE_ROWS * cols));
    assert!(jobs.iter().all(|job| job.low.len() == low_bytes));
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
    low: &'a mut [u8],
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
        let layout = scheme.layout(cols);
        Self { scheme, cols, importance, layout, codebook: Codebook::new(&scheme.table) }
    }

    fn tile(&self, job: &mut Job<'_>) {
        job.out.fill(0);
        job.low.fill(0);
        for (r, row) in job.rows.chunks_exact(self.cols).enumerate() {
            match self.scheme.kind {
                Type::F32 => self.f32_row(r, row, job),
                Type::Bf16 => self.bf16_row(r, row, job),
                Type::Q8 => self.quantized_row(&Bytes, r, row, job),
                Type::Q8Planes => {
                    self.quantized_row(&Planes { cols: self.cols }, r, row, job);
                    self.residual_norm(r, job);
                }
                Type::Q4 if self.scheme.table == LINEAR => {
                    self.quantized_row(&Linear, r, row, job);
                }
                Type::Q4 => self.quantized_row(&self.codebook, r, row, job),
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

    fn quantized_row<C: Codes>(&self, codes: &C, r: usize, row: &[f32], job: &mut Job<'_>) {
        let width = self.scheme.group;
        let importance = |g: usize| &self.importance[g * width..][..width];
        let groups = row.chunks_exact(width).enumerate();
        let scales: Vec<f32> =
            groups.map(|(g, weights)| codes.scale(weights, importance(g))).collect();
        let row_scale = largest(&scales) / MAX_GROUP_SCALE;
        if row_scale < MIN_ROW_SCALE {
            // Zeros, or too small for any scale: the row's zero bytes say zero.
            row.iter().for_each(|&weight| job.power.add(weight, 0.0));
            return;
        }
        job.out[r * size_of::<f32>()..][..size_of::<f32>()]
            .copy_from_slice(&row_scale.to_le_bytes());
        // In units of the row scale nothing over- or underflows.
        let units: Vec<f32> = row.iter().map(|weight| weight / row_scale).collect();
        for (g, units) in units.chunks_exact(width).enumerate() {
            let scale = snap(codes, scales[g] / row_scale, units, importance(g));
            job.out[self.layout.scale_index(g, r)] = scale as i8 as u8;
            let block = self.layout.block_range(g * width / BLOCK, width);
            let mut area = Area { codes: &mut job.out[block], low: &mut *job.low };
            for (col, unit) in (g * width..).zip(units) {
                let code = codes.put(unit * inverse(scale), &mut area, r, col);
                job.power.add(row[col], row_scale * scale * code);
            }
        }
    }

    /// The root of the sum of squares of what the low plane adds to a row, on top of its mean.
    fn residual_norm(&self, r: usize, job: &mut Job<'_>) {
        let array = TILE_ROWS * size_of::<f32>();
        let row_scale: f32 = bytemuck::pod_read_unaligned(&job.out[r * size_of::<f32>()..][..4]);
        let square = |col: usize| {
            let (index, shift) = low_index(r, col, self.cols);
            let group_scale = job.out[self.layout.scale_index(col / BLOCK, r)] as i8;
            let low = f32::from(job.low[index] >> shift & 15) - MEAN_LOW;
            f64::from(row_scale * f32::from(group_scale) * low).powi(2)
        };
        let norm = (0..self.cols).map(square).sum::<f64>().sqrt() as f32;
        job.out[array + r * size_of::<f32>()..][..size_of::<f32>()]
            .copy_from_slice(&norm.to_le_bytes());
    }
}

/// Where the codes of a tile go.
struct Area<'a> {
    /// The code bytes of the block of 32 columns.
    codes: &'a mut [u8],
    /// Its rows of the low plane.
    low: &'a mut [u8],
}

/// The values that a weight divided by its scale can take.
trait Codes {
    /// The nearest of them.
    fn nearest(&self, x: f32) -> f32;

    /// The best scale for a group, before it is snapped to the row's grid.
    fn scale(&self, weights: &[f32], importance: &[f32]) -> f32;

    /// Stores the nearest code in a block's (so far zero) code bytes and returns it.
    fn put(&self, x: f32, area: &mut Area<'_>, r: usize, col: usize) -> f32;
}

/// The bytes −127 to 127.
struct Bytes;

/// The bytes −127 to 127, split into nibbles.
struct Planes {
    cols: usize,
}

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

    /// With so many codes a search gains little over the scale that cuts nothing off.
    fn scale(&self, weights: &[f32], _: &[f32]) -> f32 {
        largest(weights) / MAX_Q8
    }

    fn put(&self, x: f32, area: &mut Area<'_>, r: usize, col: usize) -> f32 {
        let code = self.nearest(x);
        area.codes[q8_index(r, col)] = code as i8 as u8;
        code
    }
}

impl Codes for Planes {
    fn nearest(&self, x: f32) -> f32 {
        Bytes.nearest(x)
    }

    fn scale(&self, weights: &[f32], importance: &[f32]) -> f32 {
        Bytes.scale(weights, importance)
    }

    fn put(&self, x: f32, area: &mut Area<'_>, r: usize, col: usize) -> f32 {
        let code = self.nearest(x);
        let byte = (code as i8 as u8).wrapping_add(PLANES_OFFSET);
        let (index, shift) = q4_index(r, col);
        area.codes[index] |= byte >> 4 << shift;
        let (index, shift) = low_index(r, col, self.cols);
        area.low[index] |= (byte & 15) << shift;
        code
    }
}

impl Codes for Linear {
    fn nearest(&self, x: f32) -> f32 {
        round(x.clamp(-8.0, 7.0))
    }

    fn scale(&self, weights: &[f32], importance: &[f32]) -> f32 {
        search_scale(self, 8.0, weights, importance)
    }

    fn put(&self, x: f32, area: &mut Area<'_>, r: usize, col: usize) -> f32 {
        let code = self.nearest(x);
        let (index, shift) = q4_index(r, col);
        area.codes[index] |= ((code + 8.0) as u8) << shift;
        code
    }
}

impl Codebook {
    fn new(table: &[i8; 16]) -> Self {
        let values = table.map(f32::from);
        let middles = std::array::from_fn(|i| (values[i] + values[i + 1]) / 2.0);
        Self { values, middles }
    }
}

impl Codes for Codebook {
    fn nearest(&self, x: f32) -> f32 {
        // Sums of steps instead of a look-up: vectors have no cheap one.
        let steps = self.values.windows(2).zip(&self.middles);
        let steps = steps.map(|(pair, &middle)| if x > middle { pair[1] - pair[0] } else { 0.0 });
        self.values[0] + steps.sum::<f32>()
    }

    fn scale(&self, weights: &[f32], importance: &[f32]) -> f32 {
        let reach = self.values[0].abs().max(self.values[15].abs());
        search_scale(self, reach, weights, importance)
    }

    fn put(&self, x: f32, area: &mut Area<'_>, r: usize, col: usize) -> f32 {
        let code: u8 = self.middles.iter().map(|&middle| u8::from(x > middle)).sum();
        let (index, shift) = q4_index(r, col);
        area.codes[index] |= code << shift;
        self.values[usize::from(code)]
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

/// The group scale near `scale` with the least error; the first of equals.
///
/// The search begins with the scale rounded up, which cuts nothing off when `scale` does not.
/// `units` are the weights over the row scale.
fn snap<C: Codes>(codes: &C, scale: f32, units: &[f32], importance: &[f32]) -> f32 {
    let error = |scale: f32| -> f32 {
        let inverse = inverse(scale);
        let error = |unit: f32| unit - scale * codes.nearest(unit * inverse);
        let pairs = units.iter().zip(importance);
        pairs.map(|(&unit, importance)| importance * error(unit).powi(2)).sum()
    };
    let mut best = (f32::INFINITY, 0.0);
    for offset in [0.0, -1.0, 1.0, 2.0] {
        let scale = (scale.ceil() + offset).clamp(-MAX_GROUP_SCALE, MAX_GROUP_SCALE);
        let error = error(scale);
        if error < best.0 {
            best = (error, scale);
        }
    }
    best.1
}

/// The real scale, of either sign, with the least error among the candidates; `reach` is the
/// largest magnitude of a code.
///
/// With nearest codes `c` and the least-squares scale `Σhwc / Σhc²` the error is
/// `Σhw² − (Σhwc)² / Σhc²`, so the largest quotient wins.
fn search_scale<C: Codes>(codes: &C, reach: f32, weights: &[f32], importance: &[f32]) -> f32 {
    let largest = largest(weights);
    if largest < f32::MIN_POSITIVE {
        return 0.0;
    }
    let inverses: [f32; CANDIDATES] = std::array::from_fn(|k| {
        let factor = FIRST_FACTOR + (k / 2) as f32 * FACTOR_STEP;
        if k % 2 == 0 { factor * reach } else { -factor * reach }
    });
    let (mut cross, mut square) = ([0.0; CANDIDATES], [0.0; CANDIDATES]);
    for (&weight, &importance) in weights.iter().zip(importance) {
        // In units of the largest weight nothing over- or underflows.
        let unit = weight / largest;
        // Candidates side by side: compilers make vector instructions of this loop.
        for k in 0..CANDIDATES {
            let code = codes.nearest(unit * inverses[k]);
            cross[k] += importance * unit * code;
            square[k] += importance * code * code;
        }
    }
    let mut best = (0.0, 0.0);
    for (cross, square) in cross.into_iter().zip(square) {
        let gain = cross * cross / square;
        // Not true for the NaN of columns without importance.
        if gain > best.0 {
            best = (gain, cross / square * largest);
        }
    }
    best.1
}
