//! The closed list of tiers, and the one match from a tier to its kernels.

use kinglet_core::kernels::{Choice, UseKernels};
use kinglet_core::scalar::Scalar;
use kinglet_quant::{Code, Result, fail};

#[cfg(feature = "portable")]
use crate::portable::Portable;

#[cfg(target_arch = "x86_64")]
use crate::{
    avx2::{Avx2, Pairs},
    avx512::Avx512,
};

#[cfg(all(feature = "edge-x86", target_arch = "x86_64"))]
use crate::{avx2::Vnni, sse::Sse};

#[cfg(target_arch = "aarch64")]
use crate::neon::{Neon, Sdot, Smmla, Widening};

#[cfg(target_feature = "relaxed-simd")]
use crate::simd128::Relaxed;
#[cfg(target_feature = "simd128")]
use crate::simd128::{Simd128, Words};

/// An instruction set with kernels of its own. A value proves that this CPU has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Plain loops: the definition of every operation.
    Scalar,
    /// Plain Rust that becomes the vectors of whatever processor the build is for.
    #[cfg(feature = "portable")]
    Portable,
    /// 128-bit vectors: SSSE3 and SSE4.1.
    #[cfg(all(feature = "edge-x86", target_arch = "x86_64"))]
    Sse(Sse),
    /// 256-bit vectors: AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2<Pairs>),
    /// The same with integer dot products: AVX-VNNI.
    #[cfg(all(feature = "edge-x86", target_arch = "x86_64"))]
    AvxVnni(Avx2<Vnni>),
    /// 512-bit vectors with integer dot products: AVX-512 F, BW, VL and VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// 128-bit vectors of every 64-bit ARM.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon<Widening>),
    /// The same with the integer dot products of ARMv8.2.
    #[cfg(target_arch = "aarch64")]
    NeonDot(Neon<Sdot>),
    /// The same with the integer matrix products of ARMv8.6, for many tokens at once.
    #[cfg(target_arch = "aarch64")]
    NeonI8mm(Neon<Smmla>),
    /// 128-bit vectors of WebAssembly.
    #[cfg(target_feature = "simd128")]
    Simd128(Simd128<Words>),
    /// The same with products of bytes: relaxed-simd.
    #[cfg(target_feature = "relaxed-simd")]
    RelaxedSimd(Simd128<Relaxed>),
}

/// Why there is no tier of a name.
enum Lack {
    /// No tier is called so.
    Name,
    /// It belongs to another architecture.
    Build,
    /// The CPU has not got this feature.
    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        expect(dead_code, reason = "no tier to ask for")
    )]
    Instructions(&'static str),
}

/// The name of every tier of every architecture, fastest last, behind that of the device that
/// [`crate::Backend`] has in some builds.
const NAMES: &str = "cuda, scalar, portable, sse, avx2, avx-vnni, avx512, \
    neon, neon-dot, neon-i8mm, simd128, relaxed-simd";

fn names() -> impl Iterator<Item = &'static str> {
    NAMES.split(", ")
}

impl Tier {
    /// The tiers that this CPU can run, fastest last.
    pub fn available() -> impl Iterator<Item = Self> {
        names().filter_map(|name| Self::find(name).ok())
    }

    /// The fastest tier that this CPU can run.
    pub fn best() -> Self {
        Self::available().last().unwrap_or(Self::Scalar)
    }

    /// The tier with this name. `BadArgument` when there is none, `TierUnavailable` when this CPU
    /// or this build lacks it.
    pub fn from_name(name: &str) -> Result<Self> {
        let best = Self::best().name();
        match Self::find(name) {
            Ok(tier) => Ok(tier),
            Err(Lack::Name) => {
                fail!(Code::BadArgument, "there is no tier {name}: choose one of {NAMES}")
            }
            Err(Lack::Build) => {
                fail!(Code::TierUnavailable, "this build has no {name}: choose {best}")
            }
            Err(Lack::Instructions(feature)) => fail!(
                Code::TierUnavailable,
                "this CPU lacks {feature}, which the tier {name} needs: choose {best}"
            ),
        }
    }

    fn find(name: &str) -> core::result::Result<Self, Lack> {
        match name {
            "scalar" => Ok(Self::Scalar),
            #[cfg(feature = "portable")]
            "portable" => Ok(Self::Portable),
            #[cfg(all(feature = "edge-x86", target_arch = "x86_64"))]
            "sse" => Sse::detect().map(Self::Sse).map_err(Lack::Instructions),
            #[cfg(target_arch = "x86_64")]
            "avx2" => Avx2::<Pairs>::detect().map(Self::Avx2).map_err(Lack::Instructions),
            #[cfg(all(feature = "edge-x86", target_arch = "x86_64"))]
            "avx-vnni" => Avx2::<Vnni>::detect().map(Self::AvxVnni).map_err(Lack::Instructions),
            #[cfg(target_arch = "x86_64")]
            "avx512" => Avx512::detect().map(Self::Avx512).map_err(Lack::Instructions),
            #[cfg(target_arch = "aarch64")]
            "neon" => Neon::<Widening>::detect().map(Self::Neon).map_err(Lack::Instructions),
            #[cfg(target_arch = "aarch64")]
            "neon-dot" => Neon::<Sdot>::detect().map(Self::NeonDot).map_err(Lack::Instructions),
            #[cfg(target_arch = "aarch64")]
            "neon-i8mm" => Neon::<Smmla>::detect().map(Self::NeonI8mm).map_err(Lack::Instructions),
            #[cfg(target_feature = "simd128")]
            "simd128" => Ok(Self::Simd128(Simd128::<Words>::NEW)),
            #[cfg(target_feature = "relaxed-simd")]
            "relaxed-simd" => Ok(Self::RelaxedSimd(Simd128::<Relaxed>::NEW)),
            _ if names().any(|known| known == name) => Err(Lack::Build),
            _ => Err(Lack::Name),
        }
    }

    /// The name that the command line uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            #[cfg(feature = "portable")]
            Self::Portable => "portable",
            #[cfg(all(feature = "edge-x86", target_arch = "x86_64"))]
            Self::Sse(_) => "sse",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(all(feature = "edge-x86", target_arch = "x86_64"))]
            Self::AvxVnni(_) => "avx-vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => "neon",
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot(_) => "neon-dot",
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm(_) => "neon-i8mm",
            #[cfg(target_feature = "simd128")]
            Self::Simd128(_) => "simd128",
            #[cfg(target_feature = "relaxed-simd")]
            Self::RelaxedSimd(_) => "relaxed-simd",
        }
    }
}

impl Choice for Tier {
    fn with<W: UseKernels>(self, work: W) -> W::Output {
        match self {
            Self::Scalar => work.run(Scalar),
            #[cfg(feature = "portable")]
            Self::Portable => work.run(Portable),
            #[cfg(all(feature = "edge-x86", target_arch = "x86_64"))]
            Self::Sse(kernels) => work.run(kernels),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(kernels) => work.run(kernels),
            #[cfg(all(feature = "edge-x86", target_arch = "x86_64"))]
            Self::AvxVnni(kernels) => work.run(kernels),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(kernels) => work.run(kernels),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(kernels) => work.run(kernels),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot(kernels) => work.run(kernels),
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm(kernels) => work.run(kernels),
            #[cfg(target_feature = "simd128")]
            Self::Simd128(kernels) => work.run(kernels),
            #[cfg(target_feature = "relaxed-simd")]
            Self::RelaxedSimd(kernels) => work.run(kernels),
        }
    }
}
