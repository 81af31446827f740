//! How blocks of codes multiply activations. A register holds 8 rows × 4 columns; `vpmaddubsw`
//! multiplies them with 4 activations, adding pairs in 16 bits, and `vpmaddwd` with the scale of
//! the group adds the pairs to 32-bit sums.
//!
//! The first factor of `vpmaddubsw` is unsigned. Nibbles that stand for −8 to 7 are multiplied as 0
//! to 15 with sums that start at `−8·Σ a`, 5 bits with twice that, nibbles of planes as
//! [`kinglet_core::screen`] says; other weights are multiplied as `|w| · (±a)`.

use super::Avx2;
use crate::product::{BYTE_BLOCK, FIVE_BIT_BLOCK, NIBBLE_BLOCK, THREE_BIT_BLOCK};
use core::arch::x86_64::*;
use kinglet_core::kernels::START_GROUP;
use kinglet_quant::format::{ALIGN, Q3_HIGH, Q5_HIGH};

/// Rows of a register; a tile has two halves.
pub(super) const LANES: usize = 8;
/// Quads of a [`START_GROUP`].
pub(super) const QUADS: usize = START_GROUP / 4;

/// 16 columns of 8 rows, or 16 activations, each 4 repeated: a register for each quad of columns.
pub(super) type Quads = [__m256i; QUADS];

/// 32 columns of a tile.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    /// Which 32.
    pub index: usize,
    /// Their codes in the tile's strips.
    pub bytes: &'a [u8],
}

/// How packed codes become bytes: all that a new format adds.
pub(super) trait Unpack: Copy {
    /// Bytes of a block in the tile's strips.
    const BYTES: usize;
    /// What a step of the codes is worth.
    const STEP: f32 = 1.0;
    /// Whether the codes are those in the strips.
    const IN_STRIPS: bool = true;

    /// The first and the last 16 columns of a block, of the first (`half` = 0) or last 8 rows.
    fn quads(self, cpu: Avx2, block: Block<'_>, half: usize) -> [Quads; 2];
}

/// Unsigned codes that exceed what they stand for by about half of their range: with their start,
/// 16-bit sums over 16 columns stay within 16·16·127 = 32,512.
pub(super) trait Raised: Unpack {
    /// Where a sum over 16 columns starts, given `−8·Σ a`.
    fn start(start: i32) -> i32;
}

/// What [`Unpack`] gives, and how it multiplies activations.
pub(super) trait Codes: Copy {
    type Unpack: Unpack;

    /// See [`Unpack::quads`].
    fn quads(self, cpu: Avx2, block: Block<'_>, half: usize) -> [Quads; 2];

    /// `scale · Σ w·a` of 8 rows: the sum of the activations starts at `start`; `scales` hold each
    /// scale twice, in 16 bits.
    fn dot(self, cpu: Avx2, quads: &Quads, inputs: &Quads, start: i32, scales: __m256i) -> __m256i;
}

/// Signed bytes: the products of one quad, 2·128·127 = 32,512, fill 16 bits.
#[derive(Clone, Copy)]
pub(super) struct Bytes;

/// Codes that are multiplied as they are.
#[derive(Clone, Copy)]
pub(super) struct Linear<U>(pub U);

/// Codes that stand for entries of a table, repeated in the register: 4·2·32·127 = 32,512.
#[derive(Clone, Copy)]
pub(super) struct Entries<U>(U, __m256i);

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
    fn quads(self, cpu: Avx2, block: Block<'_>, half: usize) -> [Quads; 2] {
        [lines(cpu, block.bytes, half), lines(cpu, &block.bytes[QUADS * ALIGN..], half)]
    }
}

impl Unpack for Nibbles {
    const BYTES: usize = NIBBLE_BLOCK;

