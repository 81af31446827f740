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
//! | part | int4 |
//! |---|---|
//! | keys | `[context/16][head_dim/8][16][4]` u8 |
//! | values | `[context/4][head_dim/32][16][4]` u8 |
//! | key scales | `[context/16][head_dim/32][16]` f16 |
//! | value scales | `[context]` f16 |
//!
//! The 16 and the 4 after `context/` are neighbouring positions. Keys are laid out like a weight
//! tile whose rows are positions, int8 values like one whose columns are positions. Attention thus
//! computes dot products for 16 positions at once, or for a whole head.
//!
//! int4 codes are 0 to 15 and stand for −8 to 7 times a scale: of a value, or of 32 dimensions of a
//! key; zeros fill a head up to a multiple of 32. What they stand for is a head that was
//! [turned](turn). A byte has two dimensions: of a key the low half of 4 bytes has a quad and the
//! high half the next one, of a value dimension `d` and `d + 16`. Values have one scale because
//! smaller groups made replies no better.

mod codes;
pub mod turn;

pub(crate) use codes::{from_half, signed_nibble};
use core::ops::Range;
use half::f16;
use kinglet_quant::format::{ALIGN, BLOCK, TILE_ROWS};

/// Positions of a span: what [`crate::Kernels::attend`] computes at once.
pub const ATTEND_CHUNK: usize = 128;
/// The widest head.
pub const MAX_HEAD_DIM: usize = 256;
/// Positions of a quad of int8 values, dimensions of one of keys.
const QUAD: usize = 4;
/// Dimensions of a key whose nibbles share bytes.
const QUAD_PAIR: usize = 2 * QUAD;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KvType {
    /// 16-bit floats.
    F16,
    /// Signed bytes with one f16 scale per head and position: half the memory.
    #[default]
    Int8,
    /// Nibbles with an f16 scale per 32 dimensions of a key and one per value, of heads that are
    /// [turned](turn): 53% of the memory of bytes where heads have 64 dimensions.
    Int4,
}

impl KvType {
    /// The name that the command line uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
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
    /// Bytes of the key scales.
    pub key_scales: usize,
    /// Bytes of the value scales.
    pub value_scales: usize,
}

impl KvLayout {
    /// The layout of `context` positions, which is rounded up to a multiple of 16.
    pub fn new(kind: KvType, head_dim: usize, context: usize) -> Self {
        let context = context.next_multiple_of(TILE_ROWS);
        let element_bits = match kind {
            KvType::F16 => 16,
            KvType::Int8 => 8,
            KvType::Int4 => 4,
        };
        let scale_bytes =
            |count: usize| (context * count * size_of::<f16>()).next_multiple_of(ALIGN);
        Self {
            kind,
            head_dim,
            context,
            vectors: context * stored_dim(kind, head_dim) * element_bits / 8,
            key_scales: scale_bytes(key_groups(kind, head_dim)),
            value_scales: scale_bytes(value_groups(kind)),
        }
    }

    /// Elements of a key, or of a value: `head_dim`, or zeros behind it too.
    #[inline(always)]
    pub fn stored_dim(&self) -> usize {
        stored_dim(self.kind, self.head_dim)
    }

    /// Scales of a key.
    #[inline(always)]
    pub fn key_groups(&self) -> usize {
        key_groups(self.kind, self.head_dim)
    }

    /// Where the scale of dimension `d` of `position` is among those of the keys.
    #[inline(always)]
    pub fn key_scale_index(&self, position: usize, d: usize) -> usize {
        let tile = position / TILE_ROWS * self.key_groups();
        let group = if self.kind == KvType::Int4 { d / BLOCK } else { 0 };
        (tile + group) * TILE_ROWS + position % TILE_ROWS
    }

    /// Bytes of one head's block.
    pub fn block_bytes(&self) -> usize {
        2 * self.vectors + self.key_scales + self.value_scales
    }

    /// Where the first `positions` lie in one head's block: keys, values, key scales, value scales.
    /// Each reaches to the end of a tile of 16 positions.
    pub fn prefix(&self, positions: usize) -> [Range<usize>; 4] {
        assert!(positions <= self.context);
        let positions = positions.next_multiple_of(TILE_ROWS);
        let vectors = self.vectors / self.context * positions;
        let key_scales = positions * self.key_groups() * size_of::<f16>();
        let value_scales = positions * value_groups(self.kind) * size_of::<f16>();
        let behind = 2 * self.vectors;
        [
            0..vectors,
            self.vectors..self.vectors + vectors,
            behind..behind + key_scales,
            behind + self.key_scales..behind + self.key_scales + value_scales,
        ]
    }

    /// Zeroes what a copied [`KvLayout::prefix`] of as many positions has behind them.
    pub fn clear_behind(&self, positions: usize, prefix: &mut [&mut [u8]; 4]) {
        let [keys, values, key_scales, value_scales] = prefix;
        for position in positions..positions.next_multiple_of(TILE_ROWS) {
            for d in 0..self.stored_dim() {
                self.clear(keys, self.key_index(position, d));
                self.clear(values, self.value_index(position, d));
            }
            for group in 0..self.key_groups() {
                let index = self.key_scale_index(position, group * BLOCK);
                key_scales[index * size_of::<f16>()..][..size_of::<f16>()].fill(0);
            }
            if let Some(scale) = value_scales.chunks_exact_mut(size_of::<f16>()).nth(position) {
                scale.fill(0);
            }
        }
    }

