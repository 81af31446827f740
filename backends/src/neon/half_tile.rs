//! 8 rows of a tile, which kernels for ARM compute together: their weights, scales and sums.

use super::intrinsics::*;
use core::arch::aarch64::vld1_s8;
use kinglet_core::Activations;
use kinglet_core::kernels::START_GROUP;
use kinglet_core::screen::{CENTRE, high_start};
use kinglet_quant::format::{ALIGN, BLOCK, TILE_ROWS};
use kinglet_quant::tile::STRIP_SCALES;
use kinglet_quant::{Strip, Tile};

/// Rows that are computed together.
pub(super) const LANES: usize = 8;
/// All columns of one token.
#[derive(Clone, Copy)]
pub struct OneToken<'a> {
    pub codes: &'a [i8],
    pub scales: &'a [f32],
    pub starts: &'a [i32],
}

impl<'a> OneToken<'a> {
    pub(super) fn new(x: &Activations<'a>, token: usize) -> Self {
        let x = x.quantized_token(token);
        Self { codes: x.codes, scales: x.scales, starts: x.starts }
    }
}

/// All columns of a tile, and one token.
#[derive(Clone, Copy)]
pub struct OneTile<'a> {
    pub tile: &'a Tile<'a>,
    pub x: OneToken<'a>,
}

impl OneTile<'_> {
    /// Asserts that everything is there for blocks of so many bytes, so many in a strip.
    #[inline(always)]
    pub(super) fn check(&self, block_bytes: usize, strip_blocks: usize) {
        let (bytes, blocks) = (self.tile.strip_bytes().len(), self.x.scales.len());
        let strips = blocks.div_ceil(strip_blocks);
        assert!(blocks > 0 && bytes == strips * STRIP_SCALES + blocks * block_bytes);
        assert!(self.x.codes.len() == blocks * BLOCK);
        assert!(self.x.starts.len() == self.x.codes.len() / START_GROUP);
    }
}

/// What the starts of a block of nibbles, which the activations say for weights of −8 to 7, become.
#[derive(Clone, Copy, Debug)]
pub enum Starts {
    /// They are as they are.
    Plain,
    /// Those of a high plane.
    High,
}

impl Starts {
    /// Where the sum over a block starts.
    #[inline(always)]
    pub(super) fn of_block(self, [first, second]: [i32; 2]) -> i32 {
        match self {
            Self::Plain => first + second,
            Self::High => high_start(first) + high_start(second),
        }
    }

    /// The factor that makes of each start its part of the block's, negated, after rounding at 31
    /// bits, halves up.
    #[inline(always)]
    pub(super) fn factor(self) -> i32 {
        match self {
            Self::Plain => i32::MIN,
            // `high_start` of `−8·Σ a` is −CENTRE/32 of `Σ a`.
            Self::High => -CENTRE << (31 - 8),
        }
    }
}

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

impl<'a> HalfBlock<'a> {
    /// These rows beside one token.
    #[inline(always)]
    pub fn with<const N: usize>(self, x: OneInput<'_>) -> OneHalf<'a, [u8; N]> {
        let (bytes, _) =
            self.bytes[self.half * ALIGN / 2..].split_first_chunk().expect("a block has its lines");
        OneHalf { bytes, group_scales: self.group_scales, input: x.codes, scale: x.scale }
    }
}

/// 32 columns of one token.
#[derive(Clone, Copy)]
pub(super) struct OneInput<'a> {
    pub codes: *const i8,
    pub scale: f32,
    /// Of two groups of 16 columns; codes that are not raised need not look at them.
    pub starts: &'a [i32; 2],
}

/// The bytes of 8 rows in 4 lines, the first 32 of each: nibbles from 0 to 15, those of the first
/// 16 columns low.
pub(super) type NibbleLines = [u8; 3 * ALIGN + ALIGN / 2];
/// The same in 8 lines: signed bytes.
pub(super) type ByteLines = [u8; 7 * ALIGN + ALIGN / 2];

/// 16 columns of 8 rows: `[j][t]` holds columns `4j..4j + 4` of rows `4t..4t + 4`, 4 bytes a row.
pub(super) type Quads = [[int8x16_t; 2]; 4];
/// Sums of 8 rows.
pub(super) type Sums = [int32x4_t; 2];

/// Sums of 8 rows in units of the weights.
pub(super) type Total = [float32x4_t; 2];

/// 8 rows of 32 columns in lines of 16 rows, and one token's activations.
#[derive(Clone, Copy)]
pub struct OneHalf<'a, L> {
    /// From the first byte of the 8 rows to the last.
    pub bytes: &'a L,
    /// Of 8 rows: those of the first group from the first byte, those of the second from the 17th.
    pub group_scales: &'a [i8],
    pub input: *const i8,
    pub scale: f32,
}

/// 8 rows of 32 columns, unpacked to be multiplied with many tokens.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// The first and the last 16 columns.
    pub quads: [Quads; 2],
    /// Largest magnitude that the format allows.
    pub reach: u8,
    /// Scales of the two groups.
    pub scales: [int8x8_t; 2],
    /// Whether the groups are one, whose scales are there twice.
    pub one_scale: bool,
}

impl Weights {
    /// How much the scales of the first group exceed those of the second, and these.
    #[inline(always)]
    pub fn differences(&self) -> [Sums; 2] {
        let [low, high] = self.scales.map(widen);
        [[0, 1].map(|t| vsubq_s32(low[t], high[t])), high]
    }
}

/// What [`HalfBlock::group_scales`] are in block `b` of a strip with groups of `group` columns.
#[inline(always)]
pub(super) fn strip_scales(strip: Strip<'_>, b: usize, half: usize, group: usize) -> &[i8] {
    let groups = BLOCK / group;
    &strip.scales()[b * groups * TILE_ROWS + half * LANES..][..(groups - 1) * TILE_ROWS + LANES]
}

/// Blocks of a whole strip with groups of `group` columns.
pub(super) const fn strip_blocks(group: usize) -> usize {
    STRIP_SCALES / TILE_ROWS * group / BLOCK
}

/// The scales of 8 rows in the two groups of a block, the same twice where it is one group.
#[inline(always)]
pub(super) fn group_scales<const GROUP: usize>(of: HalfBlock<'_>) -> [int8x8_t; 2] {
    [0, BLOCK / GROUP / 2 * TILE_ROWS].map(|first| eight(&of.group_scales[first..]))
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

/// `total += scale · sums`.
#[inline(always)]
pub(super) fn add_scaled(total: &mut Total, sums: Sums, scale: f32) {
    for (total, sum) in total.iter_mut().zip(sums) {
        *total = vfmaq_n_f32(*total, vcvtq_f32_s32(sum), scale);
    }
}
