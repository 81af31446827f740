//! What blocks of codes give when they multiply activations.

use super::batch::Batch;
use super::dot::Dot;
use super::rows::{HalfBlock, OneInput, OneTile, Total, Weights, group_scales};
use super::unpack::{Unpack, add_sums};
use kinglet_quant::format::BLOCK;

/// Codes of a format with scales for groups of so many columns, and a way of multiplying bytes.
#[derive(Clone, Copy)]
pub(super) struct Packed<D, U, const GROUP: usize>(pub D, pub U);

impl<D: Dot, U: Unpack, const GROUP: usize> Packed<D, U, GROUP> {
    /// The products of a tile with one token alone, not yet scaled by row.
    #[inline(always)]
    pub fn single(self, of: OneTile<'_>) -> [Total; 2] {
        self.1.single::<D, GROUP>(self.0, of)
    }

    /// Adds `scale · Σ group scale · weight · input` to the totals of many tokens, to the bit what
    /// one alone gets, if there is a faster way than one by one; else false, and nothing has been
    /// added.
    #[inline(always)]
    pub fn add_batch(self, of: HalfBlock<'_>, batch: &mut Batch<'_>) -> bool {
        let weights = Weights {
            quads: self.1.weights(of),
            reach: U::REACH,
            scales: group_scales::<GROUP>(of),
            one_scale: GROUP == BLOCK,
        };
        self.0.add_batch(&weights, batch)
    }

    /// The same for one of them.
    ///
    /// # Safety
    /// `x` has 32 codes.
    #[inline(always)]
    pub unsafe fn add_one(self, total: &mut Total, of: HalfBlock<'_>, x: OneInput<'_>) {
        // SAFETY: by this function's contract.
        unsafe { add_sums::<D, GROUP>(self.0, total, &self.1.weights(of), of, x) }
    }
}
