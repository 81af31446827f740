//! Products of quantized weights, 8 rows at a time: half a tile.
//!
//! Nibbles that stand for −8 to 7 are multiplied as 0 to 15 with sums that start at `−8·Σ a`; their
//! sums over 16 columns fit into 16 bits, which the scales of 8 rows multiply at once. All integers
//! are exact, and there is one `fma` per 32 columns, so a result does not depend on the tokens
//! beside it.

use super::Neon;
use super::dot::{Dot, Quads};
use super::registers::*;
use crate::prefetch::{SLOW_TOKENS, fetch_behind};
use core::arch::aarch64::{vld1_s8, vld1q_f32, vld1q_s8, vst1q_f32};
use core::mem;
use core::ops::Range;
use kinglet_core::Activations;
use kinglet_core::arena::Columns;
use kinglet_core::kernels::{Output, START_GROUP};
use kinglet_quant::format::{ALIGN, BLOCK, TILE_ROWS};
use kinglet_quant::{Matrix, Tile, Type};

/// Rows that are computed together.
pub(super) const LANES: usize = 8;
/// Quads of a [`START_GROUP`].
const QUADS: usize = START_GROUP / 4;
/// Tokens that share one unpacking of weights; the sums of more than one live in memory.
const TOKENS: usize = 64;

/// The sums of 8 rows.
pub(super) type Total = [float32x4_t; 2];

/// How codes become weights, and how 32 columns of these multiply activations.
trait Codes: Copy {
    /// Bytes of a block: 16 rows × 32 columns.
    const BYTES: usize;

    /// The first and the last 16 columns of a block, for the 8 rows whose bytes start at `half` in
    /// each line.
    fn quads(self, block: &[u8], half: usize) -> [Quads; 2];

    /// `Σ scale · weight · input` over a block; `starts` and `scales` are those of 16 columns each.
    ///
    /// # Safety
    /// `input` has 32 codes.
    unsafe fn scaled_sum(
        self,
        quads: &[Quads; 2],
        input: *const i8,
        starts: [i32; 2],
        scales: &[int16x8_t; 2],
    ) -> [int32x4_t; 2];
}

/// Signed bytes.
#[derive(Clone, Copy)]
struct Bytes<D>(D);

/// Nibbles that stand for −8 to 7.
#[derive(Clone, Copy)]
struct Linear<D>(D);

/// Nibbles that stand for entries of a table.
#[derive(Clone, Copy)]
struct Table<D>(D, int8x16_t);

impl<D: Dot> Codes for Bytes<D> {
    const BYTES: usize = TILE_ROWS * BLOCK;

    #[inline(always)]
    fn quads(self, block: &[u8], half: usize) -> [Quads; 2] {
        [lines(block, half), lines(&block[QUADS * ALIGN..], half)]
    }

    #[inline(always)]
    unsafe fn scaled_sum(
        self,
        quads: &[Quads; 2],
        input: *const i8,
        _starts: [i32; 2],
        scales: &[int16x8_t; 2],
    ) -> [int32x4_t; 2] {
        // SAFETY: by this function's contract.
        let sums = unsafe {
            let sums = self.0.byte_sums([vdupq_n_s32(0); 2], &quads[0], input);
            self.0.byte_sums(sums, &quads[1], input.add(START_GROUP))
        };
        scaled([vdupq_n_s32(0); 2], sums, scales[0])
    }
}

impl<D: Dot> Codes for Linear<D> {
    const BYTES: usize = TILE_ROWS * BLOCK / 2;

    #[inline(always)]
    fn quads(self, block: &[u8], half: usize) -> [Quads; 2] {
        nibbles(&lines(block, half))
    }

    #[inline(always)]
    unsafe fn scaled_sum(
        self,
        quads: &[Quads; 2],
        input: *const i8,
        starts: [i32; 2],
        scales: &[int16x8_t; 2],
    ) -> [int32x4_t; 2] {
        // SAFETY: by this function's contract.
        let (low, high) = unsafe {
            let low = self.0.nibble_sums(&quads[0], input, starts[0]);
            (low, self.0.nibble_sums(&quads[1], input.add(START_GROUP), starts[1]))
        };
        let sums =
            [vmull_s16(vget_low_s16(low), vget_low_s16(scales[0])), vmull_high_s16(low, scales[0])];
        [
            vmlal_s16(sums[0], vget_low_s16(high), vget_low_s16(scales[1])),
            vmlal_high_s16(sums[1], high, scales[1]),
        ]
    }
}

