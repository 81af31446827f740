//! Kernels for AVX-512 F, BW, VL and VNNI: Intel since Cascade Lake, AMD since Zen 4.

use crate::bytes::{DotRegisters, InQuads, Registers, Rows};
use crate::detect;
use crate::lanes::{Lanes, register_methods, vector_kernels};
use crate::sse::Sse;
use core::arch::x86_64::*;
use half::{bf16, f16};

/// Truth table of `a ? b : c`.
const PICK: i32 = 0xCA;

/// Proof that this CPU has AVX-512 F, BW, VL and VNNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512(());

impl Avx512 {
    /// The kernels, if this CPU can run them.
    pub fn new() -> Option<Self> {
        Self::detect().ok()
    }

    /// The kernels, or what the CPU lacks.
    pub(crate) fn detect() -> Result<Self, &'static str> {
        detect::require_features!("avx512f", "avx512bw", "avx512vl", "avx512vnni").map(Self)
    }
}

vector_kernels!([], Avx512, const FURTHER_TOKEN_COST: u8 = 25;);

impl Lanes for Avx512 {
    const COUNT: usize = 16;
    type F32 = __m512;
    type I32 = __m512i;
    /// 8 rows, the products of their 4 columns in pairs.
    type Sum = __m512i;
    const SUMS: usize = 4;

    #[inline(always)]
    fn compiled<R>(self, work: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
        fn inside<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        // SAFETY: the value `self` proves that the CPU has the features.
        unsafe { inside(work) }
    }

