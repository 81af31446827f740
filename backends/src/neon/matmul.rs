//! Products of quantized weights, 8 rows at a time: half a tile.
//!
//! All integers are exact, and there is one `fma` per 32 columns, so that a result does not depend
//! on the tokens beside it, nor on whether nibbles are multiplied raised or not.

use super::Neon;
use super::dot::{Dot, Quads, Raised, Sums, Total};
use super::registers::*;
use crate::prefetch::{SLOW_TOKENS, fetch_behind};
use core::arch::aarch64::{vld1_s8, vld1q_f32, vld1q_s8, vst1q_f32};
use core::ops::Range;
use kinglet_core::Activations;
use kinglet_core::arena::Columns;
use kinglet_core::kernels::{Output, START_GROUP};
use kinglet_quant::format::{ALIGN, BLOCK, TILE_ROWS};
use kinglet_quant::tile::STRIP_SCALES;
use kinglet_quant::{Matrix, Strip, Tile, Type};

/// Rows that are computed together.
pub(super) const LANES: usize = 8;
/// Quads of 16 columns.
const QUADS: usize = START_GROUP / 4;
/// Tokens that share one unpacking of weights; their sums live in memory.
const TOKENS: usize = 64;

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
struct Bytes<D>(D);

/// Nibbles that stand for −8 to 7.
#[derive(Clone, Copy)]
struct Linear<D, const GROUP: usize>(D);

/// Nibbles that stand for entries of a table.
#[derive(Clone, Copy)]
struct Table<D, const GROUP: usize>(D, int8x16_t);

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

/// `out (+)= w · x` for the rows of `tiles`; the caller has checked that shapes fit together.
pub(super) fn product<D: Dot>(
    cpu: Neon<D>,
    w: &Matrix<'_>,
    tiles: Range<usize>,
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    let dot = cpu.0;
    match (w.kind(), w.is_linear(), w.group()) {
        (Type::Q8, ..) => all_tiles(Bytes(dot), w, tiles, x, out, output),
        (_, true, 16) => all_tiles(Linear::<_, 16>(dot), w, tiles, x, out, output),
        (_, true, _) => all_tiles(Linear::<_, 32>(dot), w, tiles, x, out, output),
        (_, _, 16) => all_tiles(Table::<_, 16>(dot, table(w)), w, tiles, x, out, output),
        _ => all_tiles(Table::<_, 32>(dot, table(w)), w, tiles, x, out, output),
    }
}

/// The table that nibbles stand for entries of.
#[inline(always)]
fn table(w: &Matrix<'_>) -> int8x16_t {
    // SAFETY: the table has 16 bytes.
    unsafe { vld1q_s8(w.table().as_ptr()) }
}

fn all_tiles<C: Codes>(
    codes: C,
    w: &Matrix<'_>,
    tiles: Range<usize>,
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    for (t, tile) in tiles.enumerate() {
        let tile = w.tile(tile);
        let mut out = out.narrow(t * TILE_ROWS..(t + 1) * TILE_ROWS);
        one_tile(codes, &tile, x, 1.0, &mut out, output);
    }
}

/// The product of a tile with all tokens, times `step`.
#[inline(always)]
pub(super) fn one_tile<C: Codes>(
    codes: C,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    step: f32,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    if x.tokens == 1 {
        let total = single(codes, tile, x, 0);
        store(&[total], tile, 0, step, out, output);
    } else {
        for first in (0..x.tokens).step_by(TOKENS) {
            let mut totals = [[[vdupq_n_f32(0.0); 2]; 2]; TOKENS];
            let totals = &mut totals[..TOKENS.min(x.tokens - first)];
            several(codes, tile, x, first, totals);
            store(totals, tile, first, step, out, output);
        }
    }
}

/// The products of a tile with one token, not yet scaled by row.
#[inline(always)]
pub(super) fn single<C: Codes>(
    codes: C,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    token: usize,
) -> [Total; 2] {
    let (strip, blocks) = (strip_blocks::<C>(), x.cols / BLOCK);
    let codes_in = &x.codes[token * x.cols..][..x.cols];
    let scales = &x.scales[token * blocks..][..blocks];
    let starts = &x.starts[token * 2 * blocks..][..2 * blocks];
    let mut totals = [[vdupq_n_f32(0.0); 2]; 2];
    let whole = codes_in.chunks_exact(strip * BLOCK).zip(scales.chunks_exact(strip));
    let whole = whole.zip(starts.chunks_exact(2 * strip)).zip(tile.whole_strips());
    for (index, (((codes_in, scales), starts), bytes)) in whole.enumerate() {
        let inputs = Inputs { codes: codes_in, scales, starts };
        add_strip(codes, tile, bytes, index * strip, inputs, &mut totals);
    }
    if let Some(bytes) = tile.cut_strip() {
        let first = blocks / strip * strip;
        let (codes_in, scales) = (&codes_in[first * BLOCK..], &scales[first..]);
        let inputs = Inputs { codes: codes_in, scales, starts: &starts[2 * first..] };
        add_strip(codes, tile, bytes, first, inputs, &mut totals);
    }
    totals
}

/// One token's activations beside a strip.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    codes: &'a [i8],
    scales: &'a [f32],
    starts: &'a [i32],
}