impl<D: Dot> Codes for Table<D> {
    const BYTES: usize = TILE_ROWS * BLOCK / 2;

    #[inline(always)]
    fn quads(self, block: &[u8], half: usize) -> [Quads; 2] {
        nibbles(&lines(block, half)).map(|quads| {
            quads.map(|quad| quad.map(|codes| vqtbl1q_s8(self.1, vreinterpretq_u8_s8(codes))))
        })
    }

    #[inline(always)]
    unsafe fn scaled_sum(
        self,
        quads: &[Quads; 2],
        input: *const i8,
        _starts: [i32; 2],
        scales: &[int16x8_t; 2],
    ) -> [int32x4_t; 2] {
        // SAFETY: by this function's contract.
        let (low, high) = unsafe {
            let low = self.0.byte_sums([vdupq_n_s32(0); 2], &quads[0], input);
            let input = input.add(START_GROUP);
            (low, self.0.byte_sums([vdupq_n_s32(0); 2], &quads[1], input))
        };
        scaled(scaled([vdupq_n_s32(0); 2], low, scales[0]), high, scales[1])
    }
}

/// `totals + sums · scales`.
#[inline(always)]
fn scaled(totals: [int32x4_t; 2], sums: [int32x4_t; 2], scales: int16x8_t) -> [int32x4_t; 2] {
    [
        vmlaq_s32(totals[0], sums[0], vmovl_s16(vget_low_s16(scales))),
        vmlaq_s32(totals[1], sums[1], vmovl_high_s16(scales)),
    ]
}

/// 32 bytes from byte `half` on of each of the first 4 lines.
#[inline(always)]
pub(super) fn lines(block: &[u8], half: usize) -> Quads {
    let mut lines = [[vdupq_n_s8(0); 2]; QUADS];
    for (j, line) in lines.iter_mut().enumerate() {
        let bytes = &block[j * ALIGN + half..][..ALIGN / 2];
        for (t, quad) in line.iter_mut().enumerate() {
            // SAFETY: `bytes` has 32 bytes, of which 16 from the first or the 16th are read.
            *quad = unsafe { vld1q_s8(bytes.as_ptr().add(16 * t).cast()) };
        }
    }
    lines
}

/// The low and the high nibbles of [`lines`].
#[inline(always)]
pub(super) fn nibbles(lines: &Quads) -> [Quads; 2] {
    let mut nibbles = [*lines; 2];
    for (j, line) in lines.iter().enumerate() {
        for (t, &bytes) in line.iter().enumerate() {
            nibbles[0][j][t] = vandq_s8(bytes, vdupq_n_s8(15));
            nibbles[1][j][t] = vreinterpretq_s8_u8(vshrq_n_u8::<4>(vreinterpretq_u8_s8(bytes)));
        }
    }
    nibbles
}

/// `out (+)= w · x` for the rows of `tiles`; the caller has checked that shapes fit together.
pub(super) fn product<D: Dot>(
    cpu: Neon<D>,
    w: &Matrix<'_>,
    tiles: Range<usize>,
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    let dot = cpu.0;
    match (w.kind(), w.is_linear(), w.group()) {
        (Type::Q8, ..) => all_tiles::<_, 32>(Bytes(dot), w, tiles, x, out, output),
        (_, true, 16) => all_tiles::<_, 16>(Linear(dot), w, tiles, x, out, output),
        (_, true, _) => all_tiles::<_, 32>(Linear(dot), w, tiles, x, out, output),
        (_, _, 16) => all_tiles::<_, 16>(Table(dot, table(w)), w, tiles, x, out, output),
        _ => all_tiles::<_, 32>(Table(dot, table(w)), w, tiles, x, out, output),
    }
}

/// The table that nibbles stand for entries of.
fn table(w: &Matrix<'_>) -> int8x16_t {
    // SAFETY: the table has 16 bytes.
    unsafe { vld1q_s8(w.table().as_ptr()) }
}

