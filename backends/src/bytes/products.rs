//! Which loop computes the products of each number format.

use super::codes::{Entries, Linear};
use super::matmul::all_tiles;
use super::planes;
use super::registers::Registers;
use super::unpack::{Bytes, Fives, Nibbles, Threes};
use crate::multiply::Products;
use crate::product::{Product, Rescore, Search};
use kinglet_quant::format::{BLOCK, TILE_ROWS};

impl<R: Registers> Products for R {
    const BATCH: usize = 2;

    fn bytes(self, of: Product<'_>) {
        all_tiles::<R, _, BLOCK>(self, Bytes, of);
    }

    fn nibbles<const GROUP: usize>(self, of: Product<'_>) {
        all_tiles::<R, _, GROUP>(self, Linear(Nibbles), of);
    }

    fn nibble_entries<const GROUP: usize>(self, of: Product<'_>) {
        all_tiles::<R, _, GROUP>(self, Entries::new(self, Nibbles, of.w.table()), of);
    }

    fn fives<const GROUP: usize>(self, of: Product<'_>) {
        all_tiles::<R, _, GROUP>(self, Linear(Fives), of);
    }

    fn threes<const GROUP: usize>(self, of: Product<'_>) {
        all_tiles::<R, _, GROUP>(self, Entries::new(self, Threes, of.w.table()), of);
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
