//! Kernels for SSSE3 and SSE4.1: x86 CPUs without AVX, such as Celeron J4125, N5105 and Atom.
//!
//! Without FMA each product and each sum is rounded, as the definition says.

use crate::bytes::{InPairs, Ones, PairRegisters, QUADS, Quads, Registers};
use crate::detect;
use crate::lanes::{Lanes, register_methods, vector_kernels};
use core::arch::x86_64::*;
use half::{bf16, f16};
use kinglet_quant::format::BLOCK;

/// Proof that this CPU has SSSE3 and SSE4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sse(());

impl Sse {
    /// The kernels, if this CPU can run them.
    pub fn new() -> Option<Self> {
        Self::detect().ok()
    }

    /// The kernels, or what the CPU lacks.
    pub(crate) fn detect() -> Result<Self, &'static str> {
        detect::require_features!("ssse3", "sse4.1").map(Self)
    }

    /// Every CPU that has AVX has these instructions too.
    ///
    /// # Safety
    /// This CPU has AVX.
    #[inline(always)]
    pub(crate) unsafe fn within_avx() -> Self {
        Self(())
    }

    /// The sum of 8 integers.
    #[inline(always)]
    fn sum_of_i16(self, x: __m128i) -> i32 {
        // SAFETY: the value `self` proves that the CPU has SSSE3; registers only.
        unsafe {
            let four = _mm_madd_epi16(x, _mm_set1_epi16(1));
            let two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
            _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
        }
    }
}

vector_kernels!([], Sse, const FURTHER_TOKEN_COST: u8 = 60;);

impl Lanes for Sse {
    const COUNT: usize = 4;
    type F32 = __m128;
    type I32 = __m128i;
    /// 2 rows, the products of their 4 columns in pairs.
    type Sum = __m128i;
    const SUMS: usize = 4;

