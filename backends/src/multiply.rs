//! The product of a matrix with activations: the one choice of what computes it.

use crate::dense;
use crate::lanes::Lanes;
use crate::product::{Product, Rescore, Search};
use kinglet_core::arena::Columns;
use kinglet_quant::Type;
use kinglet_quant::format::TILE_ROWS;

/// The matrix products of a tier, a method for each number format. Where formats have groups of 16
/// or of 32 columns, `GROUP` says which.
pub(crate) trait Products: Lanes {
    /// Tokens from which on a quantized batch is faster than its tokens one by one.
    const BATCH: usize;

    /// Q8.
    fn bytes(self, of: Product<'_>);
    /// Q4 whose codes stand for −8 to 7.
    fn nibbles<const GROUP: usize>(self, of: Product<'_>);
    /// Q4 whose codes stand for entries of a table.
    fn nibble_entries<const GROUP: usize>(self, of: Product<'_>);
    /// Q5.
    fn fives<const GROUP: usize>(self, of: Product<'_>);
    /// Q3.
    fn threes<const GROUP: usize>(self, of: Product<'_>);
    /// Q8 in two planes.
    fn planes(self, of: Product<'_>);
    /// The search of [`kinglet_core::Kernels::screen`].
    fn screen(self, of: Search<'_, '_>);
    /// The low plane's part of [`kinglet_core::Kernels::rescore`], added to the 16 `logits`.
    fn rescore(self, of: Rescore<'_>, logits: &mut [f32; TILE_ROWS]);
}

/// Calls the method of a tier for the group of the weights.
macro_rules! by_group {
    ($tier:ident.$format:ident($of:ident)) => {
        match $of.w.group() {
            16 => $tier.$format::<16>($of),
            32 => $tier.$format::<32>($of),
            group => unreachable!("a matrix with groups of {group} columns"),
        }
    };
}

/// `out (+)= w · x`, by the format of the weights. `scratch` is that of
/// [`kinglet_core::Kernels::matmul`].
pub(crate) fn multiply<P: Products>(tier: P, mut of: Product<'_>, scratch: &mut [f32]) {
    if (2..P::BATCH).contains(&of.x.tokens) && of.w.kind().is_quantized() {
        return one_by_one(tier, of);
    }
    match of.w.kind() {
        Type::F32 | Type::Bf16 => {
            if !dense::through_gemm(&mut of, scratch) {
                tier.compiled(
                    #[inline(always)]
                    || dense::dot_products(tier, of),
                );
            }
        }
        Type::Q8 => tier.bytes(of),
        Type::Q4 if of.w.is_linear() => by_group!(tier.nibbles(of)),
        Type::Q4 => by_group!(tier.nibble_entries(of)),
        Type::Q5 => by_group!(tier.fives(of)),
        Type::Q3 => by_group!(tier.threes(of)),
        Type::Q8Planes => tier.planes(of),
    }
}

/// [`multiply`] with quantized tokens that are too few for a batch: as if each were alone, tile by
/// tile.
fn one_by_one<P: Products>(tier: P, of: Product<'_>) {
    let Product { w, tiles, x, mut out, output } = of;
    for (t, tile) in tiles.enumerate() {
        let mut out = out.narrow(Product::columns(t));
        for token in 0..x.tokens {
            let (out, x) = (Columns::all(out.row(token), TILE_ROWS), &x.quantized_token(token));
            multiply(tier, Product { w, tiles: tile..tile + 1, x, out, output }, &mut []);
        }
    }
}
