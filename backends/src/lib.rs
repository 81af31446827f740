//! How fast: the kernels of each instruction set, and the choice between them.
//!
//! A [`Tier`] is one of a closed list. Its value proves that this CPU has the instructions, so it
//! can only be made by asking the CPU ([`Tier::best`], [`Tier::available`], [`Tier::from_name`]).
//! Its [`Choice`] is the one place that goes from the choice to the
//! code compiled for it:
//!
//! | tier | instructions | file |
//! |---|---|---|
//! | `scalar` | any CPU; the definition | [`kinglet_core::scalar`] |
//! | `portable` | any CPU; vectors as far as the target has them | `portable.rs` |
//! | `sse` | SSSE3, SSE4.1 | `sse.rs` |
//! | `avx2` | AVX2, FMA, F16C | `avx2.rs` |
//! | `avx-vnni` | and AVX-VNNI | `avx2.rs` |
//! | `avx512` | AVX-512 F, BW, VL and VNNI | `avx512.rs` |
//! | `neon` | every 64-bit ARM | `neon.rs` |
//! | `neon-dot` | ARMv8.2's dot products | `neon.rs` |
//! | `neon-i8mm` | ARMv8.6's products of matrices of bytes | `neon.rs` |
//! | `simd128` | WebAssembly's simd128, known when it is built | `simd128.rs` |
//! | `relaxed-simd` | and relaxed-simd | `simd128.rs` |
//!
//! What vector tiers share is written once over float lanes: `elementwise.rs` and `attend.rs`, and
//! `dense.rs` for unquantized weights; those of x86 and WebAssembly share `bytes.rs` too.
//! `multiply.rs` chooses the product for a number format.
//! `README.md` says which operation of which tier is in which file.
#![no_std]

#[cfg(feature = "std")]
extern crate std;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_feature = "simd128"))]
mod attend;
#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
mod backend;
#[cfg(any(target_arch = "x86_64", target_feature = "simd128"))]
#[cfg_attr(
    target_arch = "wasm32",
    allow(dead_code, reason = "processors with other registers multiply in other ways")
)]
mod bytes;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_feature = "simd128"))]
mod dense;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod detect;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_feature = "simd128"))]
mod elementwise;
mod engine;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_feature = "simd128"))]
mod lanes;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_feature = "simd128"))]
mod multiply;
#[cfg(target_arch = "aarch64")]
pub mod neon;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_feature = "simd128"))]
mod planes;
#[cfg(feature = "portable")]
pub mod portable;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_feature = "simd128"))]
mod prefetch;
#[cfg(any(
    feature = "portable",
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_feature = "simd128"
))]
mod product;
#[cfg(target_feature = "simd128")]
pub mod simd128;
#[cfg(target_arch = "x86_64")]
pub mod sse;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_feature = "simd128"))]
mod sums;
mod tier;

pub use backend::Backend;
#[cfg(all(feature = "cuda", feature = "check"))]
pub use cuda::{Checked, Checker, LaunchTime, Program, Ptx};
#[cfg(feature = "cuda")]
pub use cuda::{Cuda, CudaEngine, Lack as CudaLack};
pub use engine::AnyEngine;
pub use kinglet_core::kernels::{Choice, UseKernels};
pub use tier::Tier;