    /// Zeroes an element of the keys, or of the values.
    fn clear(&self, vectors: &mut [u8], index: usize) {
        match self.kind {
            KvType::F16 => vectors[index * size_of::<f16>()..][..size_of::<f16>()].fill(0),
            KvType::Int8 => vectors[index] = 0,
            KvType::Int4 => codes::clear_nibble(vectors, index),
        }
    }

    /// The block of one head, to read.
    pub fn head<'a>(&self, block: &'a [u8]) -> KvHead<'a> {
        let (keys, rest) = block[..self.block_bytes()].split_at(self.vectors);
        let (values, rest) = rest.split_at(self.vectors);
        let (key_scales, value_scales) = rest.split_at(self.key_scales);
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
                    keys[self.key_index(position, d)] = codes::to_half(x);
                }
                let values: &mut [f16] = bytemuck::cast_slice_mut(values);
                for (d, &x) in value.iter().enumerate() {
                    values[self.value_index(position, d)] = codes::to_half(x);
                }
            }
            KvType::Int8 => {
                let (key_scales, value_scales) = rest.split_at_mut(self.key_scales);
                bytemuck::cast_slice_mut::<u8, f16>(key_scales)[position] =
                    self.store_key_bytes(keys, position, key);
                bytemuck::cast_slice_mut::<u8, f16>(value_scales)[position] =
                    self.store_value_bytes(values, position, value);
            }
            KvType::Int4 => {
                let (key_scales, value_scales) = rest.split_at_mut(self.key_scales);
                let scales = bytemuck::cast_slice_mut(key_scales);
                self.store_key_nibbles(keys, scales, position, key);
                bytemuck::cast_slice_mut::<u8, f16>(value_scales)[position] =
                    self.store_value_nibbles(values, position, value);
            }
        }
    }

    /// Element of the keys that holds dimension `d` of `position`; a nibble is one of two in a
    /// byte, the low one first.
    pub fn key_index(&self, position: usize, d: usize) -> usize {
        let (tile, row) = (position / TILE_ROWS, position % TILE_ROWS);
        let start = tile * TILE_ROWS * self.stored_dim();
        match self.kind {
            KvType::F16 => start + d * TILE_ROWS + row,
            KvType::Int8 => start + d / QUAD * (TILE_ROWS * QUAD) + row * QUAD + d % QUAD,
            KvType::Int4 => {
                let byte = d / QUAD_PAIR * (TILE_ROWS * QUAD) + row * QUAD + d % QUAD;
                start + 2 * byte + d / QUAD % 2
            }
        }
    }

    /// Element of the values that holds dimension `d` of `position`, as in
    /// [`KvLayout::key_index`].
    pub fn value_index(&self, position: usize, d: usize) -> usize {
        match self.kind {
            KvType::F16 => position * self.head_dim + d,
            KvType::Int8 => position / QUAD * (QUAD * self.head_dim) + d * QUAD + position % QUAD,
            KvType::Int4 => {
                let quads = position / QUAD * (QUAD * self.stored_dim() / 2);
                let row = d / BLOCK * TILE_ROWS + d % TILE_ROWS;
                2 * (quads + row * QUAD + position % QUAD) + d / TILE_ROWS % 2
            }
        }
    }
}

/// Elements of a key, or of a value.
#[inline(always)]
fn stored_dim(kind: KvType, head_dim: usize) -> usize {
    match kind {
        KvType::F16 | KvType::Int8 => head_dim,
        KvType::Int4 => head_dim.next_multiple_of(BLOCK),
    }
}

/// Scales of a key.
#[inline(always)]
fn key_groups(kind: KvType, head_dim: usize) -> usize {
    match kind {
        KvType::F16 => 0,
        KvType::Int8 => 1,
        KvType::Int4 => head_dim.div_ceil(BLOCK),
    }
}

/// Scales of a value.
#[inline(always)]
fn value_groups(kind: KvType) -> usize {
    match kind {
        KvType::F16 => 0,
        KvType::Int8 | KvType::Int4 => 1,
    }
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
    /// At [`KvLayout::key_scale_index`], empty for f16.
    pub key_scales: &'a [f16],
    /// `[context]`, empty for f16.
    pub value_scales: &'a [f16],
}

impl KvHead<'_> {
    /// Dimension `d` of the key of `position`, of an int4 head as it was turned.
    pub fn key(&self, position: usize, d: usize) -> f32 {
        let index = self.layout.key_index(position, d);
        match self.layout.kind {
            KvType::F16 => bytemuck::cast_slice::<u8, f16>(self.keys)[index].to_f32(),
            _ => {
                let scale = self.key_scales[self.layout.key_scale_index(position, d)].to_f32();
                self.code(self.keys, index) as f32 * scale
            }
        }
    }

    /// Dimension `d` of the value of `position`, of an int4 head as it was turned.
    pub fn value(&self, position: usize, d: usize) -> f32 {
        let index = self.layout.value_index(position, d);
        match self.layout.kind {
            KvType::F16 => bytemuck::cast_slice::<u8, f16>(self.values)[index].to_f32(),
            _ => self.code(self.values, index) as f32 * self.value_scales[position].to_f32(),
        }
    }

    /// What an element of the keys, or of the values, stands for in units of its scale.
    fn code(&self, vectors: &[u8], index: usize) -> i32 {
        match self.layout.kind {
            KvType::F16 => unreachable!("floats are no codes"),
            KvType::Int8 => i32::from(vectors[index] as i8),
            KvType::Int4 => signed_nibble(vectors, index),
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
