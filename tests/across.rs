//! The real model computes the same logits on every processor, to the bit.
//!
//! A run without [`RECORDED`] compares the tiers of this processor and writes down what the fastest
//! computes. A run with it, on another processor or its emulator, compares its tiers with that:
//! `tests/run` does so for each core of ARM.

use kinglet::{Model, SessionOptions, Tier, Type};
use kinglet_tests::compare::{argmax, max_distance};
use kinglet_tests::models::{REAL, converted_path, real};
use kinglet_tests::observe::bits;
use kinglet_tests::tiers;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Names the logits that another run has written, beside the model that they are from.
const RECORDED: &str = "KINGLET_TEST_RECORDED";

const PROMPT: &str = "1, 2, 3, 4,";

/// Tokens that are chosen.
const TOKENS: usize = 12;

/// Logits behind the prompt and behind each token after it: those of `tokens`, else the likeliest.
fn logits(model: &Model, tier: Tier, tokens: Option<&[u32]>) -> Vec<f32> {
    let options = SessionOptions {
        context: Some(64),
        backend: Some(tier.into()),
        ..SessionOptions::default()
    };
    let mut session = model.session(&options).unwrap();
    session.prefill(&model.tokenize(PROMPT).unwrap()).unwrap();
    let mut all = session.logits().unwrap().to_vec();
    for i in 0..TOKENS - 1 {
        let token = tokens.map_or_else(|| argmax(session.logits().unwrap()), |tokens| tokens[i]);
        session.push(token).unwrap();
        all.extend_from_slice(session.logits().unwrap());
    }
    all
}

/// The likeliest tokens.
fn choices(model: &Model, logits: &[f32]) -> Vec<u32> {
    logits.chunks(model.config().vocab_size as usize).map(argmax).collect()
}

/// This processor's tiers that round products together with sums. The others have other bits, and
/// would take minutes under an emulator: small models test them.
fn fast_tiers() -> impl Iterator<Item = Tier> {
    tiers::available().into_iter().filter(|tier| !tiers::rounds_as_scalar(*tier))
}

/// Compares a tier with what another one has computed, on this processor or another one.
fn compare(model: &Model, tier: Tier, expected: &[f32]) {
    let tokens = choices(model, expected);
    let found = logits(model, tier, Some(&tokens));
    let distance = max_distance(&found, expected);
    assert!(bits(&found).eq(bits(expected)), "{}: {distance} off at most", tier.name());
}

fn logits_path() -> PathBuf {
    converted_path(REAL, Type::Q4).with_extension("logits")
}

fn record() {
    let Some(model) = real("every_processor_computes_the_same_logits", Type::Q4) else { return };
    let all = logits(&model, Tier::best(), None);
    for tier in fast_tiers() {
        compare(&model, tier, &all);
    }
    let bytes: Vec<u8> = all.iter().flat_map(|logit| logit.to_le_bytes()).collect();
    fs::write(logits_path(), bytes).unwrap();
}

fn compare_with(recorded: &Path) {
    let model = Model::open(recorded.with_extension("kinglet")).unwrap();
    let bytes = fs::read(recorded).unwrap();
    let expected: Vec<f32> =
        bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    assert_eq!(expected.len(), TOKENS * model.config().vocab_size as usize);
    assert!(fast_tiers().map(|tier| compare(&model, tier, &expected)).count() > 0);
}

#[test]
fn every_processor_computes_the_same_logits() {
    match env::var_os(RECORDED) {
        Some(path) => compare_with(Path::new(&path)),
        None => record(),
    }
}
