//! Products of weights in two planes: nibbles 0 to 15 of either plane multiply activations as they
//! are, and sums start where [`kinglet_core::screen`] says.

use super::Neon;
use super::codes::{
    Codes, HalfBlock, LANES, OneInput, eight, halves, lines, nibbles, raised, scaled, widen,
};
use super::dot::{Dot, Quads, Sums, Total};
use super::matmul::{one_tile, single};
use super::registers::*;
use crate::planes::{WORTH_A_TILE, bounds};
use core::arch::aarch64::{vld1q_s8, vst1q_f32};
use core::ops::Range;
use kinglet_core::Activations;
use kinglet_core::arena::Columns;
use kinglet_core::kernels::{Output, START_GROUP, Screened};
use kinglet_core::screen::{high_start, low_start, rows_of};
use kinglet_quant::format::{ALIGN, BLOCK, TILE_ROWS};
use kinglet_quant::{Matrix, Tile};

/// What a step of the high plane is worth in steps of the low one.
const HIGH_STEP: f32 = 16.0;

/// The high nibbles, in tiles.
#[derive(Clone, Copy)]
struct High<D>(D);

/// The low nibbles, row by row.
#[derive(Clone, Copy)]
struct Low<D>(D);

impl<D: Dot> Codes for High<D> {
    const BYTES: usize = 4 * ALIGN;
    const GROUP: usize = 32;
    type Scales = Sums;

    #[inline(always)]
    fn quads(self, of: HalfBlock<'_>) -> [Quads; 2] {
        nibbles(lines(of.bytes, of.half))
    }

    #[inline(always)]
    fn scales(self, group_scales: &[i8]) -> Sums {
        widen(eight(group_scales))
    }

    #[inline(always)]
    unsafe fn scaled_sums(
        self,
        quads: &[Quads; 2],
        input: *const i8,
        starts: [i32; 2],
        scales: Sums,
    ) -> Sums {
        let start = high_start(starts[0]) + high_start(starts[1]);
        // SAFETY: by this function's contract.
        scaled(unsafe { self.0.nibble_sums(quads, input, start) }, scales)
    }

    #[inline(always)]
    unsafe fn add_single(self, total: &mut Total, of: HalfBlock<'_>, x: OneInput<'_>) {
        let start = high_start(x.starts[0]) + high_start(x.starts[1]);
        // SAFETY: by this function's contract.
        *total = unsafe { self.0.add_block(*total, raised(of, x), start) };
    }
}

impl<D: Dot> Codes for Low<D> {
    const BYTES: usize = 4 * ALIGN;
    const GROUP: usize = 32;
    type Scales = Sums;

    #[inline(always)]
    fn quads(self, of: HalfBlock<'_>) -> [Quads; 2] {
        let row_bytes = of.tile.low_plane().len() / TILE_ROWS;
        let rows = of.tile.low_plane()[of.half * LANES * row_bytes..].chunks_exact(row_bytes);
        let mut bytes = [vdupq_n_u32(0); LANES];
        for (bytes, row) in bytes.iter_mut().zip(rows) {
            *bytes = vreinterpretq_u32_s8(load(&row[of.block * BLOCK / 2..]));
        }
        // 4 × 4 quads are transposed: from rows of 4 quads to quads of 4 rows.
        let [low, high] = [0, 4].map(|r| {
            let pairs = [
                vtrn1q_u32(bytes[r], bytes[r + 1]),
                vtrn2q_u32(bytes[r], bytes[r + 1]),
                vtrn1q_u32(bytes[r + 2], bytes[r + 3]),
                vtrn2q_u32(bytes[r + 2], bytes[r + 3]),
            ]
            .map(vreinterpretq_u64_u32);
            [
                vtrn1q_u64(pairs[0], pairs[2]),
                vtrn1q_u64(pairs[1], pairs[3]),
                vtrn2q_u64(pairs[0], pairs[2]),
                vtrn2q_u64(pairs[1], pairs[3]),
            ]
            .map(vreinterpretq_s8_u64)
        });
        halves([0, 1, 2, 3].map(|j| [low[j], high[j]]))
    }

    #[inline(always)]
    fn scales(self, group_scales: &[i8]) -> Sums {
        widen(eight(group_scales))
    }

    #[inline(always)]
    unsafe fn scaled_sums(
        self,
        quads: &[Quads; 2],
        input: *const i8,
        starts: [i32; 2],
        scales: Sums,
    ) -> Sums {
        let start = low_start(starts[0]) + low_start(starts[1]);
        // SAFETY: by this function's contract.
        scaled(unsafe { self.0.nibble_sums(quads, input, start) }, scales)
    }
}

