//! Ways of multiplying 8 rows of weights with activations, 4 columns at a time.

use super::codes::Lines;
use super::raised;
use super::registers::*;
use core::arch::aarch64::vld1q_s8;
use core::arch::asm;

/// 16 columns of 8 rows: `[j][t]` holds columns `4j..4j + 4` of rows `4t..4t + 4`, 4 bytes a row.
pub(super) type Quads = [[int8x16_t; 2]; 4];
/// Sums of 8 rows.
pub(super) type Sums = [int32x4_t; 2];

/// Sums of 8 rows in units of the weights.
pub(super) type Total = [float32x4_t; 2];

/// 8 rows of 32 columns whose weights are nibbles from 0 to 15, and one token's activations.
#[derive(Clone, Copy)]
pub struct Raised<'a> {
    /// The first 16 columns lie in the low nibbles.
    pub bytes: &'a Lines,
    /// Of 8 rows: those of the first group from the first byte, those of the second from the 17th.
    pub group_scales: &'a [i8],
    pub input: *const i8,
    pub scale: f32,
}

/// A way of multiplying bytes. A value of the type proves that the CPU has the instructions.
///
/// Nibbles are weights of −8 to 7, or these raised to 0 to 15 with sums that start lower by as much
/// as that adds. With its start, a sum over 32 columns is within 16 bits.
pub trait Dot: Copy + Send + Sync + core::fmt::Debug {
    /// The scales of two groups, ready to multiply sums of several tokens.
    type Scales: Copy;

    /// The scales of two groups of 16 columns, 8 rows each.
    fn scales(self, low: int8x8_t, high: int8x8_t) -> Self::Scales;

    /// `Σ scale · w·a` over 32 columns of nibbles from −8 to 7, in two groups.
    ///
    /// # Safety
    /// `input` has 32 codes.
    unsafe fn scaled_nibbles(
        self,
        quads: &[Quads; 2],
        input: *const i8,
        scales: Self::Scales,
    ) -> Sums;

