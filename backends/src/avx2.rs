//! Kernels for AVX2, FMA and F16C: every x86 CPU since Haswell and Zen. Products of bytes differ:
//! [`Pairs`] needs nothing else, and [`Vnni`] the dot products that Intel's cores have without
//! AVX-512 since Alder Lake.

use crate::bytes::{
    Batch, DotRegisters, InPairs, InQuads, Multiply, PairRegisters, Registers, Rows, Threes,
};
use crate::detect;
use crate::lanes::{Lanes, register_methods, vector_kernels};
use crate::sse::Sse;
use core::arch::x86_64::*;
use half::{bf16, f16};

/// The kernels with one way of multiplying bytes. A value proves that this CPU has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2<B>(B);

/// Proof that this CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pairs(());

/// Proof that this CPU has AVX2, FMA, F16C and AVX-VNNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vnni(());

impl Avx2<Pairs> {
    /// The kernels, if this CPU can run them.
    pub fn new() -> Option<Self> {
        Self::detect().ok()
    }

    /// The kernels, or what the CPU lacks.
    pub(crate) fn detect() -> Result<Self, &'static str> {
        detect::require_features!("avx2", "fma", "f16c").map(|()| Self(Pairs(())))
    }
}

impl Avx2<Vnni> {
    /// The kernels for CPUs with AVX-VNNI, if this is one.
    pub fn new() -> Option<Self> {
        Self::detect().ok()
    }

    /// The kernels, or what the CPU lacks.
    pub(crate) fn detect() -> Result<Self, &'static str> {
        detect::require_features!("avx2", "fma", "f16c", "avxvnni").map(|()| Self(Vnni(())))
    }
}

/// A way of multiplying bytes, and the proof that this CPU has its instructions besides AVX2, FMA
/// and F16C.
pub(crate) trait ByteProducts: Copy + Send + Sync {
    type Multiply: Multiply<Avx2<Self>>;
    type Batch: Batch<Avx2<Self>>;

    /// [`Lanes::compiled`].
    fn compiled<R>(self, work: impl FnOnce() -> R) -> R;
    /// [`Lanes::add_quad_products`].
    fn add_quad_products(self, sum: __m256i, a: __m256i, b: __m256i) -> __m256i;
}

impl ByteProducts for Pairs {
    type Multiply = InPairs;
    type Batch = Rows;

    #[inline(always)]
    fn compiled<R>(self, work: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn inside<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        // SAFETY: the value `self` proves that the CPU has the features.
        unsafe { inside(work) }
    }

    register_methods! {
        fn add_quad_products(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
            _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
        }
    }
}

impl ByteProducts for Vnni {
    type Multiply = InQuads;
    type Batch = Threes;

    #[inline(always)]
    fn compiled<R>(self, work: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
        fn inside<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        // SAFETY: the value `self` proves that the CPU has the features.
        unsafe { inside(work) }
    }

    register_methods! {
        fn add_quad_products(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
            _mm256_dpwssd_avx_epi32(sum, a, b)
        }
    }
}

// For each by itself: what is generic would be compiled into every crate that uses it.
vector_kernels!([], Avx2<Pairs>, const FURTHER_TOKEN_COST: u8 = 40;);
vector_kernels!([], Avx2<Vnni>, const FURTHER_TOKEN_COST: u8 = 40;);

impl<B: ByteProducts> Lanes for Avx2<B> {
    const COUNT: usize = 8;
    type F32 = __m256;
    type I32 = __m256i;
    /// 4 rows, the products of their 4 columns in pairs.
    type Sum = __m256i;
    const SUMS: usize = 4;

    #[inline(always)]
    fn compiled<R>(self, work: impl FnOnce() -> R) -> R {
        self.0.compiled(work)
    }

