//! Kernels for WebAssembly with simd128, and with relaxed-simd, which has a product of bytes that
//! is one instruction of most processors.
//!
//! A module is for one set of instructions: those of the build are there. There is no fused
//! multiply-add: each product and each sum is rounded, as the definition says.

use crate::bytes::{Batch, InPairs, PairRegisters, QUADS, Quads, Registers, WordRegisters};
use crate::lanes::{Lanes, vector_kernels};
use core::arch::wasm32::*;
use half::{bf16, f16};

/// The kernels with one way of multiplying bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Simd128<B>(B);

/// Bytes are multiplied as integers of 16 bits, for which simd128 is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words(());

/// Bytes are multiplied as they are, by relaxed-simd.
#[cfg(target_feature = "relaxed-simd")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relaxed(());

impl Simd128<Words> {
    pub(crate) const NEW: Self = Self(Words(()));
}

#[cfg(target_feature = "relaxed-simd")]
impl Simd128<Relaxed> {
    pub(crate) const NEW: Self = Self(Relaxed(()));
}

/// A way of multiplying bytes.
pub(crate) trait ByteProducts: Copy + Send + Sync {
    type Batch: Batch<Simd128<Self>>;

    /// [`PairRegisters::multiply_pairs`] for first factors up to 127.
    fn multiply_pairs(self, a: v128, b: v128) -> v128;
}

impl ByteProducts for Words {
    type Batch = crate::bytes::Words;

    #[inline(always)]
    fn multiply_pairs(self, a: v128, b: v128) -> v128 {
        let even = i16x8_mul(v128_and(a, u16x8_splat(0xff)), even_bytes(b));
        i16x8_add(even, i16x8_mul(u16x8_shr(a, 8), i16x8_shr(b, 8)))
    }
}

#[cfg(target_feature = "relaxed-simd")]
impl ByteProducts for Relaxed {
    type Batch = crate::bytes::Ones;

    #[inline(always)]
    fn multiply_pairs(self, a: v128, b: v128) -> v128 {
        i16x8_relaxed_dot_i8x16_i7x16(b, a)
    }
}

/// The signed bytes at even places, as integers of 16 bits.
#[inline(always)]
fn even_bytes(x: v128) -> v128 {
    i16x8_shr(i16x8_shl(x, 8), 8)
}

// For each by itself: what is generic would be compiled into every crate that uses it.
vector_kernels!([], Simd128<Words>, const FURTHER_TOKEN_COST: u8 = 60;);
#[cfg(target_feature = "relaxed-simd")]
vector_kernels!([], Simd128<Relaxed>, const FURTHER_TOKEN_COST: u8 = 60;);

/// Methods that are one expression over registers.
macro_rules! methods {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) -> $out:ty { $body:expr })*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $kind),*) -> $out {
            $body
        }
    )*};
}

impl<B: ByteProducts> Lanes for Simd128<B> {
    const COUNT: usize = 4;
    type F32 = v128;
    type I32 = v128;
    /// 2 rows, the products of their 4 columns in pairs.
    type Sum = v128;
    const SUMS: usize = 4;

    #[inline(always)]
    fn compiled<R>(self, work: impl FnOnce() -> R) -> R {
        work()
    }

