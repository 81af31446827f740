//! Products of quantized weights, 16 rows at a time.
//!
//! All integers are exact (|Σ| < 2²⁷ with the scale of the group), and there is one `fma` per 32
//! columns, so a result does not depend on the tokens beside it.

use super::Avx512;
use super::codes::{Block, Codes, Unpack};
use crate::lanes::Lanes;
use crate::prefetch::{SLOW_TOKENS, fetch_behind};
use crate::product::Product;
use core::arch::x86_64::*;
use core::mem;
use kinglet_core::Activations;
use kinglet_core::arena::Columns;
use kinglet_core::kernels::Output;
use kinglet_quant::Tile;
use kinglet_quant::format::{BLOCK, TILE_ROWS};

/// Tokens that share one unpacking of weights; the sums of more than one live in memory.
const TOKENS: usize = 64;

/// The product of all tiles.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn all_tiles<C: Codes, const GROUP: usize>(cpu: Avx512, codes: C, of: Product<'_>) {
    let Product { w, tiles, x, mut out, output } = of;
    let mut totals = no_totals(cpu);
    for (t, tile) in tiles.enumerate() {
        let (tile, mut out) = (w.tile(tile), out.narrow(Product::columns(t)));
        one_tile::<C, GROUP>(cpu, codes, &tile, x, &mut out, output, &mut totals);
    }
}

/// Sums of nothing.
#[inline(always)]
pub(super) fn no_totals<const N: usize>(cpu: Avx512) -> [__m512; N] {
    [cpu.splat(0.0); N]
}

/// The product of a tile with all tokens; `totals` are zeros before and after.
#[inline(always)]
pub(super) fn one_tile<C: Codes, const GROUP: usize>(
    cpu: Avx512,
    codes: C,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
    totals: &mut [__m512; TOKENS],
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
/// from `first` on to `totals`, one for each token.
#[inline(always)]
pub(super) fn accumulate<C: Codes, const GROUP: usize>(
    cpu: Avx512,
    codes: C,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    first: usize,
    totals: &mut [__m512],
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
            let quads = codes.quads(cpu, Block { index, bytes });
            // SAFETY: `cpu` proves the features. `index` is below `blocks` and `token` below
            // `tokens`, so the one or two groups of the block have 16 scales each, and the slices
            // of activations 32 codes, one scale and two starts for each token and block.
            unsafe {
                let group_scales = group_scales.as_ptr();
                let high_scales = group_scales.add(if GROUP < BLOCK { TILE_ROWS } else { 0 });
                let group_scales = codes.scales(cpu, widen(group_scales), widen(high_scales));
                for (token, total) in totals.iter_mut().enumerate() {
                    let index = token * blocks + index;
                    let input = inputs.as_ptr().add(index * BLOCK);
                    let starts = starts.as_ptr().add(2 * index);
                    let sum = codes.scaled_sum(cpu, &quads, input, starts, &group_scales);
                    let scale = _mm512_set1_ps(*scales.as_ptr().add(index));
                    *total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, *total);
                }
            }
        }
    }
}

/// 16 group scales as 32-bit integers.
///
/// # Safety
/// `scales` has 16 elements.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn widen(scales: *const i8) -> __m512i {
    // SAFETY: by this function's contract.
    _mm512_cvtepi8_epi32(unsafe { _mm_loadu_si128(scales.cast()) })
}

/// Multiplies the totals by `step` and the scales of their rows, writes them, and leaves zeros.
#[inline(always)]
fn store(
    cpu: Avx512,
    totals: &mut [__m512],
    step: f32,
    tile: &Tile<'_>,
    first: usize,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    let row_scales = cpu.load(tile.row_scales());
    for (token, total) in totals.iter_mut().enumerate() {
        let row = &mut out.row(first + token)[..TILE_ROWS];
        let mut total = mem::replace(total, cpu.splat(0.0));
        if step != 1.0 {
            total = cpu.mul(total, cpu.splat(step));
        }
        let mut result = cpu.mul(total, row_scales);
        if output == Output::Add {
            result = cpu.add(result, cpu.load(row));
        }
        cpu.store(result, row);
    }
}
