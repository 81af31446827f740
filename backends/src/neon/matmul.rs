//! Products of quantized weights, 8 rows at a time: half a tile.
//!
//! All integers are exact, and there is one `fma` per 32 columns, so that a result does not depend
//! on the tokens beside it, nor on whether nibbles are multiplied raised or not.

use super::batch::Batch;
use super::codes::{Unpack, add_sums};
use super::dot::Dot;
use super::half_tile::{HalfBlock, OneInput, OneTile, OneToken, Total, Weights};
use super::half_tile::{group_scales, strip_blocks, strip_scales};
use super::intrinsics::*;
use crate::prefetch::{SLOW_TOKENS, fetch_behind};
use crate::product::Product;
use core::arch::aarch64::{vld1q_f32, vst1q_f32};
use core::mem;
use core::ops::Range;
use kinglet_core::Activations;
use kinglet_core::arena::Columns;
use kinglet_core::kernels::Output;
use kinglet_quant::Tile;
use kinglet_quant::format::{BLOCK, TILE_ROWS};

/// Tokens that share one unpacking of weights; their sums live in memory.
const TOKENS: usize = 64;
/// Sums of nothing for both halves of the rows: a constant is set in place, registers are copied.
const NO_TOTALS: [Total; 2 * TOKENS] = {
    // SAFETY: floats may have any bits.
    unsafe { mem::zeroed() }
};

/// Codes of a format with scales for groups of so many columns, and a way of multiplying bytes.
#[derive(Clone, Copy)]
pub(super) struct Packed<D, U, const GROUP: usize>(pub D, pub U);

impl<D: Dot, U: Unpack, const GROUP: usize> Packed<D, U, GROUP> {
    /// The products of a tile with one token alone, not yet scaled by row.
    #[inline(always)]
    fn single(self, of: OneTile<'_>) -> [Total; 2] {
        self.1.single::<D, GROUP>(self.0, of)
    }

    /// Adds `scale · Σ group scale · weight · input` to the totals of many tokens, to the bit what
    /// one alone gets, if there is a faster way than one by one; else false, and nothing has been
    /// added.
    #[inline(always)]
    fn add_batch(self, of: HalfBlock<'_>, batch: &mut Batch<'_>) -> bool {
        let weights = Weights {
            quads: self.1.weights(of),
            reach: U::REACH,
            scales: group_scales::<GROUP>(of),
            one_scale: GROUP == BLOCK,
        };
        self.0.add_batch(&weights, batch)
    }

    /// The same for one of them.
    ///
    /// # Safety
    /// `x` has 32 codes.
    #[inline(always)]
    unsafe fn add_one(self, total: &mut Total, of: HalfBlock<'_>, x: OneInput<'_>) {
        // SAFETY: by this function's contract.
        unsafe { add_sums::<D, GROUP>(self.0, total, &self.1.weights(of), of, x) }
    }
}

pub(super) fn all_tiles<D: Dot, U: Unpack, const GROUP: usize>(
    codes: Packed<D, U, GROUP>,
    of: Product<'_>,
) {
    let Product { w, tiles, x, mut out, output } = of;
    if x.tokens == 1 {
        let (x, (outs, _)) = (OneToken::new(x, 0), out.row(0).as_chunks_mut());
        for (tile, out) in tiles.zip(outs) {
            let tile = w.tile(tile);
            store(codes.single(OneTile { tile: &tile, x }), &tile, 1.0, out, output);
        }
        return;
    }
    for (t, tile) in tiles.enumerate() {
        in_batches(codes, &w.tile(tile), x, &mut out.narrow(Product::columns(t)), output);
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
