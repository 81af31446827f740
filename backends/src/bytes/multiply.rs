//! The two ways of multiplying bytes of weights with activations. Either has one factor unsigned.
//!
//! In pairs: `pmaddubsw` adds pairs of products in 16 bits, and `pmaddwd` with the scale of the
//! group adds the pairs to 32-bit sums. Weights that can be negative are multiplied as
//! `|w| · (±a)`.
//!
//! In quads: `vpdpbusd` adds the products of a quad to 32-bit sums. Weights that can be negative
//! are raised: `Σ w·a = Σ (w + z)·a − z·Σ a`, and sums start at `−z·Σ a`, a multiple of the
//! activations' `−8·Σ a`.

use super::registers::{DotRegisters, PairRegisters, Register, Registers};
use kinglet_quant::format::BLOCK;

/// A way of multiplying bytes. Sums are those of 16 columns, [`Self::start`] first; with groups of
/// 32 columns both `scales` are those of the group.
pub(crate) trait Multiply<R: Registers> {
    /// How much entries of a table are raised by.
    const ENTRY_OFFSET: i8;
    /// How much bytes are raised by.
    const BYTE_OFFSET: i32;

    /// Sums that start there.
    fn start(cpu: R, start: i32) -> Register<R>;

    /// Signed bytes as they multiply: raised by [`Self::BYTE_OFFSET`].
    fn raised(cpu: R, bytes: Register<R>) -> Register<R>;

    /// Scales, integers of 32 bits, as they multiply.
    fn scales(cpu: R, scales: Register<R>) -> Register<R>;

    /// Adds the products of unsigned codes with a quad of activations; the sums fit into 16 bits.
    fn add_unsigned(
        cpu: R,
        sum: Register<R>,
        codes: Register<R>,
        input: Register<R>,
    ) -> Register<R>;

    /// Adds those of entries of a table, which are within ±32.
    fn add_entries(
        cpu: R,
        sum: Register<R>,
        entries: Register<R>,
        input: Register<R>,
    ) -> Register<R>;

    /// Adds those of bytes, which `scales` may scale.
    fn add_bytes(
        cpu: R,
        sum: Register<R>,
        bytes: Register<R>,
        input: Register<R>,
        scales: Register<R>,
    ) -> Register<R>;

    /// The scaled sum over 32 columns of unsigned codes.
    fn scaled_unsigned<const GROUP: usize>(
        cpu: R,
        sums: [Register<R>; 2],
        scales: [Register<R>; 2],
    ) -> Register<R>;

    /// The scaled sum over 32 columns of entries.
    fn scaled_entries<const GROUP: usize>(
        cpu: R,
        sums: [Register<R>; 2],
        scales: [Register<R>; 2],
    ) -> Register<R>;

    /// The scaled sum over 32 columns of bytes, which are a group.
    fn scaled_bytes(cpu: R, sums: [Register<R>; 2], scales: [Register<R>; 2]) -> Register<R>;
}

/// Pairs of products in 16 bits.
pub(crate) struct InPairs;

/// Quads of products in 32 bits.
pub(crate) struct InQuads;

impl<R: PairRegisters> Multiply<R> for InPairs {
    const ENTRY_OFFSET: i8 = 0;
    const BYTE_OFFSET: i32 = 0;

    #[inline(always)]
    fn start(cpu: R, start: i32) -> Register<R> {
        // The low half of each pair has the start, the high one begins at zero.
        cpu.repeat_i32(start & 0xffff)
    }

    #[inline(always)]
    fn raised(_cpu: R, bytes: Register<R>) -> Register<R> {
        bytes
    }

    /// Each scale twice.
    #[inline(always)]
    fn scales(cpu: R, scales: Register<R>) -> Register<R> {
        cpu.in_halves(scales, scales)
    }

    #[inline(always)]
    fn add_unsigned(
        cpu: R,
        sum: Register<R>,
        codes: Register<R>,
        input: Register<R>,
    ) -> Register<R> {
        cpu.add_i16(sum, cpu.multiply_pairs(codes, input))
    }

    /// The products of 4 quads, 4·2·32·127 = 32,512, fit into 16 bits.
    #[inline(always)]
    fn add_entries(
        cpu: R,
        sum: Register<R>,
        entries: Register<R>,
        input: Register<R>,
    ) -> Register<R> {
        cpu.add_i16(sum, signed_pairs(cpu, entries, input))
    }

    /// The products of one quad, 2·128·127 = 32,512, fill 16 bits.
    #[inline(always)]
    fn add_bytes(
        cpu: R,
        sum: Register<R>,
        bytes: Register<R>,
        input: Register<R>,
        scales: Register<R>,
    ) -> Register<R> {
        cpu.add_i32(sum, cpu.add_products_i16(cpu.multiply_bytes(bytes, input), scales))
    }

