//! The arguments of products of a matrix with activations.

use core::ops::Range;
use kinglet_core::Activations;
use kinglet_core::arena::Columns;
use kinglet_core::kernels::{Output, Screened};
use kinglet_quant::format::{BLOCK, TILE_ROWS};
use kinglet_quant::{Matrix, Tile};

/// Bytes of a block, 16 rows × 32 columns, where each weight has a byte.
pub(crate) const BYTE_BLOCK: usize = TILE_ROWS * BLOCK;
/// The same for 5 bits.
pub(crate) const FIVE_BIT_BLOCK: usize = BYTE_BLOCK / 8 * 5;
/// The same for 4 bits.
pub(crate) const NIBBLE_BLOCK: usize = BYTE_BLOCK / 2;
/// The same for 3 bits.
pub(crate) const THREE_BIT_BLOCK: usize = BYTE_BLOCK / 8 * 3;

/// The arguments of [`kinglet_core::Kernels::matmul`], which fit together.
pub(crate) struct Product<'a> {
    pub w: &'a Matrix<'a>,
    pub tiles: Range<usize>,
    pub x: &'a Activations<'a>,
    pub out: Columns<'a, f32>,
    pub output: Output,
}

impl<'a> Product<'a> {
    /// Asserts what every product relies on.
    #[inline]
    pub fn new(
        w: &'a Matrix<'a>,
        tiles: Range<usize>,
        x: &'a Activations<'a>,
        out: &'a mut Columns<'_, f32>,
        output: Output,
    ) -> Self {
        x.check(w);
        assert!(tiles.start <= tiles.end && tiles.end <= w.tile_count());
        assert!(out.height() == x.tokens && out.width() == tiles.len() * TILE_ROWS);
        let columns = 0..out.width();
        Self { w, tiles, x, out: out.narrow(columns), output }
    }

    /// The columns of the output that belong to the `t`-th of the tiles.
    #[inline(always)]
    pub fn columns(t: usize) -> Range<usize> {
        t * TILE_ROWS..(t + 1) * TILE_ROWS
    }
}

/// The arguments of [`kinglet_core::Kernels::screen`], which fit together.
pub(crate) struct Search<'a, 'f> {
    pub w: &'a Matrix<'a>,
    pub tiles: Range<usize>,
    pub x: &'a Activations<'a>,
    pub margins: &'a [f32],
    pub found: &'a mut Screened<'f>,
}

/// The arguments of [`kinglet_core::Kernels::rescore`], which fit together.
#[derive(Clone, Copy)]
pub(crate) struct Rescore<'a> {
    pub tile: Tile<'a>,
    pub rows: u16,
    pub x: &'a Activations<'a>,
    pub token: usize,
}
