//! Every tier that this CPU promises exists, computes what the scalar definition says, and is found
//! by its name.

use kinglet::Model;
use kinglet_backends::{Choice, Tier, UseKernels};
use kinglet_core::kernels::Alone;
use kinglet_core::plan::Plan;
use kinglet_core::{Kernels, KvType, Texts, check};
use kinglet_quant::{Code, Type};
use kinglet_tests::aligned::Aligned;
use kinglet_tests::models::small;
use kinglet_tests::observe::{Observed, everything, limits};
use kinglet_tests::skip::skip;
use kinglet_tests::tiers::{self, rounds_as_scalar};
use std::sync::Mutex;

/// Tiers and the flags of `/proc/cpuinfo` that promise them.
#[cfg(target_arch = "x86_64")]
const PROMISES: [(&str, &[&str]); 4] = [
    ("sse", &["ssse3", "sse4_1"]),
    ("avx2", &["avx2", "fma", "f16c"]),
    ("avx-vnni", &["avx2", "fma", "f16c", "avx_vnni"]),
    ("avx512", &["avx512f", "avx512bw", "avx512vl", "avx512_vnni"]),
];
#[cfg(target_arch = "aarch64")]
const PROMISES: [(&str, &[&str]); 3] =
    [("neon", &["asimd"]), ("neon-dot", &["asimddp"]), ("neon-i8mm", &["asimddp", "i8mm"])];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const PROMISES: [(&str, &[&str]); 0] = [];

/// A comparison with the definition, to the bit or within rounding.
struct Check {
    to_the_bit: bool,
}

impl UseKernels for Check {
    type Output = ();

    fn run<K: Kernels>(self, kernels: K) {
        if self.to_the_bit {
            check::kernels_to_the_bit(kernels);
        } else {
            check::kernels(kernels);
        }
    }
}

#[test]
fn tiers_agree_with_scalar() {
    tiers::each(|tier| {
        if tier != Tier::Scalar {
            // `sse` multiplies unquantized weights through `gemm`, which rounds otherwise.
            let to_the_bit = rounds_as_scalar(tier) && tier.name() != "sse";
            tier.with(Check { to_the_bit });
        }
    });
}

/// Everything that texts can do on one tier.
fn observe(model: &Model, tier: Tier, kv: KvType) -> Observed {
    let (file, limits) = (model.file(), limits(kv));
    let plan = Plan::new(&file, &limits).unwrap();
    let mut memory = Aligned::zeroed(plan.total_bytes());
    let texts = Texts::on_cpu(file, &limits, tier, Alone, memory.as_mut());
    everything(&mut texts.unwrap()).unwrap()
}

/// Sums run in the same order on every tier, so that boards with different processors give the same
/// texts, if all of them or none of them round products together with sums.
#[test]
fn tiers_agree_with_each_other_to_the_bit() {
    // Three models for tiers that round as scalar does, too: they are slow under emulators.
    for (name, kind, is_for_all) in [
        ("gqa3-head64", Type::Q8, true),
        ("gqa3-head64", Type::Q5, false),
        ("gqa3-head64", Type::Q4, false),
        ("gqa3-head64", Type::Q3, true),
        ("mha-head32", Type::Q4, true),
        ("gqa2-head128", Type::Q8, false),
    ] {
        for kv in [KvType::Int8, KvType::F16] {
            let model = small(name, kind);
            let observed = Mutex::new(Vec::new());
            tiers::each(|tier| {
                if is_for_all || !rounds_as_scalar(tier) {
                    observed.lock().unwrap().push((tier, observe(&model, tier, kv)));
                }
            });
            let mut observed = observed.into_inner().unwrap();
            observed.sort_by_key(|(tier, _)| rounds_as_scalar(*tier));
            let alike = observed.chunk_by(|(first, _), (second, _)| {
                rounds_as_scalar(*first) == rounds_as_scalar(*second)
            });
            for pair in alike.flat_map(|observed| observed.windows(2)) {
                let [(first, a), (second, b)] = pair else { unreachable!() };
                let which = format!("{name} {kind:?} {kv:?}: {first:?} and {second:?}");
                assert!(a.logits == b.logits && a.states == b.states, "{which}");
                assert!(a.tokens == b.tokens && a.top == b.top, "{which}");
            }
        }
    }
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
