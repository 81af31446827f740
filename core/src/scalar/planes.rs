//! What products of weights in two planes mean.

use crate::kernels::{Activations, START_GROUP};
use crate::screen::{high_start, low_start};
use kinglet_quant::Tile;
use kinglet_quant::format::{BLOCK, TILE_ROWS};
use kinglet_quant::tile::{low_index, q4_index};

/// The high plane's part of the dot products of 16 rows with one token.
pub(super) fn high_rows(tile: &Tile<'_>, token: usize, x: &Activations<'_>) -> [f32; TILE_ROWS] {
    core::array::from_fn(|r| {
        let nibble = |col| {
            let (index, shift) = q4_index(r, col);
            tile.block(col / BLOCK)[index] >> shift & 15
        };
        plane(tile, r, token, x, nibble, high_start) * (16.0 * tile.row_scales()[r])
    })
}

/// The low plane's part of the dot product of row `r` with one token.
pub(super) fn low_row(tile: &Tile<'_>, r: usize, token: usize, x: &Activations<'_>) -> f32 {
    let nibble = |col| {
        let (index, shift) = low_index(r, col, x.cols);
        tile.low_plane()[index] >> shift & 15
    };
    plane(tile, r, token, x, nibble, low_start) * tile.row_scales()[r]
}

/// `Σ nibble · group scale · input` where the sum over each 16 columns starts at
/// `start(−8·Σ codes)`: integers within 32 columns, f32 across.
fn plane(
    tile: &Tile<'_>,
    r: usize,
    token: usize,
    x: &Activations<'_>,
    nibble: impl Fn(usize) -> u8,
    start: impl Fn(i32) -> i32,
) -> f32 {
    let codes = &x.codes[token * x.cols..][..x.cols];
    let starts = x.starts[token * x.cols / START_GROUP..].chunks_exact(BLOCK / START_GROUP);
    let scales = &x.scales[token * x.cols / BLOCK..][..x.cols / BLOCK];
    let mut total = 0f32;
    for (block, (scale, starts)) in scales.iter().zip(starts).enumerate() {
        let columns = block * BLOCK..(block + 1) * BLOCK;
        let dot: i32 = columns.map(|k| i32::from(codes[k]) * i32::from(nibble(k))).sum();
        let centred = dot + starts.iter().map(|&given| start(given)).sum::<i32>();
        let integer = centred * i32::from(tile.group_scale(block, r));
        total += scale * integer as f32;
    }
    total
}
