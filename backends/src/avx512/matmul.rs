//! Products of quantized weights. A register holds 16 rows × 4 columns, and `vpdpbusd` adds their
//! products with 4 activations, broadcast from memory, to 16 sums.
//!
//! `vpdpbusd` wants one factor unsigned, so weights carry an offset: `Σ w·a = Σ (w + z)·a − z·Σ a`,
//! and sums start at `−z·Σ a`, a multiple of the activations' `−8·Σ a`. All integers are exact
//! (|Σ| < 2²⁷ with the scale of the group), and there is one `fma` per 32 columns, so a result does
//! not depend on the tokens beside it.

use super::Avx512;
use crate::prefetch::{SLOW_TOKENS, fetch_behind};
use core::arch::x86_64::*;
use core::mem;
use core::ops::Range;
use kinglet_core::Activations;
use kinglet_core::arena::Columns;
use kinglet_core::kernels::{Output, START_GROUP};
use kinglet_quant::format::{ALIGN, BLOCK, Q3_HIGH, Q5_HIGH, TILE_ROWS};
use kinglet_quant::{Matrix, Tile, Type};

/// Tokens that share one unpacking of weights; the sums of more than one live in memory.
const TOKENS: usize = 64;
/// Truth table of `a ? b : c`.
const PICK: i32 = 0xCA;
/// Truth table of `a | (b & c)`.
const OR_MASKED: i32 = 0xF8;

/// How the codes of 32 columns become unsigned bytes, and how their products are scaled.
trait Codes: Copy {
    /// Bytes of a block: 16 rows × 32 columns.
    const BYTES: usize;
    /// Columns that share a scale.
    const GROUP: usize;

    /// The 8 column quads of a block.
    fn quads(self, block: &[u8]) -> [__m512i; 8];

    /// The scales of the first and the last 16 columns, as [`Codes::scaled_sum`] wants them.
    #[inline(always)]
    fn scales(self, low: __m512i, high: __m512i) -> [__m512i; 2] {
        [low, high]
    }

    /// `Σ scale · weight · input` over a block; `starts` are those of 16 inputs each.
    ///
    /// # Safety
    /// The CPU has the instructions, as a value of the type proves; `input` has 32 codes and
    /// `starts` 2.
    unsafe fn scaled_sum(
        self,
        quads: &[__m512i; 8],
        input: *const i8,
        starts: *const i32,
        scales: &[__m512i; 2],
    ) -> __m512i;
}

/// Signed bytes.
#[derive(Clone, Copy)]
struct Bytes(Avx512);

/// Unsigned codes that exceed what they stand for by half of their range: sums over 16 columns fit
/// into 16 bits, |Σ| ≤ 16·16·127.
#[derive(Clone, Copy)]
struct Linear<U, const GROUP: usize>(Avx512, U);

/// Codes that stand for entries of a table; the register repeats the table plus the offset.
#[derive(Clone, Copy)]
struct Table<U, const GROUP: usize>(Avx512, U, __m512i);

/// How packed codes become bytes: all that a new type adds.
trait Unpack: Copy {
    /// Bytes of a block: 16 rows × 32 columns.
    const BYTES: usize;
    /// What linear codes exceed their numbers by, in units of what nibbles do.
    const RAISED: i32;

    /// See [`Codes::quads`].
    fn quads(self, cpu: Avx512, block: &[u8]) -> [__m512i; 8];
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
    fn quads(self, cpu: Avx512, block: &[u8]) -> [__m512i; 8] {
        nibbles(cpu, block)
    }
}

impl Unpack for Fives {
    const BYTES: usize = TILE_ROWS * BLOCK / 8 * 5;
    const RAISED: i32 = 2;

    #[inline(always)]
    fn quads(self, cpu: Avx512, block: &[u8]) -> [__m512i; 8] {
        let bits = load_line(cpu, &block[Q5_HIGH..][..ALIGN]);
        let mut quads = nibbles(cpu, &block[..Q5_HIGH]);
        // SAFETY: `cpu` proves the features; registers only.
        unsafe {
            let bits = [
                _mm512_slli_epi16::<4>(bits),
                _mm512_slli_epi16::<3>(bits),
                _mm512_slli_epi16::<2>(bits),
                _mm512_slli_epi16::<1>(bits),
                bits,
                _mm512_srli_epi16::<1>(bits),
                _mm512_srli_epi16::<2>(bits),
                _mm512_srli_epi16::<3>(bits),
            ];
            let mask = _mm512_set1_epi8(16);
            for (quad, bits) in quads.iter_mut().zip(bits) {
                *quad = _mm512_ternarylogic_epi32::<OR_MASKED>(*quad, bits, mask);
            }
        }
        quads
    }
}

