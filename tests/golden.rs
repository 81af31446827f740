//! Logits and greedy texts against `transformers` on the same bf16 weights.

use kinglet::{KvType, Model, Session, SessionOptions, Tier, Type};
use kinglet_tests::compare::{argmax, max_distance, relative_rms};
use kinglet_tests::goldens::{self, Golden};
use kinglet_tests::models::{REAL, RELATIVES, SMALL, real, small};
use kinglet_tests::tiers;

/// What a logit may be off.
const ABSOLUTE: f32 = 1e-2;
/// What the logits of a prompt may be off together, as a root of mean squares.
const RELATIVE_RMS: f64 = 1e-3;

fn session(model: &Model, tier: Tier) -> Session {
    let options = SessionOptions {
        context: Some(model.config().max_context.min(768) as usize),
        kv: Some(KvType::F16),
        logit_rows: 16,
        backend: Some(tier.into()),
        ..SessionOptions::default()
    };
    model.session(&options).unwrap()
}

/// Logits behind those positions of the prompt for which the golden has them.
fn logits(session: &mut Session, golden: &Golden) -> Vec<f32> {
    let (context, scored) = golden.prompt.split_at(golden.prompt.len() - golden.positions);
    session.reset();
    if !context.is_empty() {
        session.prefill(context).unwrap();
    }
    let mut all = Vec::new();
    session.score(scored, &mut |_, logits| all.extend_from_slice(logits)).unwrap();
    all
}

fn greedy(session: &mut Session, golden: &Golden) -> Vec<u32> {
    session.reset();
    session.prefill(&golden.prompt).unwrap();
    let mut tokens = vec![argmax(session.logits().unwrap())];
    while tokens.len() < golden.greedy.len() {
        session.push(tokens[tokens.len() - 1]).unwrap();
        tokens.push(argmax(session.logits().unwrap()));
    }
    tokens
}

/// The bound on one logit. Where rounding keys and values to f16 moves the reference itself by more
/// than [`ABSOLUTE`], as it does for one prompt, the bound is one and a half times that distance.
fn absolute_bound(golden: &Golden) -> f32 {
    if golden.half_cache_shift < ABSOLUTE { ABSOLUTE } else { 1.5 * golden.half_cache_shift }
}

fn compare(name: &str, model: &Model, tier: Tier) {
    let goldens = goldens::read(name);
    assert!(goldens.len() >= 3);
    let mut session = session(model, tier);
    for (i, golden) in goldens.iter().enumerate() {
        let what = format!("{name}, prompt {i}, {}", tier.name());
        let ours = logits(&mut session, golden);
        let distance = max_distance(&ours, &golden.logits);
        let relative = relative_rms(&ours, &golden.logits);
        println!("{what}: {distance:.5} off at most, {relative:.1e} relative");
        let bound = absolute_bound(golden);
        assert!(distance <= bound, "{what}: a logit is {distance} off, more than {bound}");
        assert!(relative <= RELATIVE_RMS, "{what}: {relative} relative");
        assert_eq!(greedy(&mut session, golden), golden.greedy, "{what}: greedy text");
    }
}

#[test]
fn small_models_compute_what_transformers_computes() {
    for name in SMALL.into_iter().chain(RELATIVES) {
        let model = small(name, Type::Bf16);
        tiers::each(|tier| compare(name, &model, tier));
    }
}

/// Zeros that fill up widths have no scale of their own, and biases are not quantized.
#[test]
fn relatives_in_eight_bits_stay_close() {
    for name in RELATIVES {
        let model = small(name, Type::Q8);
        tiers::each(|tier| {
            let mut session = session(&model, tier);
            for (i, golden) in goldens::read(name).iter().enumerate() {
                let relative = relative_rms(&logits(&mut session, golden), &golden.logits);
                println!("{name}, prompt {i}, {}: {relative:.1e} relative", tier.name());
                assert!(relative < 0.1, "{name}, prompt {i}, {}: {relative}", tier.name());
            }
        });
    }
}

#[test]
fn the_real_model_computes_what_transformers_computes() {
    let test = "the_real_model_computes_what_transformers_computes";
    if let Some(model) = real(test, Type::Bf16) {
        compare(REAL, &model, Tier::best());
    }
}

#[test]
fn prompts_become_the_tokens_of_the_reference() {
    let test = "prompts_become_the_tokens_of_the_reference";
    let Some(model) = real(test, Type::Q8) else { return };
    let path = kinglet_tests::models::golden_path("prompts.json");
    let prompts: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let prompts = prompts.as_array().unwrap();
    let goldens = goldens::read(REAL);
    assert!(prompts.len() >= 6 && prompts.len() == goldens.len());
    for (prompt, golden) in prompts.iter().zip(goldens) {
        let ids: Vec<u32> = serde_json::from_value(prompt["ids"].clone()).unwrap();
        assert_eq!(ids, golden.prompt, "{}: prompts.json and the goldens differ", prompt["name"]);
        assert_eq!(model.tokenize(prompt["text"].as_str().unwrap()).unwrap(), ids);
    }
}
