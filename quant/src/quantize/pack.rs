//! From integers and scales to the bytes of a tile: the one place that knows how each type packs.

use super::{MEAN_LOW, Scheme};
use crate::format::{BLOCK, PLANES_OFFSET, Q3_HIGH, Q5_HIGH, Q5_OFFSET, TILE_ROWS, Type};
use crate::tile::{TileLayout, high_bit_index, low_index, q3_index, q4_index, q8_index};

/// A row of quantized weights: `row_scale × group_scales[k / group] × integers[k]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub row_scale: f32,
    pub group_scales: Vec<i8>,
    pub integers: Vec<i8>,
}

/// Where the bytes of a tile go; all are zero before its rows are written.
pub(crate) struct Place<'a> {
    pub tile: &'a mut [u8],
    /// The rows of the low plane; empty for types without one.
    pub low: &'a mut [u8],
}

/// How rows of one matrix are packed.
pub(crate) struct Packer {
    scheme: Scheme,
    layout: TileLayout,
    cols: usize,
    /// The code of every table entry, found by the entry's bits.
    code_of: [u8; 256],
}

impl Packer {
    pub fn new(scheme: Scheme, cols: usize) -> Self {
        let mut code_of = [0; 256];
        for (code, entry) in scheme.values().iter().enumerate() {
            code_of[usize::from(*entry as u8)] = code as u8;
        }
        Self { scheme, layout: scheme.layout(cols), cols, code_of }
    }

    /// Writes row `r` of a tile.
    pub fn put(&self, r: usize, row: &Row, place: &mut Place<'_>) {
        put_f32(place.tile, r, row.row_scale);
        for (group, &scale) in row.group_scales.iter().enumerate() {
            place.tile[self.layout.scale_index(group, r)] = scale as u8;
        }
        for (block, integers) in row.integers.chunks_exact(BLOCK).enumerate() {
            let codes = &mut place.tile[self.layout.block_range(block, self.scheme.group)];
            for (col, &integer) in (block * BLOCK..).zip(integers) {
                self.put_code(r, col, integer, codes, place.low);
            }
        }
        if self.scheme.kind == Type::Q8Planes {
            put_f32(&mut place.tile[TILE_ROWS * size_of::<f32>()..], r, residual_norm(row));
        }
    }

    /// Adds a code to the bytes of its block.
    fn put_code(&self, r: usize, col: usize, integer: i8, block: &mut [u8], low: &mut [u8]) {
        match self.scheme.kind {
            Type::Q8 => block[q8_index(r, col)] = integer as u8,
            Type::Q5 => {
                let code = (integer + Q5_OFFSET) as u8;
                set(block, q4_index(r, col), code & 15);
                set(&mut block[Q5_HIGH..], high_bit_index(r, col), code >> 4);
            }
            Type::Q4 => set(block, q4_index(r, col), self.code_of[usize::from(integer as u8)]),
            Type::Q3 => {
                let code = self.code_of[usize::from(integer as u8)];
                set(block, q3_index(r, col), code & 3);
                set(&mut block[Q3_HIGH..], high_bit_index(r, col), code >> 2);
            }
            Type::Q8Planes => {
                let byte = (integer as u8).wrapping_add(PLANES_OFFSET);
                set(block, q4_index(r, col), byte >> 4);
                set(low, low_index(r, col, self.cols), byte & 15);
            }
            Type::F32 | Type::Bf16 => unreachable!("{} has no codes", self.scheme.kind.name()),
        }
    }
}

/// Sets bits that are zero.
fn set(bytes: &mut [u8], (index, shift): (usize, u32), bits: u8) {
    bytes[index] |= bits << shift;
}

fn put_f32(bytes: &mut [u8], index: usize, value: f32) {
    let bytes = &mut bytes[index * size_of::<f32>()..][..size_of::<f32>()];
    bytes.copy_from_slice(&value.to_le_bytes());
}

/// The root of the sum of squares of what the low plane adds to a row, on top of its mean.
fn residual_norm(row: &Row) -> f32 {
    let square = |(col, &integer): (usize, &i8)| {
        let low = (integer as u8).wrapping_add(PLANES_OFFSET) & 15;
        let group_scale = f32::from(row.group_scales[col / BLOCK]);
        f64::from(row.row_scale * group_scale * (f32::from(low) - MEAN_LOW)).powi(2)
    };
    row.integers.iter().enumerate().map(square).sum::<f64>().sqrt() as f32
}
