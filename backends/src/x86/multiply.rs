//! The two ways of multiplying bytes of weights with activations. Either has one factor unsigned.
//!
//! In pairs: `pmaddubsw` adds pairs of products in 16 bits, and `pmaddwd` with the scale of the
//! group adds the pairs to 32-bit sums. Weights that can be negative are multiplied as
//! `|w| · (±a)`.
//!
//! In quads: `vpdpbusd` adds the products of a quad to 32-bit sums. Weights that can be negative
//! are raised: `Σ w·a = Σ (w + z)·a − z·Σ a`, and sums start at `−z·Σ a`, a multiple of the
//! activations' `−8·Σ a`.

use super::registers::{DotRegisters, PairRegisters, Quads, Register, Registers};
use kinglet_quant::format::BLOCK;

/// 32 activations of a token, as [`Multiply`] reads them, and what scales them.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<R: Registers> {
    pub quads: [Quads<R>; 2],
    /// What [`Multiply::start`] gives for the first and the last 16.
    pub starts: [Register<R>; 2],
    pub scale: R::F32,
}

/// A way of multiplying 32 columns, `Σ scale · weight · activation` of the rows of a register. With
/// groups of 32 columns both `scales` are those of the group.
pub(crate) trait Multiply<R: Registers> {
    /// How much entries of a table are raised by.
    const ENTRY_OFFSET: i8;
    /// How much bytes are raised by.
    const BYTE_OFFSET: i32;

    /// A register of sums of 16 columns that start there.
    fn start(cpu: R, start: i32) -> Register<R>;

    /// Signed bytes as they multiply: raised by [`Self::BYTE_OFFSET`].
    fn raised(cpu: R, bytes: Register<R>) -> Register<R>;

    /// Scales, integers of 32 bits, as they multiply.
    fn scales<const GROUP: usize>(cpu: R, low: Register<R>, high: Register<R>) -> [Register<R>; 2];

    /// Unsigned codes whose sums over 16 columns, with their start, fit into 16 bits.
    fn unsigned<const GROUP: usize>(
        cpu: R,
        quads: &[Quads<R>; 2],
        inputs: &Inputs<R>,
        scales: &[Register<R>; 2],
    ) -> Register<R>;

    /// Entries of a table, which are within ±32.
    fn entries<const GROUP: usize>(
        cpu: R,
        quads: &[Quads<R>; 2],
        inputs: &Inputs<R>,
        scales: &[Register<R>; 2],
    ) -> Register<R>;

    /// Bytes, with one scale for 32 columns.
    fn bytes(
        cpu: R,
        quads: &[Quads<R>; 2],
        inputs: &Inputs<R>,
        scales: &[Register<R>; 2],
    ) -> Register<R>;
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
    fn scales<const GROUP: usize>(cpu: R, low: Register<R>, high: Register<R>) -> [Register<R>; 2] {
        [low, high].map(
            #[inline(always)]
            |scales| cpu.in_halves(scales, scales),
        )
    }

    #[inline(always)]
    fn unsigned<const GROUP: usize>(
        cpu: R,
        quads: &[Quads<R>; 2],
        inputs: &Inputs<R>,
        scales: &[Register<R>; 2],
    ) -> Register<R> {
        let mut sums = inputs.starts;
        for (half, sum) in sums.iter_mut().enumerate() {
            for (quad, input) in quads[half].iter().zip(&inputs.quads[half]) {
                *sum = cpu.add_i16(*sum, cpu.multiply_pairs(*quad, *input));
            }
            *sum = cpu.add_products_i16(*sum, scales[half]);
        }
        cpu.add_i32(sums[0], sums[1])
    }

    /// The products of 4 quads, 4·2·32·127 = 32,512, fit into 16 bits.
    #[inline(always)]
    fn entries<const GROUP: usize>(
        cpu: R,
        quads: &[Quads<R>; 2],
        inputs: &Inputs<R>,
        scales: &[Register<R>; 2],
    ) -> Register<R> {
        let mut sums = [cpu.repeat_i32(0); 2];
        for (half, sum) in sums.iter_mut().enumerate() {
            for (quad, input) in quads[half].iter().zip(&inputs.quads[half]) {
                *sum = cpu.add_i16(*sum, signed_pairs(cpu, *quad, *input));
            }
            *sum = cpu.add_products_i16(*sum, scales[half]);
        }
        cpu.add_i32(sums[0], sums[1])
    }