    #[inline(always)]
    fn compiled<R>(self, work: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "ssse3,sse4.1")]
        fn inside<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        // SAFETY: the value `self` proves that the CPU has the features.
        unsafe { inside(work) }
    }

    register_methods! {
        fn splat(x: f32) -> __m128 { _mm_set1_ps(x) }
        fn add(a: __m128, b: __m128) -> __m128 { _mm_add_ps(a, b) }
        fn mul(a: __m128, b: __m128) -> __m128 { _mm_mul_ps(a, b) }
        fn div(a: __m128, b: __m128) -> __m128 { _mm_div_ps(a, b) }
        fn min(a: __m128, b: __m128) -> __m128 { _mm_min_ps(a, b) }
        fn max(a: __m128, b: __m128) -> __m128 { _mm_max_ps(a, b) }
        fn abs(x: __m128) -> __m128 { _mm_andnot_ps(_mm_set1_ps(-0.0), x) }
        fn sqrt(x: __m128) -> __m128 { _mm_sqrt_ps(x) }
        fn mul_add(a: __m128, b: __m128, c: __m128) -> __m128 { _mm_add_ps(_mm_mul_ps(a, b), c) }
        fn mul_sub_from(a: __m128, b: __m128, c: __m128) -> __m128 {
            _mm_sub_ps(c, _mm_mul_ps(a, b))
        }
        fn round(x: __m128) -> __m128i { _mm_cvtps_epi32(x) }
        fn to_f32(x: __m128i) -> __m128 { _mm_cvtepi32_ps(x) }
        fn no_sum() -> __m128i { _mm_setzero_si128() }
        fn add_quad_products(sum: __m128i, a: __m128i, b: __m128i) -> __m128i {
            _mm_add_epi32(sum, _mm_madd_epi16(a, b))
        }
        fn row_sums(sums: [__m128i; 4]) -> [__m128i; 2] {
            [_mm_hadd_epi32(sums[0], sums[1]), _mm_hadd_epi32(sums[2], sums[3])]
        }
        fn power_of_two(n: __m128i) -> __m128 {
            _mm_castsi128_ps(_mm_slli_epi32::<23>(_mm_add_epi32(n, _mm_set1_epi32(127))))
        }
        fn sum_of_lanes(x: __m128) -> f32 {
            {
                let pairs = _mm_add_ps(x, _mm_movehdup_ps(x));
                _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehl_ps(pairs, pairs)))
            }
        }
        fn max_of_lanes(x: __m128) -> f32 {
            {
                let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
                _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
            }
        }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> __m128 {
        let from = &from[..4];
        // SAFETY: `from` has 4 elements; every x86-64 CPU has SSE2.
        unsafe { _mm_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> __m128 {
        let from = &from[..4];
        // SAFETY: `from` has 4 elements of 2 bytes; `self` proves SSE4.1.
        unsafe { widen_f16(_mm_cvtepu16_epi32(_mm_loadl_epi64(from.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> __m128 {
        let from = &from[..4];
        // SAFETY: `from` has 4 elements of 2 bytes; every x86-64 CPU has SSE2.
        unsafe {
            let bits = _mm_loadl_epi64(from.as_ptr().cast());
            _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), bits))
        }
    }

    #[inline(always)]
    unsafe fn load_quads(self, from: *const u8) -> __m128i {
        // SAFETY: by this function's contract; `self` proves SSE4.1.
        unsafe { _mm_cvtepi8_epi16(_mm_loadl_epi64(from.cast())) }
    }

    #[inline(always)]
    unsafe fn repeat_quad(self, from: *const i16) -> __m128i {
        // SAFETY: by this function's contract; every x86-64 CPU has SSE2.
        unsafe { _mm_set1_epi64x(from.cast::<i64>().read_unaligned()) }
    }

    #[inline(always)]
    fn store(self, x: __m128, to: &mut [f32]) {
        let to = &mut to[..4];
        // SAFETY: `to` has 4 elements; every x86-64 CPU has SSE2.
        unsafe { _mm_storeu_ps(to.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn store_codes(self, x: __m128i, to: &mut [i16]) {
        let to = &mut to[..4];
        // SAFETY: `to` has 4 elements of 2 bytes; every x86-64 CPU has SSE2.
        unsafe { _mm_storel_epi64(to.as_mut_ptr().cast(), _mm_packs_epi32(x, x)) }
    }

    #[inline(always)]
    fn store_i8(self, x: __m128i, to: &mut [i8]) {
        let to = &mut to[..4];
        // SAFETY: `to` has 4 bytes; every x86-64 CPU has SSE2.
        unsafe {
            let words = _mm_packs_epi32(x, x);
            let bytes = _mm_cvtsi128_si32(_mm_packs_epi16(words, words));
            to.as_mut_ptr().cast::<i32>().write_unaligned(bytes);
        }
    }

    #[inline(always)]
    fn sum_of_bytes(self, bytes: &[i8; 16]) -> i32 {
        sum_of_bytes(bytes)
    }
}

/// The sum of 16 signed bytes, on every tier.
#[inline(always)]
pub(crate) fn sum_of_bytes(bytes: &[i8; 16]) -> i32 {
    // SAFETY: every x86-64 CPU has SSE2; the 16 bytes are read.
    unsafe {
        // Raised by 128, because there is a sum of unsigned bytes only.
        let raised = _mm_xor_si128(_mm_loadu_si128(bytes.as_ptr().cast()), _mm_set1_epi8(-128));
        let halves = _mm_sad_epu8(raised, _mm_setzero_si128());
        let sum = _mm_add_epi32(halves, _mm_unpackhi_epi64(halves, halves));
        _mm_cvtsi128_si32(sum) - 16 * 128
    }
}

/// 16-bit floats, whose bits lie in lanes of 32, exactly: the bits that F16C gives, but for NaNs,
/// which stay what they are.
#[inline]
#[target_feature(enable = "ssse3,sse4.1")]
fn widen_f16(bits: __m128i) -> __m128 {
    /// What exponents differ by, in their place.
    const BIAS: i32 = (127 - 15) << 23;
    let magnitude = _mm_and_si128(bits, _mm_set1_epi32(0x7fff));
    let sign = _mm_slli_epi32::<16>(_mm_xor_si128(bits, magnitude));
    // The exponent of infinity and NaN is the largest of either format.
    let endless = _mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x7bff));
    let bias = _mm_set1_epi32(BIAS);
    let normal = _mm_add_epi32(_mm_slli_epi32::<13>(magnitude), bias);
    let normal = _mm_add_epi32(normal, _mm_and_si128(endless, bias));
    // Subnormal numbers are multiples of 2⁻²⁴.
    let multiple = _mm_cvtepi32_ps(magnitude);
    let subnormal = _mm_mul_ps(multiple, _mm_set1_ps(1.0 / 16_777_216.0));
    let is_subnormal = _mm_castsi128_ps(_mm_cmplt_epi32(magnitude, _mm_set1_epi32(0x400)));
    let value = _mm_blendv_ps(_mm_castsi128_ps(normal), subnormal, is_subnormal);
    _mm_or_ps(value, _mm_castsi128_ps(sign))
}

impl Registers for Sse {
    type Multiply = InPairs;
    type Batch = Ones;

    #[inline(always)]
    fn row_sum(self, row: &[u8], input: &[u8]) -> i32 {
        let (row, mask) = (self.load_bytes(row), self.repeat_i8(15));
        let (low, high) = (self.and(row, mask), self.and(self.shift_right::<4>(row), mask));
        let low = self.multiply_pairs(low, self.load_bytes(input));
        let high = self.multiply_pairs(high, self.load_bytes(&input[BLOCK / 2..]));
        self.sum_of_i16(self.add_i16(low, high))
    }

    register_methods! {
        fn repeat_i8(x: i8) -> __m128i { _mm_set1_epi8(x) }
        fn repeat_i32(x: i32) -> __m128i { _mm_set1_epi32(x) }
        fn and(a: __m128i, b: __m128i) -> __m128i { _mm_and_si128(a, b) }
        fn or(a: __m128i, b: __m128i) -> __m128i { _mm_or_si128(a, b) }
        fn xor(a: __m128i, b: __m128i) -> __m128i { _mm_xor_si128(a, b) }
        fn look_up(table: __m128i, indices: __m128i) -> __m128i { _mm_shuffle_epi8(table, indices) }
        fn add_i32(a: __m128i, b: __m128i) -> __m128i { _mm_add_epi32(a, b) }
        fn add_products_i16(a: __m128i, b: __m128i) -> __m128i { _mm_madd_epi16(a, b) }
        fn in_halves(low: __m128i, high: __m128i) -> __m128i {
            _mm_blend_epi16::<0b1010_1010>(low, _mm_slli_epi32::<16>(high))
        }
        fn interleave_low_i32(a: __m128i, b: __m128i) -> __m128i { _mm_unpacklo_epi32(a, b) }
        fn interleave_high_i32(a: __m128i, b: __m128i) -> __m128i { _mm_unpackhi_epi32(a, b) }
        fn interleave_low_i64(a: __m128i, b: __m128i) -> __m128i { _mm_unpacklo_epi64(a, b) }
        fn interleave_high_i64(a: __m128i, b: __m128i) -> __m128i { _mm_unpackhi_epi64(a, b) }
    }

    #[inline(always)]
    fn shift_left<const BITS: i32>(self, x: __m128i) -> __m128i {
        // SAFETY: every x86-64 CPU has SSE2; registers only.
        unsafe { _mm_slli_epi16::<BITS>(x) }
    }

    #[inline(always)]
    fn shift_right<const BITS: i32>(self, x: __m128i) -> __m128i {
        // SAFETY: every x86-64 CPU has SSE2; registers only.
        unsafe { _mm_srli_epi16::<BITS>(x) }
    }

    #[inline(always)]
    fn repeat_table(self, table: &[i8; 16]) -> __m128i {
        // SAFETY: every x86-64 CPU has SSE2; the 16 bytes are read.
        unsafe { _mm_loadu_si128(table.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_bytes(self, from: &[u8]) -> __m128i {
        let from = &from[..16];
        // SAFETY: `from` has 16 bytes; every x86-64 CPU has SSE2.
        unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_scales(self, from: &[i8]) -> __m128i {
        let from = &from[..4];
        // SAFETY: `from` has 4 bytes; `self` proves SSE4.1.
        unsafe {
            _mm_cvtepi8_epi32(_mm_cvtsi32_si128(from.as_ptr().cast::<i32>().read_unaligned()))
        }
    }

    #[inline(always)]
    unsafe fn load_rows(self, from: *const u8, _stride: usize) -> __m128i {
        // SAFETY: by this function's contract; every x86-64 CPU has SSE2.
        unsafe { _mm_loadu_si128(from.cast()) }
    }

    #[inline(always)]
    unsafe fn repeat_quads(self, from: *const i8) -> Quads<Self> {
        const { assert!(QUADS == 4) };
        // SAFETY: by this function's contract; every x86-64 CPU has SSE2.
        unsafe {
            let quads = _mm_loadu_si128(from.cast());
            [
                _mm_shuffle_epi32::<0b00_00_00_00>(quads),
                _mm_shuffle_epi32::<0b01_01_01_01>(quads),
                _mm_shuffle_epi32::<0b10_10_10_10>(quads),
                _mm_shuffle_epi32::<0b11_11_11_11>(quads),
            ]
        }
    }
}

impl PairRegisters for Sse {
    register_methods! {
        fn multiply_pairs(a: __m128i, b: __m128i) -> __m128i { _mm_maddubs_epi16(a, b) }
        fn add_i16(a: __m128i, b: __m128i) -> __m128i { _mm_add_epi16(a, b) }
        fn abs_i8(x: __m128i) -> __m128i { _mm_abs_epi8(x) }
        fn with_sign_i8(x: __m128i, signs: __m128i) -> __m128i { _mm_sign_epi8(x, signs) }
    }
}

#[cfg(test)]
mod test {
    use super::Sse;
    use crate::detect::cpu_promises;
    use crate::lanes::Lanes;
    use half::f16;

    fn kernels(test: &str) -> Option<Sse> {
        cpu_promises(test, &["ssse3", "sse4_1"], Sse::new)
    }

    #[test]
    fn sse_agrees_with_scalar() {
        if let Some(kernels) = kernels("sse_agrees_with_scalar") {
            crate::elementwise::test::exponentials(kernels);
            kinglet_core::check::kernels(kernels);
        }
    }

    #[test]
    fn every_half_becomes_the_float_that_it_is() {
        let Some(kernels) = kernels("every_half_becomes_the_float_that_it_is") else {
            return;
        };
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits);
            let mut floats = [0f32; 4];
            kernels.store(kernels.load_f16(&[half, f16::ZERO, f16::ONE, half]), &mut floats);
            let [first, zero, one, last] = floats;
            assert!(zero.to_bits() == 0 && one == 1.0 && first.to_bits() == last.to_bits());
            match half.is_nan() {
                true => assert!(first.is_nan(), "{bits:#x}"),
                false => assert_eq!(first.to_bits(), half.to_f32().to_bits(), "{bits:#x}"),
            }
        }
    }
}
