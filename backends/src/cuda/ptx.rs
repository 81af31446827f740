//! The texts that `build` makes of `kernels/`.

use super::probe::Cuda;

/// The kernels in PTX that a device takes. The driver compiles a text for every device that is as
/// new as it, or newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ptx {
    /// Those for compute capability 7.2 on: products sum four products of bytes at a time.
    Dot,
    /// Beside them the one for 8.0 on, which multiplies batches on tensor cores.
    Tensor,
}

/// The kernels that every device takes.
pub(super) const KERNELS: &str = include_str!("ptx/sm_72.ptx");
/// The kernel for tensor cores.
pub(super) const TENSOR_KERNELS: &str = include_str!("ptx/sm_80.ptx");

impl Ptx {
    /// All kernels that a device has the instructions for.
    pub fn of(cuda: Cuda) -> Self {
        if cuda.capability() >= (8, 0) { Self::Tensor } else { Self::Dot }
    }
}
