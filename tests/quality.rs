//! What number formats cost, on the real model and 24 chunks of WikiText-2.
//!
//! Channels are first re-scaled by factors that cancel, since the published weights lie on a 4-bit
//! grid. The protocol is that of `kinglet eval`: chunks of 512 tokens, each from an empty cache,
//! the second half scored.

use kinglet::score::Score;
use kinglet::{KvType, Model, Session, SessionOptions, Type};
use kinglet_tests::models::rescaled;
use kinglet_tests::shared::shared;

/// Tokens of a chunk.
const CONTEXT: usize = 512;
/// Chunks.
const CHUNKS: usize = 24;

/// Positions whose logits are in memory at a time.
const ROWS: usize = 64;

/// A model at work, and what it scored.
struct Judge {
    session: Session,
    score: Score,
}

impl Judge {
    fn new(model: &Model, kv: KvType) -> Self {
        let context = Some(CONTEXT);
        let options = SessionOptions { context, kv, logit_rows: ROWS, ..Default::default() };
        Self { session: model.session(&options).unwrap(), score: Score::default() }
    }

    /// Logits behind every token, one row after the other.
    fn logits(&mut self, tokens: &[u32]) -> Vec<f32> {
        let mut all = Vec::new();
        self.session.score(tokens, &mut |_, logits| all.extend_from_slice(logits)).unwrap();
        all
    }
}

/// Scores the second half of a chunk with all judges; the first is what the others are compared to.
fn score_chunk(judges: &mut [Judge], chunk: &[u32]) {
    let half = CONTEXT / 2;
    for judge in &mut *judges {
        judge.session.reset();
        judge.session.prefill(&chunk[..half]).unwrap();
    }
    let (inputs, targets) = (&chunk[half..CONTEXT - 1], &chunk[half + 1..]);
    for (inputs, targets) in inputs.chunks(ROWS).zip(targets.chunks(ROWS)) {
        let mut reference = Vec::new();
        for judge in &mut *judges {
            let logits = judge.logits(inputs);
            let width = logits.len() / inputs.len();
            for (row, &target) in targets.iter().enumerate() {
                let row = row * width..(row + 1) * width;
                judge.score.add(&logits[row.clone()], target);
                if !reference.is_empty() {
                    judge.score.compare(&logits[row.clone()], &reference[row]);
                }
            }
            if reference.is_empty() {
                reference = logits;
            }
        }
    }
}

#[test]
fn quantized_models_stay_close_to_the_unquantized_one() {
    let test = "quantized_models_stay_close_to_the_unquantized_one";
    let Some(text) = shared(test, "data/wikitext2-valid.txt") else { return };
    let Some(bf16) = rescaled(test, Type::Bf16) else { return };
    let quantized = |kind| rescaled(test, kind).expect("the checkpoint is there");
    let mut judges = [
        Judge::new(&bf16, KvType::F16),
        Judge::new(&bf16, KvType::Int8),
        Judge::new(&quantized(Type::Q8), KvType::F16),
        Judge::new(&quantized(Type::Q4), KvType::F16),
    ];
    let tokens = bf16.tokenize(&std::fs::read_to_string(text).unwrap()).unwrap();
    let chunks = tokens.chunks_exact(CONTEXT).take(CHUNKS);
    assert_eq!(chunks.len(), CHUNKS);
    chunks.for_each(|chunk| score_chunk(&mut judges, chunk));

    let [reference, cache, q8, q4] = judges.map(|judge| judge.score);
    let kl = |score: &Score| score.mean_divergence().unwrap();
    let ratio = |score: &Score| score.perplexity() / reference.perplexity();
    for (name, score) in [("int8 cache", &cache), ("q8", &q8), ("q4", &q4)] {
        println!("{name}: KL {:.5}, perplexity × {:.4}", kl(score), ratio(score));
    }
    assert!(kl(&cache) <= 0.0015);
    assert!(kl(&q8) <= 0.004);
    assert!((ratio(&q8) - 1.0).abs() <= 0.006);
    assert!(kl(&q4) <= 0.21);
}
