//! Ways of multiplying 8 rows of weights with activations, 4 columns at a time.

use super::attention::AttentionDot;
use super::batch::{Batch, sdot_smmla, widening};
use super::half_tile::{OneTile, Quads, Starts, Sums, Total, Weights, widen};
use super::intrinsics::*;
use super::proof::{Sdot, Smmla, Widening};
use super::single::{by_halves, sdot as sdot_tile, widening_bytes, widening_nibbles};
use crate::product::{BYTE_BLOCK, NIBBLE_BLOCK};
use core::arch::aarch64::vld1q_s8;
use core::arch::asm;
use kinglet_core::kernels::START_GROUP;
use kinglet_quant::format::BLOCK;

/// A way of multiplying bytes. A value of the type proves that the CPU has the instructions: its
/// methods rely on that, and nothing unsafe relies on what they compute.
///
/// Nibbles are weights of −8 to 7, or these raised to 0 to 15 with sums that start lower by as much
/// as that adds. With its start, a sum over 32 columns is within 16 bits.
pub trait Dot: Copy + Send + Sync + core::fmt::Debug {
    /// Tokens for which unpacking weights into a batch is worth its instructions, counted with
    /// SmolLM2-135M; fewer are multiplied one by one.
    const BATCH: usize;

    /// The way of multiplying bytes with 16-bit codes that goes with this one.
    type Attention: AttentionDot;
    fn attention(self) -> Self::Attention;

