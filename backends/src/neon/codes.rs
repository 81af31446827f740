//! How codes become weights, and what these give when they multiply 32 activations of a token: for
//! 8 rows at a time, half a tile.

use super::dot::{Dot, Quads, Raised, Sums, Total};
use super::registers::*;
use core::arch::aarch64::{vld1_s8, vld1q_s8};
use kinglet_core::kernels::START_GROUP;
use kinglet_quant::Tile;
use kinglet_quant::format::{ALIGN, BLOCK, TILE_ROWS};

/// Rows that are computed together.
pub(super) const LANES: usize = 8;
/// Quads of 16 columns.
const QUADS: usize = START_GROUP / 4;
/// 8 rows of 32 columns.
#[derive(Clone, Copy)]
pub(super) struct HalfBlock<'a> {
    pub tile: &'a Tile<'a>,
    /// Which 32 columns.
    pub block: usize,
    /// Their codes, of all 16 rows.
    pub bytes: &'a [u8],
    /// Which 8 rows.
    pub half: usize,
    /// Their scales: in the first group from the first byte, in the second one, where a group has
    /// 16 columns, from the 17th.
    pub group_scales: &'a [i8],
}

/// 32 columns of one token.
#[derive(Clone, Copy)]
pub(super) struct OneInput<'a> {
    pub codes: *const i8,
    pub scale: f32,
    pub starts: &'a [i32; 2],
}

/// How codes become weights, and how these multiply 32 activations.
///
/// Each product takes `starts` of two groups of 16 columns, which codes that are not raised need
/// not look at, and the scales of two groups, the same where a group has 32 columns.
pub(super) trait Codes: Copy {
    /// Bytes of a block: 16 rows × 32 columns.
    const BYTES: usize;
    /// Columns of a scale group.
    const GROUP: usize;
    /// Scales of 8 rows, ready to multiply sums of several tokens.
    type Scales: Copy;

    /// Weights to be multiplied with several tokens, the first and the last 16 columns.
    fn quads(self, of: HalfBlock<'_>) -> [Quads; 2];

    /// Scales to be multiplied with the sums of several tokens.
    fn scales(self, group_scales: &[i8]) -> Self::Scales;

    /// `Σ scale · weight · input`.
    ///
    /// # Safety
    /// `input` has 32 codes.
    unsafe fn scaled_sums(
        self,
        quads: &[Quads; 2],
        input: *const i8,
        starts: [i32; 2],
        scales: Self::Scales,
    ) -> Sums;

    /// Adds `scale · Σ group scale · weight · input` to the total of one token alone.
    ///
    /// # Safety
    /// `inputs` has 32 codes.
    #[inline(always)]
    unsafe fn add_single(self, total: &mut Total, of: HalfBlock<'_>, x: OneInput<'_>) {
        let scales = self.scales(of.group_scales);
        // SAFETY: by this function's contract.
        let sums = unsafe { self.scaled_sums(&self.quads(of), x.codes, *x.starts, scales) };
        add_scaled(total, sums, x.scale);
    }
}

/// Signed bytes.
#[derive(Clone, Copy)]
pub(super) struct Bytes<D>(pub D);

/// Nibbles that stand for −8 to 7.
#[derive(Clone, Copy)]
pub(super) struct Linear<D, const GROUP: usize>(pub D);

/// Nibbles that stand for entries of a table.
#[derive(Clone, Copy)]
pub(super) struct Table<D, const GROUP: usize>(pub D, pub int8x16_t);

impl<D: Dot> Codes for Bytes<D> {
    const BYTES: usize = TILE_ROWS * BLOCK;
    const GROUP: usize = 32;
    type Scales = Sums;

    #[inline(always)]
    fn quads(self, of: HalfBlock<'_>) -> [Quads; 2] {
        [0, QUADS * ALIGN].map(|first| quads(lines(&of.bytes[first..], of.half)))
    }

