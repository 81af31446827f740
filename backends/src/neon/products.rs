//! Which loop computes the products of each number format.

use super::Neon;
use super::codes::{Bytes, Entries, Fives, Nibbles, Threes};
use super::dot::Dot;
use super::matmul::{Packed, all_tiles};
use super::planes;
use crate::multiply::Products;
use crate::product::{Product, Rescore, Search};
use kinglet_quant::format::{BLOCK, TILE_ROWS};

impl<D: Dot> Products for Neon<D> {
    const BATCH: usize = D::BATCH;

    fn bytes(self, of: Product<'_>) {
        all_tiles(Packed::<_, _, BLOCK>(self.0, Bytes), of);
    }

    fn nibbles<const GROUP: usize>(self, of: Product<'_>) {
        all_tiles(Packed::<_, _, GROUP>(self.0, Nibbles), of);
    }

    fn nibble_entries<const GROUP: usize>(self, of: Product<'_>) {
        all_tiles(Packed::<_, _, GROUP>(self.0, Entries::new(of.w)), of);
    }

    fn fives<const GROUP: usize>(self, of: Product<'_>) {
        all_tiles(Packed::<_, _, GROUP>(self.0, Fives), of);
    }

    fn threes<const GROUP: usize>(self, of: Product<'_>) {
        all_tiles(Packed::<_, _, GROUP>(self.0, Threes::new(of.w)), of);
    }

    fn planes(self, of: Product<'_>) {
        planes::product(self, of);
    }

    fn screen(self, of: Search<'_, '_>) {
        planes::screen(self, of);
    }

    fn rescore(self, of: Rescore<'_>, logits: &mut [f32; TILE_ROWS]) {
        planes::rescore(self, of, logits);
    }
}
