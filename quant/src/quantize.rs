//! Encoding of weights into tiles: round-to-nearest with a search over the scales.
//!
//! A quantized weight is `row_scale × group_scale × code` (f32 × int8 × table entry). Each group
//! gets the scale that makes the error smallest when every weight takes its nearest code, rounded
//! to the int8 grid of its row. The error is weighted by the importance of the columns, which
//! comes from calibration. Tiles are independent of each other, so the result does not depend on
//! the number of threads.

pub(crate) mod codes;
pub(crate) mod pack;
#[cfg(test)]
mod tests;

use crate::format::{BLOCK, LINEAR, TILE_ROWS, Type};
use crate::tile::TileLayout;
use bytemuck::{Pod, Zeroable};
use codes::{Bytes, Codebook, Codes, Linear, MAX_GROUP_SCALE, inverse, largest, snap};
use half::bf16;
use pack::{Packer, Place, Row};
use std::ops::AddAssign;
use std::sync::{Mutex, PoisonError};
use std::{iter, thread};

/// Rows of smaller scales are stored as zeros: products with such a scale would lose precision.
pub(crate) const MIN_ROW_SCALE: f32 = 4.0 * f32::MIN_POSITIVE;
/// Mean of the nibbles in a low plane.
const MEAN_LOW: f32 = 7.5;
/// What the codes of [`Scheme::Q4_CURVED`] stand for: fine around zero, where most weights are.
const Q4_TABLE: [i8; 16] = [-32, -27, -21, -16, -12, -9, -5, -2, 1, 3, 7, 10, 13, 17, 22, 28];
/// What 3-bit codes stand for: fine around zero, where most weights are.
const Q3_TABLE: [i8; 16] = [-32, -21, -12, -5, 2, 9, 17, 28, 0, 0, 0, 0, 0, 0, 0, 0];

/// How a matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scheme {
    kind: Type,
    group: usize,
    table: [i8; 16],
}

/// Work that takes the codes of any scheme.
pub(crate) trait UseCodes {
    type Output;

    fn run<C: Codes>(self, codes: &C) -> Self::Output;
}

/// Squares of errors and of what is exact, summed over a tensor or a part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Power {
    /// Σ (stored − exact)².
    pub error: f64,
    /// Σ exact².
    pub exact: f64,
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
    /// 5-bit codes −16 to 15, groups of 32.
    pub const Q5: Self = Self { kind: Type::Q5, group: BLOCK, table: [0; 16] };
    /// 4-bit codes −8 to 7, groups of 16.
    pub const Q4: Self = Self { kind: Type::Q4, group: 16, table: LINEAR };
    /// 4-bit codes into a table that is finer around zero, groups of 16.
    pub const Q4_CURVED: Self = Self { kind: Type::Q4, group: 16, table: Q4_TABLE };
    /// 3-bit codes into a table, groups of 16.
    pub const Q3: Self = Self { kind: Type::Q3, group: 16, table: Q3_TABLE };

    /// 4-bit codes into a table. Panics unless `group` is 16 or 32 and the table ascends within
    /// ±32.
    pub fn q4_table(group: usize, table: [i8; 16]) -> Self {
        Codebook::<16>::new(&table);
        Self { kind: Type::Q4, table, ..Self::Q4 }.with_group(group)
    }

    /// The scheme with this [`Scheme::name`], which may leave the width of groups out.
    pub fn from_name(name: &str) -> Option<Self> {
        let grouped = [Self::Q5, Self::Q4, Self::Q4_CURVED, Self::Q3];
        let usual = grouped.into_iter().find(|scheme| scheme.short_name() == name);
        let widths = grouped.into_iter().flat_map(|scheme| [16, 32].map(|g| scheme.with_group(g)));
        let mut all = widths.chain([Self::BF16, Self::Q8, Self::Q8_PLANES]);
        usual.or_else(|| all.find(|scheme| scheme.name() == name))
    }

    /// The number format, and the width of groups where there is a choice: `q4g16`.
    pub fn name(&self) -> String {
        match self.kind {
            Type::Q5 | Type::Q4 | Type::Q3 => format!("{}g{}", self.short_name(), self.group),
            kind => kind.name().to_owned(),
        }
    }

    /// The number format; 4 bits with a table that is not linear have a name of their own.
    fn short_name(&self) -> &'static str {
        match self.kind {
            Type::Q4 if self.table != LINEAR => "q4t",
            kind => kind.name(),
        }
    }

    /// The same codes with a scale for every 16 or 32 columns.
    pub fn with_group(self, group: usize) -> Self {
        assert!(matches!(self.kind, Type::Q5 | Type::Q4 | Type::Q3));
        assert!(group == 16 || group == 32);
        Self { group, ..self }
    }

    /// The number format.
    pub fn kind(&self) -> Type {
        self.kind
    }

    /// Columns that share a scale; 0 for unquantized types.
    pub fn group(&self) -> usize {
        self.group
    }

    /// What codes of 4 and 3 bits stand for; zeros for other types.
    pub fn table(&self) -> &[i8; 16] {
        &self.table
    }

    /// The entries of the table that codes can name.
    fn values(&self) -> &[i8] {
        match self.kind {
            Type::Q4 => &self.table,
            Type::Q3 => &self.table[..8],
            _ => &[],
        }
    }

    /// Calls back with the codes of a quantized type.
    pub(crate) fn with_codes<U: UseCodes>(&self, user: U) -> U::Output {
        match self.kind {
            Type::Q8 | Type::Q8Planes => user.run(&Bytes),
            Type::Q5 => user.run(&Linear::<-16, 15>),
            Type::Q4 if self.table == LINEAR => user.run(&Linear::<-8, 7>),
            Type::Q4 => user.run(&Codebook::<16>::new(&self.table)),
            Type::Q3 => user.run(&Codebook::<8>::new(&self.table)),
            Type::F32 | Type::Bf16 => unreachable!("{} has no codes", self.kind.name()),
        }
    }

    /// Bits of a weight without its share of scales.
    pub fn code_bits(&self) -> usize {
        match self.kind {
            Type::F32 => 32,
            Type::Bf16 => 16,
            Type::Q8 | Type::Q8Planes => 8,
            Type::Q5 => 5,
            Type::Q4 => 4,
            Type::Q3 => 3,
        }
    }

    /// The layout of a tile of this many columns (a multiple of 32).
    pub fn layout(&self, cols: usize) -> TileLayout {
        TileLayout::new(self.kind, cols, self.group)
    }
}