/// The first 16 bytes.
#[inline(always)]
fn load(bytes: &[u8]) -> int8x16_t {
    let bytes = &bytes[..16];
    // SAFETY: there are 16 bytes.
    unsafe { vld1q_s8(bytes.as_ptr().cast()) }
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
    for (t, tile) in tiles.enumerate() {
        let tile = w.tile(tile);
        let mut out = out.narrow(t * TILE_ROWS..(t + 1) * TILE_ROWS);
        one_tile(High(cpu.0), &tile, x, HIGH_STEP, &mut out, output);
        one_tile(Low(cpu.0), &tile, x, 1.0, &mut out, Output::Add);
    }
}

/// The search of [`kinglet_core::Kernels::screen`]; the caller has checked that shapes fit
/// together.
pub(super) fn screen<D: Dot>(
    cpu: Neon<D>,
    w: &Matrix<'_>,
    tiles: Range<usize>,
    x: &Activations<'_>,
    margins: &[f32],
    found: &mut Screened<'_>,
) {
    for (t, index) in tiles.enumerate() {
        let tile = w.tile(index);
        let mut logits = found.logits.narrow(t * TILE_ROWS..(t + 1) * TILE_ROWS);
        one_tile(High(cpu.0), &tile, x, HIGH_STEP, &mut logits, Output::Store);
        let rows = TILE_ROWS.min(w.rows() - index * TILE_ROWS);
        for (token, &margin) in margins.iter().enumerate() {
            let (floor, ceiling) = bounds(cpu, &tile, rows, logits.row(token), margin);
            found.floors.row(token)[t] = floor;
            found.ceilings.row(token)[t] = ceiling;
        }
    }
}

/// The low plane's part for some rows of a tile; the caller has checked that shapes fit together.
pub(super) fn rescore<D: Dot>(
    cpu: Neon<D>,
    tile: &Tile<'_>,
    rows: u16,
    x: &Activations<'_>,
    token: usize,
    logits: &mut [f32],
) {
    if rows.count_ones() < WORTH_A_TILE {
        for r in rows_of(rows) {
            logits[r] += low_row(tile, r, x, token);
        }
        return;
    }
    let sums = single(Low(cpu.0), tile, x, token);
    let mut totals = [0f32; TILE_ROWS];
    for (total, out) in sums.iter().flatten().zip(totals.chunks_exact_mut(4)) {
        // SAFETY: `out` has 4 elements.
        unsafe { vst1q_f32(out.as_mut_ptr(), *total) };
    }
    for r in rows_of(rows) {
        logits[r] += totals[r] * tile.row_scales()[r];
    }
}

/// The low plane's part of the dot product of row `r` of a tile with one token. One `fma` for every
/// 32 columns, in the order of whole tiles, so that both give the same bits.
fn low_row(tile: &Tile<'_>, r: usize, x: &Activations<'_>, token: usize) -> f32 {
    let blocks = x.cols / BLOCK;
    let row = tile.low_plane()[r * x.cols / 2..][..x.cols / 2].chunks_exact(BLOCK / 2);
    let inputs = x.codes[token * x.cols..][..x.cols].chunks_exact(BLOCK);
    let scales = &x.scales[token * blocks..][..blocks];
    let starts = x.starts[token * x.cols / START_GROUP..].chunks_exact(BLOCK / START_GROUP);
    let mut total = vdupq_n_f32(0.0);
    let activations = inputs.zip(scales).zip(starts);
    for (block, (row, ((input, scale), starts))) in row.zip(activations).enumerate() {
        let bytes = load(row);
        let input: &[u8] = bytemuck::cast_slice(input);
        let low = vandq_s8(bytes, vdupq_n_s8(15));
        let high = vreinterpretq_s8_u8(vshrq_n_u8::<4>(vreinterpretq_u8_s8(bytes)));
        let mut sum = low_start(starts[0]) + low_start(starts[1]);
        for (nibbles, input) in [(low, load(input)), (high, load(&input[START_GROUP..]))] {
            let products = vmull_s8(vget_low_s8(nibbles), vget_low_s8(input));
            sum += vaddlvq_s16(vmlal_high_s8(products, nibbles, input));
        }
        let integer = (sum * i32::from(tile.group_scale(block, r))) as f32;
        total = vfmaq_n_f32(total, vdupq_n_f32(integer), *scale);
    }
    vgetq_lane_f32::<0>(total) * tile.row_scales()[r]
}
