//! How blocks of codes multiply activations. A register holds 16 rows × 4 columns, and `vpdpbusd`
//! adds their products with 4 activations, broadcast from memory, to 16 sums.
//!
//! `vpdpbusd` wants one factor unsigned, so weights carry an offset: `Σ w·a = Σ (w + z)·a − z·Σ a`,
//! and sums start at `−z·Σ a`, a multiple of the activations' `−8·Σ a`; those of planes start where
//! [`kinglet_core::screen`] says.

use super::Avx512;
use crate::product::{BYTE_BLOCK, FIVE_BIT_BLOCK, NIBBLE_BLOCK, THREE_BIT_BLOCK};
use core::arch::x86_64::*;
use kinglet_core::kernels::START_GROUP;
use kinglet_quant::format::{ALIGN, Q3_HIGH, Q5_HIGH};

/// Truth table of `a ? b : c`.
const PICK: i32 = 0xCA;
/// Truth table of `a | (b & c)`.
const OR_MASKED: i32 = 0xF8;
/// Lines of a block of nibbles.
pub(super) const LINES: usize = NIBBLE_BLOCK / ALIGN;

/// 32 columns of 16 rows: a register for each quad of columns.
pub(super) type Quads = [__m512i; 2 * LINES];

/// 32 columns of a tile.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    /// Which 32.
    pub index: usize,
    /// Their codes in the tile's strips.
    pub bytes: &'a [u8],
}

/// How packed codes become unsigned bytes: all that a new format adds.
pub(super) trait Unpack: Copy {
    /// Bytes of a block in the tile's strips.
    const BYTES: usize;
    /// What a step of the codes is worth.
    const STEP: f32 = 1.0;
    /// Whether the codes are those in the strips.
    const IN_STRIPS: bool = true;

    /// The column quads of a block.
    fn quads(self, cpu: Avx512, block: Block<'_>) -> Quads;
}

/// Codes that exceed what they stand for by about half of their range.
pub(super) trait Raised: Unpack {
    /// Where a sum over 16 columns starts, given `−8·Σ a`.
    fn start(start: i32) -> i32;
}

/// What [`Unpack`] gives, and how its products with activations are scaled.
pub(super) trait Codes: Copy {
    type Unpack: Unpack;

    /// See [`Unpack::quads`].
    fn quads(self, cpu: Avx512, block: Block<'_>) -> Quads;

    /// The scales of the first and the last 16 columns, as [`Codes::scaled_sum`] wants them.
    #[inline(always)]
    fn scales(self, _cpu: Avx512, low: __m512i, high: __m512i) -> [__m512i; 2] {
        [low, high]
    }

    /// `Σ scale · weight · input` over a block; `starts` are those of 16 inputs each.
    ///
    /// # Safety
    /// `input` has 32 codes and `starts` 2.
    unsafe fn scaled_sum(
        self,
        cpu: Avx512,
        quads: &Quads,
        input: *const i8,
        starts: *const i32,
        scales: &[__m512i; 2],
    ) -> __m512i;
}

/// Codes with one scale for 32 columns, whose sums take more than 16 bits.
#[derive(Clone, Copy)]
pub(super) struct Whole<U>(pub U);

/// Codes whose sums over 16 columns fit into 16 bits, |Σ| ≤ 16·16·127.
#[derive(Clone, Copy)]
pub(super) struct Linear<U>(pub U);

/// Codes that stand for entries of a table; the register repeats the table plus the offset.
#[derive(Clone, Copy)]
pub(super) struct Entries<U>(U, __m512i);

/// Signed bytes.
#[derive(Clone, Copy)]
pub(super) struct Bytes;

/// 4 bits.
#[derive(Clone, Copy)]
pub(super) struct Nibbles;

/// 4 bits, and a fifth in a line of its own.
#[derive(Clone, Copy)]
pub(super) struct Fives;

/// 2 bits, and a third in a line of its own.
#[derive(Clone, Copy)]
pub(super) struct Threes;

impl Unpack for Bytes {
    const BYTES: usize = BYTE_BLOCK;