    methods! {
        fn splat(x: f32) -> v128 { f32x4_splat(x) }
        fn add(a: v128, b: v128) -> v128 { f32x4_add(a, b) }
        fn mul(a: v128, b: v128) -> v128 { f32x4_mul(a, b) }
        fn div(a: v128, b: v128) -> v128 { f32x4_div(a, b) }
        fn min(a: v128, b: v128) -> v128 { f32x4_pmin(b, a) }
        fn max(a: v128, b: v128) -> v128 { f32x4_pmax(b, a) }
        fn abs(x: v128) -> v128 { f32x4_abs(x) }
        fn sqrt(x: v128) -> v128 { f32x4_sqrt(x) }
        fn mul_add(a: v128, b: v128, c: v128) -> v128 { f32x4_add(f32x4_mul(a, b), c) }
        fn mul_sub_from(a: v128, b: v128, c: v128) -> v128 { f32x4_sub(c, f32x4_mul(a, b)) }
        fn round(x: v128) -> v128 { i32x4_trunc_sat_f32x4(f32x4_nearest(x)) }
        fn to_f32(x: v128) -> v128 { f32x4_convert_i32x4(x) }
        fn no_sum() -> v128 { i32x4_splat(0) }
        fn add_quad_products(sum: v128, a: v128, b: v128) -> v128 {
            i32x4_add(sum, i32x4_dot_i16x8(a, b))
        }
        fn row_sums(sums: [v128; 4]) -> [v128; 2] {
            [add_pairs(sums[0], sums[1]), add_pairs(sums[2], sums[3])]
        }
        fn power_of_two(n: v128) -> v128 { i32x4_shl(i32x4_add(n, i32x4_splat(127)), 23) }
        fn sum_of_lanes(x: v128) -> f32 {
            {
                let pairs = f32x4_add(x, i32x4_shuffle::<1, 1, 3, 3>(x, x));
                f32x4_extract_lane::<0>(pairs) + f32x4_extract_lane::<2>(pairs)
            }
        }
        fn max_of_lanes(x: v128) -> f32 {
            {
                let x = f32x4_pmax(x, i32x4_shuffle::<2, 3, 2, 3>(x, x));
                f32x4_extract_lane::<0>(f32x4_pmax(x, i32x4_shuffle::<1, 1, 3, 3>(x, x)))
            }
        }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> v128 {
        let from = &from[..4];
        // SAFETY: `from` has 4 elements.
        unsafe { v128_load(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> v128 {
        let from = &from[..4];
        // SAFETY: `from` has 4 elements of 2 bytes.
        widen_f16(unsafe { u32x4_load_extend_u16x4(from.as_ptr().cast()) })
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> v128 {
        let from = &from[..4];
        // SAFETY: `from` has 4 elements of 2 bytes.
        i32x4_shl(unsafe { u32x4_load_extend_u16x4(from.as_ptr().cast()) }, 16)
    }

    #[inline(always)]
    unsafe fn load_quads(self, from: *const u8) -> v128 {
        // SAFETY: by this function's contract.
        unsafe { i16x8_load_extend_i8x8(from.cast()) }
    }

    #[inline(always)]
    unsafe fn repeat_quad(self, from: *const i16) -> v128 {
        // SAFETY: by this function's contract.
        unsafe { v128_load64_splat(from.cast()) }
    }

    #[inline(always)]
    fn store(self, x: v128, to: &mut [f32]) {
        let to = &mut to[..4];
        // SAFETY: `to` has 4 elements.
        unsafe { v128_store(to.as_mut_ptr().cast(), x) }
    }

    #[inline(always)]
    fn store_codes(self, x: v128, to: &mut [i16]) {
        let to = &mut to[..4];
        // SAFETY: `to` has 4 elements of 2 bytes.
        unsafe { v128_store64_lane::<0>(i16x8_narrow_i32x4(x, x), to.as_mut_ptr().cast()) }
    }

    #[inline(always)]
    fn store_i8(self, x: v128, to: &mut [i8]) {
        let to = &mut to[..4];
        let words = i16x8_narrow_i32x4(x, x);
        // SAFETY: `to` has 4 bytes.
        unsafe {
            v128_store32_lane::<0>(i8x16_narrow_i16x8(words, words), to.as_mut_ptr().cast());
        }
    }

    #[inline(always)]
    fn sum_of_bytes(self, bytes: &[i8; 16]) -> i32 {
        // SAFETY: the 16 bytes are read.
        let bytes = unsafe { v128_load(bytes.as_ptr().cast()) };
        sum_of_i32(i32x4_extadd_pairwise_i16x8(i16x8_extadd_pairwise_i8x16(bytes)))
    }
}

/// The sums of pairs of lanes, those of `low` first.
#[inline(always)]
fn add_pairs(low: v128, high: v128) -> v128 {
    let even = i32x4_shuffle::<0, 2, 4, 6>(low, high);
    i32x4_add(even, i32x4_shuffle::<1, 3, 5, 7>(low, high))
}

/// The sum of 4 integers.
#[inline(always)]
fn sum_of_i32(x: v128) -> i32 {
    let two = i32x4_add(x, i32x4_shuffle::<2, 3, 2, 3>(x, x));
    i32x4_extract_lane::<0>(two) + i32x4_extract_lane::<1>(two)
}

/// 16-bit floats, whose bits lie in lanes of 32, exactly, but for NaNs, which stay what they are.
#[inline(always)]
fn widen_f16(bits: v128) -> v128 {
    /// What exponents differ by, in their place.
    const BIAS: i32 = (127 - 15) << 23;
    let magnitude = v128_and(bits, i32x4_splat(0x7fff));
    let sign = i32x4_shl(v128_xor(bits, magnitude), 16);
    // The exponent of infinity and NaN is the largest of either format.
    let endless = i32x4_gt(magnitude, i32x4_splat(0x7bff));
    let bias = i32x4_splat(BIAS);
    let normal = i32x4_add(i32x4_shl(magnitude, 13), bias);
    let normal = i32x4_add(normal, v128_and(endless, bias));
    // Subnormal numbers are multiples of 2⁻²⁴.
    let subnormal = f32x4_mul(f32x4_convert_i32x4(magnitude), f32x4_splat(1.0 / 16_777_216.0));
    let is_subnormal = i32x4_lt(magnitude, i32x4_splat(0x400));
    v128_or(v128_bitselect(subnormal, normal, is_subnormal), sign)
}

impl<B: ByteProducts> Registers for Simd128<B> {
    type Multiply = InPairs;
    type Batch = B::Batch;

    #[inline(always)]
    fn row_sum(self, row: &[u8], input: &[u8]) -> i32 {
        let (row, mask) = (self.load_bytes(row), self.repeat_i8(15));
        let low = self.multiply_pairs(v128_and(row, mask), self.load_bytes(input));
        let high = v128_and(self.shift_right::<4>(row), mask);
        let high = self.multiply_pairs(high, self.load_bytes(&input[16..]));
        sum_of_i32(i32x4_extadd_pairwise_i16x8(i16x8_add(low, high)))
    }

    methods! {
        fn repeat_i8(x: i8) -> v128 { i8x16_splat(x) }
        fn repeat_i32(x: i32) -> v128 { i32x4_splat(x) }
        fn and(a: v128, b: v128) -> v128 { v128_and(a, b) }
        fn or(a: v128, b: v128) -> v128 { v128_or(a, b) }
        fn xor(a: v128, b: v128) -> v128 { v128_xor(a, b) }
        fn look_up(table: v128, indices: v128) -> v128 { i8x16_swizzle(table, indices) }
        fn add_i32(a: v128, b: v128) -> v128 { i32x4_add(a, b) }
        fn add_products_i16(a: v128, b: v128) -> v128 { i32x4_dot_i16x8(a, b) }
        fn in_halves(low: v128, high: v128) -> v128 {
            v128_or(v128_and(low, i32x4_splat(0xffff)), i32x4_shl(high, 16))
        }
        fn interleave_low_i32(a: v128, b: v128) -> v128 { i32x4_shuffle::<0, 4, 1, 5>(a, b) }
        fn interleave_high_i32(a: v128, b: v128) -> v128 { i32x4_shuffle::<2, 6, 3, 7>(a, b) }
        fn interleave_low_i64(a: v128, b: v128) -> v128 { i64x2_shuffle::<0, 2>(a, b) }
        fn interleave_high_i64(a: v128, b: v128) -> v128 { i64x2_shuffle::<1, 3>(a, b) }
    }

    #[inline(always)]
    fn shift_left<const BITS: i32>(self, x: v128) -> v128 {
        i16x8_shl(x, BITS as u32)
    }

    #[inline(always)]
    fn shift_right<const BITS: i32>(self, x: v128) -> v128 {
        u16x8_shr(x, BITS as u32)
    }

    #[inline(always)]
    fn repeat_table(self, table: &[i8; 16]) -> v128 {
        // SAFETY: the 16 bytes are read.
        unsafe { v128_load(table.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_bytes(self, from: &[u8]) -> v128 {
        let from = &from[..16];
        // SAFETY: `from` has 16 bytes.
        unsafe { v128_load(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_scales(self, from: &[i8]) -> v128 {
        let from = &from[..4];
        // SAFETY: `from` has 4 bytes.
        let bytes = unsafe { v128_load32_zero(from.as_ptr().cast()) };
        i32x4_extend_low_i16x8(i16x8_extend_low_i8x16(bytes))
    }

    #[inline(always)]
    unsafe fn load_rows(self, from: *const u8, _stride: usize) -> v128 {
        // SAFETY: by this function's contract.
        unsafe { v128_load(from.cast()) }
    }

    #[inline(always)]
    unsafe fn repeat_quads(self, from: *const i8) -> Quads<Self> {
        const { assert!(QUADS == 4) };
        // SAFETY: by this function's contract.
        let quads = unsafe { v128_load(from.cast()) };
        [
            i32x4_shuffle::<0, 0, 0, 0>(quads, quads),
            i32x4_shuffle::<1, 1, 1, 1>(quads, quads),
            i32x4_shuffle::<2, 2, 2, 2>(quads, quads),
            i32x4_shuffle::<3, 3, 3, 3>(quads, quads),
        ]
    }
}

impl<B: ByteProducts> PairRegisters for Simd128<B> {
    #[inline(always)]
    fn multiply_pairs(self, a: v128, b: v128) -> v128 {
        self.0.multiply_pairs(a, b)
    }

    /// As integers of 16 bits: a magnitude of 128 is more than relaxed-simd multiplies.
    #[inline(always)]
    fn multiply_bytes(self, a: v128, b: v128) -> v128 {
        let even = i16x8_mul(even_bytes(a), even_bytes(b));
        i16x8_add(even, i16x8_mul(i16x8_shr(a, 8), i16x8_shr(b, 8)))
    }

    methods! {
        fn add_i16(a: v128, b: v128) -> v128 { i16x8_add(a, b) }
        fn abs_i8(x: v128) -> v128 { i8x16_abs(x) }
        fn with_sign_i8(x: v128, signs: v128) -> v128 {
            {
                let negative = i8x16_lt(signs, i8x16_splat(0));
                i8x16_sub(v128_xor(x, negative), negative)
            }
        }
    }
}

impl<B: ByteProducts> WordRegisters for Simd128<B> {
    methods! {
        fn even_i8(x: v128) -> v128 { even_bytes(x) }
        fn odd_i8(x: v128) -> v128 { i16x8_shr(x, 8) }
        fn multiply_i16(a: v128, b: v128) -> v128 { i16x8_mul(a, b) }
    }

    #[inline(always)]
    unsafe fn repeat_words(self, from: *const i8) -> [[v128; 2]; QUADS] {
        // SAFETY: by this function's contract.
        let codes = unsafe { v128_load(from.cast()) };
        let (even, odd) = (even_bytes(codes), i16x8_shr(codes, 8));
        [
            [even, odd].map(|x| i32x4_shuffle::<0, 0, 0, 0>(x, x)),
            [even, odd].map(|x| i32x4_shuffle::<1, 1, 1, 1>(x, x)),
            [even, odd].map(|x| i32x4_shuffle::<2, 2, 2, 2>(x, x)),
            [even, odd].map(|x| i32x4_shuffle::<3, 3, 3, 3>(x, x)),
        ]
    }
}
