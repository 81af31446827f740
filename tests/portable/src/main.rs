//! Checks that the tier `portable` computes a small model with the bits of `scalar`, and every
//! single operation as well if that is asked for, with nothing but the library's core: where the
//! other tests cannot be built.
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

struct Check;

impl UseKernels for Check {
    type Output = ();

    fn run<K: Kernels>(self, kernels: K) {
        check::kernels_to_the_bit(kernels);
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
    assert_eq!(Tier::best(), Tier::Portable, "a processor with kernels of its own");
    if env::args().nth(2).as_deref() == Some("operations") {
        Tier::Portable.with(Check);
    }
    for kv in [KvType::Int8, KvType::F16] {
        let expected = observe(file, kv, Tier::Scalar);
        assert!(observe(file, kv, Tier::Portable) == expected, "{kv:?}: other bits");
    }
    println!("portable: the bits of scalar");
}
