//! Products of quantized weights. A register holds 8 rows × 4 columns; `vpmaddubsw` multiplies them
//! with 4 activations, adding pairs in 16 bits, and `vpmaddwd` with the scale of the group adds the
//! pairs to 32-bit sums.
//!
//! The first factor of `vpmaddubsw` is unsigned. Nibbles that stand for −8 to 7 are multiplied as 0
//! to 15 with sums that start at `−8·Σ a`, 5 bits with twice that; other weights as `|w| · (±a)`.
//! All integers are exact, and there is one `fma` per 32 columns, so a result does not depend on
//! the tokens beside it.

use super::Avx2;
use crate::prefetch::{SLOW_TOKENS, fetch_behind};
use core::arch::x86_64::*;
use core::mem;
use core::ops::Range;
use kinglet_core::Activations;
use kinglet_core::arena::Columns;
use kinglet_core::kernels::{Output, START_GROUP};
use kinglet_quant::format::{ALIGN, BLOCK, Q3_HIGH, Q5_HIGH, TILE_ROWS};
use kinglet_quant::{Matrix, Tile, Type};

/// Rows of a register; a tile has two halves.
pub(super) const LANES: usize = 8;
/// Quads of a [`START_GROUP`].
pub(super) const QUADS: usize = START_GROUP / 4;
/// Tokens that share one unpacking of weights; the sums of more than one live in memory.
const TOKENS: usize = 64;

/// How codes become weights, and how 16 columns of these multiply activations.
trait Codes: Copy {
    /// Bytes of a block: 16 rows × 32 columns.
    const BYTES: usize;

    /// The quads of the first (`high` = 0) or last 16 columns of a block, for the 8 rows whose
    /// bytes start at `half` in each line.
    fn quads(self, block: &[u8], high: usize, half: usize) -> [__m256i; QUADS];

    /// `scale · Σ w·a` of 8 rows: `inputs` repeat 4 activations each, their sum starts at `start`;
    /// `scales` hold each scale twice, in 16 bits.
    fn dot(
        self,
        quads: &[__m256i; QUADS],
        inputs: &[__m256i; QUADS],
        start: i32,
        scales: __m256i,
    ) -> __m256i;
}

/// Signed bytes: the products of one quad, 2·128·127 = 32,512, fill 16 bits.
#[derive(Clone, Copy)]
struct Bytes(Avx2);

/// Unsigned codes that exceed what they stand for by half of their range: with their start, 16-bit
/// sums stay within 16·16·127 = 32,512.
#[derive(Clone, Copy)]
struct Linear<U>(Avx2, U);

/// Codes that stand for entries of a table, repeated in the register: 4·2·32·127 = 32,512.
#[derive(Clone, Copy)]
struct Table<U>(Avx2, U, __m256i);

/// How packed codes become bytes: all that a new type adds.
trait Unpack: Copy {
    /// Bytes of a block: 16 rows × 32 columns.
    const BYTES: usize;
    /// What linear codes exceed their numbers by, in units of what nibbles do.
    const RAISED: i32;

    /// See [`Codes::quads`].
    fn quads(self, cpu: Avx2, block: &[u8], high: usize, half: usize) -> [__m256i; QUADS];
}

/// 4 bits.
#[derive(Clone, Copy)]
struct Nibbles;

/// 4 bits, and a fifth in a line of its own.
#[derive(Clone, Copy)]
struct Fives;

/// 2 bits, and a third in a line of its own.
#[derive(Clone, Copy)]
struct Threes;

impl Unpack for Nibbles {
    const BYTES: usize = TILE_ROWS * BLOCK / 2;
    const RAISED: i32 = 1;

    #[inline(always)]
    fn quads(self, cpu: Avx2, block: &[u8], high: usize, half: usize) -> [__m256i; QUADS] {
        nibbles(cpu, block, high, half)
    }
}

impl Unpack for Fives {
    const BYTES: usize = TILE_ROWS * BLOCK / 8 * 5;
    const RAISED: i32 = 2;

    #[inline(always)]
    fn quads(self, cpu: Avx2, block: &[u8], high: usize, half: usize) -> [__m256i; QUADS] {
        let bits = line(cpu, &block[Q5_HIGH + half..]);
        let mut quads = nibbles(cpu, block, high, half);
        // SAFETY: `cpu` proves the features; registers only.
        unsafe {
            let bits = if high == 0 {
                [
                    _mm256_slli_epi16::<4>(bits),
                    _mm256_slli_epi16::<3>(bits),
                    _mm256_slli_epi16::<2>(bits),
                    _mm256_slli_epi16::<1>(bits),
                ]
            } else {
                [
                    bits,
                    _mm256_srli_epi16::<1>(bits),
                    _mm256_srli_epi16::<2>(bits),
                    _mm256_srli_epi16::<3>(bits),
                ]
            };
            for (quad, bits) in quads.iter_mut().zip(bits) {
                *quad = _mm256_or_si256(*quad, _mm256_and_si256(bits, _mm256_set1_epi8(16)));
            }
        }
        quads
    }
}

