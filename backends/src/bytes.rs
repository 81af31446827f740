//! Products of quantized weights, written once for every tier of x86 and of WebAssembly over the
//! integer registers that `registers.rs` asks of it.
//!
//! | file | what it has |
//! |---|---|
//! | `registers.rs` | what a tier's registers of bytes must do |
//! | `unpack.rs` | how the codes of each format become bytes |
//! | `codes.rs` | what the bytes stand for, and so how they multiply activations |
//! | `multiply.rs` | the two ways of multiplying bytes: in pairs, and in quads |
//! | `matmul.rs` | loops over tiles, blocks and tokens |
//! | `planes.rs`, `low_row.rs` | weights in two planes |
//! | `products.rs` | a method for each number format |

mod codes;
mod low_row;
mod matmul;
mod multiply;
mod planes;
mod products;
mod registers;
mod unpack;

pub(crate) use multiply::InPairs;
#[cfg(target_arch = "x86_64")]
pub(crate) use multiply::{InQuads, Multiply};
#[cfg(target_arch = "x86_64")]
pub(crate) use registers::DotRegisters;
pub(crate) use registers::{Batches, PairRegisters, QUADS, Quads, Registers};
