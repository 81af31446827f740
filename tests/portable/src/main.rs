//! Checks that `portable`, and the tiers of WebAssembly where this is such a module, compute a
//! small model with the bits of `scalar`, and every single operation as well if that is asked for,
//! with nothing but the library's core: where the other tests cannot be built.
//!
//! ```text
//! portable MODEL.kinglet [operations]
//! ```

use kinglet_backends::{Choice, Tier, UseKernels};
use kinglet_core::check::{self, Aligned};
use kinglet_core::kernels::{Alone, Kernels};
use kinglet_core::plan::{Limits, Plan};
use kinglet_core::{KvType, Texts};
use kinglet_quant::File;
use std::{env, fs};

/// The tiers of a build for WebAssembly.
#[cfg(target_arch = "wasm32")]
const TIERS: [&str; 4] = ["scalar", "portable", "simd128", "relaxed-simd"];
/// The tiers of a build for a processor without kernels of its own.
#[cfg(not(target_arch = "wasm32"))]
const TIERS: [&str; 2] = ["scalar", "portable"];

/// Compares every operation with `scalar`.
struct Check {
    /// Whether single operations have its bits, too. Outputs that several products are added to can
    /// be rounded otherwise by vector tiers; models have no such products.
    to_the_bit: bool,
}

impl UseKernels for Check {
    type Output = ();

    fn run<K: Kernels>(self, kernels: K) {
        match self.to_the_bit {
            true => check::kernels_to_the_bit(kernels),
            false => check::kernels(kernels),
        }
    }
}

/// Bits of the logits behind a prompt and behind tokens one by one, and of the cache.
fn observe(file: File<'_>, kv: KvType, tier: Tier) -> (Vec<u32>, Vec<u8>) {
    let limits = Limits { texts: 1, context: 160, batch: 40, logit_rows: 1, workers: 1, kv };
    let plan = Plan::new(&file, &limits).expect("a plan");
    let mut memory = Aligned::zeroed(plan.total_bytes().next_multiple_of(64));
    let memory = &mut memory.bytes_mut()[..plan.total_bytes()];
    let mut texts = Texts::on_cpu(file, &limits, tier, Alone, memory).expect("a text");
    let prompt: Vec<u32> = (0..131).map(|i| 30 + i * i % 97).collect();
    let mut text = texts.text(0);
    text.prefill(&prompt, &mut |_| Ok(())).expect("a prompt");
    let mut logits = Vec::new();
    for token in 40..48 {
        text.push(token, None).expect("a token");
        logits.extend(text.logits().expect("logits").iter().map(|logit| logit.to_bits()));
    }
    let mut state = vec![0; text.state_bytes()];
    text.save(0, &mut state).expect("a state");
    (logits, state)
}

fn main() {
    let path = env::args().nth(1).expect("the path of a model");
    let bytes = fs::read(&path).expect("a model");
    let mut model = Aligned::zeroed(bytes.len().next_multiple_of(64));
    model.bytes_mut()[..bytes.len()].copy_from_slice(&bytes);
    let file = File::open(&model.bytes()[..bytes.len()]).expect("a model");
    let names: Vec<&str> = Tier::available().map(Tier::name).collect();
    assert_eq!(names, TIERS, "other tiers than those of processors without kernels of their own");
    let tiers = || Tier::available().skip(1);
    if env::args().nth(2).as_deref() == Some("operations") {
        tiers().for_each(|tier| tier.with(Check { to_the_bit: tier == Tier::Portable }));
    }
    for kv in [KvType::Int8, KvType::F16] {
        let expected = observe(file, kv, Tier::Scalar);
        for tier in tiers() {
            assert!(observe(file, kv, tier) == expected, "{}, {kv:?}: other bits", tier.name());
        }
    }
    println!("{}: the bits of scalar", names[1..].join(", "));
}
