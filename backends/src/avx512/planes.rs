//! Products of weights in two planes: nibbles 0 to 15 of either plane multiply activations as they
//! are, and sums start where [`kinglet_core::screen`] says.

use super::Avx512;
use super::matmul::{dot, load_line, store, widen};
use crate::low_row::low_row;
use crate::planes::{WORTH_A_TILE, bounds};
use core::arch::x86_64::*;
use core::ops::Range;
use kinglet_core::Activations;
use kinglet_core::arena::Columns;
use kinglet_core::kernels::{Output, Screened};
use kinglet_core::screen::{high_start, low_start, rows_of};
use kinglet_quant::format::{ALIGN, BLOCK, TILE_ROWS};
use kinglet_quant::{Matrix, Tile};

/// Tokens that share one unpacking of weights; the sums of more than one live in memory.
const TOKENS: usize = 32;
/// Lines of a block: column quads in the low nibbles, 16 columns later in the high ones.
const LINES: usize = 4;
/// Bytes of a block.
const BYTES: usize = LINES * ALIGN;

/// One of the planes.
trait Plane: Copy {
    /// What a nibble's step is worth.
    const STEP: f32;

    /// The lines of a block of 32 columns, whose high nibbles are `high`.
    fn lines(self, high: &[u8], tile: &Tile<'_>, cols: usize, block: usize) -> [__m512i; LINES];

    /// Where the sum over 16 columns starts, given `−8·Σ a`.
    fn start(start: i32) -> i32;
}

/// The high nibbles, in tiles.
#[derive(Clone, Copy)]
struct High(Avx512);

/// The low nibbles, row by row.
#[derive(Clone, Copy)]
struct Low(Avx512);

impl Plane for High {
    const STEP: f32 = 16.0;

    #[inline(always)]
    fn lines(self, high: &[u8], _tile: &Tile<'_>, _cols: usize, _block: usize) -> [__m512i; LINES] {
        // SAFETY: the `Avx512` inside proves the features; a register.
        let mut lines = [unsafe { _mm512_setzero_si512() }; LINES];
        for (line, bytes) in lines.iter_mut().zip(high.chunks_exact(ALIGN)) {
            *line = load_line(self.0, bytes);
        }
        lines
    }

    #[inline(always)]
    fn start(start: i32) -> i32 {
        high_start(start)
    }
}

impl Plane for Low {
    const STEP: f32 = 1.0;

    #[inline(always)]
    fn lines(self, _high: &[u8], tile: &Tile<'_>, cols: usize, block: usize) -> [__m512i; LINES] {
        let rows = &tile.low_plane()[..TILE_ROWS * cols / 2];
        assert!((block + 1) * BLOCK <= cols);
        // SAFETY: the `Avx512` inside proves the features. Row `r` has 16 bytes for each block from
        // `r · cols / 2` on, and `block` is one of them.
        unsafe {
            let start = rows.as_ptr().add(block * BLOCK / 2);
            let row = |r: usize| _mm_loadu_si128(start.add(r * cols / 2).cast());
            // Register i holds rows i, 4 + i, 8 + i and 12 + i.
            let mut fours = [_mm512_setzero_si512(); 4];
            for (i, four) in fours.iter_mut().enumerate() {
                let quarter = _mm512_castsi128_si512(row(i));
                let two = _mm512_inserti32x4::<1>(quarter, row(4 + i));
                let three = _mm512_inserti32x4::<2>(two, row(8 + i));
                *four = _mm512_inserti32x4::<3>(three, row(12 + i));
            }
            // Transposed within each quarter they hold one quad of columns of rows 0 to 15.
            let low = _mm512_unpacklo_epi32(fours[0], fours[1]);
            let high = _mm512_unpackhi_epi32(fours[0], fours[1]);
            let other_low = _mm512_unpacklo_epi32(fours[2], fours[3]);
            let other_high = _mm512_unpackhi_epi32(fours[2], fours[3]);
            [
                _mm512_unpacklo_epi64(low, other_low),
                _mm512_unpackhi_epi64(low, other_low),
                _mm512_unpacklo_epi64(high, other_high),
                _mm512_unpackhi_epi64(high, other_high),
            ]
        }
    }

    #[inline(always)]
    fn start(start: i32) -> i32 {
        low_start(start)
    }
}

/// `out (+)= w · x` for the rows of `tiles`; the caller has checked that shapes fit together.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn product(
    cpu: Avx512,
    w: &Matrix<'_>,
    tiles: Range<usize>,
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    for (t, tile) in tiles.enumerate() {
        let tile = w.tile(tile);
        let mut out = out.narrow(t * TILE_ROWS..(t + 1) * TILE_ROWS);
        one_tile(High(cpu), &tile, x, &mut out, output);
        one_tile(Low(cpu), &tile, x, &mut out, Output::Add);
    }
}

