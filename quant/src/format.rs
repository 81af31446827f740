//! Number formats and the tile layout ("T16") that every kernel reads as it lies in the file.
//!
//! A matrix of `rows × cols` is a sequence of tiles of 16 output rows (the last one padded with
//! zero rows). `FORMAT.md` draws the bytes; this file is their arithmetic.

use crate::{Code, Result, ensure};

/// Rows of one tile.
pub const TILE_ROWS: usize = 16;
/// Columns of one block of codes, and of one group of quantized activations.
pub const BLOCK: usize = 32;
/// The 4-bit codes −8 to 7, the table of a linear tensor.
pub const LINEAR: [i8; 16] = [-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7];
/// Largest magnitude in a code table: 8 products with an int8 then fit into 16 bits.
pub const MAX_CODE: i8 = 32;
/// Sub-arrays of a tile, tiles and tensors start at multiples of this.
pub const ALIGN: usize = 64;

/// How the weights of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Type {
    /// 32-bit floats.
    F32 = 0,
    /// The upper halves of 32-bit floats.
    Bf16 = 1,
    /// Signed bytes with a scale per group of 32.
    Q8 = 2,
    /// 4-bit codes into a table of 16 signed bytes, with a scale per group of 16 or 32.
    Q4 = 3,
}

impl Type {
    /// The type with this number in a file.
    pub fn from_file(number: u8) -> Result<Self> {
        Ok(match number {
            0 => Self::F32,
            1 => Self::Bf16,
            2 => Self::Q8,
            3 => Self::Q4,
            _ => crate::fail!(
                Code::UnsupportedTensorType,
                "tensor type {number} is unknown: the file needs a newer Kinglet"
            ),
        })
    }

    /// The name that the command line uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        }
    }

    /// Whether kernels multiply integers, so that activations must be quantized first.
    pub fn is_quantized(self) -> bool {
        matches!(self, Self::Q8 | Self::Q4)
    }
}

/// Where the parts of one tile lie; every offset is a multiple of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileLayout {
    /// Start of the group scales: `(cols / group) × 16` signed bytes. Row scales (16 × f32)
    /// precede.
    pub group_scales: usize,
    /// Start of the codes (of the values, for F32 and BF16).
    pub codes: usize,
    /// Bytes of the whole tile.
    pub bytes: usize,
}

impl TileLayout {
    /// The layout of a tile with `cols` columns (a multiple of 32) and scale groups of `group`.
    pub fn new(kind: Type, cols: usize, group: usize) -> Self {
        let code_bytes = match kind {
            Type::F32 => TILE_ROWS * cols * 4,
            Type::Bf16 => TILE_ROWS * cols * 2,
            Type::Q8 => TILE_ROWS * cols,
            Type::Q4 => TILE_ROWS * cols / 2,
        };
        if !kind.is_quantized() {
            return Self { group_scales: 0, codes: 0, bytes: code_bytes };
        }
        let group_scales = TILE_ROWS * size_of::<f32>();
        let codes = group_scales + (cols / group * TILE_ROWS).next_multiple_of(ALIGN);
        Self { group_scales, codes, bytes: codes + code_bytes }
    }
}

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
    /// `bytes`.
    ///
    /// `cols` must be a multiple of 32, `group` 16 or 32 (ignored for unquantized types), the start
    /// aligned to 64 bytes, table entries within ±32. `Corrupt` when one of these is broken,
    /// `Truncated` when a tile ends behind `bytes`, `Misaligned` for the memory's alignment.
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
            Type::Q8 => group == 32,
            Type::Q4 => group == 16 || group == 32,
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
        let needed = (tiles - 1).checked_mul(stride).and_then(|n| n.checked_add(layout.bytes));
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

    /// Bytes that reading all weights once moves.
    pub fn read_bytes(&self) -> usize {
        self.tile_count() * self.layout.bytes
    }

    /// One tile. Panics when `index` is not below [`Matrix::tile_count`].
    pub fn tile(&self, index: usize) -> Tile<'a> {
        assert!(index < self.tile_count());
        let start = index * self.stride;
        Tile { layout: self.layout, bytes: &self.bytes[start..start + self.layout.bytes] }
    }

    /// The weight at `(row, col)`: the definition of every format, one element at a time.
    pub fn weight(&self, row: usize, col: usize) -> f32 {
        assert!(row < self.rows && col < self.cols);
        let tile = self.tile(row / TILE_ROWS);
        let r = row % TILE_ROWS;
        match self.kind {
            Type::F32 => tile.f32_rows()[r * self.cols + col],
            Type::Bf16 => tile.bf16_rows()[r * self.cols + col].to_f32(),
            Type::Q8 | Type::Q4 => {
                let group_scale = tile.group_scales()[col / self.group * TILE_ROWS + r];
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
            Type::Q8 | Type::Q4 => {
                for (group, out) in out.chunks_exact_mut(self.group).enumerate() {
                    let group_scale = tile.group_scales()[group * TILE_ROWS + r];
                    let scale = tile.row_scales()[r] * f32::from(group_scale);
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = scale * f32::from(self.code(&tile, r, group * self.group + i));
                    }
                }
            }
        }
    }

    /// The integer behind the weight at row `r` of a tile and column `col`: the byte of a Q8
    /// tensor, the table entry of a Q4 one.
    pub fn code(&self, tile: &Tile<'_>, r: usize, col: usize) -> i8 {
        match self.kind {
            Type::Q8 => tile.codes()[q8_index(r, col)] as i8,
            Type::Q4 => {
                let (index, shift) = q4_index(r, col);
                self.table[usize::from(tile.codes()[index] >> shift & 15)]
            }
            Type::F32 | Type::Bf16 => panic!("{} weights have no codes", self.kind.name()),
        }
    }
}

/// Byte of a Q8 tile's codes that holds row `r`, column `col`: quads of columns, 16 rows a line.
pub fn q8_index(r: usize, col: usize) -> usize {
    col / 4 * (TILE_ROWS * 4) + r * 4 + col % 4
}

/// Byte and bit shift of a Q4 tile's codes that hold row `r`, column `col`.
///
/// A block of 32 columns is 4 lines of 64 bytes; line `j` holds columns `4j..4j+4` in its low and
/// `16+4j..16+4j+4` in its high nibbles, 4 bytes a row.
pub fn q4_index(r: usize, col: usize) -> (usize, u32) {
    let (block, within) = (col / BLOCK, col % BLOCK);
    let (high, quad, i) = (within / 16, within % 16 / 4, within % 4);
    (block * (TILE_ROWS * BLOCK / 2) + quad * (TILE_ROWS * 4) + r * 4 + i, 4 * high as u32)
}

/// 16 rows of a [`Matrix`].
#[derive(Clone, Copy, Debug)]
pub struct Tile<'a> {
    layout: TileLayout,
    bytes: &'a [u8],
}

impl<'a> Tile<'a> {
    /// The factor of each row (quantized types).
    pub fn row_scales(&self) -> &'a [f32; TILE_ROWS] {
        bytemuck::from_bytes(&self.bytes[..TILE_ROWS * size_of::<f32>()])
    }

    /// The factor of each group, `[group][row]`; the area's padding is cut off by [`Matrix::cols`].
    pub fn group_scales(&self) -> &'a [i8] {
        bytemuck::cast_slice(&self.bytes[self.layout.group_scales..self.layout.codes])
    }

    /// The codes (quantized types).
    pub fn codes(&self) -> &'a [u8] {
        &self.bytes[self.layout.codes..]
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A tile at an address that a mapped file would give it.
    #[repr(C, align(64))]
    struct Aligned([u8; 384]);

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
