//! Products of quantized weights, 8 rows at a time: half a tile.
//!
//! All integers are exact, and there is one `fma` per 32 columns, so that a result does not depend
//! on the tokens beside it, nor on whether nibbles are multiplied raised or not.

use super::Neon;
use super::batch::Batch;
use super::codes::Packed;
use super::dot::Dot;
use super::registers::*;
use super::rows::{HalfBlock, OneInput, OneTile, OneToken, Total, strip_blocks, strip_scales};
use super::unpack::{Bytes, Entries, Fives, Nibbles, Threes, Unpack};
use crate::prefetch::{SLOW_TOKENS, fetch_behind};
use core::arch::aarch64::{vld1q_f32, vst1q_f32};
use core::mem;
use core::ops::Range;
use kinglet_core::Activations;
use kinglet_core::arena::Columns;
use kinglet_core::kernels::Output;
use kinglet_quant::format::{BLOCK, TILE_ROWS};
use kinglet_quant::{Matrix, Tile, Type};

/// Tokens that share one unpacking of weights; their sums live in memory.
const TOKENS: usize = 64;
/// Sums of nothing for both halves of the rows: a constant is set in place, registers are copied.
const NO_TOTALS: [Total; 2 * TOKENS] = {
    // SAFETY: floats may have any bits.
    unsafe { mem::zeroed() }
};

/// `out (+)= w · x` for the rows of `tiles`; the caller has checked that shapes fit together.
pub(super) fn product<D: Dot>(
    cpu: Neon<D>,
    w: &Matrix<'_>,
    tiles: Range<usize>,
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    if x.tokens > 1 && x.tokens < D::BATCH {
        return one_by_one(cpu, w, tiles, x, out, output);
    }
    let dot = cpu.0;
    macro_rules! with {
        ($unpack:expr, $group:literal) => {
            all_tiles(Packed::<_, _, $group>(dot, $unpack), w, tiles, x, out, output)
        };
    }
    match (w.kind(), w.is_linear(), w.group()) {
        (Type::Q8, ..) => with!(Bytes, 32),
        (Type::Q5, _, 16) => with!(Fives, 16),
        (Type::Q5, ..) => with!(Fives, 32),
        (Type::Q3, _, 16) => with!(Threes::new(w), 16),
        (Type::Q3, ..) => with!(Threes::new(w), 32),
        (_, true, 16) => with!(Nibbles, 16),
        (_, true, _) => with!(Nibbles, 32),
        (_, _, 16) => with!(Entries::new(w), 16),
        _ => with!(Entries::new(w), 32),
    }
}

/// [`product`] with tokens that are too few for a batch: as if each were alone, tile by tile.
fn one_by_one<D: Dot>(
    cpu: Neon<D>,
    w: &Matrix<'_>,
    tiles: Range<usize>,
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    for (t, tile) in tiles.enumerate() {
        let mut out = out.narrow(t * TILE_ROWS..(t + 1) * TILE_ROWS);
        for token in 0..x.tokens {
            let mut out = Columns::all(out.row(token), TILE_ROWS);
            product(cpu, w, tile..tile + 1, &x.quantized_token(token), &mut out, output);
        }
    }
}

fn all_tiles<D: Dot, U: Unpack, const GROUP: usize>(
    codes: Packed<D, U, GROUP>,
    w: &Matrix<'_>,
    tiles: Range<usize>,
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    if x.tokens == 1 {
        let (x, (outs, _)) = (OneToken::new(x, 0), out.row(0).as_chunks_mut());
        for (tile, out) in tiles.zip(outs) {
            let tile = w.tile(tile);
            store(codes.single(OneTile { tile: &tile, x }), &tile, 1.0, out, output);
        }
        return;
    }
    for (t, tile) in tiles.enumerate() {
        let mut out = out.narrow(t * TILE_ROWS..(t + 1) * TILE_ROWS);
        in_batches(codes, &w.tile(tile), x, &mut out, output);
    }
}

/// The product of a tile with many tokens, apart from the code for one, which is the better for it.
#[inline(never)]
fn in_batches<D: Dot, U: Unpack, const GROUP: usize>(
    codes: Packed<D, U, GROUP>,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    for first in (0..x.tokens).step_by(TOKENS) {
        let mut totals = NO_TOTALS;
        let (low, high) = totals.split_at_mut(TOKENS);
        let tokens = TOKENS.min(x.tokens - first);
        several(codes, tile, x, first..first + tokens, [low, high]);
        let (low, high) = (low.as_chunks().0, high.as_chunks().0);
        for (pair, (&low, &high)) in low.iter().zip(high).enumerate().take(tokens.div_ceil(2)) {
            let halves = D::by_token(low).into_iter().zip(D::by_token(high));
            for (token, (low, high)) in (2 * pair..tokens).zip(halves) {
                let out = out.row(first + token).try_into().expect("a row of a tile");
                store([low, high], tile, 1.0, out, output);
            }
        }
    }
}

/// Adds the products of a tile with some tokens, not yet scaled by row, to `totals`, those of the
/// first 8 rows and those of the others.
#[inline(always)]
fn several<D: Dot, U: Unpack, const GROUP: usize>(
    codes: Packed<D, U, GROUP>,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    tokens: Range<usize>,
    mut totals: [&mut [Total]; 2],
) {
    let (count, blocks) = (tokens.len(), x.cols / BLOCK);
    let inputs = &x.codes[tokens.start * x.cols..][..count * x.cols];
    let scales = &x.scales[tokens.start * blocks..][..count * blocks];
    let starts = &x.starts[tokens.start * 2 * blocks..][..count * 2 * blocks];
    for (index, strip) in tile.strips().enumerate() {
        if count >= SLOW_TOKENS {
            fetch_behind(strip.bytes());
        }
        for (b, bytes) in strip.codes().chunks_exact(U::BYTES).enumerate() {
            let block = index * strip_blocks(GROUP) + b;
            for (half, totals) in totals.iter_mut().enumerate() {
                let group_scales = strip_scales(strip, b, half, GROUP);
                let of = HalfBlock { tile, block, bytes, half, group_scales };
                let totals = &mut totals[..count.next_multiple_of(2)];
                let mut batch = Batch::new(inputs, scales, block, count, totals);
                if codes.add_batch(of, &mut batch) {
                    continue;
                }
                for (token, total) in totals[..count].iter_mut().enumerate() {
                    let index = token * blocks + block;
                    let starts = starts[2 * index..].first_chunk();
                    let x = OneInput {
                        codes: inputs[index * BLOCK..][..BLOCK].as_ptr(),
                        scale: scales[index],
                        starts: starts.expect("a block has two starts"),
                    };
                    // SAFETY: there are 32 codes.
                    unsafe { codes.add_one(total, of, x) };
                }
            }
        }
    }
}

/// Multiplies the totals of a token by `step` and the scales of their rows, and writes them.
#[inline(always)]
pub(super) fn store(
    total: [Total; 2],
    tile: &Tile<'_>,
    step: f32,
    out: &mut [f32; TILE_ROWS],
    output: Output,
) {
    let quarters = tile.row_scales().chunks_exact(4).zip(out.chunks_exact_mut(4));
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