impl Unpack for Threes {
    const BYTES: usize = TILE_ROWS * BLOCK / 8 * 3;
    const RAISED: i32 = 0;

    #[inline(always)]
    fn quads(self, cpu: Avx512, block: &[u8]) -> [__m512i; 8] {
        let low = load_line(cpu, &block[..ALIGN]);
        let high = load_line(cpu, &block[ALIGN..][..ALIGN]);
        let bits = load_line(cpu, &block[Q3_HIGH..][..ALIGN]);
        // SAFETY: `cpu` proves the features; registers only.
        unsafe {
            let mut quads = [
                low,
                _mm512_srli_epi16::<2>(low),
                _mm512_srli_epi16::<4>(low),
                _mm512_srli_epi16::<6>(low),
                high,
                _mm512_srli_epi16::<2>(high),
                _mm512_srli_epi16::<4>(high),
                _mm512_srli_epi16::<6>(high),
            ];
            let bits = [
                _mm512_slli_epi16::<2>(bits),
                _mm512_slli_epi16::<1>(bits),
                bits,
                _mm512_srli_epi16::<1>(bits),
                _mm512_srli_epi16::<2>(bits),
                _mm512_srli_epi16::<3>(bits),
                _mm512_srli_epi16::<4>(bits),
                _mm512_srli_epi16::<5>(bits),
            ];
            for (quad, bits) in quads.iter_mut().zip(bits) {
                let pair = _mm512_and_si512(*quad, _mm512_set1_epi8(3));
                let mask = _mm512_set1_epi8(4);
                *quad = _mm512_ternarylogic_epi32::<OR_MASKED>(pair, bits, mask);
            }
            quads
        }
    }
}

impl Codes for Bytes {
    const BYTES: usize = TILE_ROWS * BLOCK;
    const GROUP: usize = BLOCK;

    #[inline(always)]
    fn quads(self, block: &[u8]) -> [__m512i; 8] {
        // SAFETY: the `Avx512` inside proves the features; registers only.
        unsafe {
            let offset = _mm512_set1_epi8(i8::MIN);
            let mut quads = [offset; 8];
            for (quad, line) in quads.iter_mut().zip(block.chunks_exact(ALIGN)) {
                *quad = _mm512_xor_si512(load_line(self.0, line), offset);
            }
            quads
        }
    }

    #[inline(always)]
    unsafe fn scaled_sum(
        self,
        quads: &[__m512i; 8],
        input: *const i8,
        starts: *const i32,
        scales: &[__m512i; 2],
    ) -> __m512i {
        // SAFETY: by this function's contract.
        unsafe {
            // Raised by 16 times as much as a nibble.
            let start = _mm512_set1_epi32(16 * (*starts + *starts.add(1)));
            let sum = dot(start, quads, input);
            _mm512_mullo_epi32(sum, scales[0])
        }
    }
}

impl<U: Unpack, const GROUP: usize> Codes for Linear<U, GROUP> {
    const BYTES: usize = U::BYTES;
    const GROUP: usize = GROUP;

    #[inline(always)]
    fn quads(self, block: &[u8]) -> [__m512i; 8] {
        self.1.quads(self.0, block)
    }

    /// Both scales in the halves of one register.
    #[inline(always)]
    fn scales(self, low: __m512i, high: __m512i) -> [__m512i; 2] {
        [pair(self.0, low, high); 2]
    }

    /// One instruction multiplies both sums by their scales and adds the products.
    #[inline(always)]
    unsafe fn scaled_sum(
        self,
        quads: &[__m512i; 8],
        input: *const i8,
        starts: *const i32,
        scales: &[__m512i; 2],
    ) -> __m512i {
        // SAFETY: by this function's contract.
        unsafe {
            let low = dot(_mm512_set1_epi32(U::RAISED * *starts), &quads[..4], input);
            let input = input.add(START_GROUP);
            let start = _mm512_set1_epi32(U::RAISED * *starts.add(1));
            let high = dot(start, &quads[4..], input);
            _mm512_madd_epi16(pair(self.0, low, high), scales[0])
        }
    }
}

