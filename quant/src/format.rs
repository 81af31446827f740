//! Number formats, and the sizes and offsets that their layout is made of.

use crate::{Code, Result};

/// Rows of one tile.
pub const TILE_ROWS: usize = 16;
/// Columns of one block of codes, and of one group of quantized activations.
pub const BLOCK: usize = 32;
/// The 4-bit codes −8 to 7, the table of a linear tensor.
pub const LINEAR: [i8; 16] = [-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7];
/// Largest magnitude in a code table: 8 products with an int8 then fit into 16 bits.
pub const MAX_CODE: i8 = 32;
/// How much larger the byte `16 · high + low` of two planes is than the weight's integer.
pub const PLANES_OFFSET: u8 = 128;
/// How much larger a 5-bit code is than the weight's integer.
pub const Q5_OFFSET: i8 = 16;
/// First byte of the plane of high bits in a Q5 block.
pub const Q5_HIGH: usize = TILE_ROWS * BLOCK / 2;
/// First byte of the plane of high bits in a Q3 block.
pub const Q3_HIGH: usize = TILE_ROWS * BLOCK / 4;
/// Sub-arrays of a tile, tiles and tensors start at multiples of this.
pub const ALIGN: usize = 64;

/// How the weights of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Type {
    /// 32-bit floats.
    F32 = 0,
    /// The upper halves of 32-bit floats.
    Bf16 = 1,
    /// Signed bytes with a scale per group of 32.
    Q8 = 2,
    /// 4-bit codes into a table of 16 signed bytes, with a scale per group of 16 or 32.
    Q4 = 3,
    /// Codes −16 to 15, a plane of 4 bits beside one of 1 bit, with a scale per group of 16 or 32.
    Q5 = 4,
    /// 3-bit codes into a table of 8 signed bytes, a plane of 2 bits beside one of 1 bit, with a
    /// scale per group of 16 or 32.
    Q3 = 5,
    /// The weights of [`Type::Q8`] as a plane of high and a plane of low nibbles: a head that is
    /// searched by its high halves reads little more than these.
    Q8Planes = 6,
}

impl Type {
    /// The type with this number in a file.
    pub fn from_file(number: u8) -> Result<Self> {
        Ok(match number {
            0 => Self::F32,
            1 => Self::Bf16,
            2 => Self::Q8,
            3 => Self::Q4,
            4 => Self::Q5,
            5 => Self::Q3,
            6 => Self::Q8Planes,
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
            Self::Q5 => "q5",
            Self::Q4 => "q4",
            Self::Q3 => "q3",
            Self::Q8Planes => "q8p",
        }
    }

    /// Whether kernels multiply integers, so that activations must be quantized first.
    pub fn is_quantized(self) -> bool {
        !matches!(self, Self::F32 | Self::Bf16)
    }
}
