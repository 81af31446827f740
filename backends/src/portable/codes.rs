//! How the codes of each number format become 16-bit integers.

use super::lines::{HALF_LINES, HalfLine, WORDS, signed_byte, words};
use crate::product::{BYTE_BLOCK, FIVE_BIT_BLOCK, NIBBLE_BLOCK, THREE_BIT_BLOCK};
use kinglet_core::screen::{high_start, low_start};
use kinglet_quant::format::{ALIGN, BLOCK, Q3_HIGH, Q5_HIGH, Q5_OFFSET, TILE_ROWS};
use kinglet_quant::{Matrix, Tile, Type};

/// A block, 32 columns of 16 rows, unpacked.
pub(super) type Lines = [HalfLine; HALF_LINES];

/// How codes become integers.
#[derive(Clone, Copy)]
pub(super) enum Codes<'a> {
    /// Signed bytes.
    Bytes,
    /// 4 bits, raised by 8.
    Nibbles,
    /// 4 bits, and a fifth in a line of its own.
    Fives,
    /// 4 bits that stand for entries of a table.
    Entries(&'a Table),
    /// 2 bits, and a third in a line of its own, that stand for entries of a table.
    Threes(&'a Table),
    /// The high nibbles of two planes.
    High,
    /// The low nibbles of two planes, row by row.
    Low(&'a [u8]),
}

/// The entries that the two nibbles of a byte stand for: the low one's in the low 16 bits.
pub(super) type Table = [u32; 256];

/// [`Table`] of 16 entries.
pub(super) fn table(entries: &[i8; 16]) -> Table {
    let entry = |nibble: usize| u32::from(i16::from(entries[nibble]) as u16);
    core::array::from_fn(|byte| entry(byte % 16) | entry(byte / 16) << 16)
}

/// Whether the codes of a matrix stand for entries of a table.
pub(super) fn has_table(w: &Matrix<'_>) -> bool {
    w.kind() == Type::Q3 || w.kind() == Type::Q4 && !w.is_linear()
}

/// The codes of a matrix of one plane, with its table of entries if it has one.
pub(super) fn codes<'a>(w: &Matrix<'_>, table: &'a Table) -> Codes<'a> {
    match w.kind() {
        Type::Q8 => Codes::Bytes,
        Type::Q5 => Codes::Fives,
        Type::Q4 if has_table(w) => Codes::Entries(table),
        Type::Q4 => Codes::Nibbles,
        Type::Q3 => Codes::Threes(table),
        kind @ (Type::Q8Planes | Type::F32 | Type::Bf16) => {
            unreachable!("{} weights have no codes in one plane", kind.name())
        }
    }
}

impl<'a> Codes<'a> {
    /// The low plane of a tile.
    pub fn low(tile: &Tile<'a>) -> Self {
        Self::Low(tile.low_plane())
    }

    /// Bytes of a block in the strips.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::Bytes => BYTE_BLOCK,
            Self::Fives => FIVE_BIT_BLOCK,
            Self::Nibbles | Self::Entries(_) | Self::High | Self::Low(_) => NIBBLE_BLOCK,
            Self::Threes(_) => THREE_BIT_BLOCK,
        }
    }

    /// Half lines whose products with ±127 stay within ±32,767 when they are added.
    pub fn together(self) -> usize {
        match self {
            // 2·128·127 = 32,512.
            Self::Bytes => 2,
            // 8·32·127 = 32,512.
            Self::Entries(_) | Self::Threes(_) => HALF_LINES / 2,
            // 16·16·127 = 32,512.
            Self::Fives => HALF_LINES,
            // 16·15·127 = 30,480.
            Self::Nibbles | Self::High | Self::Low(_) => HALF_LINES,
        }
    }

    /// What a step of the codes is worth.
    pub fn step(self) -> f32 {
        if let Self::High = self { 16.0 } else { 1.0 }
    }

    /// Where a sum over 16 columns starts, given `−8·Σ a`.
    pub fn start(self, start: i32) -> i32 {
        match self {
            Self::Bytes | Self::Fives | Self::Entries(_) | Self::Threes(_) => 0,
            Self::Nibbles => start,
            Self::High => high_start(start),
            Self::Low(_) => low_start(start),
        }
    }

    /// Unpacks the `index`-th block of a tile, whose codes in the strips are `bytes`.
    pub fn unpack(self, index: usize, bytes: &[u8], lines: &mut Lines) {
        match self {
            Self::Bytes => unpack_bytes(bytes, lines),
            Self::Nibbles | Self::High => unpack_nibbles(bytes, lines),
            Self::Fives => unpack_fives(bytes, lines),
            Self::Entries(table) => unpack_entries(bytes, table, lines),
            Self::Threes(table) => unpack_entries(&threes_as_nibbles(bytes), table, lines),
            Self::Low(plane) => unpack_nibbles(&low_in_lines(plane, index), lines),
        }
    }
}

