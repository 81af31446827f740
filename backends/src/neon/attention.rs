//! Ways of multiplying signed bytes with 16-bit codes, which attention consists of.

use super::intrinsics::*;
use super::proof::{Sdot, Widening};
use crate::lanes::{MAX_SUMS, NibbleLines, RowSums};
use core::arch::aarch64::{vld1_s8, vld1q_s8, vst1_s8, vst1_s16};
use kinglet_quant::format::BLOCK;

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
    /// [`Lanes::nibble_sums`](crate::lanes::Lanes::nibble_sums).
    fn nibble_line_sums<const Q: usize, const STEP: usize>(
        self,
        lines: NibbleLines<'_, STEP>,
        codes: [&[i8; BLOCK]; Q],
        starts: [[i32; 2]; Q],
    ) -> [[RowSums<int32x4_t>; 2]; Q];
}

/// The low and the high nibbles of 4 rows of a line, the `part`-th.
///
/// # Safety
/// `line` has 64 bytes.
#[inline(always)]
unsafe fn nibbles(line: *const u8, part: usize) -> [int8x16_t; 2] {
    assert!(part < 4);
    // SAFETY: by this function's contract.
    let bytes = unsafe { vld1q_s8(line.add(16 * part).cast()) };
    let high = vreinterpretq_s8_u8(vshrq_n_u8::<4>(vreinterpretq_u8_s8(bytes)));
    [vandq_s8(bytes, vdupq_n_s8(15)), high]
}

/// 4 codes over and over.
#[inline(always)]
fn repeated(codes: i32) -> int8x16_t {
    vreinterpretq_s8_s32(vdupq_n_s32(codes))
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
    #[expect(clippy::needless_range_loop, reason = "zipped arrays do not stay in registers")]
    #[inline(always)]
    fn nibble_line_sums<const Q: usize, const STEP: usize>(
        self,
        lines: NibbleLines<'_, STEP>,
        codes: [&[i8; BLOCK]; Q],
        starts: [[i32; 2]; Q],
    ) -> [[RowSums<int32x4_t>; 2]; Q] {
        let mut sums = [[[vdupq_n_s32(0); MAX_SUMS]; 2]; Q];
        for part in 0..MAX_SUMS {
            // Up to 8 products of 15·127 in each lane.
            let mut products = [[[vdupq_n_s16(0); 2]; 2]; Q];
            for j in 0..lines.count() {
                // SAFETY: a line has 64 bytes.
                let quads = unsafe { nibbles(lines.line(j), part) };
                for q in 0..Q {
                    let codes = lines.codes(codes[q], j);
                    for which in 0..2 {
                        let (quad, input) = (quads[which], repeated(codes[which]));
                        let [first, last] = products[q][which];
                        let first = vmlal_s8(first, vget_low_s8(quad), vget_low_s8(input));
                        products[q][which] = [first, vmlal_high_s8(last, quad, input)];
                    }
                }
            }
            for q in 0..Q {
                for which in 0..2 {
                    let [first, last] = products[q][which];
                    let start = vdupq_n_s32(starts[q][which]);
                    sums[q][which][part] = vpadalq_s16(start, vpaddq_s16(first, last));
                }
            }
        }
        sums
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
    #[expect(clippy::needless_range_loop, reason = "zipped arrays do not stay in registers")]
    #[inline(always)]
    fn nibble_line_sums<const Q: usize, const STEP: usize>(
        self,
        lines: NibbleLines<'_, STEP>,
        codes: [&[i8; BLOCK]; Q],
        starts: [[i32; 2]; Q],
    ) -> [[RowSums<int32x4_t>; 2]; Q] {
        let mut sums = [[[vdupq_n_s32(0); MAX_SUMS]; 2]; Q];
        for part in 0..MAX_SUMS {
            let (mut low, mut high) = ([vdupq_n_s32(0); Q], [vdupq_n_s32(0); Q]);
            for q in 0..Q {
                low[q] = vdupq_n_s32(starts[q][0]);
                high[q] = vdupq_n_s32(starts[q][1]);
            }
            for j in 0..lines.count() {
                // SAFETY: a line has 64 bytes.
                let [low_quads, high_quads] = unsafe { nibbles(lines.line(j), part) };
                for q in 0..Q {
                    let [first, second] = lines.codes(codes[q], j);
                    low[q] = sdot(self, low[q], low_quads, repeated(first));
                    high[q] = sdot(self, high[q], high_quads, repeated(second));
                }
            }
            for q in 0..Q {
                (sums[q][0][part], sums[q][1][part]) = (low[q], high[q]);
            }
        }
        sums
    }
}
