//! Products of quantized weights, written once for every tier of x86 and of WebAssembly over the
//! integer registers that `registers.rs` asks of it.
//!
//! | file | what it has |
//! |---|---|
//! | `registers.rs` | what a tier's registers of bytes must do |
//! | `unpack.rs` | how the codes of each format become bytes |
//! | `codes.rs` | what the bytes stand for, and so how they multiply activations |
//! | `multiply.rs` | the two ways of multiplying bytes: in pairs, and in quads |
//! | `inputs.rs`, `weights.rs` | activations and weights, block by block |
//! | `batches.rs`, `words.rs` | how several tokens share an unpacking of weights |
//! | `matmul.rs` | loops over tiles and blocks |
//! | `planes.rs`, `low_row.rs` | weights in two planes |
//! | `products.rs` | a method for each number format |

mod batches;
mod codes;
mod inputs;
mod low_row;
mod matmul;
mod multiply;
mod planes;
mod products;
mod registers;
mod unpack;
mod weights;
#[cfg(target_feature = "simd128")]
mod words;

pub(crate) use batches::Batch;
#[cfg(any(target_arch = "x86_64", target_feature = "relaxed-simd"))]
pub(crate) use batches::Ones;
#[cfg(target_arch = "x86_64")]
pub(crate) use batches::{Rows, Threes};
pub(crate) use multiply::InPairs;
#[cfg(target_arch = "x86_64")]
pub(crate) use multiply::{InQuads, Multiply};
#[cfg(target_arch = "x86_64")]
pub(crate) use registers::DotRegisters;
pub(crate) use registers::{PairRegisters, QUADS, Quads, Registers};
#[cfg(target_feature = "simd128")]
pub(crate) use words::{WordRegisters, Words};
