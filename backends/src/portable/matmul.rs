//! Products of matrices with activations, 16 rows at a time.
//!
//! All integers are exact, and each 32 columns are one product and one sum of floats in ascending
//! order, as in the definition.

use super::codes::{Codes, Lines, codes, has_table, table};
use super::lines::{HALF_LINES, Pair, WORDS, add_products, pairs};
use crate::product::{Product, Rescore, Search};
use kinglet_core::Activations;
use kinglet_core::arena::Columns;
use kinglet_core::kernels::{Output, START_GROUP};
use kinglet_core::screen::{bounds, low_start, rows_of};
use kinglet_core::sums::{SIDE_BY_SIDE, total};
use kinglet_quant::format::{BLOCK, TILE_ROWS};
use kinglet_quant::{Tile, Type};

/// Tokens that share one unpacking of weights.
const TOKENS: usize = 32;
/// Sums of 16 rows.
type Rows = [f32; TILE_ROWS];

/// The product of all tiles.
pub(super) fn product(of: Product<'_>) {
    let Product { w, tiles, x, mut out, output } = of;
    let table = if has_table(w) { table(w.table()) } else { [0; 256] };
    for (t, tile) in tiles.enumerate() {
        let (tile, mut out) = (w.tile(tile), out.narrow(Product::columns(t)));
        match w.kind() {
            Type::F32 => {
                let rows = tile.f32_rows();
                float_tile(x, &mut out, output, |at| *rows[at..].first_chunk().expect("a row"));
            }
            Type::Bf16 => {
                let rows = tile.bf16_rows();
                float_tile(x, &mut out, output, |at| {
                    let weights: &[_; SIDE_BY_SIDE] = rows[at..].first_chunk().expect("a row");
                    weights.map(|weight| f32::from_bits(u32::from(weight.to_bits()) << 16))
                });
            }
            Type::Q8Planes => planes(&tile, x, &mut out, output),
            Type::Q8 | Type::Q5 | Type::Q4 | Type::Q3 => {
                one_tile(codes(w, &table), w.group(), &tile, x, |token, rows| {
                    write(rows, out.row(token), output);
                });
            }
        }
    }
}

/// The search of [`kinglet_core::Kernels::screen`].
pub(super) fn screen(of: Search<'_, '_>) {
    let Search { w, tiles, x, margins, found } = of;
    for (t, index) in tiles.enumerate() {
        let tile = w.tile(index);
        let rows = TILE_ROWS.min(w.rows() - index * TILE_ROWS);
        one_tile(Codes::High, BLOCK, &tile, x, |token, logits| {
            let (floor, ceiling) = bounds(&logits[..rows], tile.residual_norms(), margins[token]);
            write(logits, &mut found.logits.row(token)[Product::columns(t)], Output::Store);
            found.floors.row(token)[t] = floor;
            found.ceilings.row(token)[t] = ceiling;
        });
    }
}

/// The low plane's part for some rows of a tile.
pub(super) fn rescore(of: Rescore<'_>, logits: &mut [f32]) {
    let Rescore { ref tile, rows, x, token } = of;
    for r in rows_of(rows) {
        logits[r] += low_row(tile, r, x, token);
    }
}

/// The low plane's part of the dot product of row `r` of a tile with one token.
fn low_row(tile: &Tile<'_>, r: usize, x: &Activations<'_>, token: usize) -> f32 {
    let x = x.quantized_token(token);
    let row = tile.low_plane()[r * x.cols / 2..][..x.cols / 2].as_chunks::<{ BLOCK / 2 }>().0;
    let inputs =
        x.codes.as_chunks::<BLOCK>().0.iter().zip(x.scales).zip(x.starts.as_chunks::<2>().0);
    let mut total = 0f32;
    for (block, (row, ((input, scale), starts))) in row.iter().zip(inputs).enumerate() {
        let mut sum = low_start(starts[0]) + low_start(starts[1]);
        for (i, byte) in row.iter().enumerate() {
            sum += i32::from(byte & 15) * i32::from(input[i]);
            sum += i32::from(byte >> 4) * i32::from(input[BLOCK / 2 + i]);
        }
        total += scale * (sum * i32::from(tile.group_scale(block, r))) as f32;
    }
    total * tile.row_scales()[r]
}

/// The product of a tile in two planes.
fn planes(tile: &Tile<'_>, x: &Activations<'_>, out: &mut Columns<'_, f32>, output: Output) {
    for first in (0..x.tokens).step_by(TOKENS) {
        let (mut high, mut low) = ([[0f32; TILE_ROWS]; TOKENS], [[0f32; TILE_ROWS]; TOKENS]);
        let tokens = TOKENS.min(x.tokens - first);
        accumulate(Codes::High, BLOCK, tile, x, first, &mut high[..tokens]);
        accumulate(Codes::low(tile), BLOCK, tile, x, first, &mut low[..tokens]);
        for token in 0..tokens {
            let (high, low) = (&high[token], &low[token]);
            let rows = core::array::from_fn(|r| {
                let scale = tile.row_scales()[r];
                high[r] * (16.0 * scale) + low[r] * scale
            });
            write(&rows, out.row(first + token), output);
        }
    }
}