    /// The products of one quad, 2·128·127 = 32,512, fill 16 bits.
    #[inline(always)]
    fn bytes(
        cpu: R,
        quads: &[Quads<R>; 2],
        inputs: &Inputs<R>,
        scales: &[Register<R>; 2],
    ) -> Register<R> {
        let mut sums = [cpu.repeat_i32(0); 2];
        for (half, sum) in sums.iter_mut().enumerate() {
            for (quad, input) in quads[half].iter().zip(&inputs.quads[half]) {
                let pairs = signed_pairs(cpu, *quad, *input);
                *sum = cpu.add_i32(*sum, cpu.add_products_i16(pairs, scales[half]));
            }
        }
        cpu.add_i32(sums[0], sums[1])
    }
}

/// `w · a` as `|w| · (a with the sign of w)`.
#[inline(always)]
fn signed_pairs<R: PairRegisters>(
    cpu: R,
    weights: Register<R>,
    inputs: Register<R>,
) -> Register<R> {
    cpu.multiply_pairs(cpu.abs_i8(weights), cpu.with_sign_i8(inputs, weights))
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
    fn scales<const GROUP: usize>(
        _cpu: R,
        low: Register<R>,
        high: Register<R>,
    ) -> [Register<R>; 2] {
        [low, high]
    }

    /// One instruction multiplies both sums by their scales and adds the products.
    #[inline(always)]
    fn unsigned<const GROUP: usize>(
        cpu: R,
        quads: &[Quads<R>; 2],
        inputs: &Inputs<R>,
        scales: &[Register<R>; 2],
    ) -> Register<R> {
        if GROUP == BLOCK {
            return whole(cpu, quads, inputs, scales[0]);
        }
        let [low, high] = halves(cpu, quads, inputs);
        cpu.add_products_i16(cpu.in_halves(low, high), cpu.in_halves(scales[0], scales[1]))
    }

    #[inline(always)]
    fn entries<const GROUP: usize>(
        cpu: R,
        quads: &[Quads<R>; 2],
        inputs: &Inputs<R>,
        scales: &[Register<R>; 2],
    ) -> Register<R> {
        if GROUP == BLOCK {
            return whole(cpu, quads, inputs, scales[0]);
        }
        let [low, high] = halves(cpu, quads, inputs);
        cpu.add_i32(cpu.multiply_i32(low, scales[0]), cpu.multiply_i32(high, scales[1]))
    }

    #[inline(always)]
    fn bytes(
        cpu: R,
        quads: &[Quads<R>; 2],
        inputs: &Inputs<R>,
        scales: &[Register<R>; 2],
    ) -> Register<R> {
        whole(cpu, quads, inputs, scales[0])
    }
}

/// The sums over the first and the last 16 columns.
#[inline(always)]
fn halves<R: DotRegisters>(cpu: R, quads: &[Quads<R>; 2], inputs: &Inputs<R>) -> [Register<R>; 2] {
    let mut sums = inputs.starts;
    for (half, sum) in sums.iter_mut().enumerate() {
        for (quad, input) in quads[half].iter().zip(&inputs.quads[half]) {
            *sum = cpu.add_dot(*sum, *quad, *input);
        }
    }
    sums
}

/// The sum over 32 columns, times their scale.
#[inline(always)]
fn whole<R: DotRegisters>(
    cpu: R,
    quads: &[Quads<R>; 2],
    inputs: &Inputs<R>,
    scales: Register<R>,
) -> Register<R> {
    let mut sum = cpu.add_i32(inputs.starts[0], inputs.starts[1]);
    for (quad, input) in quads.as_flattened().iter().zip(inputs.quads.as_flattened()) {
        sum = cpu.add_dot(sum, *quad, *input);
    }
    cpu.multiply_i32(sum, scales)
}
