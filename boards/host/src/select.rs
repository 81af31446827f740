//! What a session runs on where nobody has said it, and why.

#[cfg(feature = "cuda")]
use crate::work::Work;
use kinglet_backends::Backend;
use std::fmt;

#[cfg(feature = "cuda")]
use crate::trial::{Speeds, Trial};
#[cfg(feature = "cuda")]
use kinglet_backends::{Cuda, CudaLack};

/// What a session runs on, and why: as text, one sentence.
#[derive(Clone, Debug)]
pub struct Selection {
    backend: Backend,
    reason: Reason,
}

/// Why a backend was selected.
#[derive(Clone, Debug)]
enum Reason {
    /// The options name it.
    Named,
    /// There is no other one.
    #[cfg(not(feature = "cuda"))]
    Only,
    /// There is no driver, or no device that can be used.
    #[cfg(feature = "cuda")]
    Lack(CudaLack),
    /// The device and the processor have been tried.
    #[cfg(feature = "cuda")]
    Tried(Work, Trial),
}

impl Selection {
    /// What somebody has named.
    pub fn named(backend: Backend) -> Self {
        Self { backend, reason: Reason::Named }
    }

    /// The processor, in a build that knows no devices.
    #[cfg(not(feature = "cuda"))]
    pub(crate) fn only() -> Self {
        Self { backend: Backend::best(), reason: Reason::Only }
    }

    /// The processor, or a device where there is one and `trial` finds it faster for this work.
    #[cfg(feature = "cuda")]
    pub fn by_trial(work: Work, trial: impl FnOnce(Backend) -> Trial) -> Self {
        match Cuda::detect() {
            Ok(cuda) => Self::tried(Backend::Cuda(cuda), work, trial(Backend::Cuda(cuda))),
            Err(lack) => Self { backend: Backend::best(), reason: Reason::Lack(lack) },
        }
    }

    /// The faster of the two for this work.
    #[cfg(feature = "cuda")]
    fn tried(device: Backend, work: Work, trial: Trial) -> Self {
        let backend = if trial.favours_device(work) { device } else { Backend::best() };
        Self { backend, reason: Reason::Tried(work, trial) }
    }

    /// What the session runs on.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Whether there was something to choose from, or something is wrong with a device.
    pub fn is_notable(&self) -> bool {
        match self.reason {
            Reason::Named => false,
            #[cfg(not(feature = "cuda"))]
            Reason::Only => false,
            #[cfg(feature = "cuda")]
            Reason::Lack(CudaLack::Library) => false,
            #[cfg(feature = "cuda")]
            Reason::Lack(_) | Reason::Tried(..) => true,
        }
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.backend.name();
        match &self.reason {
            Reason::Named => write!(f, "{name} was asked for"),
            #[cfg(not(feature = "cuda"))]
            Reason::Only => write!(f, "{name} is the fastest that this machine has"),
            #[cfg(feature = "cuda")]
            Reason::Lack(CudaLack::Library) => {
                write!(f, "{name} is the fastest that this machine has: no NVIDIA driver was found")
            }
            #[cfg(feature = "cuda")]
            Reason::Lack(lack) => write!(f, "{name} is used, because there is no CUDA: {lack}"),
            #[cfg(feature = "cuda")]
            Reason::Tried(_, Trial::Failed { name: other, error }) => {
                write!(f, "{name} is used, because {other} failed in a trial: {error}")
            }
            #[cfg(feature = "cuda")]
            Reason::Tried(_, Trial::Differs { relative_rms }) => write!(
                f,
                "{name} is used, because what CUDA computed in a trial was {:.0} % off: \
                 please report it",
                100.0 * relative_rms
            ),
            #[cfg(feature = "cuda")]
            Reason::Tried(work, Trial::Ran { device, processor }) => {
                let best = Backend::best();
                let (other, ours, theirs) = match self.backend == best {
                    true => ("cuda", processor, device),
                    false => (best.name(), device, processor),
                };
                write!(
                    f,
                    "{name} was faster than {other} in a trial: {ours} against {theirs}, for {work}"
                )
            }
        }
    }
}

#[cfg(feature = "cuda")]
impl fmt::Display for Speeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = |seconds: f64| 1.0 / seconds.max(f64::MIN_POSITIVE);
        let [prompt, new] = [self.prompt_token, self.new_token].map(rate);
        write!(f, "{prompt:.0} prompt tokens/s and {new:.0} new tokens/s")
    }
}
