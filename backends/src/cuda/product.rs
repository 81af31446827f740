//! Which kernel computes products, and in how many blocks.

use super::functions::Functions;
use super::module::Function;
use super::shapes::{Products, Weight};

/// Threads of a block that computes products.
pub(super) const TILE_THREADS: u32 = 128;
/// Vectors that a block multiplies with a tile at once.
const TOKENS: u32 = 8;
/// The same on tensor cores, `TENSOR_TOKENS` of `kernels/tensor.cu`.
const TENSOR_TOKENS: u32 = 16;
/// Tiles of a block there, `TENSOR_TILES`.
const TENSOR_TILES: u32 = 4;
/// Vectors from which on tensor cores multiply. Up to 8, the other kernel reads the weights once as
/// well and waits for them, and has four times as many warps that ask for them. Not measured on a
/// device.
pub(super) const TENSOR_FROM: u32 = TOKENS + 1;

impl Functions {
    /// The kernel for products of `count` vectors, and its blocks. Tensor cores multiply from
    /// `tensor_from` vectors on, where the device and all weights are such that they can.
    pub fn product(
        &self,
        products: &Products,
        count: u32,
        tensor_from: u32,
    ) -> (Function, [u32; 3]) {
        let tiles: u32 = products.w.iter().map(Weight::tiles).sum();
        let mut weights = products.w.iter().filter(|w| w.tiles() > 0);
        match self.product_tensor {
            Some(function) if count >= tensor_from && weights.all(Weight::is_of_bytes) => {
                (function, [count.div_ceil(TENSOR_TOKENS), tiles.div_ceil(TENSOR_TILES), 1])
            }
            _ => {
                let (grid, is_one) = tile_grid(tiles, count);
                (if is_one { self.product_one } else { self.product_many }, grid)
            }
        }
    }
}

/// Blocks for tiles and vectors, and whether one vector comes alone.
pub(super) fn tile_grid(tiles: u32, count: u32) -> ([u32; 3], bool) {
    ([tiles, count.div_ceil(TOKENS), 1], count == 1)
}