    register_methods! {
        fn splat(x: f32) -> __m512 { _mm512_set1_ps(x) }
        fn add(a: __m512, b: __m512) -> __m512 { _mm512_add_ps(a, b) }
        fn mul(a: __m512, b: __m512) -> __m512 { _mm512_mul_ps(a, b) }
        fn div(a: __m512, b: __m512) -> __m512 { _mm512_div_ps(a, b) }
        fn min(a: __m512, b: __m512) -> __m512 { _mm512_min_ps(a, b) }
        fn max(a: __m512, b: __m512) -> __m512 { _mm512_max_ps(a, b) }
        fn abs(x: __m512) -> __m512 { _mm512_abs_ps(x) }
        fn sqrt(x: __m512) -> __m512 { _mm512_sqrt_ps(x) }
        fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fmadd_ps(a, b, c) }
        fn mul_sub_from(a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fnmadd_ps(a, b, c) }
        fn round(x: __m512) -> __m512i { _mm512_cvtps_epi32(x) }
        fn to_f32(x: __m512i) -> __m512 { _mm512_cvtepi32_ps(x) }
        fn no_sum() -> __m512i { _mm512_setzero_si512() }
        fn add_quad_products(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
            _mm512_dpwssd_epi32(sum, a, b)
        }
        fn power_of_two(n: __m512i) -> __m512 {
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(
                _mm512_add_epi32(n, _mm512_set1_epi32(127)),
            ))
        }
        fn sum_of_lanes(x: __m512) -> f32 {
            {
                let upper = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x)));
                let x = _mm256_add_ps(_mm512_castps512_ps256(x), upper);
                let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
                let pairs = _mm_add_ps(x, _mm_movehdup_ps(x));
                _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehl_ps(pairs, pairs)))
            }
        }
        fn max_of_lanes(x: __m512) -> f32 { _mm512_reduce_max_ps(x) }
    }

    #[inline(always)]
    fn row_sums(self, sums: [__m512i; 4]) -> [__m512i; 2] {
        // SAFETY: the value `self` proves that the CPU has AVX-512; registers only.
        unsafe { [add_pairs(sums[0], sums[1]), add_pairs(sums[2], sums[3])] }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> __m512 {
        let from = &from[..16];
        // SAFETY: `from` has 16 elements; `self` proves AVX-512.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> __m512 {
        let from = &from[..16];
        // SAFETY: `from` has 16 elements of 2 bytes; `self` proves AVX-512.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> __m512 {
        let from = &from[..16];
        // SAFETY: `from` has 16 elements of 2 bytes; `self` proves AVX-512.
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    unsafe fn load_quads(self, from: *const u8) -> __m512i {
        // SAFETY: by this function's contract; `self` proves AVX-512.
        unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn repeat_quad(self, from: *const i16) -> __m512i {
        // SAFETY: by this function's contract; `self` proves AVX-512.
        unsafe { _mm512_set1_epi64(from.cast::<i64>().read_unaligned()) }
    }

    #[inline(always)]
    fn store(self, x: __m512, to: &mut [f32]) {
        let to = &mut to[..16];
        // SAFETY: `to` has 16 elements; `self` proves AVX-512.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn store_codes(self, x: __m512i, to: &mut [i16]) {
        let to = &mut to[..16];
        // SAFETY: `to` has 16 elements of 2 bytes; `self` proves AVX-512.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm512_cvtsepi32_epi16(x)) }
    }

    #[inline(always)]
    fn store_i8(self, x: __m512i, to: &mut [i8]) {
        let to = &mut to[..16];
        // SAFETY: `to` has 16 bytes; `self` proves AVX-512.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtsepi32_epi8(x)) }
    }

    #[inline(always)]
    fn sum_of_bytes(self, bytes: &[i8; 16]) -> i32 {
        crate::sse::sum_of_bytes(bytes)
    }
}

/// The sums of pairs of lanes, those of `low` first.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_pairs(low: __m512i, high: __m512i) -> __m512i {
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    _mm512_add_epi32(
        _mm512_permutex2var_epi32(low, even, high),
        _mm512_permutex2var_epi32(low, odd, high),
    )
}

impl Registers for Avx512 {
    type Multiply = InQuads;
    type Batch = Rows;

    #[inline(always)]
    fn row_sum(self, row: &[u8], input: &[u8]) -> i32 {
        // SAFETY: the value `self` proves that the CPU has AVX-512.
        unsafe { Sse::within_avx() }.row_sum(row, input)
    }

    register_methods! {
        fn repeat_i8(x: i8) -> __m512i { _mm512_set1_epi8(x) }
        fn repeat_i32(x: i32) -> __m512i { _mm512_set1_epi32(x) }
        fn and(a: __m512i, b: __m512i) -> __m512i { _mm512_and_si512(a, b) }
        fn or(a: __m512i, b: __m512i) -> __m512i { _mm512_or_si512(a, b) }
        fn xor(a: __m512i, b: __m512i) -> __m512i { _mm512_xor_si512(a, b) }
        fn look_up(table: __m512i, indices: __m512i) -> __m512i {
            _mm512_shuffle_epi8(table, indices)
        }
        fn add_i32(a: __m512i, b: __m512i) -> __m512i { _mm512_add_epi32(a, b) }
        fn add_products_i16(a: __m512i, b: __m512i) -> __m512i { _mm512_madd_epi16(a, b) }
        fn in_halves(low: __m512i, high: __m512i) -> __m512i {
            _mm512_ternarylogic_epi32::<PICK>(
                _mm512_set1_epi32(0xffff),
                low,
                _mm512_slli_epi32::<16>(high),
            )
        }
        fn interleave_low_i32(a: __m512i, b: __m512i) -> __m512i { _mm512_unpacklo_epi32(a, b) }
        fn interleave_high_i32(a: __m512i, b: __m512i) -> __m512i { _mm512_unpackhi_epi32(a, b) }
        fn interleave_low_i64(a: __m512i, b: __m512i) -> __m512i { _mm512_unpacklo_epi64(a, b) }
        fn interleave_high_i64(a: __m512i, b: __m512i) -> __m512i { _mm512_unpackhi_epi64(a, b) }
    }

    // The intrinsics for constants count in `u32`; the compiler makes constants of these.
    #[inline(always)]
    fn shift_left<const BITS: i32>(self, x: __m512i) -> __m512i {
        // SAFETY: the value `self` proves that the CPU has AVX-512; registers only.
        unsafe { _mm512_sll_epi16(x, _mm_cvtsi32_si128(BITS)) }
    }

    #[inline(always)]
    fn shift_right<const BITS: i32>(self, x: __m512i) -> __m512i {
        // SAFETY: the value `self` proves that the CPU has AVX-512; registers only.
        unsafe { _mm512_srl_epi16(x, _mm_cvtsi32_si128(BITS)) }
    }

    #[inline(always)]
    fn repeat_table(self, table: &[i8; 16]) -> __m512i {
        // SAFETY: the 16 bytes are read; `self` proves AVX-512.
        unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_bytes(self, from: &[u8]) -> __m512i {
        let from = &from[..64];
        // SAFETY: `from` has 64 bytes; `self` proves AVX-512.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_scales(self, from: &[i8]) -> __m512i {
        let from = &from[..16];
        // SAFETY: `from` has 16 bytes; `self` proves AVX-512.
        unsafe { _mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().cast())) }
    }

    #[inline(always)]
    unsafe fn load_rows(self, from: *const u8, stride: usize) -> __m512i {
        // SAFETY: by this function's contract; `self` proves AVX-512.
        unsafe {
            let row = |r: usize| _mm_loadu_si128(from.add(r * stride).cast());
            let two = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(row(0)), row(4));
            _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(two, row(8)), row(12))
        }
    }
}

impl DotRegisters for Avx512 {
    register_methods! {
        fn add_dot(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
            _mm512_dpbusd_epi32(sum, a, b)
        }
        fn multiply_i32(a: __m512i, b: __m512i) -> __m512i { _mm512_mullo_epi32(a, b) }
    }
}

#[cfg(test)]
mod test {
    use super::Avx512;
    use crate::detect::cpu_promises;

    #[test]
    fn avx512_agrees_with_scalar() {
        let Some(kernels) = cpu_promises(
            "avx512_agrees_with_scalar",
            &["avx512f", "avx512bw", "avx512vl", "avx512_vnni"],
            Avx512::new,
        ) else {
            return;
        };
        crate::elementwise::test::exponentials(kernels);
        kinglet_core::check::kernels(kernels);
    }
}
