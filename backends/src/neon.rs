//! Kernels for 64-bit ARM, whose CPUs all have NEON.
//!
//! Products of bytes differ: [`Widening`] runs on every such CPU, [`Sdot`] needs the dot product
//! instructions of ARMv8.2, [`Smmla`] the matrix product of ARMv8.6. All else is written once.
//!
//! | file | what it has |
//! |---|---|
//! | `matmul.rs`, `planes.rs` | products of quantized weights: loops over tiles and tokens |
//! | `codes.rs` | how the codes of each format become bytes |
//! | `dot.rs` | the three ways of multiplying bytes |
//! | `half_tile.rs` | types for 8 rows of a tile and the token beside them |
//! | `single.rs`, `single/` | assembly for one token |
//! | `batch.rs`, `batch/` | assembly for several tokens that share one unpacking of weights |
//! | `attention.rs`, `lanes.rs` | what attention and vector operations need |
//! | `intrinsics.rs` | the intrinsics that are used, safe to call |
//!
//! `README.md` of this package says which operation of which tier is in which file.

mod attention;
mod batch;
mod codes;
mod dot;
mod half_tile;
mod intrinsics;
mod lanes;
mod matmul;
mod planes;
mod products;
mod proof;
mod single;

use crate::detect;
use crate::lanes::vector_kernels;
pub use proof::{Sdot, Smmla, Widening};

/// The kernels with one way of multiplying bytes. A value proves that this CPU has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neon<D>(D);

impl Neon<Widening> {
    /// The kernels for ARMv8.0.
    pub fn new() -> Option<Self> {
        Self::detect().ok()
    }

    /// The kernels, or what the CPU lacks.
    pub(crate) fn detect() -> Result<Self, &'static str> {
        detect::require_features!("neon").map(|()| Self(Widening))
    }
}

impl Neon<Sdot> {
    /// The kernels for CPUs with `sdot`, if this is one.
    pub fn new() -> Option<Self> {
        Self::detect().ok()
    }

    /// The kernels, or what the CPU lacks.
    pub(crate) fn detect() -> Result<Self, &'static str> {
        detect::require_features!("neon", "dotprod").map(|()| Self(Sdot(())))
    }
}

impl Neon<Smmla> {
    /// The kernels for CPUs with `smmla`, if this is one.
    pub fn new() -> Option<Self> {
        Self::detect().ok()
    }

    /// The kernels, or what the CPU lacks.
    pub(crate) fn detect() -> Result<Self, &'static str> {
        detect::require_features!("neon", "dotprod", "i8mm").map(|()| Self(Smmla(Sdot(()))))
    }
}

vector_kernels!(
    [D: dot::Dot],
    Neon<D>,
    const GATE_RUN: usize = 4;
    // Predicted, by the cycles of a token over the time that memory takes for its weights: 27 on a
    // Raspberry Pi 5, 70 on a Jetson Nano.
    const FURTHER_TOKEN_COST: u8 = 70;
);

#[cfg(test)]
mod test {
    use super::{Neon, Sdot, Smmla, Widening};
    use crate::detect::cpu_promises;

    // By itself, for emulators, where the other tests take long and `tests/parity.rs` covers them.
    #[test]
    fn neon_exponentials_are_those_of_scalar() {
        let kernels = Neon::<Widening>::new().expect("every 64-bit ARM has NEON");
        crate::elementwise::test::exponentials(kernels);
    }

    #[test]
    fn neon_agrees_with_scalar() {
        let kernels = Neon::<Widening>::new().expect("every 64-bit ARM has NEON");
        kinglet_core::check::kernels(kernels);
    }

    #[test]
    fn neon_dot_agrees_with_scalar() {
        let promised = cpu_promises("neon_dot_agrees_with_scalar", &["asimddp"], Neon::<Sdot>::new);
        let Some(kernels) = promised else {
            return;
        };
        kinglet_core::check::kernels(kernels);
    }

    #[test]
    fn neon_i8mm_agrees_with_scalar() {
        let flags = ["asimddp", "i8mm"];
        let promised = cpu_promises("neon_i8mm_agrees_with_scalar", &flags, Neon::<Smmla>::new);
        let Some(kernels) = promised else {
            return;
        };
        kinglet_core::check::kernels(kernels);
    }
}
