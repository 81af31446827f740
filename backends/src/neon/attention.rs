//! Ways of multiplying signed bytes with 16-bit codes, which attention consists of.

use super::intrinsics::*;
use super::proof::{Sdot, Widening};
use crate::lanes::MAX_SUMS;
use core::arch::aarch64::{vld1_s8, vld1q_s8, vst1_s8, vst1_s16};

/// Sums of products of some rows in two registers, which a way of multiplying knows how to add up.
pub(super) type AttentionSum = [int32x4_t; 2];

/// What [`Lanes`](crate::lanes::Lanes) leaves to the way of multiplying bytes.
pub trait AttentionDot: Copy {
    /// [`Lanes::SUMS`](crate::lanes::Lanes::SUMS): how many sums 8 rows take.
    const SUMS: usize;

    fn store_codes(self, codes: int32x4_t, to: &mut [i16; 4]);
    /// The quads of the rows of a sum.
    ///
    /// # Safety
    /// `32 / SUMS` bytes can be read.
    unsafe fn load_quads(self, from: *const u8) -> int32x4_t;
    fn add_quad_products(
        self,
        sum: AttentionSum,
        bytes: int32x4_t,
        codes: int32x4_t,
    ) -> AttentionSum;
    fn row_sums(self, sums: [AttentionSum; MAX_SUMS]) -> [int32x4_t; 2];
}

/// Codes are 16-bit integers, and a sum has two rows, the products of their 4 columns side by side.
impl AttentionDot for Widening {
    const SUMS: usize = 4;

    #[inline(always)]
    fn store_codes(self, codes: int32x4_t, to: &mut [i16; 4]) {
        // SAFETY: 4 integers are written.
        unsafe { vst1_s16(to.as_mut_ptr(), vmovn_s32(codes)) }
    }
    #[inline(always)]
    unsafe fn load_quads(self, from: *const u8) -> int32x4_t {
        // SAFETY: by this function's contract.
        vreinterpretq_s32_s16(vmovl_s8(unsafe { vld1_s8(from.cast()) }))
    }
    #[inline(always)]
    fn add_quad_products(
        self,
        sum: AttentionSum,
        bytes: int32x4_t,
        codes: int32x4_t,
    ) -> AttentionSum {
        let (a, b) = (vreinterpretq_s16_s32(bytes), vreinterpretq_s16_s32(codes));
        [vmlal_s16(sum[0], vget_low_s16(a), vget_low_s16(b)), vmlal_high_s16(sum[1], a, b)]
    }
    #[inline(always)]
    fn row_sums(self, [a, b, c, d]: [AttentionSum; MAX_SUMS]) -> [int32x4_t; 2] {
        let four = |low: AttentionSum, high: AttentionSum| {
            vpaddq_s32(vpaddq_s32(low[0], low[1]), vpaddq_s32(high[0], high[1]))
        };
        [four(a, b), four(c, d)]
    }
}

/// A code is `256·high + low`, and 4 of them are 4 high bytes and 4 low ones. A sum has 4 rows, the
/// products with high bytes in one register, with low ones in the other.
impl AttentionDot for Sdot {
    const SUMS: usize = 2;

    #[inline(always)]
    fn store_codes(self, codes: int32x4_t, to: &mut [i16; 4]) {
        let (high, low) = (vrshrn_n_s32::<8>(codes), vmovn_s32(codes));
        // SAFETY: 8 bytes are written.
        unsafe { vst1_s8(to.as_mut_ptr().cast(), vmovn_s16(vcombine_s16(high, low))) }
    }
    #[inline(always)]
    unsafe fn load_quads(self, from: *const u8) -> int32x4_t {
        // SAFETY: by this function's contract.
        vreinterpretq_s32_s8(unsafe { vld1q_s8(from.cast()) })
    }
    #[inline(always)]
    fn add_quad_products(
        self,
        sum: AttentionSum,
        bytes: int32x4_t,
        codes: int32x4_t,
    ) -> AttentionSum {
        let (bytes, codes) = (vreinterpretq_s8_s32(bytes), vreinterpretq_s8_s32(codes));
        [sdot_lane::<0>(self, sum[0], bytes, codes), sdot_lane::<1>(self, sum[1], bytes, codes)]
    }
    #[inline(always)]
    fn row_sums(self, [first, second, ..]: [AttentionSum; MAX_SUMS]) -> [int32x4_t; 2] {
        let four = |[high, low]: AttentionSum| vaddq_s32(vshlq_n_s32::<8>(high), low);
        [four(first), four(second)]
    }
}
