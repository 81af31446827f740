//! The same text gives the same logits, however it is cut into batches and whoever computes it: to
//! the bit with quantized weights, and whatever the weights on any number of threads.

use kinglet::{KvType, Model, Session, SessionOptions, Tier, Type};
use kinglet_tests::compare::relative_rms;
use kinglet_tests::models::{SMALL, real, small};

/// Quantized and unquantized formats.
const TYPES: [Type; 3] = [Type::Bf16, Type::Q8, Type::Q4];
/// What logits of unquantized weights may differ by: other batches add up in another order.
const RELATIVE_RMS: f64 = 1e-3;

fn options(kv: KvType, tier: Tier) -> SessionOptions {
    let context = Some(256);
    SessionOptions {
        context,
        kv: Some(kv),
        backend: Some(tier.into()),
        batch: 128,
        ..SessionOptions::default()
    }
}

/// Tokens all over the vocabulary, the same in every run.
fn text(model: &Model, length: usize) -> Vec<u32> {
    let mut rng = fastrand::Rng::with_seed(7);
    (0..length).map(|_| rng.u32(..model.config().vocab_size)).collect()
}

/// Logits behind the last token when the text arrives in chunks of these sizes, repeated.
fn in_chunks(session: &mut Session, text: &[u32], sizes: &[usize]) -> Vec<f32> {
    session.reset();
    let mut rest = text;
    for &size in sizes.iter().cycle() {
        let (chunk, later) = rest.split_at(size.min(rest.len()));
        session.prefill(chunk).unwrap();
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    session.logits().unwrap().to_vec()
}

/// Fails unless logits are those expected: to the bit where the weights are quantized.
fn assert_same(what: &str, kind: Type, logits: &[f32], expected: &[f32]) {
    if kind.is_quantized() {
        let bits = |logits: &[f32]| logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(bits(logits) == bits(expected), "{what}: some bits differ");
    } else {
        let distance = relative_rms(logits, expected);
        assert!(distance <= RELATIVE_RMS, "{what} differ by {distance:.1e}");
    }
}

fn compare_chunks(kind: Type, name: &str, model: &Model, options: &SessionOptions, length: usize) {
    let text = text(model, length);
    let mut session = model.session(options).unwrap();
    let whole = in_chunks(&mut session, &text, &[length]);
    let what = format!("{name}, {:?}, {}", options.kv, session.backend().name());
    let cuts: [&[usize]; 7] = [&[1], &[2], &[3, 1, 5], &[7], &[16], &[33, 2], &[64]];
    for sizes in cuts {
        let logits = in_chunks(&mut session, &text, sizes);
        assert_same(&format!("{what}: chunks of {sizes:?}"), kind, &logits, &whole);
    }
}

#[test]
fn chunks_of_any_size_give_the_same_logits() {
    for name in SMALL {
        for kind in TYPES {
            let model = small(name, kind);
            for tier in Tier::available() {
                for kv in [KvType::F16, KvType::Int8] {
                    let name = format!("{name}, {}", kind.name());
                    compare_chunks(kind, &name, &model, &options(kv, tier), 75);
                }
            }
        }
    }
}

#[test]
fn the_real_model_takes_chunks_of_any_size() {
    for kind in TYPES {
        let test = format!("the_real_model_takes_chunks_of_any_size, {}", kind.name());
        let Some(model) = real(&test, kind) else { continue };
        compare_chunks(kind, kind.name(), &model, &options(KvType::F16, Tier::best()), 75);
    }
}

#[test]
fn scoring_and_prefill_agree_behind_every_token() {
    for name in SMALL {
        let model = small(name, Type::Q4);
        let text = text(&model, 40);
        let scoring = SessionOptions { logit_rows: 11, ..options(KvType::F16, Tier::best()) };
        let mut scored = Vec::new();
        let mut session = model.session(&scoring).unwrap();
        session.score(&text, &mut |at, logits| scored.push((at, logits.to_vec()))).unwrap();
        assert_eq!(scored.len(), text.len());
        for (expected, (at, logits)) in scored.iter().enumerate() {
            assert_eq!(*at, expected);
            let prefilled = in_chunks(&mut session, &text[..=*at], &[text.len()]);
            assert_same(&format!("{name}, token {at}"), Type::Q4, logits, &prefilled);
        }
    }
}

#[test]
fn rewinding_leaves_no_trace() {
    let model = small("gqa3-head64", Type::Q8);
    let text = text(&model, 60);
    let mut session = model.session(&options(KvType::Int8, Tier::best())).unwrap();
    let straight = in_chunks(&mut session, &text, &[30]);
    session.rewind(30);
    session.prefill(&text[..25]).unwrap();
    session.rewind(30);
    session.prefill(&text[30..]).unwrap();
    assert_eq!(session.logits().unwrap(), straight);
}

/// Logits of a session with so many threads: after prefill, then after each of three tokens.
fn with_threads(model: &Model, tier: Tier, threads: usize) -> Vec<Vec<f32>> {
    let text = text(model, 70);
    let options = SessionOptions { threads: Some(threads), ..options(KvType::Int8, tier) };
    let mut session = model.session(&options).unwrap();
    session.prefill(&text[..67]).unwrap();
    let mut all = vec![session.logits().unwrap().to_vec()];
    for &token in &text[67..] {
        session.push(token).unwrap();
        all.push(session.logits().unwrap().to_vec());
    }
    all
}

#[test]
fn threads_do_not_change_a_bit() {
    for name in SMALL {
        for kind in TYPES {
            let model = small(name, kind);
            for tier in Tier::available() {
                let one = with_threads(&model, tier, 1);
                for threads in [2, 3] {
                    let many = with_threads(&model, tier, threads);
                    let what = format!("{name}, {}, {}", kind.name(), tier.name());
                    assert!(one == many, "{what}: {threads} threads change the logits");
                }
            }
        }
    }
}

#[test]
fn threads_do_not_change_a_bit_of_the_real_model() {
    for kind in TYPES {
        let test = format!("threads_do_not_change_a_bit_of_the_real_model, {}", kind.name());
        let Some(model) = real(&test, kind) else { continue };
        let one = with_threads(&model, Tier::best(), 1);
        for threads in [2, 3] {
            let many = with_threads(&model, Tier::best(), threads);
            assert!(one == many, "{}: {threads} threads change the logits", kind.name());
        }
    }
}