    #[inline(always)]
    fn quads(self, cpu: Avx2, block: Block<'_>, half: usize) -> [Quads; 2] {
        nibbles(cpu, lines(cpu, block.bytes, half))
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
    fn quads(self, cpu: Avx2, block: Block<'_>, half: usize) -> [Quads; 2] {
        let bits = line(cpu, &block.bytes[Q5_HIGH..], half);
        let [low, high] = Nibbles.quads(cpu, block, half);
        // SAFETY: `cpu` proves the features; registers only.
        unsafe {
            let low_bits = [
                _mm256_slli_epi16::<4>(bits),
                _mm256_slli_epi16::<3>(bits),
                _mm256_slli_epi16::<2>(bits),
                _mm256_slli_epi16::<1>(bits),
            ];
            let high_bits = [
                bits,
                _mm256_srli_epi16::<1>(bits),
                _mm256_srli_epi16::<2>(bits),
                _mm256_srli_epi16::<3>(bits),
            ];
            let mask = _mm256_set1_epi8(16);
            [or_masked(cpu, low, low_bits, mask), or_masked(cpu, high, high_bits, mask)]
        }
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
    fn quads(self, cpu: Avx2, block: Block<'_>, half: usize) -> [Quads; 2] {
        let bits = line(cpu, &block.bytes[Q3_HIGH..], half);
        let low = pairs(cpu, line(cpu, block.bytes, half));
        let high = pairs(cpu, line(cpu, &block.bytes[ALIGN..], half));
        // SAFETY: `cpu` proves the features; registers only.
        unsafe {
            let low_bits = [
                _mm256_slli_epi16::<2>(bits),
                _mm256_slli_epi16::<1>(bits),
                bits,
                _mm256_srli_epi16::<1>(bits),
            ];
            let high_bits = [
                _mm256_srli_epi16::<2>(bits),
                _mm256_srli_epi16::<3>(bits),
                _mm256_srli_epi16::<4>(bits),
                _mm256_srli_epi16::<5>(bits),
            ];
            let mask = _mm256_set1_epi8(4);
            [or_masked(cpu, low, low_bits, mask), or_masked(cpu, high, high_bits, mask)]
        }
    }
}

impl Codes for Bytes {
    type Unpack = Self;

    #[inline(always)]
    fn quads(self, cpu: Avx2, block: Block<'_>, half: usize) -> [Quads; 2] {
        Unpack::quads(self, cpu, block, half)
    }

    #[inline(always)]
    fn dot(
        self,
        cpu: Avx2,
        quads: &Quads,
        inputs: &Quads,
        _start: i32,
        scales: __m256i,
    ) -> __m256i {
        // SAFETY: `cpu` proves the features; registers only.
        unsafe {
            let mut total = _mm256_setzero_si256();
            for (quad, input) in quads.iter().zip(inputs) {
                let pairs = signed_product(cpu, *quad, *input);
                total = _mm256_add_epi32(total, _mm256_madd_epi16(pairs, scales));
            }
            total
        }
    }
}

impl<U: Raised> Codes for Linear<U> {
    type Unpack = U;

    #[inline(always)]
    fn quads(self, cpu: Avx2, block: Block<'_>, half: usize) -> [Quads; 2] {
        self.0.quads(cpu, block, half)
    }

    #[inline(always)]
    fn dot(
        self,
        _cpu: Avx2,
        quads: &Quads,
        inputs: &Quads,
        start: i32,
        scales: __m256i,
    ) -> __m256i {
        // SAFETY: `_cpu` proves the features; registers only.
        unsafe {
            // The low half of each pair has the start, the high one begins at zero.
            let mut pairs = _mm256_set1_epi32(U::start(start) & 0xffff);
            for (quad, input) in quads.iter().zip(inputs) {
                pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(*quad, *input));
            }
            _mm256_madd_epi16(pairs, scales)
        }
    }
}

impl<U: Unpack> Codes for Entries<U> {
    type Unpack = U;

