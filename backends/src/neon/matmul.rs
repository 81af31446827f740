//! Products of quantized weights, 8 rows at a time: half a tile.
//!
//! All integers are exact, and there is one `fma` per 32 columns, so that a result does not depend
//! on the tokens beside it, nor on whether nibbles are multiplied raised or not.

use super::Neon;
use super::codes::{Bytes, Codes, HalfBlock, LANES, Linear, OneInput, Table, add_scaled};
use super::dot::{Dot, Total};
use super::registers::*;
use crate::prefetch::{SLOW_TOKENS, fetch_behind};
use core::arch::aarch64::{vld1q_f32, vld1q_s8, vst1q_f32};
use core::ops::Range;
use kinglet_core::Activations;
use kinglet_core::arena::Columns;
use kinglet_core::kernels::Output;
use kinglet_quant::format::{BLOCK, TILE_ROWS};
use kinglet_quant::tile::STRIP_SCALES;
use kinglet_quant::{Matrix, Strip, Tile, Type};

/// Tokens that share one unpacking of weights; their sums live in memory.
const TOKENS: usize = 64;

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
        (Type::Q8, ..) => all_tiles(Bytes(dot), w, tiles, x, out, output),
        (_, true, 16) => all_tiles(Linear::<_, 16>(dot), w, tiles, x, out, output),
        (_, true, _) => all_tiles(Linear::<_, 32>(dot), w, tiles, x, out, output),
        (_, _, 16) => all_tiles(Table::<_, 16>(dot, table(w)), w, tiles, x, out, output),
        _ => all_tiles(Table::<_, 32>(dot, table(w)), w, tiles, x, out, output),
    }
}

/// The table that nibbles stand for entries of.
#[inline(always)]
fn table(w: &Matrix<'_>) -> int8x16_t {
    // SAFETY: the table has 16 bytes.
    unsafe { vld1q_s8(w.table().as_ptr()) }
}

fn all_tiles<C: Codes>(
    codes: C,
    w: &Matrix<'_>,
    tiles: Range<usize>,
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    for (t, tile) in tiles.enumerate() {
        let tile = w.tile(tile);
        let mut out = out.narrow(t * TILE_ROWS..(t + 1) * TILE_ROWS);
        one_tile(codes, &tile, x, 1.0, &mut out, output);
    }
}

/// The product of a tile with all tokens, times `step`.
#[inline(always)]
pub(super) fn one_tile<C: Codes>(
    codes: C,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    step: f32,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    if x.tokens == 1 {
        let total = single(codes, tile, x, 0);
        store(&[total], tile, 0, step, out, output);
    } else {
        for first in (0..x.tokens).step_by(TOKENS) {
            let mut totals = [[[vdupq_n_f32(0.0); 2]; 2]; TOKENS];
            let totals = &mut totals[..TOKENS.min(x.tokens - first)];
            several(codes, tile, x, first, totals);
            store(totals, tile, first, step, out, output);
        }
    }
}

/// The products of a tile with one token, not yet scaled by row.
#[inline(always)]
pub(super) fn single<C: Codes>(
    codes: C,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    token: usize,
) -> [Total; 2] {
    let (strip, blocks) = (strip_blocks::<C>(), x.cols / BLOCK);
    let codes_in = &x.codes[token * x.cols..][..x.cols];
    let scales = &x.scales[token * blocks..][..blocks];
    let starts = &x.starts[token * 2 * blocks..][..2 * blocks];
    let mut totals = [[vdupq_n_f32(0.0); 2]; 2];
    let whole = codes_in.chunks_exact(strip * BLOCK).zip(scales.chunks_exact(strip));
    let whole = whole.zip(starts.chunks_exact(2 * strip)).zip(tile.whole_strips());
    for (index, (((codes_in, scales), starts), bytes)) in whole.enumerate() {
        let inputs = Inputs { codes: codes_in, scales, starts };
        add_strip(codes, tile, bytes, index * strip, inputs, &mut totals);
    }
    if let Some(bytes) = tile.cut_strip() {
        let first = blocks / strip * strip;
        let (codes_in, scales) = (&codes_in[first * BLOCK..], &scales[first..]);
        let inputs = Inputs { codes: codes_in, scales, starts: &starts[2 * first..] };
        add_strip(codes, tile, bytes, first, inputs, &mut totals);
    }
    totals
}

/// One token's activations beside a strip.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    codes: &'a [i8],
    scales: &'a [f32],
    starts: &'a [i32],
}

/// Blocks of a whole strip.
const fn strip_blocks<C: Codes>() -> usize {
    STRIP_SCALES / TILE_ROWS * C::GROUP / BLOCK
}

