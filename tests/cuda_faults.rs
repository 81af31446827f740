//! Faults that are put into the kernels are found: what the tests of the CUDA engine pass is worth
//! something.

use kinglet::{KvType, Sampling, Type};
use kinglet_core::Texts;
use kinglet_core::engine::Engine;
use kinglet_core::sample::Sampler;
use kinglet_quant::Result;
use kinglet_tests::devices::on_device;
use kinglet_tests::models::{SMALL, small};
use kinglet_tests::observe::{bits, limits};
use kinglet_tests::stand_in::StandIn;
use std::fs;
use std::path::Path;

/// A fault: in a kernel, what is written in place of every occurrence of something.
type Fault = (&'static str, &'static str, &'static str);

const FAULTS: [Fault; 30] = [
    // Warps no longer wait for each other.
    ("product_one", "bar.sync  0;", ""),
    ("product_many", "bar.sync  0;", ""),
    ("screen_one", "bar.sync  0;", ""),
    ("attend", "bar.sync  0;", ""),
    ("append", "bar.sync  0;", ""),
    ("norm", "bar.sync  0;", ""),
    ("collect", "bar.sync  0;", ""),
    // Blocks do each other's work.
    ("product_one", "%ctaid.x", "0"),
    ("product_many", "%ctaid.y", "0"),
    ("embed", "%ctaid.x", "0"),
    ("norm", "%ctaid.x", "0"),
    ("append", "%ctaid.x", "0"),
    ("attend", "%ctaid.y", "0"),
    ("join", "%ctaid.x", "0"),
    ("silu_mul", "%ctaid.x", "0"),
    // Masks and shifts of codes.
    ("product_one", "252645135", "-1"),
    ("product_many", "252645135", "-1"),
    ("embed", "xor.b32", "or.b32"),
    // Indices.
    ("attend", "dp2a.hi.s32.s32", "dp2a.lo.s32.s32"),
    ("keep", "setp.ge.u32", "setp.lt.u32"),
    ("norm", ", 16, 31, -1", ", 8, 31, -1"),
    ("screen_one", "-241", "-240"),
    // Signs and scales.
    ("append", "sub.rn.f32", "add.rn.f32"),
    ("append", "0f42FE0000", "0f42FC0000"),
    ("quantize", "0f42FE0000", "0f42FC0000"),
    ("attend", "0f46FEFE00", "0f46FEFC00"),
    ("silu_mul", "div.rn.f32", "mul.rn.f32"),
    ("join", "rcp.rn.f32", "mov.b32"),
    ("quantize", "neg.s32", "mov.b32"),
    ("rescore", "mul.rn.f32", "add.rn.f32"),
];

/// The kernels with a fault; panics where there is nothing to put it in place of.
fn with_fault(kernels: &str, (kernel, from, to): Fault) -> String {
    let start = kernels.find(&format!(".entry {kernel}(")).expect("there is such a kernel");
    let length = kernels[start..].find("\n}").expect("it ends");
    let (before, rest) = kernels.split_at(start);
    let (body, behind) = rest.split_at(length);
    // The compiler writes tabs behind the names of instructions.
    let body = body.replace('\t', " ");
    assert!(body.contains(from), "{kernel} has no {from}");
    format!("{before}{}{behind}", body.replace(from, to))
}

/// Tokens and logits of texts that take every kernel.
fn observed<E: Engine>(texts: &mut Texts<'_, E>) -> Result<(Vec<u32>, Vec<u32>)> {
    let prompt: Vec<u32> = (0..13).map(|i| 30 + i * 7 % 40).collect();
    let mut sampler = Sampler::new(Sampling { temperature: 0.7, ..Sampling::default() });
    texts.text(0).prefill(&prompt, &mut |_| Ok(()))?;
    let mut logits: Vec<u32> = bits(texts.text(0).logits()?).collect();
    texts.copy(0, 1, 9)?;
    texts.push(&[(0, 41), (1, 42)])?;
    let tokens = (0..3).map(|_| texts.text(1).next(&mut sampler)).collect::<Result<_>>()?;
    texts.text(2).score(&prompt[..5], &mut |_, row| logits.extend(bits(row)))?;
    logits.extend(bits(texts.text(0).logits()?));
    logits.extend(bits(texts.text(1).logits()?));
    Ok((tokens, logits))
}

#[test]
fn every_fault_is_found() {
    let stand_in = StandIn::take();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../backends/src/cuda/ptx/kernels.ptx");
    let kernels = fs::read_to_string(path).unwrap();
    let (model, limits) = (small(SMALL[0], Type::Q4), limits(KvType::Int8));
    stand_in.find_races(true);
    let expected = on_device(&model, &limits, |texts| observed(texts).unwrap());
    let missed: Vec<_> = FAULTS
        .into_iter()
        .filter(|&fault| {
            stand_in.reset();
            stand_in.find_races(true);
            stand_in.load(&with_fault(&kernels, fault));
            match on_device(&model, &limits, |texts| observed(texts).map(|found| found == expected))
            {
                Ok(is_same) => is_same,
                Err(_) => {
                    assert!(!stand_in.last_fault().is_empty(), "{fault:?}: not the kernel's");
                    false
                }
            }
        })
        .collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