impl Power {
    /// Root of the error's power over the exact one; 0 when there is no error.
    pub fn relative_error(&self) -> f32 {
        if self.error == 0.0 { 0.0 } else { (self.error / self.exact).sqrt() as f32 }
    }

    pub(crate) fn add(&mut self, weight: f32, stored: f32) {
        self.error += (f64::from(stored) - f64::from(weight)).powi(2);
        self.exact += f64::from(weight).powi(2);
    }
}

impl AddAssign for Power {
    fn add_assign(&mut self, other: Self) {
        self.error += other.error;
        self.exact += other.exact;
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
    let encoder = Encoder { scheme: *scheme, cols, importance, packer: Packer::new(*scheme, cols) };
    let mut jobs = jobs(scheme, weights, cols, out);
    deal(&mut jobs, threads, |job| encoder.tile(job));
    total(&jobs)
}

/// One tile to encode.
pub(crate) struct Job<'a> {
    /// Up to 16 rows of weights.
    pub rows: &'a [f32],
    pub place: Place<'a>,
    pub power: Power,
}

/// The tiles of a matrix.
pub(crate) fn jobs<'a>(
    scheme: &Scheme,
    weights: &'a [f32],
    cols: usize,
    out: Tiles<'a>,
) -> Vec<Job<'a>> {
    let TileLayout { bytes: tile_bytes, low: low_bytes, .. } = scheme.layout(cols);
    let parts = weights.chunks(TILE_ROWS * cols).zip(out.bytes.chunks_mut(out.stride));
    let mut lows = out.low.chunks_mut(low_bytes.max(1));
    let jobs: Vec<Job<'_>> = parts
        .map(|(rows, out)| {
            let (tile, low) = (&mut out[..tile_bytes], lows.next().unwrap_or_default());
            Job { rows, place: Place { tile, low }, power: Power::default() }
        })
        .collect();
    assert_eq!(jobs.len(), weights.len().div_ceil(TILE_ROWS * cols));
    assert!(jobs.iter().all(|job| job.place.low.len() == low_bytes));
    jobs
}

/// Does independent jobs on several threads, or on as many as the system gives: a thread that is
/// done takes the next job.
pub(crate) fn deal<T: Send>(jobs: &mut [T], threads: usize, work: impl Fn(&mut T) + Sync) {
    let helpers = threads.min(jobs.len()).saturating_sub(1);
    let jobs = Mutex::new(jobs.iter_mut());
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
    let take_jobs = || iter::from_fn(next).for_each(&work);
    thread::scope(|scope| {
        let start = || thread::Builder::new().spawn_scoped(scope, take_jobs);
        let _helpers: Vec<_> =
            iter::repeat_with(start).take(helpers).map_while(Result::ok).collect();
        take_jobs();
    });
}