    /// `total + scale · Σ group scale · w·a` over 32 columns of the nibbles from 0 to 15 of 8 rows,
    /// in two groups.
    ///
    /// # Safety
    /// `of.input` has 32 codes.
    unsafe fn add_groups(self, total: Total, of: Raised<'_>, starts: [i32; 2]) -> Total;

    /// The same when both groups have the first group's scale; `start` is that of their sum.
    ///
    /// # Safety
    /// `of.input` has 32 codes.
    unsafe fn add_block(self, total: Total, of: Raised<'_>, start: i32) -> Total;

    /// `start + Σ w·a` over 32 columns of nibbles.
    ///
    /// # Safety
    /// `input` has 32 codes.
    unsafe fn nibble_sums(self, quads: &[Quads; 2], input: *const i8, start: i32) -> Sums;

    /// `sums + Σ w·a` over 16 columns of bytes.
    ///
    /// # Safety
    /// `input` has 16 codes.
    unsafe fn byte_sums(self, sums: Sums, quads: &Quads, input: *const i8) -> Sums;
}

/// `smull` and `smlal`, which every 64-bit ARM has: products in 16 bits, pairs added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widening;

impl Dot for Widening {
    type Scales = [int16x8_t; 2];

    #[inline(always)]
    fn scales(self, low: int8x8_t, high: int8x8_t) -> [int16x8_t; 2] {
        [vmovl_s8(low), vmovl_s8(high)]
    }

    #[inline(always)]
    unsafe fn scaled_nibbles(
        self,
        quads: &[Quads; 2],
        input: *const i8,
        scales: [int16x8_t; 2],
    ) -> Sums {
        // SAFETY: by this function's contract.
        let groups = unsafe { nibble_groups(quads, input) };
        weighted(groups, scales)
    }

    #[inline(always)]
    unsafe fn add_groups(self, total: Total, of: Raised<'_>, starts: [i32; 2]) -> Total {
        // SAFETY: by this function's contract.
        unsafe { raised::widening_groups(total, of, starts) }
    }

    #[inline(always)]
    unsafe fn add_block(self, total: Total, of: Raised<'_>, start: i32) -> Total {
        // SAFETY: by this function's contract.
        unsafe { raised::widening_block(total, of, start) }
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
}

/// The sums over each half of 32 columns of nibbles.
///
/// # Safety
/// `input` has 32 codes.
#[inline(always)]
unsafe fn nibble_groups(quads: &[Quads; 2], input: *const i8) -> [int16x8_t; 2] {
    let mut groups = [vdupq_n_s16(0); 2];
    for (g, group) in groups.iter_mut().enumerate() {
        let pairs = [0, 1].map(|t| {
            let column = quads[g].map(|quads| quads[t]);
            // SAFETY: by this function's contract.
            let (first, second) = unsafe { chain(column, input.add(16 * g)) };
            vpaddq_s16(first, second)
        });
        *group = vpaddq_s16(pairs[0], pairs[1]);
    }
    groups
}

/// `Σ scale · sum` of two groups.
#[inline(always)]
fn weighted(sums: [int16x8_t; 2], scales: [int16x8_t; 2]) -> Sums {
    [
        vmlal_s16(
            vmull_s16(vget_low_s16(sums[0]), vget_low_s16(scales[0])),
            vget_low_s16(sums[1]),
            vget_low_s16(scales[1]),
        ),
        vmlal_high_s16(vmull_high_s16(sums[0], scales[0]), sums[1], scales[1]),
    ]
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

/// `sdot`: 4 products added up in 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sdot(pub(super) ());

impl Dot for Sdot {
    /// How much the scales of the first group exceed those of the second, and these. Sums then need
    /// not start anew for the second group: `a·s + b·t = a·(s − t) + (a + b)·t`.
    type Scales = [Sums; 2];

    #[inline(always)]
    fn scales(self, low: int8x8_t, high: int8x8_t) -> [Sums; 2] {
        let widen = |x| [vmovl_s16(vget_low_s16(x)), vmovl_high_s16(x)];
        [widen(vsubl_s8(low, high)), widen(vmovl_s8(high))]
    }

    #[inline(always)]
    unsafe fn scaled_nibbles(
        self,
        quads: &[Quads; 2],
        input: *const i8,
        scales: [Sums; 2],
    ) -> Sums {
        // SAFETY: by this function's contract.
        let (first, both) = unsafe {
            let first = self.byte_sums([vdupq_n_s32(0); 2], &quads[0], input);
            (first, self.byte_sums(first, &quads[1], input.add(16)))
        };
        let scaled = [0, 1].map(|t| vmulq_s32(first[t], scales[0][t]));
        [0, 1].map(|t| vmlaq_s32(scaled[t], both[t], scales[1][t]))
    }

    #[inline(always)]
    unsafe fn add_groups(self, total: Total, of: Raised<'_>, starts: [i32; 2]) -> Total {
        // SAFETY: by this function's contract.
        unsafe { raised::sdot_groups(self, total, of, starts) }
    }

    #[inline(always)]
    unsafe fn add_block(self, total: Total, of: Raised<'_>, start: i32) -> Total {
        // SAFETY: by this function's contract.
        unsafe { raised::sdot_block(self, total, of, start) }
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
    unsafe fn byte_sums(self, sums: Sums, quads: &Quads, input: *const i8) -> Sums {
        // SAFETY: by this function's contract.
        let input = unsafe { vld1q_s8(input) };
        let mut result = sums;
        result = [0, 1].map(|t| sdot::<0>(self, result[t], quads[0][t], input));
        result = [0, 1].map(|t| sdot::<1>(self, result[t], quads[1][t], input));
        result = [0, 1].map(|t| sdot::<2>(self, result[t], quads[2][t], input));
        [0, 1].map(|t| sdot::<3>(self, result[t], quads[3][t], input))
    }
}

/// `sum + Σ w·a` of the 4 bytes of each lane of `w` with those of lane `LANE` of `a`.
#[inline(always)]
fn sdot<const LANE: usize>(_cpu: Sdot, sum: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
    let mut result = sum;
    // SAFETY: `_cpu` proves that the CPU has the instruction, which touches registers only.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sum:v}.4s, {w:v}.16b, {a:v}.4b[{lane}]",
            sum = inout(vreg) result,
            w = in(vreg) w,
            a = in(vreg) a,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    result
}
