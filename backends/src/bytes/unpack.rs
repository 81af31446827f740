//! How packed codes become bytes, the same for registers of any width.

use super::registers::{QUADS, Quads, Register, Registers};
use crate::product::{BYTE_BLOCK, FIVE_BIT_BLOCK, NIBBLE_BLOCK, THREE_BIT_BLOCK};
use kinglet_quant::format::{ALIGN, Q3_HIGH, Q5_HIGH};

/// 32 columns of a tile.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    /// Which 32.
    pub index: usize,
    /// Their codes in the tile's strips.
    pub bytes: &'a [u8],
}

/// How packed codes become bytes: all that a new format adds.
pub(crate) trait Unpack: Copy {
    /// Bytes of a block in the tile's strips.
    const BYTES: usize;
    /// What a step of the codes is worth.
    const STEP: f32 = 1.0;
    /// Whether the codes are those in the strips.
    const IN_STRIPS: bool = true;

    /// The first and the last 16 columns of a block, of the `part`-th rows that fill a register.
    fn quads<R: Registers>(self, cpu: R, block: Block<'_>, part: usize) -> [Quads<R>; 2];
}

/// Unsigned codes that exceed what they stand for by about half of their range: with their start,
/// 16-bit sums over 16 columns stay within 16·16·127 = 32,512.
pub(super) trait Raised: Unpack {
    /// Where a sum over 16 columns starts, given `−8·Σ a`.
    fn start(start: i32) -> i32;
}

/// 8 bits, signed.
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
    fn quads<R: Registers>(self, cpu: R, block: Block<'_>, part: usize) -> [Quads<R>; 2] {
        [lines(cpu, block.bytes, part), lines(cpu, &block.bytes[QUADS * ALIGN..], part)]
    }
}

impl Unpack for Nibbles {
    const BYTES: usize = NIBBLE_BLOCK;

    #[inline(always)]
    fn quads<R: Registers>(self, cpu: R, block: Block<'_>, part: usize) -> [Quads<R>; 2] {
        nibbles(cpu, lines(cpu, block.bytes, part))
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
    fn quads<R: Registers>(self, cpu: R, block: Block<'_>, part: usize) -> [Quads<R>; 2] {
        let bits = line(cpu, &block.bytes[Q5_HIGH..], part);
        let [low, high] = Nibbles.quads(cpu, block, part);
        let low_bits = [
            cpu.shift_left::<4>(bits),
            cpu.shift_left::<3>(bits),
            cpu.shift_left::<2>(bits),
            cpu.shift_left::<1>(bits),
        ];
        let high_bits = [
            bits,
            cpu.shift_right::<1>(bits),
            cpu.shift_right::<2>(bits),
            cpu.shift_right::<3>(bits),
        ];
        let mask = cpu.repeat_i8(16);
        [or_masked(cpu, low, low_bits, mask), or_masked(cpu, high, high_bits, mask)]
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
    fn quads<R: Registers>(self, cpu: R, block: Block<'_>, part: usize) -> [Quads<R>; 2] {
        let bits = line(cpu, &block.bytes[Q3_HIGH..], part);
        let low = pairs(cpu, line(cpu, block.bytes, part));
        let high = pairs(cpu, line(cpu, &block.bytes[ALIGN..], part));
        let low_bits = [
            cpu.shift_left::<2>(bits),
            cpu.shift_left::<1>(bits),
            bits,
            cpu.shift_right::<1>(bits),
        ];
        let high_bits = [
            cpu.shift_right::<2>(bits),
            cpu.shift_right::<3>(bits),
            cpu.shift_right::<4>(bits),
            cpu.shift_right::<5>(bits),
        ];
        let mask = cpu.repeat_i8(4);
        [or_masked(cpu, low, low_bits, mask), or_masked(cpu, high, high_bits, mask)]
    }
}

/// The bytes of the `part`-th rows in the first line.
#[inline(always)]
fn line<R: Registers>(cpu: R, bytes: &[u8], part: usize) -> Register<R> {
    cpu.load_bytes(&bytes[part * 4 * R::COUNT..][..4 * R::COUNT])
}

/// The bytes of the `part`-th rows in the first 4 lines.
#[inline(always)]
pub(super) fn lines<R: Registers>(cpu: R, bytes: &[u8], part: usize) -> Quads<R> {
    let at = |j: usize| line(cpu, &bytes[j * ALIGN..], part);
    [at(0), at(1), at(2), at(3)]
}

/// The low and the high nibbles as bytes.
#[inline(always)]
pub(super) fn nibbles<R: Registers>(cpu: R, lines: Quads<R>) -> [Quads<R>; 2] {
    let mask = cpu.repeat_i8(15);
    let mut quads = [[mask; QUADS]; 2];
    for (j, line) in lines.into_iter().enumerate() {
        quads[0][j] = cpu.and(line, mask);
        quads[1][j] = cpu.and(cpu.shift_right::<4>(line), mask);
    }
    quads
}

/// The pairs of bits as bytes, the lowest first.
#[inline(always)]
fn pairs<R: Registers>(cpu: R, line: Register<R>) -> Quads<R> {
    let mut quads =
        [line, cpu.shift_right::<2>(line), cpu.shift_right::<4>(line), cpu.shift_right::<6>(line)];
    for quad in &mut quads {
        *quad = cpu.and(*quad, cpu.repeat_i8(3));
    }
    quads
}

/// `quads | (bits & mask)`.
#[inline(always)]
fn or_masked<R: Registers>(
    cpu: R,
    mut quads: Quads<R>,
    bits: Quads<R>,
    mask: Register<R>,
) -> Quads<R> {
    for (quad, bits) in quads.iter_mut().zip(bits) {
        *quad = cpu.or(*quad, cpu.and(bits, mask));
    }
    quads
}
