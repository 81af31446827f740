//! Products of weights in two planes: nibbles 0 to 15 of either plane multiply activations as they
//! are, and sums start where [`kinglet_core::screen`] says. With their start, 16-bit sums stay
//! within 16·15·127 = 30,480.

use super::codes::Linear;
use super::low_row::low_row;
use super::matmul::{Totals, one_tile, one_token};
use super::registers::{Quads, Registers};
use super::unpack::{Block, Raised, Unpack, lines, nibbles};
use crate::planes::{self, WORTH_A_TILE};
use crate::product::{NIBBLE_BLOCK, Product, Rescore, Search};
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
    fn quads<R: Registers>(self, cpu: R, block: Block<'_>, part: usize) -> [Quads<R>; 2] {
        nibbles(cpu, lines(cpu, block.bytes, part))
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
    fn quads<R: Registers>(self, cpu: R, block: Block<'_>, part: usize) -> [Quads<R>; 2] {
        let (Self { plane, cols }, index) = (self, block.index);
        assert!((index + 1) * BLOCK <= cols && (part + 1) * R::COUNT <= TILE_ROWS);
        // Register i holds rows i, 4 + i and so on.
        let [a, b, c, d] = [0, 1, 2, 3].map(
            #[inline(always)]
            |i| {
                let row = part * R::COUNT + i;
                // SAFETY: each of the 16 rows in `plane` (`Low::of`) has 16 bytes for each block,
                // and `index` is one of them; `row` and every fourth behind it fill a register.
                unsafe {
                    let from = plane.as_ptr().add(row * cols / 2 + index * (BLOCK / 2));
                    cpu.load_rows(from, cols / 2)
                }
            },
        );
        // Transposed within each 128 bits they hold one quad of columns of all these rows.
        let (low, high) = (cpu.interleave_low_i32(a, b), cpu.interleave_high_i32(a, b));
        let (other_low, other_high) = (cpu.interleave_low_i32(c, d), cpu.interleave_high_i32(c, d));
        let lines = [
            cpu.interleave_low_i64(low, other_low),
            cpu.interleave_high_i64(low, other_low),
            cpu.interleave_low_i64(high, other_high),
            cpu.interleave_high_i64(high, other_high),
        ];
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
#[inline(always)]
pub(super) fn product<R: Registers>(cpu: R, of: Product<'_>) {
    cpu.compiled(
        #[inline(always)]
        || {
            let Product { w, tiles, x, mut out, output } = of;
            let mut totals = Totals::NEW;
            let totals = totals.zeros(x);
            for (t, tile) in tiles.enumerate() {
                let (tile, mut out) = (w.tile(tile), out.narrow(Product::columns(t)));
                let (high, low) = (Linear(High), Linear(Low::of(&tile, x.cols)));
                one_tile::<R, _, BLOCK>(cpu, high, &tile, x, &mut out, output, totals);
                one_tile::<R, _, BLOCK>(cpu, low, &tile, x, &mut out, Output::Add, totals);
            }
        },
    );
}

/// The search of [`kinglet_core::Kernels::screen`].
#[inline(always)]
pub(super) fn screen<R: Registers>(cpu: R, of: Search<'_, '_>) {
    cpu.compiled(
        #[inline(always)]
        || {
            let (x, mut totals) = (of.x, Totals::NEW);
            let totals = totals.zeros(x);
            planes::screen(
                cpu,
                of,
                #[inline(always)]
                |tile, logits| {
                    let (high, store) = (Linear(High), Output::Store);
                    one_tile::<R, _, BLOCK>(cpu, high, tile, x, logits, store, totals);
                },
            );
        },
    );
}

/// The low plane's part for some rows of a tile.
#[inline(always)]
pub(super) fn rescore<R: Registers>(cpu: R, of: Rescore<'_>, logits: &mut [f32; TILE_ROWS]) {
    cpu.compiled(
        #[inline(always)]
        || {
            let Rescore { ref tile, rows, x, token } = of;
            if rows.count_ones() < WORTH_A_TILE {
                for r in rows_of(rows) {
                    logits[r] += low_row(cpu, tile, r, x, token);
                }
                return;
            }
            let low = Linear(Low::of(tile, x.cols));
            let total = one_token::<R, _, BLOCK>(cpu, low, tile, x, token);
            let mut totals = [0f32; TILE_ROWS];
            for (total, out) in total.into_iter().zip(totals.chunks_exact_mut(R::COUNT)) {
                cpu.store(total, out);
            }
            for r in rows_of(rows) {
                logits[r] += totals[r] * tile.row_scales()[r];
            }
        },
    );
}
