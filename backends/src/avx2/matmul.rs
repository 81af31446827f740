//! Products of quantized weights, 8 rows at a time.
//!
//! All integers are exact, and there is one `fma` per 32 columns, so a result does not depend on
//! the tokens beside it.

use super::Avx2;
use super::codes::{Block, Codes, LANES, QUADS, Quads, Unpack};
use crate::lanes::Lanes;
use crate::prefetch::{SLOW_TOKENS, fetch_behind};
use crate::product::Product;
use core::arch::x86_64::*;
use core::mem;
use kinglet_core::Activations;
use kinglet_core::arena::Columns;
use kinglet_core::kernels::{Output, START_GROUP};
use kinglet_quant::Tile;
use kinglet_quant::format::{BLOCK, TILE_ROWS};

/// Tokens that share one unpacking of weights; the sums of more than one live in memory.
const TOKENS: usize = 64;

/// Sums of the two halves of a tile's rows with one token.
pub(super) type Total = [__m256; 2];

/// The product of all tiles.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn all_tiles<C: Codes, const GROUP: usize>(cpu: Avx2, codes: C, of: Product<'_>) {
    let Product { w, tiles, x, mut out, output } = of;
    let mut totals = no_totals(cpu);
    for (t, tile) in tiles.enumerate() {
        let (tile, mut out) = (w.tile(tile), out.narrow(Product::columns(t)));
        one_tile::<C, GROUP>(cpu, codes, &tile, x, &mut out, output, &mut totals);
    }
}

/// Sums of nothing.
#[inline(always)]
pub(super) fn no_totals<const N: usize>(cpu: Avx2) -> [Total; N] {
    [[cpu.splat(0.0); 2]; N]
}

/// The product of a tile with all tokens; `totals` are zeros before and after.
#[inline(always)]
pub(super) fn one_tile<C: Codes, const GROUP: usize>(
    cpu: Avx2,
    codes: C,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
    totals: &mut [Total; TOKENS],
) {
    let step = C::Unpack::STEP;
    if x.tokens == 1 {
        let mut total = no_totals::<1>(cpu);
        accumulate::<C, GROUP>(cpu, codes, tile, x, 0, &mut total);
        store(cpu, &mut total, step, tile, 0, out, output);
        return;
    }
    for first in (0..x.tokens).step_by(TOKENS) {
        let totals = &mut totals[..TOKENS.min(x.tokens - first)];
        accumulate::<C, GROUP>(cpu, codes, tile, x, first, totals);
        store(cpu, totals, step, tile, first, out, output);
    }
}

/// Adds the products of one tile, in steps of the codes and not yet scaled by row, with the tokens
/// from `first` on to `totals`.
#[inline(always)]
pub(super) fn accumulate<C: Codes, const GROUP: usize>(
    cpu: Avx2,
    codes: C,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    first: usize,
    totals: &mut [Total],
) {
    const { assert!(GROUP == BLOCK || GROUP == BLOCK / 2) };
    let (tokens, blocks) = (totals.len(), x.cols / BLOCK);
    assert!(tokens > 0);
    let inputs = &x.codes[first * x.cols..][..tokens * x.cols];
    let scales = &x.scales[first * blocks..][..tokens * blocks];
    let starts = &x.starts[first * 2 * blocks..][..tokens * 2 * blocks];
    let mut blocks_before = 0..blocks;
    for strip in tile.strips() {
        if C::Unpack::IN_STRIPS && tokens >= SLOW_TOKENS {
            fetch_behind(strip.bytes());
        }
        let group_scales = strip.scales().chunks_exact(BLOCK / GROUP * TILE_ROWS);
        let code_blocks = strip.codes().chunks_exact(C::Unpack::BYTES);
        for (group_scales, bytes) in group_scales.zip(code_blocks) {
            let index = blocks_before.next().expect("as many blocks as inputs have");
            let block = Block { index, bytes };
            for half in 0..2 {
                let [low_quads, high_quads] = codes.quads(cpu, block, half);
                // SAFETY: `cpu` proves the features. `index` is below `blocks` and `token` below
                // `tokens`, so the one or two groups of the block have 16 scales each, and the
                // slices of activations 32 codes, one scale and two starts for each token and
                // block.
                unsafe {
                    let group_scales = group_scales.as_ptr().add(half * LANES);
                    let low_scales = widen(group_scales);
                    let high_scales =
                        widen(group_scales.add(if GROUP < BLOCK { TILE_ROWS } else { 0 }));
                    for (token, total) in totals.iter_mut().enumerate() {
                        let index = token * blocks + index;
                        let input = inputs.as_ptr().add(index * BLOCK);
                        let [low, high] = *starts.as_ptr().add(2 * index).cast::<[i32; 2]>();
                        let low = codes.dot(cpu, &low_quads, &repeat(input), low, low_scales);
                        let input = input.add(START_GROUP);
                        let high = codes.dot(cpu, &high_quads, &repeat(input), high, high_scales);
                        let sum = _mm256_cvtepi32_ps(_mm256_add_epi32(low, high));
                        let scale = _mm256_set1_ps(*scales.as_ptr().add(index));
                        total[half] = _mm256_fmadd_ps(sum, scale, total[half]);
                    }
                }
            }
        }
    }
}

/// 16 activations, each 4 repeated over a register.
///
/// # Safety
/// `input` has 16 codes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn repeat(input: *const i8) -> Quads {
    let mut quads = [_mm256_setzero_si256(); QUADS];
    for (j, quad) in quads.iter_mut().enumerate() {
        // SAFETY: by this function's contract.
        *quad = _mm256_set1_epi32(unsafe { input.add(4 * j).cast::<i32>().read_unaligned() });
    }
    quads
}

/// 8 group scales, each twice as 16-bit integers.
///
/// # Safety
/// `scales` has 8 elements.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn widen(scales: *const i8) -> __m256i {
    // SAFETY: by this function's contract.
    let scales = _mm256_cvtepi8_epi32(unsafe { _mm_loadl_epi64(scales.cast()) });
    // The low 16 bits of a small integer are itself in 16 bits.
    _mm256_blend_epi16::<0b1010_1010>(scales, _mm256_slli_epi32::<16>(scales))
}

/// Multiplies the totals by `step` and the scales of their rows, writes them, and leaves zeros.
#[inline(always)]
fn store(
    cpu: Avx2,
    totals: &mut [Total],
    step: f32,
    tile: &Tile<'_>,
    first: usize,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    for (token, total) in totals.iter_mut().enumerate() {
        let rows = out.row(first + token).chunks_exact_mut(LANES);
        let halves = tile.row_scales().chunks_exact(LANES).zip(rows);
        let total = mem::replace(total, [cpu.splat(0.0); 2]);
        for (mut total, (row_scales, row)) in total.into_iter().zip(halves) {
            if step != 1.0 {
                total = cpu.mul(total, cpu.splat(step));
            }
            let mut result = cpu.mul(total, cpu.load(row_scales));
            if output == Output::Add {
                result = cpu.add(result, cpu.load(row));
            }
            cpu.store(result, row);
        }
    }
}
