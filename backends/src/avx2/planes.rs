//! Products of weights in two planes: nibbles 0 to 15 of either plane multiply activations as they
//! are, and sums start where [`kinglet_core::screen`] says. With their start, 16-bit sums stay
//! within 16·15·127 = 30,480.

use super::Avx2;
use super::codes::{Block, LANES, Linear, Quads, Raised, Unpack, lines, nibbles};
use super::matmul::{accumulate, no_totals, one_tile};
use crate::lanes::Lanes;
use crate::planes::{self, WORTH_A_TILE};
use crate::product::{NIBBLE_BLOCK, Product, Rescore, Search};
use crate::x86_low_row::low_row;
use core::arch::x86_64::*;
use kinglet_core::kernels::Output;
use kinglet_core::screen::{high_start, low_start, rows_of};
use kinglet_quant::Tile;
use kinglet_quant::format::{BLOCK, TILE_ROWS};

/// The high nibbles, in tiles.
#[derive(Clone, Copy)]
struct High;

/// The low nibbles, row by row.
#[derive(Clone, Copy)]
struct Low<'a> {
    /// 16 rows of `cols / 2` bytes.
    plane: &'a [u8],
    cols: usize,
}

impl<'a> Low<'a> {
    #[inline(always)]
    fn of(tile: &Tile<'a>, cols: usize) -> Self {
        Self { plane: &tile.low_plane()[..TILE_ROWS * cols / 2], cols }
    }
}

impl Unpack for High {
    const BYTES: usize = NIBBLE_BLOCK;
    const STEP: f32 = 16.0;

    #[inline(always)]
    fn quads(self, cpu: Avx2, block: Block<'_>, half: usize) -> [Quads; 2] {
        nibbles(cpu, lines(cpu, block.bytes, half))
    }
}

impl Raised for High {
    #[inline(always)]
    fn start(start: i32) -> i32 {
        high_start(start)
    }
}

impl Unpack for Low<'_> {
    const BYTES: usize = NIBBLE_BLOCK;
    const IN_STRIPS: bool = false;

    #[inline(always)]
    fn quads(self, cpu: Avx2, block: Block<'_>, half: usize) -> [Quads; 2] {
        let (Self { plane, cols }, index) = (self, block.index);
        assert!((index + 1) * BLOCK <= cols);
        // SAFETY: `cpu` proves the features. Each of the 16 rows in `plane` (`Low::of`) has 16
        // bytes for each block, and `index` is one of them.
        let lines = unsafe {
            let start = plane.as_ptr().add(half * LANES * cols / 2 + index * (BLOCK / 2));
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
        };
        nibbles(cpu, lines)
    }
}

impl Raised for Low<'_> {
    #[inline(always)]
    fn start(start: i32) -> i32 {
        low_start(start)
    }
}

/// The product of all tiles.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn product(cpu: Avx2, of: Product<'_>) {
    let Product { w, tiles, x, mut out, output } = of;
    let mut totals = no_totals(cpu);
    for (t, tile) in tiles.enumerate() {
        let (tile, mut out) = (w.tile(tile), out.narrow(Product::columns(t)));
        let (high, low) = (Linear(High), Linear(Low::of(&tile, x.cols)));
        one_tile::<_, BLOCK>(cpu, high, &tile, x, &mut out, output, &mut totals);
        one_tile::<_, BLOCK>(cpu, low, &tile, x, &mut out, Output::Add, &mut totals);
    }
}

/// The search of [`kinglet_core::Kernels::screen`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn screen(cpu: Avx2, of: Search<'_, '_>) {
    let (x, mut totals) = (of.x, no_totals(cpu));
    planes::screen(
        cpu,
        of,
        #[inline(always)]
        |tile, logits| {
            let store = Output::Store;
            one_tile::<_, BLOCK>(cpu, Linear(High), tile, x, logits, store, &mut totals);
        },
    );
}

/// The low plane's part for some rows of a tile.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn rescore(cpu: Avx2, of: Rescore<'_>, logits: &mut [f32; TILE_ROWS]) {
    let Rescore { ref tile, rows, x, token } = of;
    if rows.count_ones() < WORTH_A_TILE {
        for r in rows_of(rows) {
            logits[r] += low_row(tile, r, x, token);
        }
        return;
    }
    let mut total = no_totals::<1>(cpu);
    let low = Linear(Low::of(tile, x.cols));
    accumulate::<_, BLOCK>(cpu, low, tile, x, token, &mut total);
    let mut totals = [0f32; TILE_ROWS];
    for (total, out) in total[0].iter().zip(totals.chunks_exact_mut(LANES)) {
        cpu.store(*total, out);
    }
    for r in rows_of(rows) {
        logits[r] += totals[r] * tile.row_scales()[r];
    }
}
