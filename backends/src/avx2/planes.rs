//! Products of weights in two planes: nibbles 0 to 15 of either plane multiply activations as they
//! are, and sums start where [`kinglet_core::screen`] says. With their start, 16-bit sums stay
//! within 16·15·127 = 30,480.

use super::Avx2;
use super::matmul::{LANES, QUADS, lines, repeat, store, widen};
use crate::low_row::low_row;
use crate::planes::{WORTH_A_TILE, bounds};
use core::arch::x86_64::*;
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
const BYTES: usize = QUADS * ALIGN;

/// One of the planes.
trait Plane: Copy {
    /// What a nibble's step is worth.
    const STEP: f32;

    /// The lines of a block of 32 columns, whose high nibbles are `high`, for 8 rows of the tile.
    fn lines(
        self,
        high: &[u8],
        tile: &Tile<'_>,
        cols: usize,
        block: usize,
        half: usize,
    ) -> [__m256i; QUADS];

    /// Where the sum over 16 columns starts, given `−8·Σ a`.
    fn start(start: i32) -> i32;
}

/// The high nibbles, in tiles.
#[derive(Clone, Copy)]
struct High(Avx2);

/// The low nibbles, row by row.
#[derive(Clone, Copy)]
struct Low(Avx2);

impl Plane for High {
    const STEP: f32 = 16.0;

    #[inline(always)]
    fn lines(
        self,
        high: &[u8],
        _tile: &Tile<'_>,
        _cols: usize,
        _block: usize,
        half: usize,
    ) -> [__m256i; QUADS] {
        lines(self.0, high, half * ALIGN / 2)
    }

    #[inline(always)]
    fn start(start: i32) -> i32 {
        high_start(start)
    }
}

impl Plane for Low {
    const STEP: f32 = 1.0;

    #[inline(always)]
    fn lines(
        self,
        _high: &[u8],
        tile: &Tile<'_>,
        cols: usize,
        block: usize,
        half: usize,
    ) -> [__m256i; QUADS] {
        let rows = &tile.low_plane()[half * LANES * cols / 2..][..LANES * cols / 2];
        assert!((block + 1) * BLOCK <= cols);
        // SAFETY: the `Avx2` inside proves the features. Each of the 8 rows has 16 bytes for each
        // block, and `block` is one of them.
        unsafe {
            let start = rows.as_ptr().add(block * BLOCK / 2);
            let row = |r: usize| _mm_loadu_si128(start.add(r * cols / 2).cast());
            // Register i holds rows i and 4 + i.
            let [a, b, c, d] = [0, 1, 2, 3].map(
                #[inline(always)]
                |i| _mm256_set_m128i(row(4 + i), row(i)),
            );
            // Transposed within each half they hold one quad of columns of all 8 rows.
            let (low, high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
            let (other_low, other_high) =
                (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
            [
                _mm256_unpacklo_epi64(low, other_low),
                _mm256_unpackhi_epi64(low, other_low),
                _mm256_unpacklo_epi64(high, other_high),
                _mm256_unpackhi_epi64(high, other_high),
            ]
        }
    }

    #[inline(always)]
    fn start(start: i32) -> i32 {
        low_start(start)
    }
}

/// `out (+)= w · x` for the rows of `tiles`; the caller has checked that shapes fit together.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn product(
    cpu: Avx2,
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
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn screen(
    cpu: Avx2,
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
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn rescore(
    cpu: Avx2,
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
    let mut total = [[_mm256_setzero_ps(); 2]];
    accumulate(Low(cpu), tile, x, token, &mut total);
    let mut totals = [0f32; TILE_ROWS];
    for (total, out) in total[0].iter().zip(totals.chunks_exact_mut(LANES)) {
        // SAFETY: `out` has 8 elements.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), *total) };
    }
    for r in rows_of(rows) {
        logits[r] += totals[r] * tile.row_scales()[r];
    }
}

/// One plane's part of the product of a tile with all tokens.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn one_tile<P: Plane>(
    plane: P,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    let step = _mm256_set1_ps(P::STEP);
    if x.tokens == 1 {
        let mut total = [[_mm256_setzero_ps(); 2]];
        accumulate(plane, tile, x, 0, &mut total);
        total[0] = [_mm256_mul_ps(total[0][0], step), _mm256_mul_ps(total[0][1], step)];
        store(&mut total, tile, 0, out, output);
        return;
    }
    for first in (0..x.tokens).step_by(TOKENS) {
        let mut totals = [[_mm256_setzero_ps(); 2]; TOKENS];
        let totals = &mut totals[..TOKENS.min(x.tokens - first)];
        accumulate(plane, tile, x, first, totals);
        for total in totals.iter_mut() {
            *total = [_mm256_mul_ps(total[0], step), _mm256_mul_ps(total[1], step)];
        }
        store(totals, tile, first, out, output);
    }
}

/// Adds one plane's products of a tile, not yet scaled by row, with the tokens from `first` on to
/// `totals`, two halves for each token.
#[inline(always)]
fn accumulate<P: Plane>(
    plane: P,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    first: usize,
    totals: &mut [[__m256; 2]],
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
                let lines = plane.lines(bytes, tile, x.cols, block, half);
                // SAFETY: a `Plane` proves the features. `block` is below `blocks` and `token`
                // below `tokens`, so the block has 16 group scales, and the slices of activations
                // 32 codes, one scale and two starts for each token and block.
                unsafe {
                    let [low_quads, high_quads] = split(lines);
                    let group_scales = widen(group_scales.as_ptr().add(half * LANES));
                    for (token, total) in totals.iter_mut().enumerate() {
                        let index = token * blocks + block;
                        let input = inputs.as_ptr().add(index * BLOCK);
                        let [low, high] = *starts.as_ptr().add(2 * index).cast::<[i32; 2]>();
                        let low = dot(P::start(low), &low_quads, &repeat(input), group_scales);
                        let input = repeat(input.add(START_GROUP));
                        let high = dot(P::start(high), &high_quads, &input, group_scales);
                        let sum = _mm256_cvtepi32_ps(_mm256_add_epi32(low, high));
                        let scale = _mm256_set1_ps(*scales.as_ptr().add(index));
                        total[half] = _mm256_fmadd_ps(sum, scale, total[half]);
                    }
                }
            }
        }
    }
}

/// The low and the high nibbles of lines as bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn split(lines: [__m256i; QUADS]) -> [[__m256i; QUADS]; 2] {
    let mask = _mm256_set1_epi8(15);
    let mut quads = [[mask; QUADS]; 2];
    for (j, line) in lines.into_iter().enumerate() {
        quads[0][j] = _mm256_and_si256(line, mask);
        quads[1][j] = _mm256_and_si256(_mm256_srli_epi16::<4>(line), mask);
    }
    quads
}

/// `scale · (start + Σ l·a)` over 16 columns of 8 rows: `inputs` repeat 4 activations each,
/// `scales` hold each scale twice, in 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn dot(
    start: i32,
    quads: &[__m256i; QUADS],
    inputs: &[__m256i; QUADS],
    scales: __m256i,
) -> __m256i {
    // The low half of each pair starts there, the high one at zero.
    let mut pairs = _mm256_set1_epi32(start & 0xffff);
    for (quad, input) in quads.iter().zip(inputs) {
        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(*quad, *input));
    }
    _mm256_madd_epi16(pairs, scales)
}