/// Blocks of a whole strip.
const fn strip_blocks<C: Codes>() -> usize {
    STRIP_SCALES / TILE_ROWS * C::GROUP / BLOCK
}

/// Adds the products of a strip, whose first block is `first`, with one token to `totals`.
#[inline(always)]
fn add_strip<C: Codes>(
    codes: C,
    tile: &Tile<'_>,
    strip: Strip<'_>,
    first: usize,
    inputs: Inputs<'_>,
    totals: &mut [Total; 2],
) {
    let blocks = inputs.scales.len();
    assert!(strip.codes().len() == blocks * C::BYTES);
    // In pairs, for what going round the loop costs.
    for pair in 0..blocks / 2 {
        add_block(codes, tile, strip, first, 2 * pair, inputs, totals);
        add_block(codes, tile, strip, first, 2 * pair + 1, inputs, totals);
    }
    if blocks % 2 == 1 {
        add_block(codes, tile, strip, first, blocks - 1, inputs, totals);
    }
}

/// Adds the products of block `b` of a strip.
#[inline(always)]
fn add_block<C: Codes>(
    codes: C,
    tile: &Tile<'_>,
    strip: Strip<'_>,
    first: usize,
    b: usize,
    inputs: Inputs<'_>,
    totals: &mut [Total; 2],
) {
    let bytes = &strip.codes()[b * C::BYTES..][..C::BYTES];
    let x = OneInput {
        codes: inputs.codes[b * BLOCK..][..BLOCK].as_ptr(),
        scale: inputs.scales[b],
        starts: inputs.starts[2 * b..].first_chunk().expect("a block has two starts"),
    };
    for (half, total) in totals.iter_mut().enumerate() {
        let group_scales = group_scales::<C>(strip, b, half);
        let of = HalfBlock { tile, block: first + b, bytes, half, group_scales };
        // SAFETY: there are 32 codes.
        unsafe { codes.add_single(total, of, x) };
    }
}

/// What [`HalfBlock::group_scales`] are in block `b` of a strip.
#[inline(always)]
fn group_scales<'a, C: Codes>(strip: Strip<'a>, b: usize, half: usize) -> &'a [i8] {
    let groups = BLOCK / C::GROUP;
    &strip.scales()[b * groups * TILE_ROWS + half * LANES..][..(groups - 1) * TILE_ROWS + LANES]
}

/// Adds the products of a tile with the tokens from `first` on, not yet scaled by row, to `totals`,
/// two halves for each token.
#[inline(always)]
fn several<C: Codes>(
    codes: C,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    first: usize,
    totals: &mut [[Total; 2]],
) {
    let (tokens, blocks) = (totals.len(), x.cols / BLOCK);
    let inputs = &x.codes[first * x.cols..][..tokens * x.cols];
    let scales = &x.scales[first * blocks..][..tokens * blocks];
    let starts = &x.starts[first * 2 * blocks..][..tokens * 2 * blocks];
    for (index, strip) in tile.strips().enumerate() {
        if tokens >= SLOW_TOKENS {
            fetch_behind(strip.bytes());
        }
        for (b, bytes) in strip.codes().chunks_exact(C::BYTES).enumerate() {
            let block = index * strip_blocks::<C>() + b;
            assert!(block < blocks, "more blocks than the inputs have");
            for half in 0..2 {
                let group_scales = group_scales::<C>(strip, b, half);
                let quads = codes.quads(HalfBlock { tile, block, bytes, half, group_scales });
                let group_scales = codes.scales(group_scales);
                for (token, total) in totals.iter_mut().enumerate() {
                    let index = token * blocks + block;
                    // SAFETY: `block` is below `blocks` and `token` below `tokens`, and the slices
                    // of activations have 32 codes, one scale and two starts for each of both.
                    unsafe {
                        let input = inputs.as_ptr().add(index * BLOCK);
                        let starts = *starts.as_ptr().add(2 * index).cast::<[i32; 2]>();
                        let sums = codes.scaled_sums(&quads, input, starts, group_scales);
                        add_scaled(&mut total[half], sums, *scales.as_ptr().add(index));
                    }
                }
            }
        }
    }
}

/// `total += scale · sums`.
#[inline(always)]
fn add_scaled(total: &mut Total, sums: Sums, scale: f32) {
    for (total, sum) in total.iter_mut().zip(sums) {
        *total = vfmaq_n_f32(*total, vcvtq_f32_s32(sum), scale);
    }
}

/// Multiplies the totals by `step` and the scales of their rows, and writes them.
#[inline(always)]
fn store(
    totals: &[[Total; 2]],
    tile: &Tile<'_>,
    first: usize,
    step: f32,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    for (token, total) in totals.iter().enumerate() {
        let rows = out.row(first + token).chunks_exact_mut(4);
        let quarters = tile.row_scales().chunks_exact(4).zip(rows);
        for (total, (row_scales, row)) in total.iter().flatten().zip(quarters) {
            // SAFETY: `row_scales` and `row` have 4 elements.
            unsafe {
                let mut result = vmulq_n_f32(*total, step);
                result = vmulq_f32(result, vld1q_f32(row_scales.as_ptr()));
                if output == Output::Add {
                    result = vaddq_f32(result, vld1q_f32(row.as_ptr()));
                }
                vst1q_f32(row.as_mut_ptr(), result);
            }
        }
    }
}
