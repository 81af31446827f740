//! A matrix in the tile layout ("T16"), which kernels read straight from the file.
//!
//! A matrix of `rows × cols` is a sequence of tiles of 16 output rows (the last one padded with
//! zero rows). `FORMAT.md` draws the bytes; `tile.rs` says where they lie in a tile.

use crate::format::{
    ALIGN, BLOCK, LINEAR, MAX_CODE, PLANES_OFFSET, Q3_HIGH, Q5_HIGH, Q5_OFFSET, TILE_ROWS, Type,
};
use crate::tile::{Tile, TileLayout, high_bit_index, low_index, q3_index, q4_index, q8_index};
use crate::{Code, Result, ensure};

/// A view of a weight matrix in the file: `rows × cols`, row `r` gives output `r`.
///
/// Made by [`Matrix::new`] only, which checks what kernels rely on.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    kind: Type,
    group: usize,
    rows: usize,
    cols: usize,
    stride: usize,
    layout: TileLayout,
    table: [i8; 16],
    bytes: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// A view of `rows × cols` weights whose tiles start every `stride` bytes from the start of
    /// `bytes`, the low plane, if any, where a further tile would start.
    ///
    /// `cols` must be a multiple of 32, `group` 16 or 32 (ignored for unquantized types), the start
    /// aligned to 64 bytes, table entries within ±32. `Corrupt` when one of these is broken,
    /// `Truncated` when a tile or the low plane ends behind `bytes`, `Misaligned` for the memory's
    /// alignment.
    pub fn new(
        kind: Type,
        group: usize,
        rows: usize,
        cols: usize,
        stride: usize,
        table: [i8; 16],
        bytes: &'a [u8],
    ) -> Result<Self> {
        ensure!(
            rows > 0 && cols > 0 && cols.is_multiple_of(BLOCK),
            Code::Corrupt,
            "a tensor of {rows} × {cols}: columns must be a multiple of 32"
        );
        let group_fits = match kind {
            Type::F32 | Type::Bf16 => true,
            Type::Q8 | Type::Q8Planes => group == 32,
            Type::Q5 | Type::Q4 | Type::Q3 => group == 16 || group == 32,
        };
        ensure!(
            group_fits,
            Code::Corrupt,
            "scale groups of {group} do not exist for {}",
            kind.name()
        );
        ensure!(
            table.iter().all(|c| c.unsigned_abs() <= MAX_CODE as u8),
            Code::Corrupt,
            "a code table reaches beyond ±{MAX_CODE}"
        );
        let layout = TileLayout::new(kind, cols, group);
        ensure!(
            stride >= layout.bytes && stride.is_multiple_of(ALIGN),
            Code::Corrupt,
            "tiles of {} bytes cannot lie {stride} bytes apart",
            layout.bytes
        );
        let tiles = rows.div_ceil(TILE_ROWS);
        let needed = match layout.low {
            0 => (tiles - 1).checked_mul(stride).and_then(|n| n.checked_add(layout.bytes)),
            low => stride.checked_add(low).and_then(|n| n.checked_mul(tiles)),
        };
        ensure!(
            needed.is_some_and(|n| n <= bytes.len()),
            Code::Truncated,
            "a tensor of {rows} × {cols} ends behind the file: fetch or convert it again"
        );
        ensure!(
            bytes.as_ptr().addr().is_multiple_of(ALIGN),
            Code::Misaligned,
            "weights must start at a multiple of {ALIGN} in memory"
        );
        Ok(Self { kind, group, rows, cols, stride, layout, table, bytes })
    }

    /// The number format.
    pub fn kind(&self) -> Type {
        self.kind
    }

    /// Columns that share one scale: 16 or 32.
    pub fn group(&self) -> usize {
        self.group
    }

    /// Output width.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input width, a multiple of 32.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Tiles of 16 rows.
    pub fn tile_count(&self) -> usize {
        self.rows.div_ceil(TILE_ROWS)
    }

    /// Bytes from one tile to the next; `>=` the bytes of a tile.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// What each 4-bit code stands for.
    pub fn table(&self) -> &[i8; 16] {
        &self.table
    }

    /// Whether the 4-bit codes stand for −8 to 7 in order.
    pub fn is_linear(&self) -> bool {
        self.table == LINEAR
    }

    /// The bytes of all tiles, and of the low plane behind them where there are two.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where the low plane of the first tile starts in [`Matrix::bytes`], for two planes.
    pub fn low_start(&self) -> usize {
        self.tile_count() * self.stride
    }

    /// Bytes that a pass over the tiles reads: all weights once, of two planes the high one.
    pub fn read_bytes(&self) -> usize {
        self.tile_count() * self.layout.bytes
    }

    /// One tile. Panics when `index` is not below [`Matrix::tile_count`].
    #[inline]
    pub fn tile(&self, index: usize) -> Tile<'a> {
        assert!(index < self.tile_count());
        let start = index * self.stride;
        let low = self.tile_count() * self.stride + index * self.layout.low;
        Tile {
            layout: self.layout,
            group: self.group,
            bytes: &self.bytes[start..start + self.layout.bytes],
            low: if self.layout.low > 0 { &self.bytes[low..low + self.layout.low] } else { &[] },
        }
    }

    /// The weight at `(row, col)`: the definition of every format, one element at a time.
    pub fn weight(&self, row: usize, col: usize) -> f32 {
        assert!(row < self.rows && col < self.cols);
        let tile = self.tile(row / TILE_ROWS);
        let r = row % TILE_ROWS;
        match self.kind {
            Type::F32 => tile.f32_rows()[r * self.cols + col],
            Type::Bf16 => tile.bf16_rows()[r * self.cols + col].to_f32(),
            _ => {
                let group_scale = tile.group_scale(col / self.group, r);
                let scale = tile.row_scales()[r] * f32::from(group_scale);
                scale * f32::from(self.code(&tile, r, col))
            }
        }
    }

    /// Decodes one row of weights into `out`, `[cols]`: the embedding of a token.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows && out.len() == self.cols);
        let tile = self.tile(row / TILE_ROWS);
        let r = row % TILE_ROWS;
        let span = r * self.cols..(r + 1) * self.cols;
        match self.kind {
            Type::F32 => out.copy_from_slice(&tile.f32_rows()[span]),
            Type::Bf16 => {
                for (out, x) in out.iter_mut().zip(&tile.bf16_rows()[span]) {
                    *out = x.to_f32();
                }
            }
            _ => {
                for (group, out) in out.chunks_exact_mut(self.group).enumerate() {
                    let group_scale = tile.group_scale(group, r);
                    let scale = tile.row_scales()[r] * f32::from(group_scale);
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = scale * f32::from(self.code(&tile, r, group * self.group + i));
                    }
                }
            }
        }
    }

    /// The integer behind the weight at row `r` of a tile and column `col`: the byte of a Q8
    /// tensor, in one or two planes, the number that a Q5 code stands for, or the table entry of a
    /// Q4 or Q3 one.
    pub fn code(&self, tile: &Tile<'_>, r: usize, col: usize) -> i8 {
        match self.kind {
            Type::Q8 => tile.block(col / BLOCK)[q8_index(r, col)] as i8,
            Type::Q4 => {
                let (index, shift) = q4_index(r, col);
                self.table[usize::from(tile.block(col / BLOCK)[index] >> shift & 15)]
            }
            Type::Q5 => {
                let block = tile.block(col / BLOCK);
                let (index, shift) = q4_index(r, col);
                let (high, high_shift) = high_bit_index(r, col);
                let low = block[index] >> shift & 15;
                (low | (block[Q5_HIGH + high] >> high_shift & 1) << 4) as i8 - Q5_OFFSET
            }
            Type::Q3 => {
                let block = tile.block(col / BLOCK);
                let (index, shift) = q3_index(r, col);
                let (high, high_shift) = high_bit_index(r, col);
                let low = block[index] >> shift & 3;
                self.table[usize::from(low | (block[Q3_HIGH + high] >> high_shift & 1) << 2)]
            }
            Type::Q8Planes => {
                let (index, shift) = q4_index(r, col);
                let high = tile.block(col / BLOCK)[index] >> shift & 15;
                let (index, shift) = low_index(r, col, self.cols);
                let low = tile.low_plane()[index] >> shift & 15;
                (high << 4 | low).wrapping_sub(PLANES_OFFSET) as i8
            }
            Type::F32 | Type::Bf16 => panic!("{} weights have no codes", self.kind.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tile at an address as in a mapped file.
    #[repr(C, align(64))]
    struct Aligned([u8; 384]);

    /// The same for a tile of two planes.
    #[repr(C, align(64))]
    struct AlignedPlanes([u8; 704]);

    #[test]
    fn two_planes_make_one_byte() {
        // Scales, norms and codes of one tile of 32 columns, then the low plane.
        let mut memory = AlignedPlanes([0; 704]);
        let bytes = &mut memory.0;
        bytes[12..16].copy_from_slice(&0.5f32.to_le_bytes());
        bytes[128 + 3] = 2;
        // Row 3, column 21: high nibble of byte 64 + 4·3 + 1 of the codes and of byte 5 of its
        // low row.
        bytes[192 + 77] = 0xA0;
        bytes[448 + 3 * 16 + 5] = 0xC0;
        let matrix = Matrix::new(Type::Q8Planes, 32, 16, 32, 448, [0; 16], bytes).unwrap();
        assert_eq!(matrix.code(&matrix.tile(0), 3, 21), (0xACu8 - 128) as i8);
        assert_eq!(matrix.weight(3, 21), 44.0);
        assert_eq!(matrix.weight(3, 20), -128.0);
        let mut row = [0.0; 32];
        matrix.read_row(3, &mut row);
        assert_eq!((row[20], row[21]), (-128.0, 44.0));
        let short = Matrix::new(Type::Q8Planes, 32, 16, 32, 448, [0; 16], &bytes[..640]);
        assert_eq!(short.unwrap_err().code(), Code::Truncated);
    }

    #[test]
    fn the_example_of_the_specification_holds() {
        let mut tile = Aligned([0; 384]);
        tile.0[..4].copy_from_slice(&[0x0A, 0xD7, 0x23, 0x3C]);
        tile.0[12..16].copy_from_slice(&1f32.to_le_bytes());
        tile.0[64] = 0x64;
        tile.0[80] = 0xCE;
        tile.0[64 + 16 + 3] = 1;
        tile.0[128] = 0x0F;
        tile.0[205] = 0xB0;
        let matrix = Matrix::new(Type::Q4, 16, 16, 32, 384, LINEAR, &tile.0).unwrap();
        assert_eq!(matrix.weight(0, 0), 7.0);
        assert_eq!(matrix.weight(0, 16), 4.0);
        assert_eq!(matrix.weight(3, 21), 3.0);
    }
}
