//! The key-value cache: where each position's keys and values lie, and how they are written.
//!
//! Fixed size, cut from the arena once. For each layer and key-value head one block:
//!
//! | part | int8 | f16 |
//! |---|---|---|
//! | keys | `[context/16][head_dim/4][16][4]` i8 | `[context/16][head_dim][16]` |
//! | values | `[context/4][head_dim][4]` i8 | `[context][head_dim]` |
//! | key scales | `[context]` f16 | – |
//! | value scales | `[context]` f16 | – |
//!
//! The 16 and the 4 behind `context/` are neighbouring positions. Keys lie like the rows of a
//! weight tile and int8 values like one across positions, so that the dot products of attention run
//! over 16 positions, or over all of a head, at once.

use crate::round::round_half_even;
use core::ops::Range;
use half::f16;
use kinglet_quant::format::{ALIGN, TILE_ROWS};

/// Positions that one call of [`crate::Kernels::attend`] covers at most; calls start at multiples
/// of it.
pub const ATTEND_CHUNK: usize = 128;
/// Positions of a quad of int8 values.
const QUAD: usize = 4;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KvType {
    /// 16-bit floats.
    F16,
    /// Signed bytes with one f16 scale per head and position: half the memory.
    #[default]
    Int8,
}

impl KvType {
    /// The name that the command line uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }
}

/// Sizes of one key-value head's block; all in bytes, all multiples of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayout {
    /// How keys and values are stored.
    pub kind: KvType,
    /// Width of a head.
    pub head_dim: usize,
    /// Positions, a multiple of 16.
    pub context: usize,
    /// Bytes of the keys, and of the values.
    pub vectors: usize,
    /// Bytes of the key scales, and of the value scales.
    pub scales: usize,
}

impl KvLayout {
    /// The layout of `context` positions, which is rounded up to a multiple of 16.
    pub fn new(kind: KvType, head_dim: usize, context: usize) -> Self {
        let context = context.next_multiple_of(TILE_ROWS);
        let (width, scales) = match kind {
            KvType::F16 => (2, 0),
            KvType::Int8 => (1, (context * 2).next_multiple_of(ALIGN)),
        };
        Self { kind, head_dim, context, vectors: context * head_dim * width, scales }
    }

    /// Bytes of one head's block.
    pub fn block_bytes(&self) -> usize {
        2 * self.vectors + 2 * self.scales
    }

    /// The block of one head, to read.
    pub fn head<'a>(&self, block: &'a [u8]) -> KvHead<'a> {
        let (keys, rest) = block[..self.block_bytes()].split_at(self.vectors);
        let (values, rest) = rest.split_at(self.vectors);
        let (key_scales, value_scales) = rest.split_at(self.scales);
        KvHead {
            layout: *self,
            keys,
            values,
            key_scales: bytemuck::cast_slice(key_scales),
            value_scales: bytemuck::cast_slice(value_scales),
        }
    }

    /// Writes the key and value of `position`, each `[head_dim]`, into one head's block.
    pub fn store(&self, block: &mut [u8], position: usize, key: &[f32], value: &[f32]) {
        assert!(
            position < self.context && key.len() == self.head_dim && value.len() == self.head_dim
        );
        let (keys, rest) = block[..self.block_bytes()].split_at_mut(self.vectors);
        let (values, rest) = rest.split_at_mut(self.vectors);
        match self.kind {
            KvType::F16 => {
                let keys: &mut [f16] = bytemuck::cast_slice_mut(keys);
                for (d, &x) in key.iter().enumerate() {
                    keys[self.key_index(position, d)] = f16::from_f32(x);
                }
                let values: &mut [f16] = bytemuck::cast_slice_mut(values);
                for (d, &x) in value.iter().enumerate() {
                    values[self.value_index(position, d)] = f16::from_f32(x);
                }
            }
            KvType::Int8 => {
                let (key_scales, value_scales) = rest.split_at_mut(self.scales);
                let key_scale = scale_of(key);
                for (d, &x) in key.iter().enumerate() {
                    keys[self.key_index(position, d)] = to_code(x, key_scale) as u8;
                }
                bytemuck::cast_slice_mut::<u8, f16>(key_scales)[position] = key_scale;
                let value_scale = scale_of(value);
                for (d, &x) in value.iter().enumerate() {
                    values[self.value_index(position, d)] = to_code(x, value_scale) as u8;
                }
                bytemuck::cast_slice_mut::<u8, f16>(value_scales)[position] = value_scale;
            }
        }
    }

    /// Element of the keys that holds dimension `d` of `position`.
    pub fn key_index(&self, position: usize, d: usize) -> usize {
        let (tile, row) = (position / TILE_ROWS, position % TILE_ROWS);
        let start = tile * TILE_ROWS * self.head_dim;
        match self.kind {
            KvType::F16 => start + d * TILE_ROWS + row,
            KvType::Int8 => start + d / QUAD * (TILE_ROWS * QUAD) + row * QUAD + d % QUAD,
        }
    }

    /// Element of the values that holds dimension `d` of `position`.
    pub fn value_index(&self, position: usize, d: usize) -> usize {
        match self.kind {
            KvType::F16 => position * self.head_dim + d,
            KvType::Int8 => position / QUAD * (QUAD * self.head_dim) + d * QUAD + position % QUAD,
        }
    }
}

/// The smallest f16 that keeps every code within ±127.
fn scale_of(x: &[f32]) -> f16 {
    let max = x.iter().fold(0f32, |max, x| max.max(x.abs()));
    let exact = max / 127.0;
    let rounded = f16::from_f32(exact);
    if rounded.to_f32() < exact { f16::from_bits(rounded.to_bits() + 1) } else { rounded }
}

fn to_code(x: f32, scale: f16) -> i8 {
    let scale = scale.to_f32();
    if scale == 0.0 { 0 } else { round_half_even(x / scale) as i8 }
}

/// Keys and values of one head, to read.
#[derive(Clone, Copy, Debug)]
pub struct KvHead<'a> {
    /// Where things lie.
    pub layout: KvLayout,
    /// The keys' bytes, aligned to 64.
    pub keys: &'a [u8],
    /// The values' bytes, aligned to 64.
    pub values: &'a [u8],
    /// `[context]`, empty for f16.
    pub key_scales: &'a [f16],
    /// `[context]`, empty for f16.
    pub value_scales: &'a [f16],
}

impl KvHead<'_> {
    /// Dimension `d` of the key of `position`.
    pub fn key(&self, position: usize, d: usize) -> f32 {
        let index = self.layout.key_index(position, d);
        self.element(self.keys, index, self.key_scales, position)
    }

    /// Dimension `d` of the value of `position`.
    pub fn value(&self, position: usize, d: usize) -> f32 {
        let index = self.layout.value_index(position, d);
        self.element(self.values, index, self.value_scales, position)
    }

    fn element(&self, bytes: &[u8], index: usize, scales: &[f16], position: usize) -> f32 {
        match self.layout.kind {
            KvType::F16 => bytemuck::cast_slice::<u8, f16>(bytes)[index].to_f32(),
            KvType::Int8 => f32::from(bytes[index] as i8) * scales[position].to_f32(),
        }
    }

    /// Asserts that `span` is one that [`crate::Kernels::attend`] takes.
    pub fn check_span(&self, span: &Range<usize>) {
        assert!(span.start.is_multiple_of(ATTEND_CHUNK) && !span.is_empty());
        assert!(span.len() <= ATTEND_CHUNK && span.end <= self.layout.context);
    }
}
