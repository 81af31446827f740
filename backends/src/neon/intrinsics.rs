//! NEON's instructions on registers, safe to call: the targets that this is compiled for promise
//! that every CPU has them. Those that only some have take a proof.

use super::proof::Sdot;
pub(super) use core::arch::aarch64::{
    float32x4_t, int8x8_t, int8x16_t, int16x4_t, int16x8_t, int32x2_t, int32x4_t, int64x2_t,
    uint8x16_t, uint16x4_t, uint32x4_t, uint64x2_t,
};
use core::arch::asm;

const _: () = assert!(cfg!(target_feature = "neon"), "a target without NEON");

macro_rules! instructions {
    ($(fn $name:ident$(<const $constant:ident>)?($($arg:ident: $kind:ty),*) -> $out:ty;)*) => {$(
        #[inline(always)]
        pub(super) fn $name$(<const $constant: i32>)?($($arg: $kind),*) -> $out {
            // SAFETY: the CPU has NEON, asserted above, and registers only are touched.
            unsafe { core::arch::aarch64::$name$(::<$constant>)?($($arg),*) }
        }
    )*};
}

instructions! {
    fn vdupq_n_f32(x: f32) -> float32x4_t;
    fn vdupq_n_s8(x: i8) -> int8x16_t;
    fn vdupq_n_s16(x: i16) -> int16x8_t;
    fn vdupq_n_s32(x: i32) -> int32x4_t;
    fn vdupq_n_s64(x: i64) -> int64x2_t;
    fn vdupq_n_u32(x: u32) -> uint32x4_t;

    fn vaddq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t;
    fn vmulq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t;
    fn vmulq_n_f32(a: float32x4_t, b: f32) -> float32x4_t;
    fn vdivq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t;
    fn vminq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t;
    fn vmaxq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t;
    fn vabsq_f32(x: float32x4_t) -> float32x4_t;
    fn vsqrtq_f32(x: float32x4_t) -> float32x4_t;
    fn vfmaq_f32(sum: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t;
    fn vfmaq_n_f32(sum: float32x4_t, a: float32x4_t, b: f32) -> float32x4_t;
    fn vfmsq_f32(sum: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t;
    fn vaddvq_f32(x: float32x4_t) -> f32;
    fn vmaxvq_f32(x: float32x4_t) -> f32;
    fn vgetq_lane_f32<const LANE>(x: float32x4_t) -> f32;

    fn vcvtq_f32_s32(x: int32x4_t) -> float32x4_t;
    fn vcvtnq_s32_f32(x: float32x4_t) -> int32x4_t;

    fn vaddq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    fn vandq_s8(a: int8x16_t, b: int8x16_t) -> int8x16_t;
    fn vshlq_n_s32<const N>(x: int32x4_t) -> int32x4_t;
    fn vshrq_n_u8<const N>(x: uint8x16_t) -> uint8x16_t;
    fn vshll_n_u16<const N>(x: uint16x4_t) -> uint32x4_t;
    fn vaddlvq_s8(x: int8x16_t) -> i16;

    fn vmull_s8(a: int8x8_t, b: int8x8_t) -> int16x8_t;
    fn vmlal_s8(sum: int16x8_t, a: int8x8_t, b: int8x8_t) -> int16x8_t;
    fn vmlal_high_s8(sum: int16x8_t, a: int8x16_t, b: int8x16_t) -> int16x8_t;
    fn vmlal_s16(sum: int32x4_t, a: int16x4_t, b: int16x4_t) -> int32x4_t;
    fn vmlal_high_s16(sum: int32x4_t, a: int16x8_t, b: int16x8_t) -> int32x4_t;
    fn vsubq_s8(a: int8x16_t, b: int8x16_t) -> int8x16_t;
    fn vqrdmulhq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    fn vmulq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    fn vsubq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    fn vsliq_n_s8<const N>(below: int8x16_t, above: int8x16_t) -> int8x16_t;
    fn vmlaq_s32(sum: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t;
    fn vpaddq_s16(a: int16x8_t, b: int16x8_t) -> int16x8_t;
    fn vpaddq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    fn vpaddlq_s16(x: int16x8_t) -> int32x4_t;
    fn vpadalq_s16(sum: int32x4_t, x: int16x8_t) -> int32x4_t;

    fn vmovl_s8(x: int8x8_t) -> int16x8_t;
    fn vmovl_s16(x: int16x4_t) -> int32x4_t;
    fn vmovl_high_s16(x: int16x8_t) -> int32x4_t;
    fn vmovn_s16(x: int16x8_t) -> int8x8_t;
    fn vmovn_s32(x: int32x4_t) -> int16x4_t;
    fn vrshrn_n_s32<const N>(x: int32x4_t) -> int16x4_t;
    fn vqmovn_s32(x: int32x4_t) -> int16x4_t;
    fn vqmovn_s16(x: int16x8_t) -> int8x8_t;

    fn vqtbl1q_s8(table: int8x16_t, index: uint8x16_t) -> int8x16_t;
    fn vtrn1q_u32(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t;
    fn vtrn2q_u32(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t;
    fn vtrn1q_u64(a: uint64x2_t, b: uint64x2_t) -> uint64x2_t;
    fn vtrn2q_u64(a: uint64x2_t, b: uint64x2_t) -> uint64x2_t;
    fn vzip1q_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    fn vzip2q_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    fn vuzp1q_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t;
    fn vuzp2q_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t;
    fn vcombine_s16(low: int16x4_t, high: int16x4_t) -> int16x8_t;
    fn vget_low_s8(x: int8x16_t) -> int8x8_t;
    fn vget_low_s16(x: int16x8_t) -> int16x4_t;
    fn vget_lane_s32<const LANE>(x: int32x2_t) -> i32;

    fn vreinterpretq_f32_s32(x: int32x4_t) -> float32x4_t;
    fn vreinterpretq_f32_u32(x: uint32x4_t) -> float32x4_t;
    fn vreinterpretq_s8_s32(x: int32x4_t) -> int8x16_t;
    fn vreinterpretq_s8_u8(x: uint8x16_t) -> int8x16_t;
    fn vreinterpretq_s8_u64(x: uint64x2_t) -> int8x16_t;
    fn vreinterpretq_s32_f32(x: float32x4_t) -> int32x4_t;
    fn vreinterpretq_s32_s8(x: int8x16_t) -> int32x4_t;
    fn vreinterpretq_s16_s32(x: int32x4_t) -> int16x8_t;
    fn vreinterpretq_s32_s16(x: int16x8_t) -> int32x4_t;
    fn vreinterpretq_s32_s64(x: int64x2_t) -> int32x4_t;
    fn vreinterpret_s32_s8(x: int8x8_t) -> int32x2_t;
    fn vreinterpretq_u8_s8(x: int8x16_t) -> uint8x16_t;
    fn vreinterpretq_u32_s8(x: int8x16_t) -> uint32x4_t;
    fn vreinterpretq_u64_u32(x: uint32x4_t) -> uint64x2_t;
}

/// `sum + Σ w·a` of the 4 bytes of each lane of `w` with those of lane `LANE` of `a`.
#[inline(always)]
pub(super) fn sdot_lane<const LANE: usize>(
    _cpu: Sdot,
    sum: int32x4_t,
    w: int8x16_t,
    a: int8x16_t,
) -> int32x4_t {
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

/// `sum + Σ w·a` of the 4 bytes of each lane.
#[inline(always)]
pub(super) fn sdot(_cpu: Sdot, sum: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
    let mut result = sum;
    // SAFETY: as for `sdot_lane`.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sum:v}.4s, {w:v}.16b, {a:v}.16b",
            sum = inout(vreg) result,
            w = in(vreg) w,
            a = in(vreg) a,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    result
}
