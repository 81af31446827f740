//! What kernels are given: the structs of `kernels/shapes.h`, field by field.

use kinglet_core::KvType;
use kinglet_core::engine::Place;
use kinglet_core::plan::Plan;
use kinglet_core::screen::Screen;
use kinglet_quant::{Config, Matrix, Type};

/// An address in the device's memory.
pub(super) type Address = u64;

/// A matrix of the file.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Weight {
    tiles: Address,
    low: Address,
    stride: u64,
    kind: u32,
    group: u32,
    rows: u32,
    cols: u32,
    tile_count: u32,
    is_linear: u32,
    table: [i8; 16],
}

impl Weight {
    /// A matrix whose bytes the device has at `tiles`.
    pub fn new(w: &Matrix<'_>, tiles: Address) -> Self {
        Self {
            tiles,
            low: tiles + w.low_start() as u64,
            stride: w.stride() as u64,
            kind: w.kind() as u32,
            group: w.group() as u32,
            rows: w.rows() as u32,
            cols: w.cols() as u32,
            tile_count: w.tile_count() as u32,
            is_linear: w.is_linear().into(),
            table: *w.table(),
        }
    }

    /// The same, with the rows that pad the last tile.
    #[cfg(feature = "check")]
    pub fn padded(self) -> Self {
        Self { rows: self.tile_count * kinglet_quant::format::TILE_ROWS as u32, ..self }
    }

    /// Tiles of 16 rows.
    pub fn tiles(&self) -> u32 {
        self.tile_count
    }

    /// Whether its rows are bytes, or become bytes by themselves, without a second plane.
    pub fn is_of_bytes(&self) -> bool {
        [Type::Q8, Type::Q5, Type::Q4, Type::Q3].into_iter().any(|kind| self.kind == kind as u32)
    }

    /// Output width.
    pub fn rows(&self) -> u32 {
        self.rows
    }
}

/// Inputs of products: vectors, one behind the other.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Inputs {
    pub values: Address,
    pub codes: Address,
    pub scales: Address,
    pub starts: Address,
}

/// Where a vector's codes go.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Quantized {
    pub codes: Address,
    pub scales: Address,
    pub starts: Address,
}

/// A token of a pass.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Row {
    token: u32,
    text: u32,
    position: u32,
    source: u32,
}

impl Row {
    /// A token, and the row that it was before rows without logits were dropped.
    pub fn new(place: Place, source: usize) -> Self {
        Self {
            token: place.token,
            text: place.text as u32,
            position: place.position as u32,
            source: source as u32,
        }
    }
}

/// Which logits a row needs.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Wanted {
    reach: f32,
    top: u32,
}

impl Wanted {
    /// What a screen wants; nothing reads it where there is none.
    pub fn of(screen: Option<Screen>) -> Self {
        let Screen { reach, top } = screen.unwrap_or(Screen { reach: 0.0, top: 0 });
        Self { reach, top: u32::try_from(top).unwrap_or(u32::MAX) }
    }
}

/// The key-value cache, and where a layer's blocks lie in it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Cache {
    bytes: Address,
    text_bytes: u64,
    layer_offset: u64,
    block_bytes: u64,
    vectors: u64,
    scales: u64,
    is_int8: u32,
    head_dim: u32,
    kv_heads: u32,
    group: u32,
}

impl Cache {
    /// The blocks of one layer in the cache at `bytes`.
    pub fn new(plan: &Plan, config: &Config, bytes: Address, layer: u16) -> Self {
        let layout = plan.layout();
        let block_bytes = layout.block_bytes() as u64;
        Self {
            bytes,
            text_bytes: plan.text_cache_bytes() as u64,
            layer_offset: u64::from(layer) * u64::from(config.kv_heads) * block_bytes,
            block_bytes,
            vectors: layout.vectors as u64,
            scales: layout.scales as u64,
            is_int8: (layout.kind == KvType::Int8).into(),
            head_dim: config.head_dim,
            kv_heads: config.kv_heads,
            group: config.group() as u32,
        }
    }
}

#[cfg(feature = "check")]
impl Cache {
    /// One block alone, whose head has `group` queries.
    pub fn of_block(layout: &kinglet_core::kv::KvLayout, bytes: Address, group: usize) -> Self {
        Self {
            bytes,
            text_bytes: 0,
            layer_offset: 0,
            block_bytes: layout.block_bytes() as u64,
            vectors: layout.vectors as u64,
            scales: layout.scales as u64,
            is_int8: (layout.kind == KvType::Int8).into(),
            head_dim: layout.head_dim as u32,
            kv_heads: 1,
            group: group as u32,
        }
    }
}

/// Where a product goes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Out {
    pub values: Address,
    pub width: u32,
    pub is_added: u32,
}

/// Matrices that read the same vectors, and where each one's products go.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Products {
    pub w: [Weight; 3],
    pub out: [Out; 3],
}

/// What a search of the head finds.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Found {
    pub logits: Address,
    pub floors: Address,
    pub ceilings: Address,
    pub width: u32,
}

// The sizes that the kernels count with.
const _: () = assert!(size_of::<Weight>() == 64 && size_of::<Products>() == 240);
const _: () = assert!(size_of::<Inputs>() == 32 && size_of::<Quantized>() == 24);
const _: () = assert!(size_of::<Row>() == 16 && size_of::<Wanted>() == 8);
const _: () = assert!(size_of::<Cache>() == 64 && size_of::<Out>() == 16);
const _: () = assert!(size_of::<Found>() == 32);
