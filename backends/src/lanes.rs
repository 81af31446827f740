//! Floats side by side: what the operations outside of matrix products need of an instruction set.

use half::{bf16, f16};

/// A SIMD register of `COUNT` floats. A value of the type proves that the CPU has the instructions,
/// so every method is safe.
///
/// Methods are `#[inline(always)]`: called inside a function compiled for the instruction set they
/// become single instructions. Memory is passed as slices, of which the first `COUNT` elements
/// count; shorter ones panic.
pub(crate) trait Lanes: Copy {
    /// Floats in a register: 16 at most, a power of two.
    const COUNT: usize;
    /// `COUNT` × f32.
    type F32: Copy;
    /// `COUNT` × i32.
    type I32: Copy;

    fn splat(self, x: f32) -> Self::F32;
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn abs(self, x: Self::F32) -> Self::F32;
    fn sqrt(self, x: Self::F32) -> Self::F32;
    /// `a·b + c`, rounded once.
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// `c − a·b`, rounded once.
    fn mul_sub_from(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// The nearest integers, halves to even, for magnitudes below 2³¹.
    fn round(self, x: Self::F32) -> Self::I32;
    fn to_f32(self, x: Self::I32) -> Self::F32;
    /// `2ⁿ` for −126 ≤ n ≤ 127.
    fn power_of_two(self, n: Self::I32) -> Self::F32;
    /// Byte `INDEX` of each 32-bit lane, as a signed number.
    fn byte<const INDEX: usize>(self, x: Self::I32) -> Self::F32;
    fn sum_of_lanes(self, x: Self::F32) -> f32;
    fn max_of_lanes(self, x: Self::F32) -> f32;

    fn load(self, from: &[f32]) -> Self::F32;
    fn load_f16(self, from: &[f16]) -> Self::F32;
    fn load_bf16(self, from: &[bf16]) -> Self::F32;
    /// `COUNT` × 4 bytes.
    fn load_bytes(self, from: &[u8]) -> Self::I32;
    fn store(self, x: Self::F32, to: &mut [f32]);
    /// Numbers within ±127.
    fn store_i8(self, x: Self::I32, to: &mut [i8]);

    /// Up to `COUNT` floats and zeros behind them.
    #[inline(always)]
    fn load_part(self, from: &[f32]) -> Self::F32 {
        let mut whole = [0f32; 16];
        whole[..from.len()].copy_from_slice(from);
        self.load(&whole)
    }

    /// The first `to.len()` lanes, up to `COUNT`.
    #[inline(always)]
    fn store_part(self, x: Self::F32, to: &mut [f32]) {
        let mut whole = [0f32; 16];
        self.store(x, &mut whole);
        to.copy_from_slice(&whole[..to.len()]);
    }
}

/// Methods of [`Lanes`] that are one expression over intrinsics without memory operands.
macro_rules! register_methods {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) -> $out:ty { $body:expr })*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $kind),*) -> $out {
            // SAFETY: the value `self` proves that the CPU has these instructions, and they touch
            // registers only.
            unsafe { $body }
        }
    )*};
}
pub(crate) use register_methods;