impl<U: Unpack, const GROUP: usize> Codes for Table<U, GROUP> {
    const BYTES: usize = U::BYTES;
    const GROUP: usize = GROUP;

    #[inline(always)]
    fn quads(self, block: &[u8]) -> [__m512i; 8] {
        let mut quads = self.1.quads(self.0, block);
        for quad in &mut quads {
            // SAFETY: the `Avx512` inside proves the features; registers only.
            *quad = unsafe { _mm512_shuffle_epi8(self.2, *quad) };
        }
        quads
    }

    #[inline(always)]
    unsafe fn scaled_sum(
        self,
        quads: &[__m512i; 8],
        input: *const i8,
        starts: *const i32,
        scales: &[__m512i; 2],
    ) -> __m512i {
        // SAFETY: by this function's contract.
        unsafe {
            // Raised by 4 times as much as a nibble.
            let low = dot(_mm512_set1_epi32(4 * *starts), &quads[..4], input);
            let input = input.add(START_GROUP);
            let high = dot(_mm512_set1_epi32(4 * *starts.add(1)), &quads[4..], input);
            let low = _mm512_mullo_epi32(low, scales[0]);
            _mm512_add_epi32(low, _mm512_mullo_epi32(high, scales[1]))
        }
    }
}

/// `low` and `high`, which fit into 16 bits, in the halves of each lane.
#[inline(always)]
fn pair(_cpu: Avx512, low: __m512i, high: __m512i) -> __m512i {
    // SAFETY: `_cpu` proves the features; registers only.
    unsafe {
        let upper = _mm512_slli_epi32::<16>(high);
        _mm512_ternarylogic_epi32::<PICK>(_mm512_set1_epi32(0xFFFF), low, upper)
    }
}

impl<U: Unpack, const GROUP: usize> Table<U, GROUP> {
    /// What the bytes exceed the weights by, 4 times that of nibbles.
    const OFFSET: i8 = 32;

    fn new(cpu: Avx512, unpack: U, table: &[i8; 16]) -> Self {
        let table = table.map(|entry| entry + Self::OFFSET);
        // SAFETY: `cpu` proves the features; the 16 bytes of `table` are read.
        Self(cpu, unpack, unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())) })
    }
}

/// The nibbles of 4 lines as bytes: the low ones are quads 0 to 3, the high ones 4 to 7.
#[inline(always)]
fn nibbles(cpu: Avx512, block: &[u8]) -> [__m512i; 8] {
    // SAFETY: `cpu` proves the features; registers only.
    unsafe {
        let mask = _mm512_set1_epi8(15);
        let mut quads = [mask; 8];
        for (j, line) in block.chunks_exact(ALIGN).enumerate() {
            let line = load_line(cpu, line);
            quads[j] = _mm512_and_si512(line, mask);
            quads[j + 4] = _mm512_and_si512(_mm512_srli_epi16::<4>(line), mask);
        }
        quads
    }
}

#[inline(always)]
pub(super) fn load_line(_cpu: Avx512, line: &[u8]) -> __m512i {
    assert_eq!(line.len(), ALIGN);
    // SAFETY: `_cpu` proves AVX-512, and the line has the 64 bytes that are read.
    unsafe { _mm512_loadu_si512(line.as_ptr().cast()) }
}

