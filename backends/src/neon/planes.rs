//! Products of weights in two planes: nibbles 0 to 15 of either plane multiply activations as they
//! are, and sums start where [`kinglet_core::screen`] says.

use super::Neon;
use super::codes::halves;
use super::dot::Dot;
use super::half_tile::{HalfBlock, LANES, OneTile, OneToken, Quads, Starts, Total};
use super::half_tile::{add_scaled, eight, scaled, strip_blocks, widen};
use super::intrinsics::*;
use super::matmul::store;
use super::single::by_halves;
use crate::planes::{WORTH_A_TILE, bounds};
use crate::product::{NIBBLE_BLOCK, Product, Rescore, Search};
use core::arch::aarch64::{vld1q_s8, vld1q_s32, vst1q_f32};
use core::slice;
use kinglet_core::arena::Columns;
use kinglet_core::kernels::{Output, Screened};
use kinglet_core::screen::{low_start, rows_of};
use kinglet_quant::format::{BLOCK, TILE_ROWS};
use kinglet_quant::{Strip, Tile};

/// What a step of the high plane is worth in steps of the low one.
const HIGH_STEP: f32 = 16.0;

/// Blocks of a whole strip.
const STRIP: usize = strip_blocks(BLOCK);

/// The products of the high nibbles, not yet scaled by row.
#[inline(always)]
fn high<D: Dot>(dot: D, of: OneTile<'_>) -> [Total; 2] {
    dot.nibble_blocks(of, Starts::High)
}

/// The products of the low nibbles, not yet scaled by row.
#[inline(always)]
fn low<D: Dot>(dot: D, of: OneTile<'_>) -> [Total; 2] {
    by_halves(of, NIBBLE_BLOCK, BLOCK, |total, half, x| {
        let start = low_start(x.starts[0]) + low_start(x.starts[1]);
        // SAFETY: `x` has 32 codes.
        let sums = unsafe { dot.nibble_sums(&low_quads(half), x.codes, start) };
        add_scaled(total, scaled(sums, widen(eight(half.group_scales))), x.scale);
    })
}

