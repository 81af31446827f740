//! How packed codes become signed bytes, 8 rows of 32 columns at a time.

use super::dot::Dot;
use super::half_tile::{HalfBlock, OneInput, OneTile, Quads, Starts, Total};
use super::half_tile::{add_scaled, group_scales, scaled, widen};
use super::intrinsics::*;
use super::single::by_halves;
use crate::product::{BYTE_BLOCK, FIVE_BIT_BLOCK, NIBBLE_BLOCK, THREE_BIT_BLOCK};
use core::arch::aarch64::vld1q_s8;
use kinglet_core::kernels::START_GROUP;
use kinglet_quant::Matrix;
use kinglet_quant::format::{ALIGN, BLOCK, MAX_CODE, Q3_HIGH, Q5_HIGH};

/// Quads of 16 columns.
const QUADS: usize = 4;

/// A format of codes.
pub(super) trait Unpack: Copy {
    /// Bytes of a block: 16 rows × 32 columns.
    const BYTES: usize;
    /// Largest magnitude of a weight.
    const REACH: u8;

    /// What the codes stand for, the first and the last 16 columns.
    fn weights(self, of: HalfBlock<'_>) -> [Quads; 2];

    /// The products of a tile with one token alone, not yet scaled by row.
    #[inline(always)]
    fn single<D: Dot, const GROUP: usize>(self, dot: D, of: OneTile<'_>) -> [Total; 2] {
        by_halves(of, Self::BYTES, GROUP, |total, half, x| {
            // SAFETY: `x` has 32 codes.
            unsafe { add_sums::<D, GROUP>(dot, total, &self.weights(half), half, x) }
        })
    }
}

/// Signed bytes.
#[derive(Clone, Copy)]
pub(super) struct Bytes;

/// Nibbles that stand for −8 to 7.
#[derive(Clone, Copy)]
pub(super) struct Nibbles;

/// Nibbles that stand for entries of a table.
#[derive(Clone, Copy)]
pub(super) struct Entries(Table);

/// Nibbles and a plane of fifth bits that stand for −16 to 15.
#[derive(Clone, Copy)]
pub(super) struct Fives;

/// Pairs of bits and a plane of third bits that stand for entries of a table.
#[derive(Clone, Copy)]
pub(super) struct Threes(Table);

/// What codes stand for.
type Table = int8x16_t;

impl Unpack for Bytes {
    const BYTES: usize = BYTE_BLOCK;
    const REACH: u8 = 128;

    #[inline(always)]
    fn weights(self, of: HalfBlock<'_>) -> [Quads; 2] {
        let lines = lines::<{ 2 * QUADS }>(of);
        [0, QUADS].map(|first| core::array::from_fn(|j| lines[first + j]))
    }

    #[inline(always)]
    fn single<D: Dot, const GROUP: usize>(self, dot: D, of: OneTile<'_>) -> [Total; 2] {
        const { assert!(GROUP == BLOCK) };
        dot.bytes(of)
    }
}

impl Unpack for Nibbles {
    const BYTES: usize = NIBBLE_BLOCK;
    const REACH: u8 = 8;

    #[inline(always)]
    fn weights(self, of: HalfBlock<'_>) -> [Quads; 2] {
        each(nibbles(of), |code| vsubq_s8(code, vdupq_n_s8(8)))
    }

    /// With nibbles as they are, and sums that start where raised codes want it.
    #[inline(always)]
    fn single<D: Dot, const GROUP: usize>(self, dot: D, of: OneTile<'_>) -> [Total; 2] {
        match GROUP {
            BLOCK => dot.nibble_blocks(of, Starts::Plain),
            _ => dot.nibble_groups(of),
        }
    }
}

impl Entries {
    pub fn new(w: &Matrix<'_>) -> Self {
        Self(table(w))
    }
}

impl Unpack for Entries {
    const BYTES: usize = NIBBLE_BLOCK;
    const REACH: u8 = MAX_CODE as u8;

    #[inline(always)]
    fn weights(self, of: HalfBlock<'_>) -> [Quads; 2] {
        each(nibbles(of), |code| vqtbl1q_s8(self.0, vreinterpretq_u8_s8(code)))
    }
}

impl Unpack for Fives {
    const BYTES: usize = FIVE_BIT_BLOCK;
    const REACH: u8 = 16;