fn all_tiles<C: Codes, const GROUP: usize>(
    codes: C,
    w: &Matrix<'_>,
    tiles: Range<usize>,
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    let mut totals = [[[vdupq_n_f32(0.0); 2]; 2]; TOKENS];
    for (t, tile) in tiles.enumerate() {
        let tile = w.tile(tile);
        let mut out = out.narrow(t * TILE_ROWS..(t + 1) * TILE_ROWS);
        if x.tokens == 1 {
            let mut total = [[[vdupq_n_f32(0.0); 2]; 2]];
            accumulate::<C, GROUP>(codes, &tile, x, 0, &mut total);
            store(&mut total, &tile, 0, &mut out, output);
            continue;
        }
        for first in (0..x.tokens).step_by(TOKENS) {
            let totals = &mut totals[..TOKENS.min(x.tokens - first)];
            accumulate::<C, GROUP>(codes, &tile, x, first, totals);
            store(totals, &tile, first, &mut out, output);
        }
    }
}

/// Adds the products of one tile, not yet scaled by row, with the tokens from `first` on to
/// `totals`, two halves for each token.
#[inline(always)]
fn accumulate<C: Codes, const GROUP: usize>(
    codes: C,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    first: usize,
    totals: &mut [[Total; 2]],
) {
    let (tokens, blocks) = (totals.len(), x.cols / BLOCK);
    let inputs = &x.codes[first * x.cols..][..tokens * x.cols];
    let scales = &x.scales[first * blocks..][..tokens * blocks];
    let starts = &x.starts[first * 2 * blocks..][..tokens * 2 * blocks];
    let mut blocks_before = 0..blocks;
    for strip in tile.strips() {
        if tokens >= SLOW_TOKENS {
            fetch_behind(strip.bytes());
        }
        let group_scales = strip.scales().chunks_exact(BLOCK / GROUP * TILE_ROWS);
        for (group_scales, bytes) in group_scales.zip(strip.codes().chunks_exact(C::BYTES)) {
            let block = blocks_before.next().expect("as many blocks as inputs have");
            for half in 0..2 {
                let quads = codes.quads(bytes, half * ALIGN / 2);
                let low_scales = widen(&group_scales[half * LANES..]);
                let high_scales = if GROUP < BLOCK {
                    widen(&group_scales[TILE_ROWS + half * LANES..])
                } else {
                    low_scales
                };
                let group_scales = [low_scales, high_scales];
                for (token, total) in totals.iter_mut().enumerate() {
                    let index = token * blocks + block;
                    // SAFETY: `block` is below `blocks` and `token` below `tokens`, and the slices
                    // of activations have 32 codes, one scale and two starts for each of both.
                    unsafe {
                        let input = inputs.as_ptr().add(index * BLOCK);
                        let starts = *starts.as_ptr().add(2 * index).cast::<[i32; 2]>();
                        let sums = codes.scaled_sum(&quads, input, starts, &group_scales);
                        add_scaled(&mut total[half], sums, *scales.as_ptr().add(index));
                    }
                }
            }
        }
    }
}

/// `total += scale · sums`.
#[inline(always)]
pub(super) fn add_scaled(total: &mut Total, sums: [int32x4_t; 2], scale: f32) {
    for (total, sum) in total.iter_mut().zip(sums) {
        *total = vfmaq_n_f32(*total, vcvtq_f32_s32(sum), scale);
    }
}

/// 8 group scales as 16-bit integers.
#[inline(always)]
pub(super) fn widen(scales: &[i8]) -> int16x8_t {
    let scales = &scales[..LANES];
    // SAFETY: there are 8 scales.
    vmovl_s8(unsafe { vld1_s8(scales.as_ptr()) })
}

/// Multiplies the totals by the scales of their rows, writes them, and leaves zeros.
#[inline(always)]
pub(super) fn store(
    totals: &mut [[Total; 2]],
    tile: &Tile<'_>,
    first: usize,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    for (token, total) in totals.iter_mut().enumerate() {
        let total = mem::replace(total, [[vdupq_n_f32(0.0); 2]; 2]);
        let rows = out.row(first + token).chunks_exact_mut(4);
        let quarters = tile.row_scales().chunks_exact(4).zip(rows);
        for (total, (row_scales, row)) in total.iter().flatten().zip(quarters) {
            // SAFETY: `row_scales` and `row` have 4 elements.
            unsafe {
                let mut result = vmulq_f32(*total, vld1q_f32(row_scales.as_ptr()));
                if output == Output::Add {
                    result = vaddq_f32(result, vld1q_f32(row.as_ptr()));
                }
                vst1q_f32(row.as_mut_ptr(), result);
            }
        }
    }
}