/// Adds the products of a strip, whose first block is `first`, with one token to `totals`.
#[inline(always)]
fn add_strip<C: Codes>(
    codes: C,
    tile: &Tile<'_>,
    strip: Strip<'_>,
    first: usize,
    inputs: Inputs<'_>,
    totals: &mut [Total; 2],
) {
    let blocks = inputs.scales.len();
    assert!(strip.codes().len() == blocks * C::BYTES);
    // In pairs, for what going round the loop costs.
    for pair in 0..blocks / 2 {
        add_block(codes, tile, strip, first, 2 * pair, inputs, totals);
        add_block(codes, tile, strip, first, 2 * pair + 1, inputs, totals);
    }
    if blocks % 2 == 1 {
        add_block(codes, tile, strip, first, blocks - 1, inputs, totals);
    }
}

/// Adds the products of block `b` of a strip.
#[inline(always)]
fn add_block<C: Codes>(
    codes: C,
    tile: &Tile<'_>,
    strip: Strip<'_>,
    first: usize,
    b: usize,
    inputs: Inputs<'_>,
    totals: &mut [Total; 2],
) {
    let bytes = &strip.codes()[b * C::BYTES..][..C::BYTES];
    let x = OneInput {
        codes: inputs.codes[b * BLOCK..][..BLOCK].as_ptr(),
        scale: inputs.scales[b],
        starts: inputs.starts[2 * b..].first_chunk().expect("a block has two starts"),
    };
    for (half, total) in totals.iter_mut().enumerate() {
        let group_scales = group_scales::<C>(strip, b, half);
        let of = HalfBlock { tile, block: first + b, bytes, half, group_scales };
        // SAFETY: there are 32 codes.
        unsafe { codes.add_single(total, of, x) };
    }
}

/// What [`HalfBlock::group_scales`] are in block `b` of a strip.
#[inline(always)]
fn group_scales<'a, C: Codes>(strip: Strip<'a>, b: usize, half: usize) -> &'a [i8] {
    let groups = BLOCK / C::GROUP;
    &strip.scales()[b * groups * TILE_ROWS + half * LANES..][..(groups - 1) * TILE_ROWS + LANES]
}

/// Adds the products of a tile with the tokens from `first` on, not yet scaled by row, to `totals`,
/// two halves for each token.
#[inline(always)]
fn several<C: Codes>(
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
    for (index, strip) in tile.strips().enumerate() {
        if tokens >= SLOW_TOKENS {
            fetch_behind(strip.bytes());
        }
        for (b, bytes) in strip.codes().chunks_exact(C::BYTES).enumerate() {
            let block = index * strip_blocks::<C>() + b;
            assert!(block < blocks, "more blocks than the inputs have");
            for half in 0..2 {
                let group_scales = group_scales::<C>(strip, b, half);
                let quads = codes.quads(HalfBlock { tile, block, bytes, half, group_scales });
                let group_scales = codes.scales(group_scales);
                for (token, total) in totals.iter_mut().enumerate() {
                    let index = token * blocks + block;
                    // SAFETY: `block` is below `blocks` and `token` below `tokens`, and the slices
                    // of activations have 32 codes, one scale and two starts for each of both.
                    unsafe {
                        let input = inputs.as_ptr().add(index * BLOCK);
                        let starts = *starts.as_ptr().add(2 * index).cast::<[i32; 2]>();
                        let sums = codes.scaled_sums(&quads, input, starts, group_scales);
                        add_scaled(&mut total[half], sums, *scales.as_ptr().add(index));
                    }
                }
            }
        }
    }
}

/// Multiplies the totals by `step` and the scales of their rows, and writes them.
#[inline(always)]
fn store(
    totals: &[[Total; 2]],
    tile: &Tile<'_>,
    first: usize,
    step: f32,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    for (token, total) in totals.iter().enumerate() {
        let rows = out.row(first + token).chunks_exact_mut(4);
        let quarters = tile.row_scales().chunks_exact(4).zip(rows);
        for (total, (row_scales, row)) in total.iter().flatten().zip(quarters) {
            // SAFETY: `row_scales` and `row` have 4 elements.
            unsafe {
                let mut result = vmulq_n_f32(*total, step);
                result = vmulq_f32(result, vld1q_f32(row_scales.as_ptr()));
                if output == Output::Add {
                    result = vaddq_f32(result, vld1q_f32(row.as_ptr()));
                }
                vst1q_f32(row.as_mut_ptr(), result);
            }
        }
    }
}
