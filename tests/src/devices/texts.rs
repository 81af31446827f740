//! Checks of whole texts on a device, against the same texts on the processor.
//!
//! They need no more of the driver than the engine does, so that they run on a real one as well.

use super::with_kernels;
use crate::aligned::Aligned;
use crate::compare::relative_rms;
use crate::models::{SMALL, small};
use crate::observe::{Observed, TEXTS, embedding, everything, limits, on_cpu};
use kinglet::{KvType, Pooling, Type};
use kinglet_backends::{Cuda, CudaEngine, Ptx};
use kinglet_core::engine::{Chunk, Engine, Logits};
use kinglet_core::kernels::Alone;
use kinglet_core::plan::{Limits, Plan};
use kinglet_core::scalar::Scalar;
use kinglet_core::screen::Screen;
use kinglet_core::{Cpu, Texts};

/// What logits of unquantized weights may be off together, as a root of mean squares.
const RELATIVE_RMS: f64 = 1e-3;
/// The same for quantized weights. Norms add in another order, which moves a few codes of inputs,
/// keys and values by one, and these models of random weights feel each.
const QUANTIZED_RMS: f64 = 5e-2;
/// What a number of an embedding may be off.
const EMBEDDING_ERROR: f32 = 1e-3;

/// Whether a device's texts are the processor's, and its logits near.
fn compare(what: &str, found: &Observed, expected: &Observed) {
    let floats = |bits: &[u32]| bits.iter().map(|&bits| f32::from_bits(bits)).collect::<Vec<_>>();
    for (found, expected) in found.logits.iter().zip(&expected.logits) {
        let off = relative_rms(&floats(found), &floats(expected));
        assert!(off <= RELATIVE_RMS, "{what}: logits are {off} off");
    }
    for reply in 0..TEXTS {
        assert_eq!(found.of_reply(reply), expected.of_reply(reply), "{what}");
    }
    assert_eq!(found.tokens, expected.tokens, "{what}");
}

/// Everything that texts of these models can do, in unquantized weights.
pub fn unquantized(ptx: Ptx, models: &[&str]) {
    for (&name, kind) in models.iter().zip([Type::Bf16, Type::F32].into_iter().cycle()) {
        let (model, limits) = (small(name, kind), limits(KvType::F16));
        let expected = on_cpu(&model, &limits, |texts| everything(texts).unwrap());
        let found = with_kernels(ptx, &model, &limits, |texts| everything(texts).unwrap());
        compare(&format!("{name}, {kind:?}"), &found, &expected);
    }
}

/// Logits of models in every quantized type; says how far off the farthest are.
pub fn quantized(ptx: Ptx) -> f64 {
    let mut farthest = 0.0f64;
    let kinds = [Type::Q8, Type::Q5, Type::Q4, Type::Q3];
    for (number, (name, kind)) in SMALL.into_iter().zip(kinds.into_iter().cycle()).enumerate() {
        let limits = limits(if number % 2 == 0 { KvType::Int8 } else { KvType::F16 });
        let model = small(name, kind);
        let tokens: Vec<u32> = (0..70).map(|i| 30 + i * i % 97).collect();
        let expected = on_cpu(&model, &limits, |texts| scored(texts, &tokens));
        let found = with_kernels(ptx, &model, &limits, |texts| scored(texts, &tokens));
        let off = relative_rms(&found, &expected);
        assert!(off <= QUANTIZED_RMS, "{name}, {kind:?}: logits are {off} off");
        farthest = farthest.max(off);
    }
    farthest
}

/// Spans of attention are joined, and a prompt takes several passes; says how far off the farthest
/// logits are.
pub fn long(ptx: Ptx) -> f64 {
    let mut farthest = 0.0f64;
    for (name, kv) in [(SMALL[0], KvType::Int8), (SMALL[1], KvType::F16)] {
        let model = small(name, Type::Bf16);
        let limits = Limits { texts: 1, context: 256, batch: 70, ..limits(kv) };
        let tokens: Vec<u32> = (0..256).map(|i| 30 + i * i % 97).collect();
        for length in [127, 128, 129, 255] {
            let [expected, found] = [
                on_cpu(&model, &limits, |texts| behind(texts, &tokens[..length])),
                with_kernels(ptx, &model, &limits, |texts| behind(texts, &tokens[..length])),
            ];
            let off = relative_rms(&found, &expected);
            assert!(off <= RELATIVE_RMS, "{name}, {kv:?}: {length} tokens: {off}");
            farthest = farthest.max(off);
        }
    }
    farthest
}

/// Logits behind a prompt, and behind one more token.
fn behind<E: Engine>(texts: &mut Texts<'_, E>, tokens: &[u32]) -> Vec<f32> {
    texts.text(0).prefill(tokens, &mut |_| Ok(())).unwrap();
    let mut logits = texts.text(0).logits().unwrap().to_vec();
    texts.text(0).push(50, None).unwrap();
    logits.extend_from_slice(texts.text(0).logits().unwrap());
    logits
}

/// Logits behind all tokens of a text, some of which are taken alone and some together.
fn scored<E: Engine>(texts: &mut Texts<'_, E>, tokens: &[u32]) -> Vec<f32> {
    let mut logits = Vec::new();
    let (first, rest) = tokens.split_at(5);
    for &token in first {
        texts.text(1).push(token, None).unwrap();
        logits.extend_from_slice(texts.text(1).logits().unwrap());
    }
    texts.text(1).score(rest, &mut |_, row| logits.extend_from_slice(row)).unwrap();
    logits
}

