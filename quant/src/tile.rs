//! Where the bytes of a tile lie: 16 rows of a matrix in the order in which kernels read them.

use crate::format::{BLOCK, TILE_ROWS, Type};
use core::ops::Range;

/// Scales of a strip: of 4 groups, 16 rows each.
pub const STRIP_SCALES: usize = 64;
/// Groups of a strip.
const STRIP_GROUPS: usize = STRIP_SCALES / TILE_ROWS;

/// Where the parts of one tile lie.
///
/// The arrays of a quantized tile come in the order in which a kernel reads them: what its rows
/// have once, then strips of 4 groups of columns, the scales before the codes. A pass over a matrix
/// is one stream that any processor prefetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileLayout {
    /// Bytes of the arrays by row: row scales (16 × f32), and residual norms (16 × f32) where there
    /// are two planes. The strips start there.
    pub head: usize,
    /// Bytes of a strip; the last one ends with the tile's codes.
    pub strip: usize,
    /// Bytes of the whole tile.
    pub bytes: usize,
    /// Bytes of the tile's 16 rows in the low plane, which lies behind all tiles; 0 without one.
    pub low: usize,
}

impl TileLayout {
    /// The layout of a tile with `cols` columns (a multiple of 32) and scale groups of `group`.
    pub fn new(kind: Type, cols: usize, group: usize) -> Self {
        let code_bytes = |cols: usize| match kind {
            Type::F32 => TILE_ROWS * cols * 4,
            Type::Bf16 => TILE_ROWS * cols * 2,
            Type::Q8 => TILE_ROWS * cols,
            Type::Q5 => TILE_ROWS * cols / 8 * 5,
            Type::Q4 | Type::Q8Planes => TILE_ROWS * cols / 2,
            Type::Q3 => TILE_ROWS * cols / 8 * 3,
        };
        if !kind.is_quantized() {
            return Self { head: 0, strip: 0, bytes: code_bytes(cols), low: 0 };
        }
        let (row_arrays, low) = match kind {
            Type::Q8Planes => (2, code_bytes(cols)),
            _ => (1, 0),
        };
        let head = row_arrays * TILE_ROWS * size_of::<f32>();
        let strips = cols.div_ceil(STRIP_GROUPS * group);
        Self {
            head,
            strip: STRIP_SCALES + code_bytes(STRIP_GROUPS * group),
            bytes: head + strips * STRIP_SCALES + code_bytes(cols),
            low,
        }
    }

    /// The byte that holds the scale of a group of columns for one of the 16 rows.
    pub fn scale_index(&self, group: usize, row: usize) -> usize {
        let (strip, within) = (group / STRIP_GROUPS, group % STRIP_GROUPS);
        self.head + strip * self.strip + within * TILE_ROWS + row
    }

    /// The bytes that hold the codes of 32 columns, for groups of `group`.
    pub fn block_range(&self, block: usize, group: usize) -> Range<usize> {
        let blocks = STRIP_GROUPS * group / BLOCK;
        let bytes = (self.strip - STRIP_SCALES) / blocks;
        let strip = self.head + block / blocks * self.strip + STRIP_SCALES;
        let start = strip + block % blocks * bytes;
        start..start + bytes
    }

    /// Bytes that 16 rows take in a file, wherever they lie.
    pub fn stored_bytes(&self) -> usize {
        self.bytes + self.low
    }
}

/// 16 rows of a [`crate::Matrix`].
#[derive(Clone, Copy, Debug)]
pub struct Tile<'a> {
    pub(crate) layout: TileLayout,
    pub(crate) group: usize,
    pub(crate) bytes: &'a [u8],
    pub(crate) low: &'a [u8],
}

impl<'a> Tile<'a> {
    /// The factor of each row (quantized types).
    #[inline]
    pub fn row_scales(&self) -> &'a [f32; TILE_ROWS] {
        bytemuck::from_bytes(&self.bytes[..TILE_ROWS * size_of::<f32>()])
    }

    /// For each row, the root of the sum of squares of what the low plane adds to the weights on
    /// top of its mean (two planes).
    #[inline]
    pub fn residual_norms(&self) -> &'a [f32; TILE_ROWS] {
        let bytes = TILE_ROWS * size_of::<f32>();
        assert!(self.layout.head >= 2 * bytes, "only two planes have residual norms");
        bytemuck::from_bytes(&self.bytes[bytes..2 * bytes])
    }

    /// The factor of a group of columns in row `r`.
    pub fn group_scale(&self, group: usize, r: usize) -> i8 {
        self.bytes[self.layout.scale_index(group, r)] as i8
    }

    /// The codes of 32 columns (quantized types), the high nibbles of two planes.
    pub fn block(&self, block: usize) -> &'a [u8] {
        &self.bytes[self.layout.block_range(block, self.group)]
    }

    /// The strips of a quantized tile, in the order of columns.
    #[inline]
    pub fn strips(&self) -> impl Iterator<Item = Strip<'a>> + use<'a> {
        self.strip_bytes().chunks(self.layout.strip).map(|bytes| Strip { bytes })
    }

    /// The bytes of all strips of a quantized tile.
    #[inline]
    pub fn strip_bytes(&self) -> &'a [u8] {
        &self.bytes[self.layout.head..]
    }

    /// The strips of a quantized tile that have all of their 4 groups.
    #[inline]
    pub fn whole_strips(&self) -> impl ExactSizeIterator<Item = Strip<'a>> + use<'a> {
        self.strip_bytes().chunks_exact(self.layout.strip).map(|bytes| Strip { bytes })
    }

    /// The strip at the end of a quantized tile if it has fewer groups.
    #[inline]
    pub fn cut_strip(&self) -> Option<Strip<'a>> {
        let strips = self.strip_bytes();
        let bytes = &strips[strips.len() / self.layout.strip * self.layout.strip..];
        (!bytes.is_empty()).then_some(Strip { bytes })
    }

    /// The low nibbles of two planes, `[row][cols / 2]`; empty for other types.
    #[inline]
    pub fn low_plane(&self) -> &'a [u8] {
        self.low
    }

    /// The values of an F32 tile, `[row][col]`.
    pub fn f32_rows(&self) -> &'a [f32] {
        bytemuck::cast_slice(self.bytes)
    }

    /// The values of a BF16 tile, `[row][col]`.
    pub fn bf16_rows(&self) -> &'a [half::bf16] {
        bytemuck::cast_slice(self.bytes)
    }
}