/// The low nibbles of 8 rows, which lie row by row, in quads.
#[inline(always)]
fn low_quads(of: HalfBlock<'_>) -> [Quads; 2] {
    let row_bytes = of.tile.low_plane().len() / TILE_ROWS;
    let rows = of.tile.low_plane()[of.half * LANES * row_bytes..].chunks_exact(row_bytes);
    let mut bytes = [vdupq_n_u32(0); LANES];
    for (bytes, row) in bytes.iter_mut().zip(rows) {
        *bytes = vreinterpretq_u32_s8(load(&row[of.block * BLOCK / 2..]));
    }
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

/// The first 16 bytes.
#[inline(always)]
fn load(bytes: &[u8]) -> int8x16_t {
    let bytes = &bytes[..16];
    // SAFETY: there are 16 bytes.
    unsafe { vld1q_s8(bytes.as_ptr().cast()) }
}

/// The product of all tiles, token by token.
pub(super) fn product<D: Dot>(cpu: Neon<D>, of: Product<'_>) {
    let Product { w, tiles, x, mut out, output } = of;
    for (t, tile) in tiles.enumerate() {
        let (tile, mut out) = (w.tile(tile), out.narrow(Product::columns(t)));
        for token in 0..x.tokens {
            let of = OneTile { tile: &tile, x: OneToken::new(x, token) };
            let out: &mut [f32; TILE_ROWS] = out.row(token).try_into().expect("a row of a tile");
            store(high(cpu.0, of), &tile, HIGH_STEP, out, output);
            store(low(cpu.0, of), &tile, 1.0, out, Output::Add);
        }
    }
}

/// The search of [`kinglet_core::Kernels::screen`].
pub(super) fn screen<D: Dot>(cpu: Neon<D>, of: Search<'_, '_>) {
    let Search { w, tiles, x, margins, found } = of;
    let &[margin] = margins else {
        return screen_one_by_one(cpu, Search { w, tiles, x, margins, found });
    };
    let (x, (logits, _)) = (OneToken::new(x, 0), found.logits.row(0).as_chunks_mut());
    let bounds_of_tiles = found.floors.row(0).iter_mut().zip(found.ceilings.row(0));
    for ((index, logits), (floor, ceiling)) in tiles.zip(logits).zip(bounds_of_tiles) {
        let tile = w.tile(index);
        let totals = high(cpu.0, OneTile { tile: &tile, x });
        store(totals, &tile, HIGH_STEP, logits, Output::Store);
        let rows = TILE_ROWS.min(w.rows() - index * TILE_ROWS);
        (*floor, *ceiling) = bounds(cpu, &tile, rows, logits, margin);
    }
}

/// [`screen`] with several tokens, as if each were alone, tile by tile.
fn screen_one_by_one<D: Dot>(cpu: Neon<D>, of: Search<'_, '_>) {
    let Search { w, tiles, x, margins, found } = of;
    for (t, tile) in tiles.enumerate() {
        for (token, margin) in margins.iter().enumerate() {
            let logits = &mut found.logits.row(token)[Product::columns(t)];
            let found = &mut Screened {
                logits: Columns::all(logits, TILE_ROWS),
                floors: Columns::all(&mut found.floors.row(token)[t..=t], 1),
                ceilings: Columns::all(&mut found.ceilings.row(token)[t..=t], 1),
            };
            let (tiles, x) = (tile..tile + 1, &x.quantized_token(token));
            screen(cpu, Search { w, tiles, x, margins: slice::from_ref(margin), found });
        }
    }
}

/// The low plane's part for some rows of a tile.
pub(super) fn rescore<D: Dot>(cpu: Neon<D>, of: Rescore<'_>, logits: &mut [f32; TILE_ROWS]) {
    let Rescore { ref tile, rows, x, token } = of;
    let x = OneToken::new(x, token);
    if rows.count_ones() < WORTH_A_TILE {
        for r in rows_of(rows) {
            logits[r] += low_row(cpu.0, tile, r, x);
        }
        return;
    }
    let sums = low(cpu.0, OneTile { tile, x });
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
fn low_row<D: Dot>(dot: D, tile: &Tile<'_>, r: usize, x: OneToken<'_>) -> f32 {
    let row_bytes = tile.low_plane().len() / TILE_ROWS;
    let (row, _) = tile.low_plane()[r * row_bytes..][..row_bytes].as_chunks();
    let ((codes, _), (starts, _)) = (x.codes.as_chunks(), x.starts.as_chunks());
    let mut total = vdupq_n_f32(0.0);
    let scales_of_row = |strip: Strip<'_>| {
        core::array::from_fn(|block| i32::from(strip.scales()[block * TILE_ROWS + r]))
    };
    let (rows, cut_row) = row.as_chunks::<STRIP>();
    let (codes, cut_codes) = codes.as_chunks::<STRIP>();
    let (starts, cut_starts) = starts.as_chunks::<STRIP>();
    let (scales, cut_scales) = x.scales.as_chunks::<STRIP>();
    let inputs = codes.iter().zip(starts).zip(scales);
    for ((strip, row), ((codes, starts), scales)) in tile.whole_strips().zip(rows).zip(inputs) {
        let integers = row_integers(dot, row, codes, starts, scales_of_row(strip));
        total = add_row(total, integers, scales);
    }
    if let Some(strip) = tile.cut_strip() {
        let integers = row_integers(dot, cut_row, cut_codes, cut_starts, scales_of_row(strip));
        total = add_row(total, integers, cut_scales);
    }
    vgetq_lane_f32::<0>(total) * tile.row_scales()[r]
}

/// `group scale · (start + Σ w·a)` of the low nibbles of a row in the blocks of a strip.
#[inline(always)]
fn row_integers<D: Dot>(
    dot: D,
    row: &[[u8; BLOCK / 2]],
    codes: &[[i8; BLOCK]],
    starts: &[[i32; 2]],
    group_scales: [i32; STRIP],
) -> [f32; STRIP] {
    let mut sums = [vdupq_n_s32(0); STRIP];
    for ((sum, bytes), codes) in sums.iter_mut().zip(row).zip(codes) {
        let bytes = load(bytes);
        let low = vandq_s8(bytes, vdupq_n_s8(15));
        let high = vreinterpretq_s8_u8(vshrq_n_u8::<4>(vreinterpretq_u8_s8(bytes)));
        *sum = dot.nibble_row([low, high], codes);
    }
    let sums = vpaddq_s32(vpaddq_s32(sums[0], sums[1]), vpaddq_s32(sums[2], sums[3]));
    let mut all_starts = [[0; 2]; STRIP];
    all_starts[..starts.len()].copy_from_slice(starts);
    let pairs = all_starts.as_flattened().as_chunks().0;
    let [first, second] = [0, 1].map(|half| {
        // `low_start` is 16 times this.
        let starts = load_i32(&pairs[half]);
        vaddq_s32(starts, vqrdmulhq_s32(starts, vdupq_n_s32(Starts::High.factor())))
    });
    let starts = vshlq_n_s32::<4>(vpaddq_s32(first, second));
    let integers = vmulq_s32(vaddq_s32(sums, starts), load_i32(&group_scales));
    let mut result = [0.0; STRIP];
    // SAFETY: there are 4 elements.
    unsafe { vst1q_f32(result.as_mut_ptr(), vcvtq_f32_s32(integers)) };
    result
}

/// `total + Σ integer · scale`, one after the other.
#[inline(always)]
fn add_row(total: float32x4_t, integers: [f32; STRIP], scales: &[f32]) -> float32x4_t {
    let add =
        |total, (integer, scale): (f32, &f32)| vfmaq_n_f32(total, vdupq_n_f32(integer), *scale);
    integers.into_iter().zip(scales).fold(total, add)
}

/// 4 integers.
#[inline(always)]
fn load_i32(integers: &[i32; 4]) -> int32x4_t {
    // SAFETY: there are 4.
    unsafe { vld1q_s32(integers.as_ptr()) }
}