/// A search of the head keeps the same tokens as the processor's, whatever it is for.
pub fn searched(ptx: Ptx) {
    let (model, limits) = (small(SMALL[4], Type::Q8), limits(KvType::F16));
    let plan = Plan::new(&model.file(), &limits).unwrap();
    let mut memory = Aligned::zeroed(plan.engine_bytes());
    let mut here = Cpu::new(Scalar, Alone, model.file(), plan.clone(), memory.as_mut());
    let cuda = Cuda::detect().unwrap();
    let engine = CudaEngine::with_kernels(cuda, ptx, model.file(), plan.without_engine());
    let mut there = engine.unwrap();
    let vocab = model.config().vocab_size as usize;
    let mut left_out = 0;
    for (reach, top) in [(0.0, 0), (0.5, 0), (3.0, 0), (9.0, 1), (9.0, 2), (9.0, 40), (99.0, 0)] {
        let screen = Some(Screen { reach, top });
        let tokens = [31, 90, 47];
        let chunk = Chunk { text: 0, first: 0, tokens: &tokens, logits: Logits::All, screen };
        let engines: [&mut dyn Engine; 2] = [&mut here, &mut there];
        let kept = engines.map(|engine| {
            engine.run(&[chunk]).unwrap();
            [0, 1, 2].map(|row| {
                let mut tokens = vec![0; vocab];
                let count = engine.survivors(row, &mut tokens).unwrap().expect("a search");
                tokens.truncate(count);
                tokens
            })
        });
        assert_eq!(kept[0], kept[1], "reach {reach}, top {top}");
        left_out += kept[0].iter().map(|kept| vocab - kept.len()).sum::<usize>();
    }
    assert!(left_out > vocab, "searches that keep everything show nothing");
}

/// Embeddings are the processor's, and texts go on behind them; says how far off a number of them
/// is at most.
pub fn embedded(ptx: Ptx) -> f32 {
    let mut farthest = 0.0f32;
    for (number, name) in SMALL.into_iter().enumerate() {
        let limits = limits(if number % 2 == 0 { KvType::F16 } else { KvType::Int8 });
        let model = small(name, Type::Bf16);
        for pooling in [Pooling::Mean, Pooling::Last] {
            let expected = on_cpu(&model, &limits, |texts| embedded_then_behind(texts, pooling));
            let found =
                with_kernels(ptx, &model, &limits, |texts| embedded_then_behind(texts, pooling));
            let off = found.0.iter().zip(&expected.0).map(|(a, b)| (a - b).abs());
            let off = off.fold(0.0, f32::max);
            assert!(off < EMBEDDING_ERROR, "{name}, {pooling:?}: {off} off");
            farthest = farthest.max(off);
            let off = relative_rms(&found.1, &expected.1);
            assert!(off <= RELATIVE_RMS, "{name}, {pooling:?}: logits are {off} off");
        }
    }
    farthest
}

/// An embedding, and the logits behind its text.
fn embedded_then_behind<E: Engine>(
    texts: &mut Texts<'_, E>,
    pooling: Pooling,
) -> (Vec<f32>, Vec<f32>) {
    let embedding = embedding(texts, pooling).unwrap();
    (embedding, texts.text(0).logits().unwrap().to_vec())
}

/// Quantized texts have the same bits in every run; `prepare` comes before each.
pub fn repeated<const RUNS: usize>(ptx: Ptx, runs: [u64; RUNS], prepare: impl Fn(u64)) {
    for (name, kind) in [(SMALL[1], Type::Q4), (SMALL[2], Type::Q8)] {
        let (model, limits) = (small(name, kind), limits(KvType::Int8));
        let observed = runs.map(|run| {
            prepare(run);
            with_kernels(ptx, &model, &limits, |texts| everything(texts).unwrap())
        });
        assert!(observed.iter().all(|found| *found == observed[0]), "{name}");
    }
}

/// States move to the processor and back.
pub fn moved(ptx: Ptx) {
    for kv in [KvType::Int8, KvType::F16] {
        let (model, limits) = (small(SMALL[3], Type::Q8), limits(kv));
        let tokens: Vec<u32> = (0..37).map(|i| 40 + i * 3 % 50).collect();
        on_cpu(&model, &limits, |here| {
            with_kernels(ptx, &model, &limits, |there| {
                here.text(0).prefill(&tokens, &mut |_| Ok(())).unwrap();
                let mut state = vec![0; here.text(0).state_bytes()];
                here.text(0).save(7, &mut state).unwrap();
                there.text(2).restore(&state).unwrap();
                let mut again = vec![0; there.text(2).state_bytes()];
                there.text(2).save(7, &mut again).unwrap();
                assert!(again == state, "{kv:?}: the device saves what it has not restored");
                here.text(1).copy_from(&mut there.text(2), tokens.len()).unwrap();
                let [own, moved] = [0, 1].map(|text| here.text(text).logits().unwrap().to_vec());
                assert!(own == moved, "{kv:?}: what came back is another text");
                let off = relative_rms(there.text(2).logits().unwrap(), &own);
                assert!(off <= QUANTIZED_RMS, "{kv:?}: logits are {off} off");
            });
        });
    }
}