/// The lines of a block.
fn lines_of(bytes: &[u8]) -> &[[u8; ALIGN]] {
    bytes.as_chunks().0
}

#[inline(never)]
fn unpack_bytes(bytes: &[u8], lines: &mut Lines) {
    for (line, halves) in lines_of(bytes).iter().zip(lines.as_chunks_mut::<2>().0) {
        let words = words(line);
        for i in 0..WORDS {
            halves[0][i] = signed_byte(words[i], false);
            halves[1][i] = signed_byte(words[i], true);
        }
    }
}

#[inline(never)]
fn unpack_nibbles(bytes: &[u8], lines: &mut Lines) {
    let (low, high) = lines.split_at_mut(HALF_LINES / 2);
    let halves = low.as_chunks_mut::<2>().0.iter_mut().zip(high.as_chunks_mut::<2>().0);
    for (line, (low, high)) in lines_of(bytes).iter().zip(halves) {
        let words = words(line);
        for i in 0..WORDS {
            low[0][i] = (words[i] & 15) as i16;
            low[1][i] = (words[i] >> 8 & 15) as i16;
            high[0][i] = (words[i] >> 4 & 15) as i16;
            high[1][i] = (words[i] >> 12) as i16;
        }
    }
}

#[inline(never)]
fn unpack_fives(bytes: &[u8], lines: &mut Lines) {
    unpack_nibbles(&bytes[..Q5_HIGH], lines);
    let bits = words(bytes[Q5_HIGH..].first_chunk().expect("a line of bits"));
    for (quad, halves) in lines.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        for i in 0..WORDS {
            for (high, half) in halves.iter_mut().enumerate() {
                let bit = bits[i] >> (8 * high + quad) & 1;
                half[i] += (bit << 4) as i16 - i16::from(Q5_OFFSET);
            }
        }
    }
}

#[inline(never)]
fn unpack_entries(bytes: &[u8], table: &Table, lines: &mut Lines) {
    let (low, high) = lines.split_at_mut(HALF_LINES / 2);
    let halves = low.as_chunks_mut::<2>().0.iter_mut().zip(high.as_chunks_mut::<2>().0);
    for (line, (low, high)) in lines_of(bytes).iter().zip(halves) {
        for i in 0..WORDS {
            for byte in 0..2 {
                let entries = table[usize::from(line[2 * i + byte])];
                low[byte][i] = entries as i16;
                high[byte][i] = (entries >> 16) as i16;
            }
        }
    }
}

/// A block of 3-bit codes in the layout of 4-bit codes.
#[inline(never)]
fn threes_as_nibbles(bytes: &[u8]) -> [u8; NIBBLE_BLOCK] {
    let mut nibbles = [0; NIBBLE_BLOCK];
    let [first, second, ..] = lines_of(bytes) else { unreachable!("two lines of pairs of bits") };
    let bits: &[u8; ALIGN] = bytes[Q3_HIGH..].first_chunk().expect("a line of bits");
    for (quad, line) in nibbles.as_chunks_mut::<ALIGN>().0.iter_mut().enumerate() {
        for i in 0..ALIGN {
            let low = first[i] >> (2 * quad) & 3 | (bits[i] >> quad & 1) << 2;
            let high = second[i] >> (2 * quad) & 3 | (bits[i] >> (4 + quad) & 1) << 2;
            line[i] = low | high << 4;
        }
    }
    nibbles
}

/// A block of a low plane, `[row][cols / 2]`, in the layout of 4-bit codes.
#[inline(never)]
fn low_in_lines(plane: &[u8], index: usize) -> [u8; NIBBLE_BLOCK] {
    let mut nibbles = [0; NIBBLE_BLOCK];
    let width = plane.len() / TILE_ROWS;
    for r in 0..TILE_ROWS {
        let row = &plane[r * width + index * BLOCK / 2..][..BLOCK / 2];
        for (line, quad) in nibbles.as_chunks_mut::<ALIGN>().0.iter_mut().zip(row.as_chunks().0) {
            line.as_chunks_mut::<4>().0[r] = *quad;
        }
    }
    nibbles
}
