//! The closed list of what can run a model: the processor with a tier of kernels, or a device.

#[cfg(feature = "cuda")]
use crate::cuda::Cuda;
use crate::tier::Tier;
#[cfg(feature = "std")]
use kinglet_core::plan::Part;
use kinglet_core::plan::{Limits, Plan};
use kinglet_quant::{File, Result};

/// What runs a model. A value proves that this machine has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The processor, with the kernels of a tier.
    Cpu(Tier),
    /// An NVIDIA device.
    #[cfg(feature = "cuda")]
    Cuda(Cuda),
}

/// The name of [`Backend::Cuda`].
#[cfg(feature = "cuda")]
const CUDA: &str = "cuda";

impl Backend {
    /// The processor with its fastest tier.
    pub fn best() -> Self {
        Self::Cpu(Tier::best())
    }

    /// What has this name: a tier's, or `cuda`. `BadArgument` when nothing has, `TierUnavailable`
    /// when this machine or this build lacks it.
    pub fn from_name(name: &str) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if name == CUDA {
            return Self::cuda();
        }
        Tier::from_name(name).map(Self::Cpu)
    }

    #[cfg(feature = "cuda")]
    fn cuda() -> Result<Self> {
        match Cuda::detect() {
            Ok(cuda) => Ok(Self::Cuda(cuda)),
            Err(lack) => {
                let best = Tier::best().name();
                kinglet_quant::fail!(
                    kinglet_quant::Code::TierUnavailable,
                    "no CUDA: {lack}; the tier {best} works without it"
                )
            }
        }
    }

    /// The name that the command line uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu(tier) => tier.name(),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => CUDA,
        }
    }

    /// What the device is called; `None` for the processor.
    pub fn device_name(self) -> Option<&'static str> {
        match self {
            Self::Cpu(_) => None,
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => Some(cuda.name()),
        }
    }

    /// Whether the passes are dealt among threads of the processor.
    pub fn uses_threads(self) -> bool {
        match self {
            Self::Cpu(_) => true,
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => false,
        }
    }

    /// The memory of a session on this backend: [`Plan::new`], without the engine's part where a
    /// device has it.
    pub fn plan(self, file: &File<'_>, limits: &Limits) -> Result<Plan> {
        match self {
            Self::Cpu(_) => Plan::new(file, limits),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => Plan::new(file, limits).map(Plan::without_engine),
        }
    }

    /// What an engine takes beside [`Backend::plan`]: the buffers of a device, then page-locked
    /// memory of the processor's; nothing on the processor. Where the device cannot read the
    /// mapped file, a copy of its weights comes on top.
    #[cfg(feature = "std")]
    pub fn device_parts(self, file: &File<'_>, plan: &Plan) -> std::vec::Vec<Part> {
        match self {
            Self::Cpu(_) => {
                let _ = (file, plan);
                std::vec::Vec::new()
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => crate::cuda::device_parts(file, plan),
        }
    }
}

impl From<Tier> for Backend {
    fn from(tier: Tier) -> Self {
        Self::Cpu(tier)
    }
}
