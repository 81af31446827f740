//! What number formats cost, on the real model and the first chunks of two texts: WikiText-2, and
//! one of the project's own. `tests/bench/quality.py` measures every type, as `kinglet convert`
//! makes it, on 24 chunks.
//!
//! Channels are first re-scaled by factors that cancel, since the published weights lie on a 4-bit
//! grid. The protocol is that of `kinglet eval`: chunks of 512 tokens, each from an empty cache,
//! the second half scored, with integer activations and cache as they run.

use kinglet::score::Score;
use kinglet::{KvType, Model, Session, SessionOptions, Type};
use kinglet_quant::arrange::Preset;
use kinglet_tests::models::{calibrated, golden_path, rescaled};
use kinglet_tests::shared::shared;
use std::fs;
use std::path::Path;

/// Tokens of a chunk.
const CONTEXT: usize = 512;
/// Chunks of each text.
const CHUNKS: usize = 4;

/// Positions whose logits are in memory at a time.
const ROWS: usize = 64;

/// A model at work, and what it scored.
struct Judge {
    session: Session,
    score: Score,
}

impl Judge {
    fn new(model: &Model, kv: KvType) -> Self {
        let (context, kv) = (Some(CONTEXT), Some(kv));
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

/// What a type may cost at most, where it costs about a twentieth less.
struct Limits {
    file_bytes: usize,
    read_bytes: usize,
    /// On WikiText-2 and on the second text.
    divergences: [f64; 2],
}

fn check(name: &str, model: &Model, scores: [&Score; 2], limits: &Limits) {
    let (file, read) = (model.file_bytes(), model.read_bytes_per_token());
    let divergences = scores.map(|score| score.mean_divergence().unwrap());
    println!("{name}: KL {divergences:.5?}, {file} bytes, {read} per token");
    for (divergence, limit) in divergences.iter().zip(limits.divergences) {
        assert!(*divergence <= limit, "{name}: KL {divergence}, more than {limit}");
    }
    assert!(file <= limits.file_bytes && read <= limits.read_bytes, "{name}: {file}, {read}");
}

/// The scores of models on a text; the first is what the others are compared to.
fn score<const N: usize>(models: [(&Model, KvType); N], text: &Path) -> [Score; N] {
    let tokens = models[0].0.tokenize(&fs::read_to_string(text).unwrap()).unwrap();
    let mut judges = models.map(|(model, kv)| Judge::new(model, kv));
    let chunks = tokens.chunks_exact(CONTEXT).take(CHUNKS);
    assert_eq!(chunks.len(), CHUNKS);
    chunks.for_each(|chunk| score_chunk(&mut judges, chunk));
    judges.map(|judge| judge.score)
}

#[test]
fn quantized_models_stay_close_to_the_unquantized_one() {
    let test = "quantized_models_stay_close_to_the_unquantized_one";
    let Some(text) = shared(test, "data/wikitext2-valid.txt") else { return };
    let Some(bf16) = rescaled(test, Type::Bf16) else { return };
    let q8 = rescaled(test, Type::Q8).expect("the checkpoint is there");
    let q4 = calibrated(test, Preset::Q4).expect("the checkpoint is there");
    let [exact, int8_cache, q8_runs, q4_runs] =
        [(&bf16, KvType::F16), (&bf16, KvType::Int8), (&q8, KvType::Int8), (&q4, KvType::Int8)];
    let wiki = score([exact, q8_runs, q4_runs], &text);
    let second = score([exact, q8_runs, q4_runs, int8_cache], &golden_path("second.txt"));
    let ratio = |score: &Score| score.perplexity() / wiki[0].perplexity();
    for (name, score) in ["q8", "q4"].into_iter().zip(&wiki[1..]) {
        println!("{name}: perplexity × {:.4}", ratio(score));
    }
    let cache = second[3].mean_divergence().unwrap();
    println!("int8 cache: KL {cache:.5} on the second text");
    assert!(cache <= 0.0015, "int8 cache: KL {cache}");
    assert!((ratio(&wiki[1]) - 1.0).abs() <= 0.006);
    let (file_bytes, read_bytes) = (142_000_000, 126_000_000);
    let limits = Limits { file_bytes, read_bytes, divergences: [0.0028, 0.0036] };
    check("q8", &q8, [&wiki[1], &second[1]], &limits);
    let (file_bytes, read_bytes) = (94_000_000, 78_000_000);
    let limits = Limits { file_bytes, read_bytes, divergences: [0.064, 0.062] };
    check("q4", &q4, [&wiki[2], &second[2]], &limits);
}