    #[inline(always)]
    fn scales(self, group_scales: &[i8]) -> Sums {
        widen(eight(group_scales))
    }

    #[inline(always)]
    unsafe fn scaled_sums(
        self,
        quads: &[Quads; 2],
        input: *const i8,
        _starts: [i32; 2],
        scales: Sums,
    ) -> Sums {
        // SAFETY: by this function's contract.
        let sums = unsafe {
            let sums = self.0.byte_sums([vdupq_n_s32(0); 2], &quads[0], input);
            self.0.byte_sums(sums, &quads[1], input.add(START_GROUP))
        };
        scaled(sums, scales)
    }
}

impl<D: Dot> Codes for Linear<D, 32> {
    const BYTES: usize = TILE_ROWS * BLOCK / 2;
    const GROUP: usize = 32;
    type Scales = Sums;

    #[inline(always)]
    fn quads(self, of: HalfBlock<'_>) -> [Quads; 2] {
        lowered(nibbles(lines(of.bytes, of.half)))
    }

    #[inline(always)]
    fn scales(self, group_scales: &[i8]) -> Sums {
        widen(eight(group_scales))
    }

    #[inline(always)]
    unsafe fn scaled_sums(
        self,
        quads: &[Quads; 2],
        input: *const i8,
        _starts: [i32; 2],
        scales: Sums,
    ) -> Sums {
        // SAFETY: by this function's contract.
        scaled(unsafe { self.0.nibble_sums(quads, input, 0) }, scales)
    }

    #[inline(always)]
    unsafe fn add_single(self, total: &mut Total, of: HalfBlock<'_>, x: OneInput<'_>) {
        let start = x.starts[0] + x.starts[1];
        // SAFETY: by this function's contract.
        *total = unsafe { self.0.add_block(*total, raised(of, x), start) };
    }
}

impl<D: Dot> Codes for Linear<D, 16> {
    const BYTES: usize = TILE_ROWS * BLOCK / 2;
    const GROUP: usize = 16;
    type Scales = D::Scales;

    #[inline(always)]
    fn quads(self, of: HalfBlock<'_>) -> [Quads; 2] {
        lowered(nibbles(lines(of.bytes, of.half)))
    }

    #[inline(always)]
    fn scales(self, group_scales: &[i8]) -> D::Scales {
        self.0.scales(eight(group_scales), eight(&group_scales[TILE_ROWS..]))
    }

    #[inline(always)]
    unsafe fn scaled_sums(
        self,
        quads: &[Quads; 2],
        input: *const i8,
        _starts: [i32; 2],
        scales: D::Scales,
    ) -> Sums {
        // SAFETY: by this function's contract.
        unsafe { self.0.scaled_nibbles(quads, input, scales) }
    }

    #[inline(always)]
    unsafe fn add_single(self, total: &mut Total, of: HalfBlock<'_>, x: OneInput<'_>) {
        // SAFETY: by this function's contract.
        *total = unsafe { self.0.add_groups(*total, raised(of, x), *x.starts) };
    }
}

impl<D: Dot, const GROUP: usize> Codes for Table<D, GROUP> {
    const BYTES: usize = TILE_ROWS * BLOCK / 2;
    const GROUP: usize = GROUP;
    type Scales = [Sums; 2];

    #[inline(always)]
    fn quads(self, of: HalfBlock<'_>) -> [Quads; 2] {
        let entry = |codes| vqtbl1q_s8(self.1, vreinterpretq_u8_s8(codes));
        nibbles(lines(of.bytes, of.half)).map(|quads| quads.map(|quad| quad.map(entry)))
    }

    #[inline(always)]
    fn scales(self, group_scales: &[i8]) -> [Sums; 2] {
        [0, (GROUP % BLOCK).min(TILE_ROWS)].map(|first| widen(eight(&group_scales[first..])))
    }