    #[inline(always)]
    fn scaled_unsigned<const GROUP: usize>(
        cpu: R,
        sums: [Register<R>; 2],
        scales: [Register<R>; 2],
    ) -> Register<R> {
        scaled_pairs(cpu, sums, scales)
    }

    #[inline(always)]
    fn scaled_entries<const GROUP: usize>(
        cpu: R,
        sums: [Register<R>; 2],
        scales: [Register<R>; 2],
    ) -> Register<R> {
        scaled_pairs(cpu, sums, scales)
    }

    #[inline(always)]
    fn scaled_bytes(cpu: R, sums: [Register<R>; 2], _scales: [Register<R>; 2]) -> Register<R> {
        cpu.add_i32(sums[0], sums[1])
    }
}

/// `w · a` as `|w| · (a with the sign of w)`.
#[inline(always)]
fn signed_pairs<R: PairRegisters>(cpu: R, weights: Register<R>, input: Register<R>) -> Register<R> {
    cpu.multiply_pairs(cpu.abs_i8(weights), cpu.with_sign_i8(input, weights))
}

/// The scaled sum over 32 columns of pairs.
#[inline(always)]
fn scaled_pairs<R: PairRegisters>(
    cpu: R,
    [low, high]: [Register<R>; 2],
    [low_scales, high_scales]: [Register<R>; 2],
) -> Register<R> {
    let low = cpu.add_products_i16(low, low_scales);
    cpu.add_i32(low, cpu.add_products_i16(high, high_scales))
}

impl<R: DotRegisters> Multiply<R> for InQuads {
    /// 4 times that of nibbles.
    const ENTRY_OFFSET: i8 = 32;
    const BYTE_OFFSET: i32 = 128;

    #[inline(always)]
    fn start(cpu: R, start: i32) -> Register<R> {
        cpu.repeat_i32(start)
    }

    #[inline(always)]
    fn raised(cpu: R, bytes: Register<R>) -> Register<R> {
        cpu.xor(bytes, cpu.repeat_i8(i8::MIN))
    }

    #[inline(always)]
    fn scales(_cpu: R, scales: Register<R>) -> Register<R> {
        scales
    }

    #[inline(always)]
    fn add_unsigned(
        cpu: R,
        sum: Register<R>,
        codes: Register<R>,
        input: Register<R>,
    ) -> Register<R> {
        cpu.add_dot(sum, codes, input)
    }

    #[inline(always)]
    fn add_entries(
        cpu: R,
        sum: Register<R>,
        entries: Register<R>,
        input: Register<R>,
    ) -> Register<R> {
        cpu.add_dot(sum, entries, input)
    }

    #[inline(always)]
    fn add_bytes(
        cpu: R,
        sum: Register<R>,
        bytes: Register<R>,
        input: Register<R>,
        _scales: Register<R>,
    ) -> Register<R> {
        cpu.add_dot(sum, bytes, input)
    }

    /// One instruction multiplies both sums by their scales and adds the products.
    #[inline(always)]
    fn scaled_unsigned<const GROUP: usize>(
        cpu: R,
        sums: [Register<R>; 2],
        scales: [Register<R>; 2],
    ) -> Register<R> {
        if GROUP == BLOCK {
            return scaled_group(cpu, sums, scales[0]);
        }
        let sums = cpu.in_halves(sums[0], sums[1]);
        cpu.add_products_i16(sums, cpu.in_halves(scales[0], scales[1]))
    }

    #[inline(always)]
    fn scaled_entries<const GROUP: usize>(
        cpu: R,
        sums: [Register<R>; 2],
        scales: [Register<R>; 2],
    ) -> Register<R> {
        if GROUP == BLOCK {
            return scaled_group(cpu, sums, scales[0]);
        }
        let low = cpu.multiply_i32(sums[0], scales[0]);
        cpu.add_i32(low, cpu.multiply_i32(sums[1], scales[1]))
    }

    #[inline(always)]
    fn scaled_bytes(cpu: R, sums: [Register<R>; 2], scales: [Register<R>; 2]) -> Register<R> {
        scaled_group(cpu, sums, scales[0])
    }
}

/// The scaled sum over 32 columns with one scale.
#[inline(always)]
fn scaled_group<R: DotRegisters>(
    cpu: R,
    sums: [Register<R>; 2],
    scales: Register<R>,
) -> Register<R> {
    cpu.multiply_i32(cpu.add_i32(sums[0], sums[1]), scales)
}