/// The error of all tiles.
pub(crate) fn total(jobs: &[Job<'_>]) -> Power {
    let mut power = Power::default();
    jobs.iter().for_each(|job| power += job.power);
    power
}

/// What all tiles of a matrix share.
struct Encoder<'a> {
    scheme: Scheme,
    cols: usize,
    importance: &'a [f32],
    packer: Packer,
}

impl Encoder<'_> {
    fn tile(&self, job: &mut Job<'_>) {
        job.place.tile.fill(0);
        job.place.low.fill(0);
        match self.scheme.kind {
            Type::F32 => self.f32_rows(job),
            Type::Bf16 => self.bf16_rows(job),
            _ => self.scheme.with_codes(Nearest { encoder: self, job }),
        }
    }

    fn f32_rows(&self, job: &mut Job<'_>) {
        job.place.tile[..size_of_val(job.rows)].copy_from_slice(bytemuck::cast_slice(job.rows));
        job.rows.iter().for_each(|&weight| job.power.add(weight, weight));
    }

    fn bf16_rows(&self, job: &mut Job<'_>) {
        for (&weight, out) in job.rows.iter().zip(job.place.tile.chunks_exact_mut(2)) {
            let stored = bf16::from_f32(weight);
            out.copy_from_slice(&stored.to_le_bytes());
            job.power.add(weight, stored.to_f32());
        }
    }
}

/// Rounds every weight of a tile to the nearest code.
struct Nearest<'e, 'a, 'j> {
    encoder: &'e Encoder<'a>,
    job: &'e mut Job<'j>,
}

impl UseCodes for Nearest<'_, '_, '_> {
    type Output = ();

    fn run<C: Codes>(self, codes: &C) {
        let Self { encoder, job } = self;
        for (r, row) in job.rows.chunks_exact(encoder.cols).enumerate() {
            let Some((row_scale, scales)) =
                scales(codes, encoder.scheme.group, row, encoder.importance)
            else {
                // The bytes are zero, which already stands for a row of zeros.
                row.iter().for_each(|&weight| job.power.add(weight, 0.0));
                continue;
            };
            let integers = row.chunks_exact(encoder.scheme.group).zip(&scales);
            let integers = integers.flat_map(|(weights, &scale)| {
                let inverse = inverse(scale);
                weights.iter().map(move |weight| codes.nearest(weight / row_scale * inverse))
            });
            let integers: Vec<f32> = integers.collect();
            let stored = integers.chunks_exact(encoder.scheme.group).zip(&scales);
            let stored = stored.flat_map(|(integers, scale)| {
                integers.iter().map(move |integer| row_scale * scale * integer)
            });
            row.iter().zip(stored).for_each(|(&weight, stored)| job.power.add(weight, stored));
            let to_bytes = |values: &[f32]| values.iter().map(|&value| value as i8).collect();
            let row =
                Row { row_scale, group_scales: to_bytes(&scales), integers: to_bytes(&integers) };
            encoder.packer.put(r, &row, &mut job.place);
        }
    }
}

/// The scale of a row and those of its groups, integers, for the nearest codes; nothing for a row
/// of zeros, or of weights too small for any scale.
#[inline(always)]
pub(crate) fn scales<C: Codes>(
    codes: &C,
    width: usize,
    row: &[f32],
    importance: &[f32],
) -> Option<(f32, Vec<f32>)> {
    let groups = || row.chunks_exact(width).zip(importance.chunks_exact(width));
    // A loop, because what `collect` calls is compiled without this machine's vectors.
    let mut scales = vec![0f32; row.len() / width];
    for (scale, (weights, importance)) in scales.iter_mut().zip(groups()) {
        *scale = codes.scale(weights, importance);
    }
    let row_scale = largest(&scales) / MAX_GROUP_SCALE;
    if row_scale < MIN_ROW_SCALE {
        return None;
    }
    for (scale, (weights, importance)) in scales.iter_mut().zip(groups()) {
        // In units of the row scale nothing overflows or underflows.
        let units: Vec<f32> = weights.iter().map(|weight| weight / row_scale).collect();
        *scale = snap(codes, *scale / row_scale, &units, importance);
    }
    Some((row_scale, scales))
}
