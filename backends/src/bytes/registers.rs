//! What products of quantized weights need of an instruction set of x86 or WebAssembly.

use super::batches::Batch;
use super::multiply::Multiply;
use crate::lanes::Lanes;
use kinglet_core::kernels::START_GROUP;

/// Quads of a [`START_GROUP`].
pub(crate) const QUADS: usize = START_GROUP / 4;

/// A register of bytes: 4 columns, a quad, of as many rows as there are [`Lanes`].
pub(crate) type Register<R> = <R as Lanes>::I32;

/// 16 columns of the rows of a register, or 16 activations, each 4 repeated: a register for each
/// quad.
pub(crate) type Quads<R> = [Register<R>; QUADS];

/// The integers of a tier. A value proves that the CPU has the instructions; methods are
/// `#[inline(always)]`, as those of [`Lanes`] are.
pub(crate) trait Registers: Lanes {
    /// How weights multiply activations.
    type Multiply: Multiply<Self>;
    /// How several tokens share an unpacking of weights.
    type Batch: Batch<Self>;

    /// The sum of the products of a row's 32 nibbles in 16 bytes, the low ones first, with as many
    /// activations.
    fn row_sum(self, row: &[u8], input: &[u8]) -> i32;

    /// A byte, repeated.
    fn repeat_i8(self, x: i8) -> Register<Self>;
    /// An integer, repeated.
    fn repeat_i32(self, x: i32) -> Register<Self>;
    /// 16 bytes, repeated.
    fn repeat_table(self, table: &[i8; 16]) -> Register<Self>;
    fn and(self, a: Register<Self>, b: Register<Self>) -> Register<Self>;
    fn or(self, a: Register<Self>, b: Register<Self>) -> Register<Self>;
    fn xor(self, a: Register<Self>, b: Register<Self>) -> Register<Self>;
    /// Shifts integers of 16 bits.
    fn shift_left<const BITS: i32>(self, x: Register<Self>) -> Register<Self>;
    /// Shifts integers of 16 bits, zeros following.
    fn shift_right<const BITS: i32>(self, x: Register<Self>) -> Register<Self>;
    /// The entries of a repeated table that bytes below 16 choose.
    fn look_up(self, table: Register<Self>, indices: Register<Self>) -> Register<Self>;
    /// Sums of integers of 32 bits.
    fn add_i32(self, a: Register<Self>, b: Register<Self>) -> Register<Self>;
    /// Sums of two products of 16 bits each.
    fn add_products_i16(self, a: Register<Self>, b: Register<Self>) -> Register<Self>;
    /// `low` and `high`, integers of 32 bits that fit into 16, in the halves of each lane.
    fn in_halves(self, low: Register<Self>, high: Register<Self>) -> Register<Self>;
    /// Lanes of 32 bits of `a` and `b` in turn, from the lower half of each 128 bits.
    fn interleave_low_i32(self, a: Register<Self>, b: Register<Self>) -> Register<Self>;
    /// The same from the upper half.
    fn interleave_high_i32(self, a: Register<Self>, b: Register<Self>) -> Register<Self>;
    /// Lanes of 64 bits of `a` and `b` in turn, from the lower half of each 128 bits.
    fn interleave_low_i64(self, a: Register<Self>, b: Register<Self>) -> Register<Self>;
    /// The same from the upper half.
    fn interleave_high_i64(self, a: Register<Self>, b: Register<Self>) -> Register<Self>;

    /// The first bytes of a slice, 4 for each row.
    fn load_bytes(self, from: &[u8]) -> Register<Self>;
    /// The first scales of a slice, one for each row, as integers of 32 bits.
    fn load_scales(self, from: &[i8]) -> Register<Self>;
    /// 16 bytes of every fourth row, the first of which starts at `from`.
    ///
    /// # Safety
    /// Each of these rows, which are `stride` bytes apart, has 16 bytes.
    unsafe fn load_rows(self, from: *const u8, stride: usize) -> Register<Self>;
    /// 4 activations, repeated.
    ///
    /// # Safety
    /// `from` has 4 codes.
    #[inline(always)]
    unsafe fn repeat_quad_i8(self, from: *const i8) -> Register<Self> {
        // SAFETY: by this function's contract.
        self.repeat_i32(unsafe { from.cast::<i32>().read_unaligned() })
    }

    /// 16 activations, each 4 repeated over a register.
    ///
    /// # Safety
    /// `from` has 16 codes.
    #[inline(always)]
    unsafe fn repeat_quads(self, from: *const i8) -> Quads<Self> {
        [0, 1, 2, 3].map(
            #[inline(always)]
            // SAFETY: by this function's contract.
            |quad| unsafe { self.repeat_quad_i8(from.add(4 * quad)) },
        )
    }
}

/// Registers that multiply bytes and add pairs of products in 16 bits.
pub(crate) trait PairRegisters: Registers {
    /// The products of unsigned with signed bytes, added in pairs, within 16 bits.
    fn multiply_pairs(self, a: Register<Self>, b: Register<Self>) -> Register<Self>;
    /// The products of signed bytes, the second ones within ±127, added in pairs, within 16 bits.
    #[inline(always)]
    fn multiply_bytes(self, a: Register<Self>, b: Register<Self>) -> Register<Self> {
        self.multiply_pairs(self.abs_i8(a), self.with_sign_i8(b, a))
    }
    /// Sums of integers of 16 bits.
    fn add_i16(self, a: Register<Self>, b: Register<Self>) -> Register<Self>;
    /// Magnitudes of bytes; −128 becomes 128 unsigned.
    fn abs_i8(self, x: Register<Self>) -> Register<Self>;
    /// Bytes of `x` with the signs of those of `signs` applied, 0 where those are 0.
    fn with_sign_i8(self, x: Register<Self>, signs: Register<Self>) -> Register<Self>;
}

/// Registers that multiply bytes and add quads of products to sums of 32 bits.
pub(crate) trait DotRegisters: Registers {
    /// `sum` and the products of unsigned with signed bytes.
    fn add_dot(self, sum: Register<Self>, a: Register<Self>, b: Register<Self>) -> Register<Self>;
    /// Products of integers of 32 bits, which they fit into.
    fn multiply_i32(self, a: Register<Self>, b: Register<Self>) -> Register<Self>;
}
