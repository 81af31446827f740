//! Temporary.
#![cfg_attr(not(feature = "std"), no_std)]
use kinglet_core::Kernels;
/// tiers
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// scalar
    Scalar,
}
/// visitor
pub trait UseKernels {
    /// out
    type Output;
    /// run
    fn run<K: Kernels>(self, kernels: K) -> Self::Output;
}
impl Tier {
    /// best
    pub fn best() -> Self {
        Self::Scalar
    }
    /// name
    pub fn name(self) -> &'static str {
        "scalar"
    }
    /// with
    pub fn with<V: UseKernels>(self, v: V) -> V::Output {
        v.run(kinglet_core::scalar::Scalar)
    }
}