/// The search of [`kinglet_core::Kernels::screen`]; the caller has checked that shapes fit
/// together.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn screen(
    cpu: Avx512,
    w: &Matrix<'_>,
    tiles: Range<usize>,
    x: &Activations<'_>,
    margins: &[f32],
    found: &mut Screened<'_>,
) {
    for (t, index) in tiles.enumerate() {
        let tile = w.tile(index);
        let mut logits = found.logits.narrow(t * TILE_ROWS..(t + 1) * TILE_ROWS);
        one_tile(High(cpu), &tile, x, &mut logits, Output::Store);
        let rows = TILE_ROWS.min(w.rows() - index * TILE_ROWS);
        for (token, &margin) in margins.iter().enumerate() {
            let (floor, ceiling) = bounds(cpu, &tile, rows, logits.row(token), margin);
            found.floors.row(token)[t] = floor;
            found.ceilings.row(token)[t] = ceiling;
        }
    }
}

/// The low plane's part for some rows of a tile; the caller has checked that shapes fit together.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn rescore(
    cpu: Avx512,
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
    let mut total = [_mm512_setzero_ps()];
    accumulate(Low(cpu), tile, x, token, &mut total);
    let logits = &mut logits[..TILE_ROWS];
    // SAFETY: there are 16 row scales and 16 logits.
    unsafe {
        let part = _mm512_mul_ps(total[0], _mm512_loadu_ps(tile.row_scales().as_ptr()));
        let sum = _mm512_add_ps(_mm512_loadu_ps(logits.as_ptr()), part);
        _mm512_mask_storeu_ps(logits.as_mut_ptr(), rows, sum);
    }
}

/// One plane's part of the product of a tile with all tokens.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn one_tile<P: Plane>(
    plane: P,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    let step = _mm512_set1_ps(P::STEP);
    if x.tokens == 1 {
        let mut total = [_mm512_setzero_ps()];
        accumulate(plane, tile, x, 0, &mut total);
        total[0] = _mm512_mul_ps(total[0], step);
        store(&mut total, tile, 0, out, output);
        return;
    }
    for first in (0..x.tokens).step_by(TOKENS) {
        let mut totals = [_mm512_setzero_ps(); TOKENS];
        let totals = &mut totals[..TOKENS.min(x.tokens - first)];
        accumulate(plane, tile, x, first, totals);
        for total in totals.iter_mut() {
            *total = _mm512_mul_ps(*total, step);
        }
        store(totals, tile, first, out, output);
    }
}

/// Adds one plane's products of a tile, not yet scaled by row, with the tokens from `first` on to
/// `totals`, one for each token.
#[inline(always)]
fn accumulate<P: Plane>(
    plane: P,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    first: usize,
    totals: &mut [__m512],
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
            let lines = plane.lines(bytes, tile, x.cols, block);
            // SAFETY: a `Plane` proves the features. `block` is below `blocks` and `token` below
            // `tokens`, so the block has 16 group scales, and the slices of activations 32 codes,
            // one scale and two starts for each token and block.
            unsafe {
                let quads = split(lines);
                let group_scale = widen(group_scales.as_ptr());
                for (token, total) in totals.iter_mut().enumerate() {
                    let index = token * blocks + block;
                    let [low, high] = *starts.as_ptr().add(2 * index).cast::<[i32; 2]>();
                    let start = _mm512_set1_epi32(P::start(low) + P::start(high));
                    let sum = dot(start, &quads, inputs.as_ptr().add(index * BLOCK));
                    let sum = _mm512_cvtepi32_ps(_mm512_mullo_epi32(sum, group_scale));
                    let scale = _mm512_set1_ps(*scales.as_ptr().add(index));
                    *total = _mm512_fmadd_ps(sum, scale, *total);
                }
            }
        }
    }
}

/// The nibbles of 4 lines as bytes: the low ones are quads 0 to 3, the high ones 4 to 7.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn split(lines: [__m512i; LINES]) -> [__m512i; 2 * LINES] {
    let mask = _mm512_set1_epi8(15);
    let mut quads = [mask; 2 * LINES];
    for (j, line) in lines.into_iter().enumerate() {
        quads[j] = _mm512_and_si512(line, mask);
        quads[j + LINES] = _mm512_and_si512(_mm512_srli_epi16::<4>(line), mask);
    }
    quads
}
