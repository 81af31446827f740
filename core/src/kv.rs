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
//! The 16 and the 4 after `context/` are neighbouring positions. Keys are laid out like a weight
//! tile whose rows are positions, int8 values like one whose columns are positions. Attention thus
//! computes dot products for 16 positions at once, or for a whole head.

use crate::round::round_to_byte;
use core::ops::Range;
use half::f16;
use kinglet_quant::format::{ALIGN, TILE_ROWS};

/// Positions of a span: what [`crate::Kernels::attend`] computes at once.
pub const ATTEND_CHUNK: usize = 128;
/// The widest head.
pub const MAX_HEAD_DIM: usize = 256;
/// Positions of a quad of int8 values, dimensions of one of keys.
const QUAD: usize = 4;
/// Codes that are made side by side; every head is a multiple.
const CODES: usize = 16;

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

    /// Where the first `positions` lie in one head's block: keys, values, key scales, value scales.
    /// Each reaches to the end of a tile of 16 positions.
    pub fn prefix(&self, positions: usize) -> [Range<usize>; 4] {
        assert!(positions <= self.context);
        let positions = positions.next_multiple_of(TILE_ROWS);
        let vectors = self.vectors / self.context * positions;
        let scales = if self.scales == 0 { 0 } else { positions * size_of::<f16>() };
        let behind = 2 * self.vectors;
        [
            0..vectors,
            self.vectors..self.vectors + vectors,
            behind..behind + scales,
            behind + self.scales..behind + self.scales + scales,
        ]
    }

    /// Zeroes what a copied [`KvLayout::prefix`] of as many positions has behind them.
    pub fn clear_behind(&self, positions: usize, prefix: &mut [&mut [u8]; 4]) {
        let [keys, values, key_scales, value_scales] = prefix;
        let width = self.vectors / (self.context * self.head_dim);
        for position in positions..positions.next_multiple_of(TILE_ROWS) {
            for d in 0..self.head_dim {
                keys[self.key_index(position, d) * width..][..width].fill(0);
                values[self.value_index(position, d) * width..][..width].fill(0);
            }
            for scales in [&mut *key_scales, &mut *value_scales] {
                if let Some(scale) = scales.chunks_exact_mut(size_of::<f16>()).nth(position) {
                    scale.fill(0);
                }
            }
        }
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
    #[inline(always)]
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
                bytemuck::cast_slice_mut::<u8, f16>(key_scales)[position] =
                    self.store_key_codes(keys, position, key);
                bytemuck::cast_slice_mut::<u8, f16>(value_scales)[position] =
                    self.store_value_codes(values, position, value);
            }
        }
    }

    /// Returns the scale.
    #[inline(always)]
    fn store_key_codes(&self, keys: &mut [u8], position: usize, key: &[f32]) -> f16 {
        let scale = scale_of(key);
        let (tile_bytes, row) = (TILE_ROWS * self.head_dim, position % TILE_ROWS * QUAD);
        let tile = &mut keys[position / TILE_ROWS * tile_bytes..][..tile_bytes];
        let lines = tile.chunks_exact_mut(TILE_ROWS * CODES);
        for (lines, key) in lines.zip(key.chunks_exact(CODES)) {
            let codes = to_codes(key, scale);
            let lines = lines.chunks_exact_mut(TILE_ROWS * QUAD);
            for (line, quad) in lines.zip(codes.chunks_exact(QUAD)) {
                line[row..row + QUAD].copy_from_slice(quad);
            }
        }
        scale
    }

    /// Returns the scale.
    #[inline(always)]
    fn store_value_codes(&self, values: &mut [u8], position: usize, value: &[f32]) -> f16 {
        let scale = scale_of(value);
        let quads = &mut values[position / QUAD * QUAD * self.head_dim..][..QUAD * self.head_dim];
        let lines = quads.chunks_exact_mut(QUAD * CODES);
        for (line, value) in lines.zip(value.chunks_exact(CODES)) {
            let codes = to_codes(value, scale);
            for (quad, code) in line.chunks_exact_mut(QUAD).zip(codes) {
                quad[position % QUAD] = code;
            }
        }
        scale
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
#[inline(always)]
fn scale_of(x: &[f32]) -> f16 {
    // Several maxima side by side become vector instructions; a single one would be a chain.
    let mut max = [0f32; CODES];
    for x in x.chunks_exact(CODES) {
        for (max, x) in max.iter_mut().zip(x) {
            *max = if x.abs() > *max { x.abs() } else { *max };
        }
    }
    let exact = max.iter().fold(0f32, |max, &x| max.max(x)) / 127.0;
    let rounded = f16::from_f32(exact);
    if rounded.to_f32() < exact { f16::from_bits(rounded.to_bits() + 1) } else { rounded }
}

/// `round_half_even(x / scale)` as bytes.
#[inline(always)]
fn to_codes(x: &[f32], scale: f16) -> [u8; CODES] {
    let scale = scale.to_f32();
    let mut codes = [0; CODES];
    if scale != 0.0 {
        for (code, x) in codes.iter_mut().zip(x) {
            *code = round_to_byte(x / scale);
        }
    }
    codes
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

    // A function of its own, because firmware would have it several times.
    #[inline(never)]
    fn element(&self, bytes: &[u8], index: usize, scales: &[f16], position: usize) -> f32 {
        match self.layout.kind {
            KvType::F16 => bytemuck::cast_slice::<u8, f16>(bytes)[index].to_f32(),
            KvType::Int8 => f32::from(bytes[index] as i8) * scales[position].to_f32(),
        }
    }

    /// Asserts that these are arguments that [`crate::Kernels::attend`] takes.
    pub fn check_attend(&self, queries: &[f32], positions: &Range<usize>, partials: &[f32]) {
        let dim = self.layout.head_dim;
        assert!(dim.is_multiple_of(TILE_ROWS) && dim <= MAX_HEAD_DIM);
        assert!(positions.start.is_multiple_of(ATTEND_CHUNK) && !positions.is_empty());
        assert!(positions.end <= self.layout.context && queries.len().is_multiple_of(dim));
        let spans = positions.len().div_ceil(ATTEND_CHUNK);
        assert_eq!(partials.len(), spans * (queries.len() / dim) * (dim + 2));
    }
}