/// `out (+)= w · x` for the rows of `tiles`; the caller has checked that shapes fit together.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn product(
    cpu: Avx512,
    w: &Matrix<'_>,
    tiles: Range<usize>,
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    let table = w.table();
    match (w.kind(), w.is_linear(), w.group()) {
        (Type::Q8, ..) => all_tiles(Bytes(cpu), w, tiles, x, out, output),
        (Type::Q5, _, 16) => all_tiles(Linear::<_, 16>(cpu, Fives), w, tiles, x, out, output),
        (Type::Q5, ..) => all_tiles(Linear::<_, 32>(cpu, Fives), w, tiles, x, out, output),
        (Type::Q3, _, 16) => {
            all_tiles(Table::<_, 16>::new(cpu, Threes, table), w, tiles, x, out, output);
        }
        (Type::Q3, ..) => {
            all_tiles(Table::<_, 32>::new(cpu, Threes, table), w, tiles, x, out, output);
        }
        (_, true, 16) => all_tiles(Linear::<_, 16>(cpu, Nibbles), w, tiles, x, out, output),
        (_, true, _) => all_tiles(Linear::<_, 32>(cpu, Nibbles), w, tiles, x, out, output),
        (_, _, 16) => {
            all_tiles(Table::<_, 16>::new(cpu, Nibbles, table), w, tiles, x, out, output);
        }
        _ => all_tiles(Table::<_, 32>::new(cpu, Nibbles, table), w, tiles, x, out, output),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn all_tiles<C: Codes>(
    codes: C,
    w: &Matrix<'_>,
    tiles: Range<usize>,
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    let mut totals = [_mm512_setzero_ps(); TOKENS];
    for (t, tile) in tiles.enumerate() {
        let tile = w.tile(tile);
        let mut out = out.narrow(t * TILE_ROWS..(t + 1) * TILE_ROWS);
        if x.tokens == 1 {
            let mut total = [_mm512_setzero_ps()];
            accumulate(codes, &tile, x, 0, &mut total);
            store(&mut total, &tile, 0, &mut out, output);
            continue;
        }
        for first in (0..x.tokens).step_by(TOKENS) {
            let totals = &mut totals[..TOKENS.min(x.tokens - first)];
            accumulate(codes, &tile, x, first, totals);
            store(totals, &tile, first, &mut out, output);
        }
    }
}

/// Adds the products of one tile, not yet scaled by row, with the tokens from `first` on to
/// `totals`, one for each token.
#[inline(always)]
fn accumulate<C: Codes>(
    codes: C,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    first: usize,
    totals: &mut [__m512],
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
        let group_scales = strip.scales().chunks_exact(BLOCK / C::GROUP * TILE_ROWS);
        for (group_scales, bytes) in group_scales.zip(strip.codes().chunks_exact(C::BYTES)) {
            let block = blocks_before.next().expect("as many blocks as inputs have");
            let quads = codes.quads(bytes);
            // SAFETY: `C` proves the features. `block` is below `blocks` and `token` below
            // `tokens`, so the one or two groups of the block have 16 scales each, and the slices
            // of activations 32 codes, one scale and two starts for each token and block.
            unsafe {
                let group_scales = group_scales.as_ptr();
                let high_scales = group_scales.add(if C::GROUP < BLOCK { TILE_ROWS } else { 0 });
                let group_scales = codes.scales(widen(group_scales), widen(high_scales));
                for (token, total) in totals.iter_mut().enumerate() {
                    let index = token * blocks + block;
                    let input = inputs.as_ptr().add(index * BLOCK);
                    let starts = starts.as_ptr().add(2 * index);
                    let sum = codes.scaled_sum(&quads, input, starts, &group_scales);
                    let scale = _mm512_set1_ps(*scales.as_ptr().add(index));
                    *total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, *total);
                }
            }
        }
    }
}

/// Adds the products of column quads with as many activation quads to `sum`.
///
/// # Safety
/// `input` has 4 codes for each quad.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn dot(mut sum: __m512i, quads: &[__m512i], input: *const i8) -> __m512i {
    for (j, quad) in quads.iter().enumerate() {
        // SAFETY: by this function's contract.
        let input = unsafe { input.add(4 * j).cast::<i32>().read_unaligned() };
        sum = _mm512_dpbusd_epi32(sum, *quad, _mm512_set1_epi32(input));
    }
    sum
}

/// 16 group scales as 32-bit integers.
///
/// # Safety
/// `scales` has 16 elements.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn widen(scales: *const i8) -> __m512i {
    // SAFETY: by this function's contract.
    _mm512_cvtepi8_epi32(unsafe { _mm_loadu_si128(scales.cast()) })
}

/// Multiplies the totals by the scales of their rows, writes them, and leaves zeros.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store(
    totals: &mut [__m512],
    tile: &Tile<'_>,
    first: usize,
    out: &mut Columns<'_, f32>,
    output: Output,
) {
    // SAFETY: there are 16 row scales.
    let row_scales = unsafe { _mm512_loadu_ps(tile.row_scales().as_ptr()) };
    for (token, total) in totals.iter_mut().enumerate() {
        let row = &mut out.row(first + token)[..TILE_ROWS];
        let mut result = _mm512_mul_ps(mem::replace(total, _mm512_setzero_ps()), row_scales);
        // SAFETY: the row has 16 elements.
        unsafe {
            if output == Output::Add {
                result = _mm512_add_ps(result, _mm512_loadu_ps(row.as_ptr()));
            }
            _mm512_storeu_ps(row.as_mut_ptr(), result);
        }
    }
}