    #[inline(always)]
    fn quads(self, cpu: Avx2, block: Block<'_>, half: usize) -> [Quads; 2] {
        let [mut low, mut high] = self.0.quads(cpu, block, half);
        for (low, high) in low.iter_mut().zip(&mut high) {
            // SAFETY: `cpu` proves the features; registers only.
            unsafe {
                *low = _mm256_shuffle_epi8(self.1, *low);
                *high = _mm256_shuffle_epi8(self.1, *high);
            }
        }
        [low, high]
    }

    #[inline(always)]
    fn dot(
        self,
        cpu: Avx2,
        quads: &Quads,
        inputs: &Quads,
        _start: i32,
        scales: __m256i,
    ) -> __m256i {
        // SAFETY: `cpu` proves the features; registers only.
        unsafe {
            let mut pairs = _mm256_setzero_si256();
            for (quad, input) in quads.iter().zip(inputs) {
                pairs = _mm256_add_epi16(pairs, signed_product(cpu, *quad, *input));
            }
            _mm256_madd_epi16(pairs, scales)
        }
    }
}

impl<U: Unpack> Entries<U> {
    pub fn new(_cpu: Avx2, unpack: U, table: &[i8; 16]) -> Self {
        // SAFETY: `_cpu` proves the features; the 16 bytes of `table` are read.
        Self(unpack, unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())) })
    }
}

/// `w · a` as `|w| · (a with the sign of w)`; −128 becomes 128 unsigned.
#[inline(always)]
fn signed_product(_cpu: Avx2, weights: __m256i, inputs: __m256i) -> __m256i {
    // SAFETY: `_cpu` proves the features; registers only.
    unsafe { _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(inputs, weights)) }
}

/// The bytes of 8 rows in the first line.
#[inline(always)]
fn line(_cpu: Avx2, bytes: &[u8], half: usize) -> __m256i {
    let bytes = &bytes[half * ALIGN / 2..][..ALIGN / 2];
    // SAFETY: `_cpu` proves the features, and the slice has 32 bytes.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// The bytes of 8 rows in the first 4 lines.
#[inline(always)]
pub(super) fn lines(cpu: Avx2, bytes: &[u8], half: usize) -> Quads {
    let at = |j: usize| line(cpu, &bytes[j * ALIGN..], half);
    [at(0), at(1), at(2), at(3)]
}

/// The low and the high nibbles as bytes.
#[inline(always)]
pub(super) fn nibbles(_cpu: Avx2, lines: Quads) -> [Quads; 2] {
    // SAFETY: `_cpu` proves the features; registers only.
    unsafe {
        let mask = _mm256_set1_epi8(15);
        let mut quads = [[mask; QUADS]; 2];
        for (j, line) in lines.into_iter().enumerate() {
            quads[0][j] = _mm256_and_si256(line, mask);
            quads[1][j] = _mm256_and_si256(_mm256_srli_epi16::<4>(line), mask);
        }
        quads
    }
}

/// The pairs of bits as bytes, the lowest first.
#[inline(always)]
fn pairs(_cpu: Avx2, line: __m256i) -> Quads {
    // SAFETY: `_cpu` proves the features; registers only.
    unsafe {
        let mut quads = [
            line,
            _mm256_srli_epi16::<2>(line),
            _mm256_srli_epi16::<4>(line),
            _mm256_srli_epi16::<6>(line),
        ];
        for quad in &mut quads {
            *quad = _mm256_and_si256(*quad, _mm256_set1_epi8(3));
        }
        quads
    }
}

/// `quads | (bits & mask)`.
#[inline(always)]
fn or_masked(_cpu: Avx2, mut quads: Quads, bits: Quads, mask: __m256i) -> Quads {
    for (quad, bits) in quads.iter_mut().zip(bits) {
        // SAFETY: `_cpu` proves the features; registers only.
        *quad = unsafe { _mm256_or_si256(*quad, _mm256_and_si256(bits, mask)) };
    }
    quads
}
