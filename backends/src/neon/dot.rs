//! Two ways of multiplying 8 rows of weights with activations, 4 columns at a time.

use super::registers::*;
use core::arch::aarch64::vld1q_s8;
use core::arch::asm;

/// 16 columns of 8 rows: `[j][t]` holds columns `4j..4j + 4` of rows `4t..4t + 4`, 4 bytes a row.
pub(super) type Quads = [[int8x16_t; 2]; 4];

/// A way of multiplying bytes. A value of the type proves that the CPU has the instructions.
pub trait Dot: Copy + Send + Sync + core::fmt::Debug {
    /// `start + Σ w·a` over 16 columns of 8 rows, for weights of 0 to 15; sums with and without the
    /// start are within 16 bits.
    ///
    /// # Safety
    /// `input` has 16 codes.
    unsafe fn nibble_sums(self, quads: &Quads, input: *const i8, start: i32) -> int16x8_t;

    /// `sums + Σ w·a` over 16 columns of 8 rows.
    ///
    /// # Safety
    /// `input` has 16 codes.
    unsafe fn byte_sums(
        self,
        sums: [int32x4_t; 2],
        quads: &Quads,
        input: *const i8,
    ) -> [int32x4_t; 2];
}

/// `smull` and `smlal`, which every 64-bit ARM has: products in 16 bits, pairs added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widening;

impl Dot for Widening {
    #[inline(always)]
    unsafe fn nibble_sums(self, quads: &Quads, input: *const i8, start: i32) -> int16x8_t {
        // 4 products of at most 15·127 in each lane, 16 in each of the results.
        let mut pairs = [vdupq_n_s16(0); 2];
        for (t, pairs) in pairs.iter_mut().enumerate() {
            // SAFETY: by this function's contract.
            let (low, high) = unsafe { chain([0, 1, 2, 3].map(|j| quads[j][t]), input) };
            *pairs = vpaddq_s16(low, high);
        }
        vaddq_s16(vpaddq_s16(pairs[0], pairs[1]), vdupq_n_s16(start as i16))
    }

    #[inline(always)]
    unsafe fn byte_sums(
        self,
        sums: [int32x4_t; 2],
        quads: &Quads,
        input: *const i8,
    ) -> [int32x4_t; 2] {
        let mut result = sums;
        for (t, sum) in result.iter_mut().enumerate() {
            // Two products, 2·128·127 = 32,512, fill 16 bits.
            // SAFETY: by this function's contract.
            let (first, second) = unsafe {
                (
                    chain([quads[0][t], quads[1][t]], input),
                    chain([quads[2][t], quads[3][t]], input.add(8)),
                )
            };
            let low = vpadalq_s16(vpaddlq_s16(first.0), second.0);
            let high = vpadalq_s16(vpaddlq_s16(first.1), second.1);
            *sum = vaddq_s32(*sum, vpaddq_s32(low, high));
        }
        result
    }
}

/// Products of quads of 4 rows with as many quads of activations, added up in 16 bits: rows 0 and 1
/// in the first register, 2 and 3 in the second, 4 columns each.
///
/// # Safety
/// `input` has 4 codes for each quad.
#[inline(always)]
unsafe fn chain<const N: usize>(quads: [int8x16_t; N], input: *const i8) -> (int16x8_t, int16x8_t) {
    let mut sums = (vdupq_n_s16(0), vdupq_n_s16(0));
    for (j, quad) in quads.into_iter().enumerate() {
        // SAFETY: by this function's contract.
        let input = unsafe { input.add(4 * j).cast::<i32>().read_unaligned() };
        let input = vreinterpretq_s8_s32(vdupq_n_s32(input));
        let products = (vget_low_s8(quad), vget_low_s8(input));
        sums = if j == 0 {
            (vmull_s8(products.0, products.1), vmull_high_s8(quad, input))
        } else {
            (vmlal_s8(sums.0, products.0, products.1), vmlal_high_s8(sums.1, quad, input))
        };
    }
    sums
}

/// `sdot`: 4 products added up in 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sdot(pub(super) ());

impl Dot for Sdot {
    #[inline(always)]
    unsafe fn nibble_sums(self, quads: &Quads, input: *const i8, start: i32) -> int16x8_t {
        // SAFETY: by this function's contract.
        let sums = unsafe { self.byte_sums([vdupq_n_s32(start); 2], quads, input) };
        // The lower halves of the lanes.
        vuzp1q_s16(vreinterpretq_s16_s32(sums[0]), vreinterpretq_s16_s32(sums[1]))
    }

    #[inline(always)]
    unsafe fn byte_sums(
        self,
        sums: [int32x4_t; 2],
        quads: &Quads,
        input: *const i8,
    ) -> [int32x4_t; 2] {
        // SAFETY: by this function's contract.
        let input = unsafe { vld1q_s8(input) };
        let mut result = sums;
        for (t, sum) in result.iter_mut().enumerate() {
            *sum = sdot::<0>(self, *sum, quads[0][t], input);
            *sum = sdot::<1>(self, *sum, quads[1][t], input);
            *sum = sdot::<2>(self, *sum, quads[2][t], input);
            *sum = sdot::<3>(self, *sum, quads[3][t], input);
        }
        result
    }
}

/// `sum + Σ w·a` of the 4 bytes of each lane of `w` with those of lane `LANE` of `a`.
#[inline(always)]
fn sdot<const LANE: usize>(_cpu: Sdot, sum: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
    let mut result = sum;
    // SAFETY: `_cpu` proves that the CPU has the instruction, which touches registers only.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sum:v}.4s, {w:v}.16b, {a:v}.4b[{lane}]",
            sum = inout(vreg) result,
            w = in(vreg) w,
            a = in(vreg) a,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    result
}
