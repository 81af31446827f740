//! Products of weights in two planes: nibbles 0 to 15 of either plane multiply activations as they
//! are, and sums start where [`kinglet_core::screen`] says.

use super::Avx512;
use super::codes::{Block, Quads, Raised, Unpack, Whole, lines, nibbles};
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
    fn quads(self, cpu: Avx512, block: Block<'_>) -> Quads {
        nibbles(cpu, lines(cpu, block.bytes))
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
    fn quads(self, cpu: Avx512, block: Block<'_>) -> Quads {
        let (Self { plane, cols }, index) = (self, block.index);
        assert!((index + 1) * BLOCK <= cols);
        // SAFETY: `cpu` proves the features. Each of the 16 rows in `plane` (`Low::of`) has 16
        // bytes for each block, and `index` is one of them.
        let lines = unsafe {
            let start = plane.as_ptr().add(index * (BLOCK / 2));
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn product(cpu: Avx512, of: Product<'_>) {
    let Product { w, tiles, x, mut out, output } = of;
    let mut totals = no_totals(cpu);
    for (t, tile) in tiles.enumerate() {
        let (tile, mut out) = (w.tile(tile), out.narrow(Product::columns(t)));
        let (high, low) = (Whole(High), Whole(Low::of(&tile, x.cols)));
        one_tile::<_, BLOCK>(cpu, high, &tile, x, &mut out, output, &mut totals);
        one_tile::<_, BLOCK>(cpu, low, &tile, x, &mut out, Output::Add, &mut totals);
    }
}

/// The search of [`kinglet_core::Kernels::screen`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn screen(cpu: Avx512, of: Search<'_, '_>) {
    let (x, mut totals) = (of.x, no_totals(cpu));
    planes::screen(
        cpu,
        of,
        #[inline(always)]
        |tile, logits| {
            let store = Output::Store;
            one_tile::<_, BLOCK>(cpu, Whole(High), tile, x, logits, store, &mut totals);
        },
    );
}

/// The low plane's part for some rows of a tile.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn rescore(cpu: Avx512, of: Rescore<'_>, logits: &mut [f32; TILE_ROWS]) {
    let Rescore { ref tile, rows, x, token } = of;
    if rows.count_ones() < WORTH_A_TILE {
        for r in rows_of(rows) {
            logits[r] += low_row(tile, r, x, token);
        }
        return;
    }
    let mut total = no_totals::<1>(cpu);
    let low = Whole(Low::of(tile, x.cols));
    accumulate::<_, BLOCK>(cpu, low, tile, x, token, &mut total);
    let part = cpu.mul(total[0], cpu.load(tile.row_scales()));
    let sum = cpu.add(cpu.load(logits), part);
    // SAFETY: there are 16 logits.
    unsafe { _mm512_mask_storeu_ps(logits.as_mut_ptr(), rows, sum) };
}