impl Unpack for Threes {
    const BYTES: usize = TILE_ROWS * BLOCK / 8 * 3;
    const RAISED: i32 = 0;

    #[inline(always)]
    fn quads(self, cpu: Avx2, block: &[u8], high: usize, half: usize) -> [__m256i; QUADS] {
        let pairs = line(cpu, &block[high * ALIGN + half..]);
        let bits = line(cpu, &block[Q3_HIGH + half..]);
        // SAFETY: `cpu` proves the features; registers only.
        unsafe {
            let pairs = [
                pairs,
                _mm256_srli_epi16::<2>(pairs),
                _mm256_srli_epi16::<4>(pairs),
                _mm256_srli_epi16::<6>(pairs),
            ];
            let bits = if high == 0 {
                [
                    _mm256_slli_epi16::<2>(bits),
                    _mm256_slli_epi16::<1>(bits),
                    bits,
                    _mm256_srli_epi16::<1>(bits),
                ]
            } else {
                [
                    _mm256_srli_epi16::<2>(bits),
                    _mm256_srli_epi16::<3>(bits),
                    _mm256_srli_epi16::<4>(bits),
                    _mm256_srli_epi16::<5>(bits),
                ]
            };
            let mut quads = pairs;
            for (quad, bits) in quads.iter_mut().zip(bits) {
                let low = _mm256_and_si256(*quad, _mm256_set1_epi8(3));
                *quad = _mm256_or_si256(low, _mm256_and_si256(bits, _mm256_set1_epi8(4)));
            }
            quads
        }
    }
}

impl Codes for Bytes {
    const BYTES: usize = TILE_ROWS * BLOCK;

    #[inline(always)]
    fn quads(self, block: &[u8], high: usize, half: usize) -> [__m256i; QUADS] {
        lines(self.0, &block[high * QUADS * ALIGN..], half)
    }

    #[inline(always)]
    fn dot(
        self,
        quads: &[__m256i; QUADS],
        inputs: &[__m256i; QUADS],
        _start: i32,
        scales: __m256i,
    ) -> __m256i {
        // SAFETY: the `Avx2` inside proves the features; registers only.
        unsafe {
            let mut total = _mm256_setzero_si256();
            for (quad, input) in quads.iter().zip(inputs) {
                let pairs = signed_product(self.0, *quad, *input);
                total = _mm256_add_epi32(total, _mm256_madd_epi16(pairs, scales));
            }
            total
        }
    }
}

impl<U: Unpack> Codes for Linear<U> {
    const BYTES: usize = U::BYTES;

    #[inline(always)]
    fn quads(self, block: &[u8], high: usize, half: usize) -> [__m256i; QUADS] {
        self.1.quads(self.0, block, high, half)
    }

    #[inline(always)]
    fn dot(
        self,
        quads: &[__m256i; QUADS],
        inputs: &[__m256i; QUADS],
        start: i32,
        scales: __m256i,
    ) -> __m256i {
        // SAFETY: the `Avx2` inside proves the features; registers only.
        unsafe {
            // The low half of each pair has the start, the high one begins at zero.
            let mut pairs = _mm256_set1_epi32((U::RAISED * start) & 0xffff);
            for (quad, input) in quads.iter().zip(inputs) {
                pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(*quad, *input));
            }
            _mm256_madd_epi16(pairs, scales)
        }
    }
}

impl<U: Unpack> Codes for Table<U> {
    const BYTES: usize = U::BYTES;

    #[inline(always)]
    fn quads(self, block: &[u8], high: usize, half: usize) -> [__m256i; QUADS] {
        let mut quads = self.1.quads(self.0, block, high, half);
        for quad in &mut quads {
            // SAFETY: the `Avx2` inside proves the features; registers only.
            *quad = unsafe { _mm256_shuffle_epi8(self.2, *quad) };
        }
        quads
    }