    /// `Σ scale · Σ group scale · w·a` of the nibbles from 0 to 15 of a tile, in groups of 16
    /// columns.
    fn nibble_groups(self, of: OneTile<'_>) -> [Total; 2];
    /// The same in groups of 32 columns.
    fn nibble_blocks(self, of: OneTile<'_>, starts: Starts) -> [Total; 2];
    /// `Σ scale · group scale · Σ w·a` of the bytes of a tile.
    fn bytes(self, of: OneTile<'_>) -> [Total; 2];
    /// `start + Σ w·a` over 32 columns of nibbles.
    ///
    /// # Safety
    /// `input` has 32 codes.
    unsafe fn nibble_sums(self, quads: &[Quads; 2], input: *const i8, start: i32) -> Sums;

    /// `Σ w·a` over 32 columns of one row's nibbles from 0 to 15, two times 16, in 4 parts.
    fn nibble_row(self, nibbles: [int8x16_t; 2], input: &[i8; BLOCK]) -> int32x4_t;
    /// `sums + Σ w·a` over 16 columns of bytes.
    ///
    /// # Safety
    /// `input` has 16 codes.
    unsafe fn byte_sums(self, sums: Sums, quads: &Quads, input: *const i8) -> Sums;

    /// Adds `scale · Σ group scale · w·a` over 32 columns to the totals of many tokens, if this way
    /// of multiplying has something for these weights; else false.
    fn add_batch(self, weights: &Weights, batch: &mut Batch<'_>) -> bool;
    /// The totals of two tokens of a batch, each by itself.
    #[inline(always)]
    fn by_token(totals: [Total; 2]) -> [Total; 2] {
        totals
    }
}

/// Both halves of the activations of a block.
#[inline(always)]
fn halves(input: &[i8; BLOCK]) -> [int8x16_t; 2] {
    // SAFETY: there are 32 bytes.
    [0, START_GROUP].map(|first| unsafe { vld1q_s8(input.as_ptr().add(first)) })
}

impl Dot for Widening {
    const BATCH: usize = 3;

    type Attention = Self;
    #[inline(always)]
    fn attention(self) -> Self {
        self
    }

    #[inline(always)]
    fn nibble_groups(self, of: OneTile<'_>) -> [Total; 2] {
        by_halves(of, NIBBLE_BLOCK, START_GROUP, |total, half, x| {
            // SAFETY: `x` has 32 codes.
            *total = unsafe { widening_nibbles::groups(*total, half.with(x), *x.starts) };
        })
    }
    #[inline(always)]
    fn nibble_blocks(self, of: OneTile<'_>, starts: Starts) -> [Total; 2] {
        by_halves(of, NIBBLE_BLOCK, BLOCK, |total, half, x| {
            let start = starts.of_block(*x.starts);
            // SAFETY: `x` has 32 codes.
            *total = unsafe { widening_nibbles::block(*total, half.with(x), start) };
        })
    }
    #[inline(always)]
    fn bytes(self, of: OneTile<'_>) -> [Total; 2] {
        by_halves(of, BYTE_BLOCK, BLOCK, |total, half, x| {
            // SAFETY: `x` has 32 codes.
            *total = unsafe { widening_bytes::block(*total, half.with(x)) };
        })
    }
    #[inline(always)]
    unsafe fn nibble_sums(self, quads: &[Quads; 2], input: *const i8, start: i32) -> Sums {
        let mut sums = [vdupq_n_s32(start); 2];
        for (t, sum) in sums.iter_mut().enumerate() {
            let [low, high] = quads;
            let column = [low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]];
            // 8 products of at most 15·127 in each lane, 16 in each of the results.
            // SAFETY: by this function's contract.
            let (first, second) = unsafe { chain(column.map(|quads| quads[t]), input) };
            *sum = vpadalq_s16(*sum, vpaddq_s16(first, second));
        }
        sums
    }

    #[inline(always)]
    fn nibble_row(self, [low, high]: [int8x16_t; 2], input: &[i8; BLOCK]) -> int32x4_t {
        let [first, second] = halves(input);
        // 4 products in each lane.
        let products = vmull_s8(vget_low_s8(low), vget_low_s8(first));
        let products = vmlal_s8(products, vget_low_s8(high), vget_low_s8(second));
        vpaddlq_s16(vmlal_high_s8(vmlal_high_s8(products, low, first), high, second))
    }
    #[inline(always)]
    unsafe fn byte_sums(self, sums: Sums, quads: &Quads, input: *const i8) -> Sums {
        let mut result = sums;
        for (t, sum) in result.iter_mut().enumerate() {
            // Two products, 2·128·127 = 32,512, fill 16 bits.
            // SAFETY: by this function's contract.
            let (first, second) = unsafe {
                (
                    chain([quads[0][t], quads[1][t]], input),
                    chain([quads[2][t], quads[3][t]], input.add(8)),
                )
            };
            let low = vpadalq_s16(vpaddlq_s16(first.0), second.0);
            let high = vpadalq_s16(vpaddlq_s16(first.1), second.1);
            *sum = vaddq_s32(*sum, vpaddq_s32(low, high));
        }
        result
    }

    #[inline(always)]
    fn add_batch(self, weights: &Weights, batch: &mut Batch<'_>) -> bool {
        if weights.reach <= widening::GROUP_REACH {
            widening::groups(&weights.quads, weights.scales.map(vmovl_s8), batch);
        } else if weights.one_scale {
            widening::scaled(&weights.quads, widen(weights.scales[0]), batch);
        } else {
            return false;
        }
        true
    }
}

/// Products of quads of 4 rows with as many quads of activations, added up in 16 bits: rows 0 and 1
/// in the first register, 2 and 3 in the second, 4 columns each.
///
/// # Safety
/// `input` has 4 codes for each quad.
#[inline(always)]
unsafe fn chain<const N: usize>(quads: [int8x16_t; N], input: *const i8) -> (int16x8_t, int16x8_t) {
    let mut sums = (vdupq_n_s16(0), vdupq_n_s16(0));
    for (j, quad) in quads.into_iter().enumerate() {
        // SAFETY: by this function's contract.
        let input = unsafe { input.add(4 * j).cast::<i32>().read_unaligned() };
        let input = vreinterpretq_s8_s32(vdupq_n_s32(input));
        sums = if j == 0 { products(quad, input) } else { add_products(sums, quad, input) };
    }
    sums
}

/// 16 products of bytes. Compilers that know the range of `w` would take more instructions.
#[inline(always)]
fn products(w: int8x16_t, a: int8x16_t) -> (int16x8_t, int16x8_t) {
    let (low, high);
    // SAFETY: every 64-bit ARM has the instructions, which touch registers only.
    unsafe {
        asm!(
            "smull {low:v}.8h, {w:v}.8b, {a:v}.8b",
            "smull2 {high:v}.8h, {w:v}.16b, {a:v}.16b",
            low = out(vreg) low,
            high = lateout(vreg) high,
            w = in(vreg) w,
            a = in(vreg) a,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    (low, high)
}

/// `sums` and 16 products of bytes.
#[inline(always)]
fn add_products(
    sums: (int16x8_t, int16x8_t),
    w: int8x16_t,
    a: int8x16_t,
) -> (int16x8_t, int16x8_t) {
    let (mut low, mut high) = sums;
    // SAFETY: as for `products`.
    unsafe {
        asm!(
            "smlal {low:v}.8h, {w:v}.8b, {a:v}.8b",
            "smlal2 {high:v}.8h, {w:v}.16b, {a:v}.16b",
            low = inout(vreg) low,
            high = inout(vreg) high,
            w = in(vreg) w,
            a = in(vreg) a,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    (low, high)
}

impl Dot for Sdot {
    const BATCH: usize = 6;

    type Attention = Self;
    #[inline(always)]
    fn attention(self) -> Self {
        self
    }

    #[inline(always)]
    fn nibble_groups(self, of: OneTile<'_>) -> [Total; 2] {
        sdot_tile::nibble_groups(self, of)
    }
    #[inline(always)]
    fn nibble_blocks(self, of: OneTile<'_>, starts: Starts) -> [Total; 2] {
        sdot_tile::nibble_blocks(self, of, starts)
    }
    #[inline(always)]
    fn bytes(self, of: OneTile<'_>) -> [Total; 2] {
        sdot_tile::bytes(self, of)
    }
    #[inline(always)]
    unsafe fn nibble_sums(self, quads: &[Quads; 2], input: *const i8, start: i32) -> Sums {
        // SAFETY: by this function's contract.
        unsafe {
            let sums = self.byte_sums([vdupq_n_s32(start); 2], &quads[0], input);
            self.byte_sums(sums, &quads[1], input.add(16))
        }
    }

    #[inline(always)]
    fn nibble_row(self, nibbles: [int8x16_t; 2], input: &[i8; BLOCK]) -> int32x4_t {
        let add = |sum, (w, a)| sdot(self, sum, w, a);
        nibbles.into_iter().zip(halves(input)).fold(vdupq_n_s32(0), add)
    }
    #[inline(always)]
    unsafe fn byte_sums(self, sums: Sums, quads: &Quads, input: *const i8) -> Sums {
        // SAFETY: by this function's contract.
        let input = unsafe { vld1q_s8(input) };
        let mut result = sums;
        result = [0, 1].map(|t| sdot_lane::<0>(self, result[t], quads[0][t], input));
        result = [0, 1].map(|t| sdot_lane::<1>(self, result[t], quads[1][t], input));
        result = [0, 1].map(|t| sdot_lane::<2>(self, result[t], quads[2][t], input));
        [0, 1].map(|t| sdot_lane::<3>(self, result[t], quads[3][t], input))
    }

    #[inline(always)]
    fn add_batch(self, weights: &Weights, batch: &mut Batch<'_>) -> bool {
        if weights.one_scale {
            sdot_smmla::sdot_scaled(self, &weights.quads, widen(weights.scales[0]), batch);
        } else {
            let [differences, scales] = weights.differences();
            sdot_smmla::sdot_groups(self, &weights.quads, differences, scales, batch);
        }
        true
    }
}

impl Dot for Smmla {
    const BATCH: usize = Sdot::BATCH;

    type Attention = Sdot;
    #[inline(always)]
    fn attention(self) -> Sdot {
        self.0
    }

    #[inline(always)]
    fn nibble_groups(self, of: OneTile<'_>) -> [Total; 2] {
        self.0.nibble_groups(of)
    }
    #[inline(always)]
    fn nibble_blocks(self, of: OneTile<'_>, starts: Starts) -> [Total; 2] {
        self.0.nibble_blocks(of, starts)
    }
    #[inline(always)]
    fn bytes(self, of: OneTile<'_>) -> [Total; 2] {
        self.0.bytes(of)
    }
    #[inline(always)]
    unsafe fn nibble_sums(self, quads: &[Quads; 2], input: *const i8, start: i32) -> Sums {
        // SAFETY: by this function's contract.
        unsafe { self.0.nibble_sums(quads, input, start) }
    }

    #[inline(always)]
    fn nibble_row(self, nibbles: [int8x16_t; 2], input: &[i8; BLOCK]) -> int32x4_t {
        self.0.nibble_row(nibbles, input)
    }
    #[inline(always)]
    unsafe fn byte_sums(self, sums: Sums, quads: &Quads, input: *const i8) -> Sums {
        // SAFETY: by this function's contract.
        unsafe { self.0.byte_sums(sums, quads, input) }
    }

    #[inline(always)]
    fn add_batch(self, weights: &Weights, batch: &mut Batch<'_>) -> bool {
        if weights.one_scale {
            sdot_smmla::smmla_scaled(self, &weights.quads, widen(weights.scales[0]), batch);
        } else {
            let [differences, scales] = weights.differences();
            sdot_smmla::smmla_groups(self, &weights.quads, differences, scales, batch);
        }
        true
    }
    /// In each register are two rows of the first token and of the second, by turns.
    #[inline(always)]
    fn by_token([low, high]: [Total; 2]) -> [Total; 2] {
        [
            [low, high].map(|rows| vuzp1q_f32(rows[0], rows[1])),
            [low, high].map(|rows| vuzp2q_f32(rows[0], rows[1])),
        ]
    }
}