    #[inline(always)]
    unsafe fn scaled_sums(
        self,
        quads: &[Quads; 2],
        input: *const i8,
        _starts: [i32; 2],
        scales: [Sums; 2],
    ) -> Sums {
        // SAFETY: by this function's contract.
        let groups = unsafe {
            let low = self.0.byte_sums([vdupq_n_s32(0); 2], &quads[0], input);
            let input = input.add(START_GROUP);
            [low, self.0.byte_sums([vdupq_n_s32(0); 2], &quads[1], input)]
        };
        let low = scaled(groups[0], scales[0]);
        [0, 1].map(|t| vmlaq_s32(low[t], groups[1][t], scales[1][t]))
    }
}

/// One token's product with nibbles that are raised.
#[inline(always)]
pub(super) fn raised<'a>(of: HalfBlock<'a>, x: OneInput<'_>) -> Raised<'a> {
    let bytes = lines(of.bytes, of.half);
    Raised { bytes, group_scales: of.group_scales, input: x.codes, scale: x.scale }
}

/// The first 8 scales.
#[inline(always)]
pub(super) fn eight(scales: &[i8]) -> int8x8_t {
    let scales = &scales[..LANES];
    // SAFETY: there are 8 scales.
    unsafe { vld1_s8(scales.as_ptr()) }
}

/// `sums · scales`.
#[inline(always)]
pub(super) fn scaled(sums: Sums, scales: Sums) -> Sums {
    [0, 1].map(|t| vmulq_s32(sums[t], scales[t]))
}

/// 8 scales as 32-bit integers.
#[inline(always)]
pub(super) fn widen(scales: int8x8_t) -> Sums {
    let scales = vmovl_s8(scales);
    [vmovl_s16(vget_low_s16(scales)), vmovl_high_s16(scales)]
}

/// The bytes of 8 rows in 4 lines: the first 32 of each.
pub(super) type Lines = [u8; (QUADS - 1) * ALIGN + ALIGN / 2];

/// The bytes of one half of the rows in the first 4 lines of a block.
#[inline(always)]
pub(super) fn lines(bytes: &[u8], half: usize) -> &Lines {
    let (lines, _) = bytes[half * ALIGN / 2..].split_first_chunk().expect("a block has 4 lines");
    lines
}

/// The bytes of 8 rows, in registers.
#[inline(always)]
fn quads(lines: &Lines) -> Quads {
    let mut quads = [[vdupq_n_s8(0); 2]; QUADS];
    for (j, line) in quads.iter_mut().enumerate() {
        for (t, quad) in line.iter_mut().enumerate() {
            let bytes = &lines[j * ALIGN + 16 * t..][..16];
            // SAFETY: there are 16 bytes.
            *quad = unsafe { vld1q_s8(bytes.as_ptr().cast()) };
        }
    }
    quads
}

/// The low and the high nibbles of 8 rows.
#[inline(always)]
pub(super) fn nibbles(lines: &Lines) -> [Quads; 2] {
    halves(quads(lines))
}

/// The low and the high nibbles.
#[inline(always)]
pub(super) fn halves(bytes: Quads) -> [Quads; 2] {
    let low = |w| vandq_s8(w, vdupq_n_s8(15));
    let high = |w| vreinterpretq_s8_u8(vshrq_n_u8::<4>(vreinterpretq_u8_s8(w)));
    [bytes.map(|quad| quad.map(low)), bytes.map(|quad| quad.map(high))]
}

/// Nibbles of 0 to 15 as the −8 to 7 that they stand for.
#[inline(always)]
fn lowered(nibbles: [Quads; 2]) -> [Quads; 2] {
    nibbles.map(|quads| quads.map(|quad| quad.map(|w| vsubq_s8(w, vdupq_n_s8(8)))))
}

/// `total += scale · sums`.
#[inline(always)]
pub(super) fn add_scaled(total: &mut Total, sums: Sums, scale: f32) {
    for (total, sum) in total.iter_mut().zip(sums) {
        *total = vfmaq_n_f32(*total, vcvtq_f32_s32(sum), scale);
    }
}