    #[inline(always)]
    fn quads(self, cpu: Avx512, block: Block<'_>) -> Quads {
        // SAFETY: `cpu` proves the features; registers only.
        unsafe {
            let offset = _mm512_set1_epi8(i8::MIN);
            let mut quads = [offset; 2 * LINES];
            for (quad, line) in quads.iter_mut().zip(block.bytes.chunks_exact(ALIGN)) {
                *quad = _mm512_xor_si512(load_line(cpu, line), offset);
            }
            quads
        }
    }
}

impl Raised for Bytes {
    #[inline(always)]
    fn start(start: i32) -> i32 {
        16 * start
    }
}

impl Unpack for Nibbles {
    const BYTES: usize = NIBBLE_BLOCK;

    #[inline(always)]
    fn quads(self, cpu: Avx512, block: Block<'_>) -> Quads {
        nibbles(cpu, lines(cpu, block.bytes))
    }
}

impl Raised for Nibbles {
    #[inline(always)]
    fn start(start: i32) -> i32 {
        start
    }
}

impl Unpack for Fives {
    const BYTES: usize = FIVE_BIT_BLOCK;

    #[inline(always)]
    fn quads(self, cpu: Avx512, block: Block<'_>) -> Quads {
        let bits = load_line(cpu, &block.bytes[Q5_HIGH..][..ALIGN]);
        let mut quads = Nibbles.quads(cpu, block);
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

impl Raised for Fives {
    #[inline(always)]
    fn start(start: i32) -> i32 {
        2 * start
    }
}

impl Unpack for Threes {
    const BYTES: usize = THREE_BIT_BLOCK;

    #[inline(always)]
    fn quads(self, cpu: Avx512, block: Block<'_>) -> Quads {
        let low = load_line(cpu, &block.bytes[..ALIGN]);
        let high = load_line(cpu, &block.bytes[ALIGN..][..ALIGN]);
        let bits = load_line(cpu, &block.bytes[Q3_HIGH..][..ALIGN]);
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

impl<U: Raised> Codes for Whole<U> {
    type Unpack = U;

    #[inline(always)]
    fn quads(self, cpu: Avx512, block: Block<'_>) -> Quads {
        self.0.quads(cpu, block)
    }

    #[inline(always)]
    unsafe fn scaled_sum(
        self,
        cpu: Avx512,
        quads: &Quads,
        input: *const i8,
        starts: *const i32,
        scales: &[__m512i; 2],
    ) -> __m512i {
        // SAFETY: `cpu` proves the features; reads by this function's contract.
        unsafe {
            let start = U::start(*starts) + U::start(*starts.add(1));
            let sum = dot(cpu, _mm512_set1_epi32(start), quads, input);
            _mm512_mullo_epi32(sum, scales[0])
        }
    }
}

impl<U: Raised> Codes for Linear<U> {
    type Unpack = U;

    #[inline(always)]
    fn quads(self, cpu: Avx512, block: Block<'_>) -> Quads {
        self.0.quads(cpu, block)
    }

    /// Both scales in the halves of one register.
    #[inline(always)]
    fn scales(self, cpu: Avx512, low: __m512i, high: __m512i) -> [__m512i; 2] {
        [pair(cpu, low, high); 2]
    }

    /// One instruction multiplies both sums by their scales and adds the products.
    #[inline(always)]
    unsafe fn scaled_sum(
        self,
        cpu: Avx512,
        quads: &Quads,
        input: *const i8,
        starts: *const i32,
        scales: &[__m512i; 2],
    ) -> __m512i {
        // SAFETY: `cpu` proves the features; reads by this function's contract.
        unsafe {
            let start = _mm512_set1_epi32(U::start(*starts));
            let low = dot(cpu, start, &quads[..LINES], input);
            let input = input.add(START_GROUP);
            let start = _mm512_set1_epi32(U::start(*starts.add(1)));
            let high = dot(cpu, start, &quads[LINES..], input);
            _mm512_madd_epi16(pair(cpu, low, high), scales[0])
        }
    }
}

impl<U: Unpack> Codes for Entries<U> {
    type Unpack = U;

    #[inline(always)]
    fn quads(self, cpu: Avx512, block: Block<'_>) -> Quads {
        let mut quads = self.0.quads(cpu, block);
        for quad in &mut quads {
            // SAFETY: `cpu` proves the features; registers only.
            *quad = unsafe { _mm512_shuffle_epi8(self.1, *quad) };
        }
        quads
    }

    #[inline(always)]
    unsafe fn scaled_sum(
        self,
        cpu: Avx512,
        quads: &Quads,
        input: *const i8,
        starts: *const i32,
        scales: &[__m512i; 2],
    ) -> __m512i {
        // SAFETY: `cpu` proves the features; reads by this function's contract.
        unsafe {
            // Raised by 4 times as much as a nibble.
            let low = dot(cpu, _mm512_set1_epi32(4 * *starts), &quads[..LINES], input);
            let input = input.add(START_GROUP);
            let start = _mm512_set1_epi32(4 * *starts.add(1));
            let high = dot(cpu, start, &quads[LINES..], input);
            let low = _mm512_mullo_epi32(low, scales[0]);
            _mm512_add_epi32(low, _mm512_mullo_epi32(high, scales[1]))
        }
    }
}

impl<U: Unpack> Entries<U> {
    /// What the bytes exceed the weights by, 4 times that of nibbles.
    const OFFSET: i8 = 32;

    pub fn new(_cpu: Avx512, unpack: U, table: &[i8; 16]) -> Self {
        let table = table.map(|entry| entry + Self::OFFSET);
        // SAFETY: `_cpu` proves the features; the 16 bytes of `table` are read.
        Self(unpack, unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())) })
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

/// Adds the products of column quads with as many activation quads to `sum`.
///
/// # Safety
/// `input` has 4 codes for each quad.
#[inline(always)]
unsafe fn dot(_cpu: Avx512, mut sum: __m512i, quads: &[__m512i], input: *const i8) -> __m512i {
    for (j, quad) in quads.iter().enumerate() {
        // SAFETY: `_cpu` proves the features; reads by this function's contract.
        unsafe {
            let input = input.add(4 * j).cast::<i32>().read_unaligned();
            sum = _mm512_dpbusd_epi32(sum, *quad, _mm512_set1_epi32(input));
        }
    }
    sum
}

/// The first 4 lines.
#[inline(always)]
pub(super) fn lines(cpu: Avx512, bytes: &[u8]) -> [__m512i; LINES] {
    let at = |j: usize| load_line(cpu, &bytes[j * ALIGN..][..ALIGN]);
    [at(0), at(1), at(2), at(3)]
}

/// The nibbles of 4 lines as bytes: the low ones are quads 0 to 3, the high ones 4 to 7.
#[inline(always)]
pub(super) fn nibbles(_cpu: Avx512, lines: [__m512i; LINES]) -> Quads {
    // SAFETY: `_cpu` proves the features; registers only.
    unsafe {
        let mask = _mm512_set1_epi8(15);
        let mut quads = [mask; 2 * LINES];
        for (j, line) in lines.into_iter().enumerate() {
            quads[j] = _mm512_and_si512(line, mask);
            quads[j + LINES] = _mm512_and_si512(_mm512_srli_epi16::<4>(line), mask);
        }
        quads
    }
}

#[inline(always)]
fn load_line(_cpu: Avx512, line: &[u8]) -> __m512i {
    assert_eq!(line.len(), ALIGN);
    // SAFETY: `_cpu` proves AVX-512, and the line has the 64 bytes that are read.
    unsafe { _mm512_loadu_si512(line.as_ptr().cast()) }
}
