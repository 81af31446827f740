//! Floats side by side: what the operations outside of matrix products need of an instruction set.

use half::{bf16, f16};

/// The most that [`Lanes::SUMS`] may be.
pub(crate) const MAX_SUMS: usize = 4;

/// A SIMD register of `COUNT` floats. A value of the type proves that the CPU has the instructions,
/// so every method is safe but for those that read through pointers.
///
/// Nothing unsafe relies on what an implementor computes or on its constants: who reads memory by
/// them asserts how they fit together.
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
    /// Sums of products of some rows, for each row one or several.
    type Sum: Copy;
    /// In how many of them the sums of `2·COUNT` rows are.
    const SUMS: usize;

    /// Runs `work`, which must be inlined, compiled for these instructions.
    fn compiled<R>(self, work: impl FnOnce() -> R) -> R;

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
    /// Sums of nothing.
    fn no_sum(self) -> Self::Sum;
    /// Adds the products of 4 bytes of each row with as many codes.
    fn add_quad_products(self, sum: Self::Sum, bytes: Self::I32, codes: Self::I32) -> Self::Sum;
    /// The sums of `2·COUNT` rows, which are in the first [`Self::SUMS`].
    fn row_sums(self, sums: [Self::Sum; MAX_SUMS]) -> [Self::I32; 2];
    /// `2ⁿ` for −126 ≤ n ≤ 127.
    fn power_of_two(self, n: Self::I32) -> Self::F32;
    /// The upper half is added to the lower one until four are left, then neighbours in pairs.
    fn sum_of_lanes(self, x: Self::F32) -> f32;
    fn max_of_lanes(self, x: Self::F32) -> f32;

    fn load(self, from: &[f32]) -> Self::F32;
    fn load_f16(self, from: &[f16]) -> Self::F32;
    fn load_bf16(self, from: &[bf16]) -> Self::F32;
    /// 4 signed bytes of each row of a sum.
    ///
    /// # Safety
    /// `8·COUNT / SUMS` bytes can be read.
    unsafe fn load_quads(self, from: *const u8) -> Self::I32;
    /// 4 codes over and over, as [`Self::store_codes`] has written them.
    ///
    /// # Safety
    /// 4 codes can be read.
    unsafe fn repeat_quad(self, from: *const i16) -> Self::I32;
    fn store(self, x: Self::F32, to: &mut [f32]);
    /// Numbers within ±[`WIDE_LIMIT`](kinglet_core::round::WIDE_LIMIT), 4 codes in the place of 4
    /// integers, as [`Self::repeat_quad`] reads them.
    fn store_codes(self, x: Self::I32, to: &mut [i16]);
    /// Numbers within ±127.
    fn store_i8(self, x: Self::I32, to: &mut [i8]);
    /// The sum of 16 signed bytes.
    fn sum_of_bytes(self, bytes: &[i8; 16]) -> i32;

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
#[cfg(target_arch = "x86_64")]
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
#[cfg(target_arch = "x86_64")]
pub(crate) use register_methods;

/// Implements `Kernels` for a tier that has [`Lanes`] and
/// [`Products`](crate::multiply::Products). Constants of the trait may follow.
macro_rules! vector_kernels {
    ([$($generics:tt)*], $Tier:ty $(, $($constants:tt)*)?) => {
        impl<$($generics)*> kinglet_core::Kernels for $Tier {
            $($($constants)*)?

            fn matmul(
                self,
                w: &kinglet_quant::Matrix<'_>,
                tiles: core::ops::Range<usize>,
                x: &kinglet_core::Activations<'_>,
                out: &mut kinglet_core::arena::Columns<'_, f32>,
                output: kinglet_core::kernels::Output,
                scratch: &mut [f32],
            ) {
                let product = $crate::product::Product::new(w, tiles, x, out, output);
                $crate::multiply::multiply(self, product, scratch);
            }

            fn screen(
                self,
                w: &kinglet_quant::Matrix<'_>,
                tiles: core::ops::Range<usize>,
                x: &kinglet_core::Activations<'_>,
                margins: &[f32],
                found: &mut kinglet_core::kernels::Screened<'_>,
            ) {
                found.check(w, &tiles, x, margins);
                let search = $crate::product::Search { w, tiles, x, margins, found };
                $crate::multiply::Products::screen(self, search);
            }

            fn rescore(
                self,
                w: &kinglet_quant::Matrix<'_>,
                tile: usize,
                rows: u16,
                x: &kinglet_core::Activations<'_>,
                token: usize,
                logits: &mut [f32],
            ) {
                kinglet_core::kernels::check_rescore(w, tile, x, token, logits);
                let logits = logits.first_chunk_mut().expect("a logit for each row of a tile");
                let rescore = $crate::product::Rescore { tile: w.tile(tile), rows, x, token };
                $crate::multiply::Products::rescore(self, rescore, logits);
            }

            fn quantize(self, x: &[f32], codes: &mut [i8], scales: &mut [f32], starts: &mut [i32]) {
                $crate::lanes::Lanes::compiled(
                        self,
                    #[inline(always)]
                    || $crate::elementwise::quantize(self, x, codes, scales, starts),
                )
            }

            fn rms_norm(self, x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) {
                $crate::lanes::Lanes::compiled(
                        self,
                    #[inline(always)]
                    || $crate::elementwise::rms_norm(self, x, gain, eps, out),
                )
            }

            fn rope(self, head: &mut [f32], cos: &[f32], sin: &[f32]) {
                $crate::lanes::Lanes::compiled(
                        self,
                    #[inline(always)]
                    || $crate::elementwise::rope(self, head, cos, sin),
                )
            }

            // Apart from its caller, or the constants go through memory on ARM.
            #[inline(never)]
            fn silu_mul(self, gate: &mut [f32], up: &[f32]) {
                $crate::lanes::Lanes::compiled(
                        self,
                    #[inline(always)]
                    || $crate::elementwise::silu_mul(self, gate, up),
                )
            }

            fn append(
                self,
                layout: &kinglet_core::kv::KvLayout,
                block: &mut [u8],
                position: usize,
                key: &[f32],
                value: &[f32],
            ) {
                $crate::lanes::Lanes::compiled(
                        self,
                    #[inline(always)]
                    || layout.store(block, position, key, value),
                )
            }

            fn attend(
                self,
                queries: &[f32],
                kv: &kinglet_core::kv::KvHead<'_>,
                positions: core::ops::Range<usize>,
                partials: &mut [f32],
            ) {
                $crate::lanes::Lanes::compiled(
                        self,
                    #[inline(always)]
                    || $crate::attend::attend(self, queries, kv, positions, partials),
                )
            }

            fn join(self, partials: &[f32], head_dim: usize, out: &mut [f32]) {
                $crate::lanes::Lanes::compiled(
                        self,
                    #[inline(always)]
                    || $crate::attend::join(self, partials, head_dim, out),
                )
            }
        }
    };
}
pub(crate) use vector_kernels;