    #[inline(always)]
    fn weights(self, of: HalfBlock<'_>) -> [Quads; 2] {
        let [low @ .., mut bits] = lines::<{ Q5_HIGH / ALIGN + 1 }>(of);
        let mut weights = halves(low);
        for quad in weights.iter_mut().flatten() {
            for (code, bits) in quad.iter_mut().zip(&mut bits) {
                // The next plane's bit above the nibble, and what is above it away.
                let whole = vandq_s8(vsliq_n_s8::<4>(*code, *bits), vdupq_n_s8(31));
                *code = vsubq_s8(whole, vdupq_n_s8(16));
                *bits = shift_right::<1>(*bits);
            }
        }
        weights
    }
}

impl Threes {
    pub fn new(w: &Matrix<'_>) -> Self {
        Self(table(w))
    }
}

impl Unpack for Threes {
    const BYTES: usize = THREE_BIT_BLOCK;
    const REACH: u8 = MAX_CODE as u8;

    #[inline(always)]
    fn weights(self, of: HalfBlock<'_>) -> [Quads; 2] {
        let [low, high, mut bits] = lines::<{ Q3_HIGH / ALIGN + 1 }>(of);
        [low, high].map(|mut pairs| {
            core::array::from_fn(|_| {
                core::array::from_fn(|t| {
                    let code = vsliq_n_s8::<2>(pairs[t], bits[t]);
                    let code = vreinterpretq_u8_s8(vandq_s8(code, vdupq_n_s8(7)));
                    pairs[t] = shift_right::<2>(pairs[t]);
                    bits[t] = shift_right::<1>(bits[t]);
                    vqtbl1q_s8(self.0, code)
                })
            })
        })
    }
}

/// The table that codes name entries of.
#[inline(always)]
fn table(w: &Matrix<'_>) -> Table {
    // SAFETY: the table has 16 bytes.
    unsafe { vld1q_s8(w.table().as_ptr()) }
}

/// Does the same to every register.
#[inline(always)]
fn each(weights: [Quads; 2], change: impl Fn(int8x16_t) -> int8x16_t + Copy) -> [Quads; 2] {
    weights.map(|quads| quads.map(|quad| quad.map(change)))
}

/// The low and the high nibbles of 4 lines.
#[inline(always)]
pub(super) fn nibbles(of: HalfBlock<'_>) -> [Quads; 2] {
    halves(lines(of))
}

/// The low and the high nibbles.
#[inline(always)]
pub(super) fn halves(bytes: Quads) -> [Quads; 2] {
    let low = |w| vandq_s8(w, vdupq_n_s8(15));
    [bytes.map(|quad| quad.map(low)), bytes.map(|quad| quad.map(shift_right::<4>))]
}

/// The bytes of 8 rows in the first lines of a block.
#[inline(always)]
fn lines<const N: usize>(of: HalfBlock<'_>) -> [[int8x16_t; 2]; N] {
    let bytes = &of.bytes[of.half * ALIGN / 2..][..(N - 1) * ALIGN + ALIGN / 2];
    core::array::from_fn(|j| {
        let line = &bytes[j * ALIGN..][..ALIGN / 2];
        // SAFETY: there are 32 bytes.
        [0, 16].map(|first| unsafe { vld1q_s8(line.as_ptr().add(first).cast()) })
    })
}

/// Shifts zeros into every byte from above.
#[inline(always)]
fn shift_right<const N: i32>(x: int8x16_t) -> int8x16_t {
    vreinterpretq_s8_u8(vshrq_n_u8::<N>(vreinterpretq_u8_s8(x)))
}

/// Adds `scale · Σ group scale · weight · input` to a total.
///
/// # Safety
/// `x` has 32 codes.
#[inline(always)]
pub(super) unsafe fn add_sums<D: Dot, const GROUP: usize>(
    dot: D,
    total: &mut Total,
    weights: &[Quads; 2],
    of: HalfBlock<'_>,
    x: OneInput<'_>,
) {
    let scales = group_scales::<GROUP>(of).map(widen);
    let none = [vdupq_n_s32(0); 2];
    // SAFETY: by this function's contract.
    let sums = unsafe {
        let low = dot.byte_sums(none, &weights[0], x.codes);
        let high = x.codes.add(START_GROUP);
        match GROUP {
            BLOCK => scaled(dot.byte_sums(low, &weights[1], high), scales[0]),
            _ => {
                let (low, high) = (scaled(low, scales[0]), dot.byte_sums(none, &weights[1], high));
                [0, 1].map(|t| vmlaq_s32(low[t], high[t], scales[1][t]))
            }
        }
    };
    add_scaled(total, sums, x.scale);
}