    #[inline(always)]
    fn dot(
        self,
        quads: &[__m256i; QUADS],
        inputs: &[__m256i; QUADS],
        _start: i32,
        scales: __m256i,
    ) -> __m256i {
        // SAFETY: the `Avx2` inside proves the features; registers only.
        unsafe {
            let mut pairs = _mm256_setzero_si256();
            for (quad, input) in quads.iter().zip(inputs) {
                pairs = _mm256_add_epi16(pairs, signed_product(self.0, *quad, *input));
            }
            _mm256_madd_epi16(pairs, scales)
        }
    }
}

impl<U: Unpack> Table<U> {
    fn new(cpu: Avx2, unpack: U, table: &[i8; 16]) -> Self {
        // SAFETY: `cpu` proves the features; the 16 bytes of `table` are read.
        Self(cpu, unpack, unsafe {
            _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()))
        })
    }
}

/// `w · a` as `|w| · (a with the sign of w)`; −128 becomes 128 unsigned.
#[inline(always)]
fn signed_product(_cpu: Avx2, weights: __m256i, inputs: __m256i) -> __m256i {
    // SAFETY: `_cpu` proves the features; registers only.
    unsafe { _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(inputs, weights)) }
}

/// The first 32 bytes.
#[inline(always)]
fn line(_cpu: Avx2, bytes: &[u8]) -> __m256i {
    let bytes = &bytes[..ALIGN / 2];
    // SAFETY: `_cpu` proves the features, and the slice has 32 bytes.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// 32 bytes from byte `half` on of each of the first 4 lines.
#[inline(always)]
pub(super) fn lines(cpu: Avx2, block: &[u8], half: usize) -> [__m256i; QUADS] {
    let at = |j: usize| line(cpu, &block[j * ALIGN + half..]);
    [at(0), at(1), at(2), at(3)]
}

/// The low or high nibbles of [`lines`] as bytes.
#[inline(always)]
fn nibbles(cpu: Avx2, block: &[u8], high: usize, half: usize) -> [__m256i; QUADS] {
    let mut quads = lines(cpu, block, half);
    for quad in &mut quads {
        // SAFETY: `cpu` proves the features; registers only.
        unsafe {
            let shifted = if high == 0 { *quad } else { _mm256_srli_epi16::<4>(*quad) };
            *quad = _mm256_and_si256(shifted, _mm256_set1_epi8(15));
        }
    }
    quads
}

/// `out (+)= w · x` for the rows of `tiles`; the caller has checked that shapes fit together.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn product(
    cpu: Avx2,
    w: &Matrix<'_>,
    tiles: Range<usize>,
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    let table = w.table();
    match (w.kind(), w.is_linear(), w.group()) {
        (Type::Q8, ..) => all_tiles::<_, 32>(Bytes(cpu), w, tiles, x, out, output),
        (Type::Q5, _, 16) => all_tiles::<_, 16>(Linear(cpu, Fives), w, tiles, x, out, output),
        (Type::Q5, ..) => all_tiles::<_, 32>(Linear(cpu, Fives), w, tiles, x, out, output),
        (Type::Q3, _, group) => {
            let codes = Table::new(cpu, Threes, table);
            match group {
                16 => all_tiles::<_, 16>(codes, w, tiles, x, out, output),
                _ => all_tiles::<_, 32>(codes, w, tiles, x, out, output),
            }
        }
        (_, true, 16) => all_tiles::<_, 16>(Linear(cpu, Nibbles), w, tiles, x, out, output),
        (_, true, _) => all_tiles::<_, 32>(Linear(cpu, Nibbles), w, tiles, x, out, output),
        (_, _, group) => {
            let codes = Table::new(cpu, Nibbles, table);
            match group {
                16 => all_tiles::<_, 16>(codes, w, tiles, x, out, output),
                _ => all_tiles::<_, 32>(codes, w, tiles, x, out, output),
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn all_tiles<C: Codes, const GROUP: usize>(
    codes: C,
    w: &Matrix<'_>,
    tiles: Range<usize>,
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    let mut totals = [[_mm256_setzero_ps(); 2]; TOKENS];
    for (t, tile) in tiles.enumerate() {
        let tile = w.tile(tile);
        let mut out = out.narrow(t * TILE_ROWS..(t + 1) * TILE_ROWS);
        if x.tokens == 1 {
            let mut total = [[_mm256_setzero_ps(); 2]];
            accumulate::<C, GROUP>(codes, &tile, x, 0, &mut total);
            store(&mut total, &tile, 0, &mut out, output);
            continue;
        }
        for first in (0..x.tokens).step_by(TOKENS) {
            let totals = &mut totals[..TOKENS.min(x.tokens - first)];
            accumulate::<C, GROUP>(codes, &tile, x, first, totals);
            store(totals, &tile, first, &mut out, output);
        }
    }
}

/// Adds the products of one tile, not yet scaled by row, with the tokens from `first` on to
/// `totals`, two halves for each token.
#[inline(always)]
fn accumulate<C: Codes, const GROUP: usize>(
    codes: C,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    first: usize,
    totals: &mut [[__m256; 2]],
) {
    let (tokens, blocks) = (totals.len(), x.cols / BLOCK);
    let inputs = &x.codes[first * x.cols..][..tokens * x.cols];
    let scales = &x.scales[first * blocks..][..tokens * blocks];
    let starts = &x.starts[first * 2 * blocks..][..tokens * 2 * blocks];
    let mut blocks_before = 0..blocks;
    for strip in tile.strips() {
        if tokens >= SLOW_TOKENS {
            fetch_behind(strip.bytes());
        }
        let group_scales = strip.scales().chunks_exact(BLOCK / GROUP * TILE_ROWS);
        for (group_scales, bytes) in group_scales.zip(strip.codes().chunks_exact(C::BYTES)) {
            let block = blocks_before.next().expect("as many blocks as inputs have");
            for half in 0..2 {
                let low_quads = codes.quads(bytes, 0, half * ALIGN / 2);
                let high_quads = codes.quads(bytes, 1, half * ALIGN / 2);
                // SAFETY: `C` proves the features. `block` is below `blocks` and `token` below
                // `tokens`, so the one or two groups of the block have 16 scales each, and the
                // slices of activations 32 codes, one scale and two starts for each token and
                // block.
                unsafe {
                    let group_scales = group_scales.as_ptr().add(half * LANES);
                    let low_scales = widen(group_scales);
                    let high_scales =
                        widen(group_scales.add(if GROUP < BLOCK { TILE_ROWS } else { 0 }));
                    for (token, total) in totals.iter_mut().enumerate() {
                        let index = token * blocks + block;
                        let input = inputs.as_ptr().add(index * BLOCK);
                        let [low, high] = *starts.as_ptr().add(2 * index).cast::<[i32; 2]>();
                        let low = codes.dot(&low_quads, &repeat(input), low, low_scales);
                        let input = input.add(START_GROUP);
                        let high = codes.dot(&high_quads, &repeat(input), high, high_scales);
                        let sum = _mm256_cvtepi32_ps(_mm256_add_epi32(low, high));
                        let scale = _mm256_set1_ps(*scales.as_ptr().add(index));
                        total[half] = _mm256_fmadd_ps(sum, scale, total[half]);
                    }
                }
            }
        }
    }
}

/// 16 activations, each 4 repeated over a register.
///
/// # Safety
/// `input` has 16 codes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn repeat(input: *const i8) -> [__m256i; QUADS] {
    let mut quads = [_mm256_setzero_si256(); QUADS];
    for (j, quad) in quads.iter_mut().enumerate() {
        // SAFETY: by this function's contract.
        *quad = _mm256_set1_epi32(unsafe { input.add(4 * j).cast::<i32>().read_unaligned() });
    }
    quads
}

/// 8 group scales, each twice as 16-bit integers.
///
/// # Safety
/// `scales` has 8 elements.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn widen(scales: *const i8) -> __m256i {
    // SAFETY: by this function's contract.
    let scales = _mm256_cvtepi8_epi32(unsafe { _mm_loadl_epi64(scales.cast()) });
    // The low 16 bits of a small integer are itself in 16 bits.
    _mm256_blend_epi16::<0b1010_1010>(scales, _mm256_slli_epi32::<16>(scales))
}

/// Multiplies the totals by the scales of their rows, writes them, and leaves zeros.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store(
    totals: &mut [[__m256; 2]],
    tile: &Tile<'_>,
    first: usize,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    for (token, total) in totals.iter_mut().enumerate() {
        let rows = out.row(first + token).chunks_exact_mut(LANES);
        let halves = tile.row_scales().chunks_exact(LANES).zip(rows);
        let total = mem::replace(total, [_mm256_setzero_ps(); 2]);
        for (total, (row_scales, row)) in total.iter().zip(halves) {
            // SAFETY: `row_scales` and `row` have 8 elements.
            unsafe {
                let mut result = _mm256_mul_ps(*total, _mm256_loadu_ps(row_scales.as_ptr()));
                if output == Output::Add {
                    result = _mm256_add_ps(result, _mm256_loadu_ps(row.as_ptr()));
                }
                _mm256_storeu_ps(row.as_mut_ptr(), result);
            }
        }
    }
}
