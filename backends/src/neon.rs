//! Kernels for 64-bit ARM, whose CPUs all have NEON.
//!
//! Products of bytes differ: [`Widening`] runs on every such CPU, [`Sdot`] needs the dot product
//! instructions of ARMv8.2, [`Smmla`] the matrix product of ARMv8.6. All else is written once.

mod batch;
mod codes;
mod cpu;
mod dot;
mod lanes;
mod matmul;
mod planes;
mod registers;
mod rows;
mod single;
mod unpack;
mod wide;

use crate::detect;
use crate::lanes::vector_kernels;
pub use cpu::{Sdot, Smmla, Widening};

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

impl<D> Neon<D> {
    /// Runs `work`, which must be inlined; every function of this architecture is compiled for
    /// NEON.
    #[inline(always)]
    fn compiled<R>(self, work: impl FnOnce() -> R) -> R {
        work()
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

    #[test]
    fn neon_agrees_with_scalar() {
        let kernels = Neon::<Widening>::new().expect("every 64-bit ARM has NEON");
        crate::elementwise::test::exponentials(kernels);
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
