//! The texts that `build` makes of `kernels/`.

use super::probe::Cuda;

/// The kernels in PTX. The driver compiles either for every device that is as new as it, or newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ptx {
    /// For compute capability 7.2 on: products sum four products of bytes at a time.
    Dot,
    /// For 8.0 on: it also has a kernel for batches on tensor cores.
    Tensor,
}

impl Ptx {
    /// The fastest kernels that a device has the instructions for.
    pub fn of(cuda: Cuda) -> Self {
        if cuda.capability() >= (8, 0) { Self::Tensor } else { Self::Dot }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Dot => include_str!("ptx/sm_72.ptx"),
            Self::Tensor => include_str!("ptx/sm_80.ptx"),
        }
    }
}
