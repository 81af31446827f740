//! Which loop computes the products of each number format.

use super::Avx512;
use super::codes::{Bytes, Entries, Fives, Linear, Nibbles, Threes, Whole};
use super::matmul::all_tiles;
use super::planes;
use crate::multiply::Products;
use crate::product::{Product, Rescore, Search};
use kinglet_quant::format::{BLOCK, TILE_ROWS};

impl Products for Avx512 {
    const BATCH: usize = 2;

    fn bytes(self, of: Product<'_>) {
        // SAFETY: the value `self` proves the features.
        unsafe { all_tiles::<_, BLOCK>(self, Whole(Bytes), of) }
    }

    fn nibbles<const GROUP: usize>(self, of: Product<'_>) {
        // SAFETY: the value `self` proves the features.
        unsafe { all_tiles::<_, GROUP>(self, Linear(Nibbles), of) }
    }

    fn nibble_entries<const GROUP: usize>(self, of: Product<'_>) {
        // SAFETY: the value `self` proves the features.
        unsafe { all_tiles::<_, GROUP>(self, Entries::new(self, Nibbles, of.w.table()), of) }
    }

    fn fives<const GROUP: usize>(self, of: Product<'_>) {
        // SAFETY: the value `self` proves the features.
        unsafe { all_tiles::<_, GROUP>(self, Linear(Fives), of) }
    }

    fn threes<const GROUP: usize>(self, of: Product<'_>) {
        // SAFETY: the value `self` proves the features.
        unsafe { all_tiles::<_, GROUP>(self, Entries::new(self, Threes, of.w.table()), of) }
    }

    fn planes(self, of: Product<'_>) {
        // SAFETY: the value `self` proves the features.
        unsafe { planes::product(self, of) }
    }

    fn screen(self, of: Search<'_, '_>) {
        // SAFETY: the value `self` proves the features.
        unsafe { planes::screen(self, of) }
    }

    fn rescore(self, of: Rescore<'_>, logits: &mut [f32; TILE_ROWS]) {
        // SAFETY: the value `self` proves the features.
        unsafe { planes::rescore(self, of, logits) }
    }
}
