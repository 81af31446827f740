//! [`Lanes`] of 4 floats.

use super::Neon;
use super::attention::{AttentionDot, AttentionSum};
use super::dot::Dot;
use super::intrinsics::*;
use crate::lanes::{Lanes, MAX_SUMS};
use core::arch::aarch64::{vld1_u16, vld1q_f32, vld1q_s8, vst1q_f32};
use core::arch::asm;
use half::{bf16, f16};

impl<D: Dot> Lanes for Neon<D> {
    const COUNT: usize = 4;
    type F32 = float32x4_t;
    type I32 = int32x4_t;
    type Sum = AttentionSum;
    const SUMS: usize = D::Attention::SUMS;

    /// Every function of this architecture is compiled for NEON.
    #[inline(always)]
    fn compiled<R>(self, work: impl FnOnce() -> R) -> R {
        work()
    }

    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        vdupq_n_f32(x)
    }
    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vaddq_f32(a, b)
    }
    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vmulq_f32(a, b)
    }
    #[inline(always)]
    fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vdivq_f32(a, b)
    }
    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vminq_f32(a, b)
    }
    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vmaxq_f32(a, b)
    }
    #[inline(always)]
    fn abs(self, x: float32x4_t) -> float32x4_t {
        vabsq_f32(x)
    }
    #[inline(always)]
    fn sqrt(self, x: float32x4_t) -> float32x4_t {
        vsqrtq_f32(x)
    }
    #[inline(always)]
    fn mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        vfmaq_f32(c, a, b)
    }
    #[inline(always)]
    fn mul_sub_from(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        vfmsq_f32(c, a, b)
    }
    #[inline(always)]
    fn round(self, x: float32x4_t) -> int32x4_t {
        vcvtnq_s32_f32(x)
    }
    #[inline(always)]
    fn to_f32(self, x: int32x4_t) -> float32x4_t {
        vcvtq_f32_s32(x)
    }
    #[inline(always)]
    fn no_sum(self) -> AttentionSum {
        [vdupq_n_s32(0); 2]
    }
    #[inline(always)]
    fn add_quad_products(
        self,
        sum: AttentionSum,
        bytes: int32x4_t,
        codes: int32x4_t,
    ) -> AttentionSum {
        self.0.attention().add_quad_products(sum, bytes, codes)
    }
    #[inline(always)]
    fn row_sums(self, sums: [AttentionSum; MAX_SUMS]) -> [int32x4_t; 2] {
        self.0.attention().row_sums(sums)
    }
    #[inline(always)]
    fn power_of_two(self, n: int32x4_t) -> float32x4_t {
        vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(n, vdupq_n_s32(127))))
    }
    #[inline(always)]
    fn sum_of_lanes(self, x: float32x4_t) -> f32 {
        vaddvq_f32(x)
    }
    #[inline(always)]
    fn max_of_lanes(self, x: float32x4_t) -> f32 {
        vmaxvq_f32(x)
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> float32x4_t {
        let from = &from[..4];
        // SAFETY: `from` has 4 elements.
        unsafe { vld1q_f32(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> float32x4_t {
        let from = &from[..4];
        let result: float32x4_t;
        // SAFETY: `from` has 4 elements of 2 bytes; every 64-bit ARM has the instruction, which
        // touches registers only.
        unsafe {
            let bits = vld1_u16(from.as_ptr().cast());
            asm!(
                "fcvtl {to:v}.4s, {from:v}.4h",
                to = lateout(vreg) result,
                from = in(vreg) bits,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        result
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> float32x4_t {
        let from = &from[..4];
        // SAFETY: `from` has 4 elements of 2 bytes.
        let bits = unsafe { vld1_u16(from.as_ptr().cast()) };
        vreinterpretq_f32_u32(vshll_n_u16::<16>(bits))
    }

    #[inline(always)]
    unsafe fn load_quads(self, from: *const u8) -> int32x4_t {
        // SAFETY: by this function's contract.
        unsafe { self.0.attention().load_quads(from) }
    }

    #[inline(always)]
    unsafe fn repeat_quad(self, from: *const i16) -> int32x4_t {
        // SAFETY: by this function's contract.
        vreinterpretq_s32_s64(vdupq_n_s64(unsafe { from.cast::<i64>().read_unaligned() }))
    }

    #[inline(always)]
    fn store(self, x: float32x4_t, to: &mut [f32]) {
        let to = &mut to[..4];
        // SAFETY: `to` has 4 elements.
        unsafe { vst1q_f32(to.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn store_codes(self, x: int32x4_t, to: &mut [i16]) {
        self.0.attention().store_codes(x, to.first_chunk_mut().expect("there are 4"));
    }

    #[inline(always)]
    fn store_i8(self, x: int32x4_t, to: &mut [i8]) {
        let words = vqmovn_s32(x);
        let bytes = vreinterpret_s32_s8(vqmovn_s16(vcombine_s16(words, words)));
        to[..4].copy_from_slice(&vget_lane_s32::<0>(bytes).to_ne_bytes().map(|byte| byte as i8));
    }

    #[inline(always)]
    fn sum_of_bytes(self, bytes: &[i8; 16]) -> i32 {
        // SAFETY: the 16 bytes are read.
        i32::from(vaddlvq_s8(unsafe { vld1q_s8(bytes.as_ptr()) }))
    }
}
