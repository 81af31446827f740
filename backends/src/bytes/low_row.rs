//! One row of a low plane, on 128 bits whatever the tier.

use super::registers::Registers;
use kinglet_core::Activations;
use kinglet_core::kernels::START_GROUP;
use kinglet_core::screen::low_start;
use kinglet_quant::Tile;
use kinglet_quant::format::BLOCK;

/// The low plane's part of the dot product of row `r` of a tile with one token. One `mul_add` for
/// every 32 columns, in the order of whole tiles, so that both give the same bits.
///
/// The caller has checked that shapes fit together.
#[inline(always)]
pub(super) fn low_row<R: Registers>(
    cpu: R,
    tile: &Tile<'_>,
    r: usize,
    x: &Activations<'_>,
    token: usize,
) -> f32 {
    let blocks = x.cols / BLOCK;
    let row = tile.low_plane()[r * x.cols / 2..][..x.cols / 2].chunks_exact(BLOCK / 2);
    let inputs: &[u8] = bytemuck::cast_slice(&x.codes[token * x.cols..][..x.cols]);
    let scales = &x.scales[token * blocks..][..blocks];
    let starts = x.starts[token * x.cols / START_GROUP..].chunks_exact(BLOCK / START_GROUP);
    let group_scales = (0..blocks).map(|block| tile.group_scale(block, r));
    let activations = inputs.chunks_exact(BLOCK).zip(scales).zip(starts);
    let mut total = cpu.splat(0.0);
    for ((row, group_scale), ((input, scale), starts)) in row.zip(group_scales).zip(activations) {
        let sum = cpu.row_sum(row, input);
        let centred = sum + low_start(starts[0]) + low_start(starts[1]);
        let integer = centred * i32::from(group_scale);
        total = cpu.mul_add(cpu.splat(integer as f32), cpu.splat(*scale), total);
    }
    // All lanes are alike.
    cpu.max_of_lanes(total) * tile.row_scales()[r]
}
