//! What the tiers share for weights in two planes, see [`kinglet_core::screen`].

use crate::lanes::Lanes;
#[cfg(any(target_arch = "x86_64", target_feature = "simd128"))]
use crate::product::{Product, Search};
#[cfg(any(target_arch = "x86_64", target_feature = "simd128"))]
use kinglet_core::arena::Columns;
use kinglet_core::screen;
use kinglet_quant::Tile;
use kinglet_quant::format::TILE_ROWS;

/// Rows of a tile that are worth the product of the whole tile with one token.
pub(crate) const WORTH_A_TILE: u32 = 6;

/// The search of [`kinglet_core::Kernels::screen`], tile by tile: `high` gives the high plane's
/// part of the product of a tile with all tokens.
#[cfg(any(target_arch = "x86_64", target_feature = "simd128"))]
#[inline(always)]
pub(crate) fn screen<L: Lanes>(
    cpu: L,
    of: Search<'_, '_>,
    mut high: impl FnMut(&Tile<'_>, &mut Columns<'_, f32>),
) {
    let Search { w, tiles, margins, found, .. } = of;
    for (t, index) in tiles.enumerate() {
        let tile = w.tile(index);
        let mut logits = found.logits.narrow(Product::columns(t));
        high(&tile, &mut logits);
        let rows = TILE_ROWS.min(w.rows() - index * TILE_ROWS);
        for (token, &margin) in margins.iter().enumerate() {
            let (floor, ceiling) = bounds(cpu, &tile, rows, logits.row(token), margin);
            found.floors.row(token)[t] = floor;
            found.ceilings.row(token)[t] = ceiling;
        }
    }
}

/// The largest floor and ceiling of the first `rows` rows of a tile.
#[inline(always)]
pub(crate) fn bounds<L: Lanes>(
    cpu: L,
    tile: &Tile<'_>,
    rows: usize,
    logits: &[f32],
    margin: f32,
) -> (f32, f32) {
    let norms = tile.residual_norms();
    if rows < TILE_ROWS {
        return screen::bounds(&logits[..rows], norms, margin);
    }
    let margin = cpu.splat(margin);
    let mut floor = cpu.splat(f32::NEG_INFINITY);
    let mut ceiling = floor;
    for first in (0..TILE_ROWS).step_by(L::COUNT) {
        let (logit, norm) = (cpu.load(&logits[first..]), cpu.load(&norms[first..]));
        floor = cpu.max(floor, cpu.mul_sub_from(margin, norm, logit));
        ceiling = cpu.max(ceiling, cpu.mul_add(margin, norm, logit));
    }
    (cpu.max_of_lanes(floor), cpu.max_of_lanes(ceiling))
}