/// Scales and codes of 4 groups of columns, fewer at the end of a tile.
#[derive(Clone, Copy, Debug)]
pub struct Strip<'a> {
    bytes: &'a [u8],
}

impl<'a> Strip<'a> {
    /// The factor of each group, `[group][row]`; those of groups that do not exist are zero.
    #[inline]
    pub fn scales(&self) -> &'a [i8] {
        bytemuck::cast_slice(&self.bytes[..STRIP_SCALES])
    }

    /// The codes, block after block.
    #[inline]
    pub fn codes(&self) -> &'a [u8] {
        &self.bytes[STRIP_SCALES..]
    }

    /// Both.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Byte of a Q8 block's codes that holds row `r`, column `col` (of the matrix): quads of columns,
/// 16 rows a line.
pub fn q8_index(r: usize, col: usize) -> usize {
    col % BLOCK / 4 * (TILE_ROWS * 4) + r * 4 + col % 4
}

/// Byte and bit shift of a Q4 block's codes that hold row `r`, column `col` (of the matrix).
///
/// A block of 32 columns is 4 lines of 64 bytes; line `j` holds columns `4j..4j+4` in its low and
/// `16+4j..16+4j+4` in its high nibbles, 4 bytes a row.
pub fn q4_index(r: usize, col: usize) -> (usize, u32) {
    let within = col % BLOCK;
    let (high, quad, i) = (within / 16, within % 16 / 4, within % 4);
    (quad * (TILE_ROWS * 4) + r * 4 + i, 4 * high as u32)
}

/// Byte and bit shift of a Q3 block that hold the two low bits of row `r`, column `col` (of the
/// matrix): 2 lines of 64 bytes, line `i` with columns `16i..16i+16`, a quad of these every 2 bits.
pub fn q3_index(r: usize, col: usize) -> (usize, u32) {
    let within = col % BLOCK;
    (within / 16 * (TILE_ROWS * 4) + r * 4 + within % 4, 2 * (within % 16 / 4) as u32)
}

/// Byte and bit shift of the line of high bits, behind the other lines of a Q5 or Q3 block, that
/// hold row `r`, column `col` (of the matrix): 4 bytes a row, a bit for each quad of columns.
pub fn high_bit_index(r: usize, col: usize) -> (usize, u32) {
    let within = col % BLOCK;
    (r * 4 + within % 4, (within / 4) as u32)
}

/// Byte and bit shift of a tile's low plane that hold row `r`, column `col`: row by row, every 32
/// columns 16 bytes with the first 16 columns in the low nibbles.
pub fn low_index(r: usize, col: usize, cols: usize) -> (usize, u32) {
    let (block, within) = (col / BLOCK, col % BLOCK);
    (r * cols / 2 + block * (BLOCK / 2) + within % 16, 4 * (within / 16) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ALIGN;

    #[test]
    fn scales_and_codes_of_strips_fill_a_tile() {
        let narrow = [Type::Q5, Type::Q4, Type::Q3];
        let narrow = narrow.into_iter().flat_map(|kind| [(kind, 16), (kind, 32)]);
        for (kind, group) in narrow.chain([(Type::Q8, 32), (Type::Q8Planes, 32)]) {
            for cols in (32..=576).step_by(32) {
                let layout = TileLayout::new(kind, cols, group);
                let mut uses = [0u8; 16_384];
                let mut padding = layout.bytes - layout.head;
                for scale in 0..cols / group * TILE_ROWS {
                    uses[layout.scale_index(scale / TILE_ROWS, scale % TILE_ROWS)] += 1;
                    padding -= 1;
                }
                for block in 0..cols / BLOCK {
                    let range = layout.block_range(block, group);
                    assert!(range.start.is_multiple_of(ALIGN));
                    padding -= range.len();
                    uses[range].iter_mut().for_each(|uses| *uses += 1);
                }
                assert!(uses[..layout.head].iter().all(|&uses| uses == 0));
                assert!(uses.iter().all(|&uses| uses <= 1));
                assert!(uses[layout.bytes..].iter().all(|&uses| uses == 0));
                assert!(padding < STRIP_SCALES && layout.bytes.is_multiple_of(ALIGN));
            }
        }
    }
}
