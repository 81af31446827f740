//! Every tier that this CPU promises exists, computes what the scalar definition says, and is found
//! by its name.

use kinglet_backends::{Choice, Tier, UseKernels};
use kinglet_core::{Kernels, check};
use kinglet_quant::Code;
use kinglet_tests::skip::skip;
use kinglet_tests::tiers;

/// Tiers and the flags of `/proc/cpuinfo` that promise them.
#[cfg(target_arch = "x86_64")]
const PROMISES: [(&str, &[&str]); 2] = [
    ("avx2", &["avx2", "fma", "f16c"]),
    ("avx512", &["avx512f", "avx512bw", "avx512vl", "avx512_vnni"]),
];
#[cfg(target_arch = "aarch64")]
const PROMISES: [(&str, &[&str]); 3] =
    [("neon", &["asimd"]), ("neon-dot", &["asimddp"]), ("neon-i8mm", &["asimddp", "i8mm"])];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const PROMISES: [(&str, &[&str]); 0] = [];

struct Check;

impl UseKernels for Check {
    type Output = ();

    fn run<K: Kernels>(self, kernels: K) {
        check::kernels(kernels);
    }
}

#[test]
fn tiers_agree_with_scalar() {
    tiers::each(|tier| {
        if tier != Tier::Scalar {
            tier.with(Check);
        }
    });
}

#[test]
fn promised_tiers_are_available() {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    for (name, flags) in PROMISES {
        match flags.iter().find(|flag| !info.split_whitespace().any(|word| word == **flag)) {
            Some(lacks) => skip(&format!("tier {name}"), format_args!("this CPU lacks {lacks}")),
            None => assert_eq!(Tier::from_name(name).map(Tier::name), Ok(name)),
        }
    }
}

#[test]
fn names_lead_back_to_tiers() {
    for tier in Tier::available() {
        assert_eq!(Tier::from_name(tier.name()), Ok(tier));
    }
    assert_eq!(Tier::available().last(), Some(Tier::best()));
}

#[test]
fn unknown_names_are_errors_that_list_the_known_ones() {
    let error = Tier::from_name("avx3").unwrap_err();
    assert_eq!(error.code(), Code::BadArgument);
    assert!(error.message().contains("scalar"), "{error}");
}