/// The products of a tile with all tokens, which go to `take` one by one.
fn one_tile(
    codes: Codes<'_>,
    group: usize,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    mut take: impl FnMut(usize, &Rows),
) {
    for first in (0..x.tokens).step_by(TOKENS) {
        let mut totals = [[0f32; TILE_ROWS]; TOKENS];
        let totals = &mut totals[..TOKENS.min(x.tokens - first)];
        accumulate(codes, group, tile, x, first, totals);
        for (token, total) in totals.iter().enumerate() {
            let step = codes.step();
            take(
                first + token,
                &core::array::from_fn(|r| total[r] * (step * tile.row_scales()[r])),
            );
        }
    }
}

/// Adds the products of one tile, not yet scaled by row, with the tokens from `first` on to
/// `totals`.
fn accumulate(
    codes: Codes<'_>,
    group: usize,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    first: usize,
    totals: &mut [Rows],
) {
    match group {
        16 => accumulate_groups::<16>(codes, tile, x, first, totals),
        _ => accumulate_groups::<32>(codes, tile, x, first, totals),
    }
}

/// [`accumulate`] for groups of `GROUP` columns.
fn accumulate_groups<const GROUP: usize>(
    codes: Codes<'_>,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    first: usize,
    totals: &mut [Rows],
) {
    let mut lines: Lines = [[0; WORDS]; HALF_LINES];
    let blocks = x.cols / BLOCK;
    let mut block = 0;
    for strip in tile.strips() {
        let bytes = strip.codes().chunks_exact(codes.block_bytes());
        let scales = strip.scales().as_chunks::<TILE_ROWS>().0.chunks_exact(BLOCK / GROUP);
        for (bytes, scales) in bytes.zip(scales) {
            codes.unpack(block, bytes, &mut lines);
            for (token, total) in (first..).zip(&mut *totals) {
                let at = token * blocks + block;
                let input = x.codes[at * BLOCK..].first_chunk().expect("a block of codes");
                let starts = &x.starts[at * (BLOCK / START_GROUP)..][..BLOCK / START_GROUP];
                let sums = block_products::<GROUP>(codes, &lines, &pairs(input), starts, scales);
                for (total, sum) in total.iter_mut().zip(sums) {
                    *total += x.scales[at] * sum;
                }
            }
            block += 1;
        }
    }
}

/// `Σ w·a` of 16 rows over the 32 columns of a block, times the scales of their groups: integers
/// that floats hold, but for those of bytes, whose only group is rounded as its integer would be.
#[inline(always)]
fn block_products<const GROUP: usize>(
    codes: Codes<'_>,
    lines: &Lines,
    pairs: &[Pair; HALF_LINES],
    starts: &[i32],
    scales: &[[i8; TILE_ROWS]],
) -> Rows {
    let mut sums = [0f32; TILE_ROWS];
    for (number, scales) in scales.iter().enumerate() {
        let half_lines = number * GROUP / 2..(number + 1) * GROUP / 2;
        let (lines, pairs) = (&lines[half_lines.clone()], &pairs[half_lines]);
        let starts = &starts[number * GROUP / START_GROUP..][..GROUP / START_GROUP];
        let mut rows = [starts.iter().map(|&start| codes.start(start)).sum(); TILE_ROWS];
        match codes.together().min(GROUP / 2) {
            2 => add_products::<2>(lines, pairs, &mut rows),
            8 => add_products::<8>(lines, pairs, &mut rows),
            _ => add_products::<16>(lines, pairs, &mut rows),
        }
        add_scaled(&rows, scales, &mut sums);
    }
    sums
}

/// Adds the sums of a group times its scales.
#[inline(never)]
fn add_scaled(rows: &[i32; TILE_ROWS], scales: &[i8; TILE_ROWS], sums: &mut Rows) {
    for r in 0..TILE_ROWS {
        sums[r] += rows[r] as f32 * f32::from(scales[r]);
    }
}

/// The product of unquantized weights; `weights(i)` gives those from element `i` of the tile on.
#[inline(always)]
fn float_tile(
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
    weights: impl Fn(usize) -> [f32; SIDE_BY_SIDE],
) {
    for token in 0..x.tokens {
        let values = &x.values[token * x.cols..][..x.cols];
        let rows = core::array::from_fn(|r| {
            let mut sums = [0f32; SIDE_BY_SIDE];
            for (first, values) in (0..).step_by(SIDE_BY_SIDE).zip(values.as_chunks().0) {
                let (weights, values): (_, &[f32; SIDE_BY_SIDE]) =
                    (weights(r * x.cols + first), values);
                for i in 0..SIDE_BY_SIDE {
                    sums[i] += values[i] * weights[i];
                }
            }
            total(&mut sums)
        });
        write(&rows, out.row(token), output);
    }
}

/// Writes the products of 16 rows.
fn write(rows: &Rows, out: &mut [f32], output: Output) {
    for (out, row) in out.iter_mut().zip(rows) {
        match output {
            Output::Store => *out = *row,
            Output::Add => *out += row,
        }
    }
}
