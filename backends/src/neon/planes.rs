//! Products of weights in two planes: nibbles 0 to 15 of either plane multiply activations as they
//! are, and sums start where [`kinglet_core::screen`] says.

use super::Neon;
use super::dot::{Dot, Quads};
use super::matmul::{LANES, Total, add_scaled, lines, nibbles, store, widen};
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

/// Tokens that share one unpacking of weights; the sums of more than one live in memory.
const TOKENS: usize = 16;
/// Bytes of a block: 4 lines with column quads in the low nibbles, 16 columns later in the high
/// ones.
const BYTES: usize = 4 * ALIGN;

/// One of the planes.
trait Plane: Copy {
    /// What a nibble's step is worth.
    const STEP: f32;

    /// The lines of a block of 32 columns, whose high nibbles are `high`, for 8 rows of the tile.
    fn lines(high: &[u8], tile: &Tile<'_>, cols: usize, block: usize, half: usize) -> Quads;

    /// Where the sum over 16 columns starts, given `−8·Σ a`.
    fn start(start: i32) -> i32;
}

/// The high nibbles, in tiles.
#[derive(Clone, Copy)]
struct High;

/// The low nibbles, row by row.
#[derive(Clone, Copy)]
struct Low;

impl Plane for High {
    const STEP: f32 = 16.0;

    #[inline(always)]
    fn lines(high: &[u8], _tile: &Tile<'_>, _cols: usize, _block: usize, half: usize) -> Quads {
        lines(high, half * ALIGN / 2)
    }

    #[inline(always)]
    fn start(start: i32) -> i32 {
        high_start(start)
    }
}

impl Plane for Low {
    const STEP: f32 = 1.0;

    #[inline(always)]
    fn lines(_high: &[u8], tile: &Tile<'_>, cols: usize, block: usize, half: usize) -> Quads {
        let rows =
            tile.low_plane()[half * LANES * cols / 2..][..LANES * cols / 2].chunks_exact(cols / 2);
        let mut bytes = [vdupq_n_u32(0); LANES];
        for (bytes, row) in bytes.iter_mut().zip(rows) {
            *bytes = vreinterpretq_u32_s8(load(&row[block * BLOCK / 2..]));
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
        [0, 1, 2, 3].map(|j| [low[j], high[j]])
    }

    #[inline(always)]
    fn start(start: i32) -> i32 {
        low_start(start)
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
        one_tile::<_, High>(cpu.0, &tile, x, &mut out, output);
        one_tile::<_, Low>(cpu.0, &tile, x, &mut out, Output::Add);
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
        one_tile::<_, High>(cpu.0, &tile, x, &mut logits, Output::Store);
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
    let mut total = [[[vdupq_n_f32(0.0); 2]; 2]];
    accumulate::<_, Low>(cpu.0, tile, x, token, &mut total);
    let mut totals = [0f32; TILE_ROWS];
    for (total, out) in total.iter().flatten().flatten().zip(totals.chunks_exact_mut(4)) {
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

/// One plane's part of the product of a tile with all tokens.
#[inline(always)]
fn one_tile<D: Dot, P: Plane>(
    dot: D,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    let step = |total: Total| total.map(|quarter| vmulq_n_f32(quarter, P::STEP));
    if x.tokens == 1 {
        let mut total = [[[vdupq_n_f32(0.0); 2]; 2]];
        accumulate::<D, P>(dot, tile, x, 0, &mut total);
        total[0] = total[0].map(step);
        store(&mut total, tile, 0, out, output);
        return;
    }
    for first in (0..x.tokens).step_by(TOKENS) {
        let mut totals = [[[vdupq_n_f32(0.0); 2]; 2]; TOKENS];
        let totals = &mut totals[..TOKENS.min(x.tokens - first)];
        accumulate::<D, P>(dot, tile, x, first, totals);
        for total in totals.iter_mut() {
            *total = total.map(step);
        }
        store(totals, tile, first, out, output);
    }
}

/// Adds one plane's products of a tile, not yet scaled by row, with the tokens from `first` on to
/// `totals`, two halves for each token.
#[inline(always)]
fn accumulate<D: Dot, P: Plane>(
    dot: D,
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
        let group_scales = strip.scales().chunks_exact(TILE_ROWS);
        for (group_scales, bytes) in group_scales.zip(strip.codes().chunks_exact(BYTES)) {
            let block = blocks_before.next().expect("as many blocks as inputs have");
            for half in 0..2 {
                let quads = nibbles(&P::lines(bytes, tile, x.cols, block, half));
                let group_scales = widen(&group_scales[half * LANES..]);
                for (token, total) in totals.iter_mut().enumerate() {
                    let index = token * blocks + block;
                    // SAFETY: `block` is below `blocks` and `token` below `tokens`, and the slices
                    // of activations have 32 codes, one scale and two starts for each of both.
                    unsafe {
                        let input = inputs.as_ptr().add(index * BLOCK);
                        let [low, high] = *starts.as_ptr().add(2 * index).cast::<[i32; 2]>();
                        let low = dot.nibble_sums(&quads[0], input, P::start(low));
                        let input = input.add(START_GROUP);
                        let high = dot.nibble_sums(&quads[1], input, P::start(high));
                        // Sums of 32 columns need more than 16 bits.
                        let sums = [
                            vmlal_s16(
                                vmull_s16(vget_low_s16(low), vget_low_s16(group_scales)),
                                vget_low_s16(high),
                                vget_low_s16(group_scales),
                            ),
                            vmlal_high_s16(vmull_high_s16(low, group_scales), high, group_scales),
                        ];
                        add_scaled(&mut total[half], sums, *scales.as_ptr().add(index));
                    }
                }
            }
        }
    }
}