    register_methods! {
        fn splat(x: f32) -> __m256 { _mm256_set1_ps(x) }
        fn add(a: __m256, b: __m256) -> __m256 { _mm256_add_ps(a, b) }
        fn mul(a: __m256, b: __m256) -> __m256 { _mm256_mul_ps(a, b) }
        fn div(a: __m256, b: __m256) -> __m256 { _mm256_div_ps(a, b) }
        fn min(a: __m256, b: __m256) -> __m256 { _mm256_min_ps(a, b) }
        fn max(a: __m256, b: __m256) -> __m256 { _mm256_max_ps(a, b) }
        fn abs(x: __m256) -> __m256 { _mm256_andnot_ps(_mm256_set1_ps(-0.0), x) }
        fn sqrt(x: __m256) -> __m256 { _mm256_sqrt_ps(x) }
        fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 { _mm256_fmadd_ps(a, b, c) }
        fn mul_sub_from(a: __m256, b: __m256, c: __m256) -> __m256 { _mm256_fnmadd_ps(a, b, c) }
        fn round(x: __m256) -> __m256i { _mm256_cvtps_epi32(x) }
        fn to_f32(x: __m256i) -> __m256 { _mm256_cvtepi32_ps(x) }
        fn no_sum() -> __m256i { _mm256_setzero_si256() }
        fn row_sums(sums: [__m256i; 4]) -> [__m256i; 2] {
            [add_pairs(sums[0], sums[1]), add_pairs(sums[2], sums[3])]
        }
        fn power_of_two(n: __m256i) -> __m256 {
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(
                _mm256_add_epi32(n, _mm256_set1_epi32(127)),
            ))
        }
    }

    #[inline(always)]
    fn add_quad_products(self, sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        self.0.add_quad_products(sum, a, b)
    }

    #[inline(always)]
    fn sum_of_lanes(self, x: __m256) -> f32 {
        // SAFETY: the value `self` proves that the CPU has AVX2; registers only.
        unsafe {
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let pairs = _mm_add_ps(x, _mm_movehdup_ps(x));
            _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehl_ps(pairs, pairs)))
        }
    }

    #[inline(always)]
    fn max_of_lanes(self, x: __m256) -> f32 {
        // SAFETY: the value `self` proves that the CPU has AVX2; registers only.
        unsafe {
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> __m256 {
        let from = &from[..8];
        // SAFETY: `from` has 8 elements; `self` proves AVX2.
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> __m256 {
        let from = &from[..8];
        // SAFETY: `from` has 8 elements of 2 bytes; `self` proves F16C.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> __m256 {
        let from = &from[..8];
        // SAFETY: `from` has 8 elements of 2 bytes; `self` proves AVX2.
        unsafe {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.as_ptr().cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    unsafe fn load_quads(self, from: *const u8) -> __m256i {
        // SAFETY: by this function's contract; `self` proves AVX2.
        unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn repeat_quad(self, from: *const i16) -> __m256i {
        // SAFETY: by this function's contract; `self` proves AVX2.
        unsafe { _mm256_set1_epi64x(from.cast::<i64>().read_unaligned()) }
    }

    #[inline(always)]
    fn store(self, x: __m256, to: &mut [f32]) {
        let to = &mut to[..8];
        // SAFETY: `to` has 8 elements; `self` proves AVX2.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn store_codes(self, x: __m256i, to: &mut [i16]) {
        let to = &mut to[..8];
        // SAFETY: `to` has 8 elements of 2 bytes; `self` proves AVX2.
        unsafe {
            let words =
                _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
            _mm_storeu_si128(to.as_mut_ptr().cast(), words);
        }
    }

    #[inline(always)]
    fn store_i8(self, x: __m256i, to: &mut [i8]) {
        let to = &mut to[..8];
        // SAFETY: `to` has 8 bytes; `self` proves AVX2.
        unsafe {
            let words =
                _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
            _mm_storel_epi64(to.as_mut_ptr().cast(), _mm_packs_epi16(words, words));
        }
    }

    #[inline(always)]
    fn sum_of_bytes(self, bytes: &[i8; 16]) -> i32 {
        crate::sse::sum_of_bytes(bytes)
    }
}

/// The sums of pairs of lanes, those of `low` first.
#[inline]
#[target_feature(enable = "avx2")]
fn add_pairs(low: __m256i, high: __m256i) -> __m256i {
    // Within halves of registers: the quarters come out as 0, 2, 1, 3.
    _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(low, high))
}

impl<B: ByteProducts> Registers for Avx2<B> {
    type Multiply = B::Multiply;
    type Batch = B::Batch;

    #[inline(always)]
    fn row_sum(self, row: &[u8], input: &[u8]) -> i32 {
        // SAFETY: the value `self` proves that the CPU has AVX2.
        unsafe { Sse::within_avx() }.row_sum(row, input)
    }

    register_methods! {
        fn repeat_i8(x: i8) -> __m256i { _mm256_set1_epi8(x) }
        fn repeat_i32(x: i32) -> __m256i { _mm256_set1_epi32(x) }
        fn and(a: __m256i, b: __m256i) -> __m256i { _mm256_and_si256(a, b) }
        fn or(a: __m256i, b: __m256i) -> __m256i { _mm256_or_si256(a, b) }
        fn xor(a: __m256i, b: __m256i) -> __m256i { _mm256_xor_si256(a, b) }
        fn look_up(table: __m256i, indices: __m256i) -> __m256i {
            _mm256_shuffle_epi8(table, indices)
        }
        fn add_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_add_epi32(a, b) }
        fn add_products_i16(a: __m256i, b: __m256i) -> __m256i { _mm256_madd_epi16(a, b) }
        fn in_halves(low: __m256i, high: __m256i) -> __m256i {
            _mm256_blend_epi16::<0b1010_1010>(low, _mm256_slli_epi32::<16>(high))
        }
        fn interleave_low_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_unpacklo_epi32(a, b) }
        fn interleave_high_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_unpackhi_epi32(a, b) }
        fn interleave_low_i64(a: __m256i, b: __m256i) -> __m256i { _mm256_unpacklo_epi64(a, b) }
        fn interleave_high_i64(a: __m256i, b: __m256i) -> __m256i { _mm256_unpackhi_epi64(a, b) }
    }

    #[inline(always)]
    fn shift_left<const BITS: i32>(self, x: __m256i) -> __m256i {
        // SAFETY: the value `self` proves that the CPU has AVX2; registers only.
        unsafe { _mm256_slli_epi16::<BITS>(x) }
    }

    #[inline(always)]
    fn shift_right<const BITS: i32>(self, x: __m256i) -> __m256i {
        // SAFETY: the value `self` proves that the CPU has AVX2; registers only.
        unsafe { _mm256_srli_epi16::<BITS>(x) }
    }

    #[inline(always)]
    fn repeat_table(self, table: &[i8; 16]) -> __m256i {
        // SAFETY: the 16 bytes are read; `self` proves AVX2.
        unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_bytes(self, from: &[u8]) -> __m256i {
        let from = &from[..32];
        // SAFETY: `from` has 32 bytes; `self` proves AVX2.
        unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_scales(self, from: &[i8]) -> __m256i {
        let from = &from[..8];
        // SAFETY: `from` has 8 bytes; `self` proves AVX2.
        unsafe { _mm256_cvtepi8_epi32(_mm_loadl_epi64(from.as_ptr().cast())) }
    }

    #[inline(always)]
    unsafe fn load_rows(self, from: *const u8, stride: usize) -> __m256i {
        // SAFETY: by this function's contract; `self` proves AVX2.
        unsafe {
            let row = |r: usize| _mm_loadu_si128(from.add(r * stride).cast());
            _mm256_set_m128i(row(4), row(0))
        }
    }
}

impl PairRegisters for Avx2<Pairs> {
    register_methods! {
        fn multiply_pairs(a: __m256i, b: __m256i) -> __m256i { _mm256_maddubs_epi16(a, b) }
        fn add_i16(a: __m256i, b: __m256i) -> __m256i { _mm256_add_epi16(a, b) }
        fn abs_i8(x: __m256i) -> __m256i { _mm256_abs_epi8(x) }
        fn with_sign_i8(x: __m256i, signs: __m256i) -> __m256i { _mm256_sign_epi8(x, signs) }
    }
}

impl DotRegisters for Avx2<Vnni> {
    register_methods! {
        fn add_dot(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
            _mm256_dpbusd_avx_epi32(sum, a, b)
        }
        fn multiply_i32(a: __m256i, b: __m256i) -> __m256i { _mm256_mullo_epi32(a, b) }
    }
}

#[cfg(test)]
mod test {
    use super::{Avx2, Pairs, Vnni};
    use crate::detect::cpu_promises;

    #[test]
    fn avx2_agrees_with_scalar() {
        let flags = ["avx2", "fma", "f16c"];
        let promised = cpu_promises("avx2_agrees_with_scalar", &flags, Avx2::<Pairs>::new);
        let Some(kernels) = promised else {
            return;
        };
        crate::elementwise::test::exponentials(kernels);
        kinglet_core::check::kernels(kernels);
    }

    #[test]
    fn avx_vnni_agrees_with_scalar() {
        let flags = ["avx2", "fma", "f16c", "avx_vnni"];
        let promised = cpu_promises("avx_vnni_agrees_with_scalar", &flags, Avx2::<Vnni>::new);
        let Some(kernels) = promised else {
            return;
        };
        kinglet_core::check::kernels(kernels);
    }
}
