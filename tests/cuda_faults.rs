//! Faults that are put into the kernels are found: what the tests of the CUDA engine pass is worth
//! something.

use kinglet::{KvType, Sampling, Type};
use kinglet_backends::{Checked, Checker, Cuda, Ptx};
use kinglet_core::Texts;
use kinglet_core::check;
use kinglet_core::engine::Engine;
use kinglet_core::plan::Limits;
use kinglet_core::sample::Sampler;
use kinglet_quant::Result;
use kinglet_tests::devices::{on_device, shipped_kernels};
use kinglet_tests::models::{SMALL, small};
use kinglet_tests::observe::{bits, limits};
use kinglet_tests::stand_in::StandIn;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A fault: in a kernel, what is written in place of every occurrence of something.
type Fault = (&'static str, &'static str, &'static str);

const FAULTS: [Fault; 39] = [
    // Warps no longer wait for each other.
    ("product_many", "bar.sync  0;", ""),
    ("product_tensor", "bar.sync  0;", ""),
    ("attend", "bar.sync  0;", ""),
    ("append", "bar.sync  0;", ""),
    ("norm", "bar.sync  0;", ""),
    ("collect", "bar.sync  0;", ""),
    // Blocks do each other's work.
    ("product_one", "%ctaid.x", "0"),
    ("product_many", "%ctaid.y", "0"),
    ("product_tensor", "%ctaid.x", "0"),
    ("product_tensor", "%ctaid.y", "0"),
    ("embed", "%ctaid.x", "0"),
    ("norm", "%ctaid.x", "0"),
    ("append", "%ctaid.x", "0"),
    ("attend", "%ctaid.y", "0"),
    ("join", "%ctaid.x", "0"),
    ("silu_mul", "%ctaid.x", "0"),
    // Masks and shifts of codes.
    ("product_one", "252645135", "-1"),
    ("product_many", "252645135", "-1"),
    ("product_tensor", "-252645136", "-1"),
    ("product_tensor", "xor.b32", "or.b32"),
    ("embed", "xor.b32", "or.b32"),
    // Fragments: rows of other lanes, bytes of another sign.
    ("product_tensor", ", 2, 3;", ", 1, 3;"),
    ("product_tensor", "s32.s8.s8.s32", "s32.u8.s8.s32"),
    // Vectors and rows behind the last.
    ("product_tensor", "setp.ge.u32", "setp.gt.u32"),
    ("product_tensor", "min.u32", "max.u32"),
    // Indices.
    ("attend", "dp2a.hi.s32.s32", "dp2a.lo.s32.s32"),
    ("keep", "setp.ge.u32", "setp.lt.u32"),
    ("norm", ", 16, 31, -1", ", 8, 31, -1"),
    ("screen_one", "-241", "-240"),
    // Signs and scales.
    ("product_tensor", "ld.global.s8", "ld.global.u8"),
    ("product_tensor", "0f3D800000", "0f3E000000"),
    ("append", "sub.rn.f32", "add.rn.f32"),
    ("append", "0f42FE0000", "0f42FC0000"),
    ("quantize", "0f42FE0000", "0f42FC0000"),
    ("attend", "0f46FEFE00", "0f46FEFC00"),
    ("silu_mul", "div.rn.f32", "mul.rn.f32"),
    ("join", "rcp.rn.f32", "mov.b32"),
    ("quantize", "neg.s32", "mov.b32"),
    ("rescore", "mul.rn.f32", "add.rn.f32"),
];

/// Faults that show in products of more columns than a warp takes: small models have none.
const WIDE_FAULTS: [Fault; 2] =
    [("product_one", "bar.sync  0;", ""), ("screen_one", "bar.sync  0;", "")];

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

/// The kernels with the rows g and g + 8 of weights swapped wherever matrices are multiplied.
fn with_swapped_rows(kernels: &str) -> String {
    let swapped = |line: &str| {
        let parts: Vec<_> = line.splitn(3, "}, {").collect();
        let (&[sums, rows, rest], true) = (&parts[..], line.starts_with("mma.")) else {
            return line.to_owned();
        };
        let mut rows: Vec<_> = rows.split(", ").collect();
        rows.swap(0, 1);
        [sums, &rows.join(", "), rest].join("}, {")
    };
    let swapped = kernels.lines().map(swapped).collect::<Vec<_>>().join("\n");
    assert!(swapped != kernels, "no kernel multiplies matrices");
    swapped + "\n"
}

/// Tokens and logits of texts that take every kernel, and a batch that fills their buffers.
fn observed<E: Engine>(texts: &mut Texts<'_, E>) -> Result<(Vec<u32>, Vec<u32>)> {
    let prompt: Vec<u32> = (0..23).map(|i| 30 + i * 7 % 40).collect();
    // The head is searched, most tokens are found, and small changes of their logits show.
    let sampling = Sampling { temperature: 1.5, top_k: 1000, ..Sampling::default() };
    let mut sampler = Sampler::new(sampling);
    texts.text(0).prefill(&prompt, &mut |_| Ok(()))?;
    let mut logits: Vec<u32> = bits(texts.text(0).logits()?).collect();
    texts.copy(0, 1, 9)?;
    texts.push(&[(0, 41), (1, 42)])?;
    let tokens = (0..16).map(|_| texts.text(1).next(&mut sampler)).collect::<Result<_>>()?;
    texts.text(2).score(&prompt[..10], &mut |_, row| logits.extend(bits(row)))?;
    logits.extend(bits(texts.text(0).logits()?));
    logits.extend(bits(texts.text(1).logits()?));
    Ok((tokens, logits))
}

#[test]
fn every_fault_is_found() {
    let stand_in = StandIn::take();
    let kernels = shipped_kernels();
    let model = small(SMALL[0], Type::Q4);
    let limits = Limits { batch: 21, ..limits(KvType::Int8) };
    stand_in.find_races(true);
    let expected = on_device(&model, &limits, |texts| observed(texts).unwrap());
    let faults = FAULTS.map(|fault| (fault, with_fault(&kernels, fault)));
    let swapped = (("product_tensor", "rows", "swapped"), with_swapped_rows(&kernels));
    let missed: Vec<_> = faults
        .into_iter()
        .chain([swapped])
        .filter(|(fault, kernels)| {
            stand_in.reset();
            stand_in.find_races(true);
            stand_in.load(kernels);
            match on_device(&model, &limits, |texts| observed(texts).map(|found| found == expected))
            {
                Ok(is_same) => is_same,
                Err(_) => {
                    assert!(!stand_in.last_fault().is_empty(), "{fault:?}: not the kernel's");
                    false
                }
            }
        })
        .map(|(fault, _)| fault)
        .collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// The check of single kernels panics at the first that fails.
#[test]
fn every_fault_in_wide_products_is_found() {
    let stand_in = StandIn::take();
    for fault in WIDE_FAULTS {
        stand_in.reset();
        stand_in.find_races(true);
        stand_in.load(&with_fault(&shipped_kernels(), fault));
        let checker = Checker::new(Cuda::detect().unwrap(), Ptx::Tensor).unwrap();
        let check = AssertUnwindSafe(|| check::kernels(Checked(&checker)));
        assert!(catch_unwind(check).is_err(), "not found: {fault:?}");
        assert!(stand_in.last_fault().contains("race"), "{fault:?}: {}", stand_in.last_fault());
    }
}
