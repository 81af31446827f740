//! Embeddings, against `transformers` on the same bf16 weights.

use kinglet::{Code, KvType, Pooling, SessionOptions, Tier, Type};
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models::{SMALL, converted_path, golden_path, small};
use serde_json::Value;
use std::fs;

/// What one of an embedding's numbers may be off.
const BOUND: f64 = 1e-3;

fn goldens() -> Value {
    serde_json::from_slice(&fs::read(golden_path("embeddings.json")).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn embeddings_are_those_of_transformers() {
    let goldens = goldens();
    for name in SMALL {
        let model = small(name, Type::Bf16);
        // Batches smaller than the prompts, too.
        for (tier, batch) in Tier::available().flat_map(|tier| [(tier, 64), (tier, 7)]) {
            let options = SessionOptions {
                backend: Some(tier.into()),
                batch,
                kv: Some(KvType::F16),
                ..SessionOptions::default()
            };
            let mut session = model.session(&options).unwrap();
            for case in goldens[name].as_array().unwrap() {
                let tokens: Vec<u32> = numbers(&case["tokens"]).iter().map(|&x| x as u32).collect();
                for (pooling, key) in [(Pooling::Mean, "mean"), (Pooling::Last, "last")] {
                    let found = session.embed(&tokens, pooling).unwrap();
                    let wanted = numbers(&case[key]);
                    assert_eq!(found.len(), wanted.len());
                    for (found, wanted) in found.iter().zip(wanted) {
                        let error = (f64::from(*found) - wanted).abs();
                        assert!(error < BOUND, "{name} {key} {} {error}", tier.name());
                    }
                    let length: f32 = found.iter().map(|x| x * x).sum();
                    assert!((length - 1.0).abs() < 1e-5);
                }
            }
        }
    }
}

/// The session goes on as with any text, and what makes no sense is refused.
#[test]
fn embedding_is_a_part_of_a_sessions_life() {
    let model = small(SMALL[0], Type::Q4);
    let options = SessionOptions { context: Some(16), ..SessionOptions::default() };
    let mut session = model.session(&options).unwrap();
    let first = session.embed(&[5, 6, 7], Pooling::Mean).unwrap();
    assert_eq!(session.tokens(), [5, 6, 7]);
    let logits = session.logits().unwrap().to_vec();
    session.reset();
    session.prefill(&[5, 6, 7]).unwrap();
    assert_eq!(session.logits().unwrap(), logits);
    assert_eq!(session.embed(&[5, 6, 7], Pooling::Mean).unwrap(), first);
    assert_ne!(session.embed(&[7, 6, 5], Pooling::Mean).unwrap(), first);
    let code = |tokens: &[u32], session: &mut kinglet::Session| {
        session.embed(tokens, Pooling::Last).unwrap_err().code()
    };
    assert_eq!(code(&[], &mut session), Code::BadArgument);
    assert_eq!(code(&[5; 17], &mut session), Code::PromptTooLong);
    assert_eq!(code(&[1 << 30], &mut session), Code::TokenOutOfRange);
}

#[test]
fn the_command_embeds_a_text_or_its_lines() {
    let home = tempfile::tempdir().unwrap();
    let model = small(SMALL[1], Type::Q8);
    let path = converted_path(SMALL[1], Type::Q8);
    let say = |args: &[&str]| {
        let mut command = kinglet(home.path());
        Said::by(command.arg("embed").arg(&path).args(args))
    };
    let document = say(&["-p", "one two", "--json"]).json();
    assert_eq!((document["size"].as_u64(), document["pooling"].as_str()), (Some(96), Some("mean")));
    let mut session = model.session(&SessionOptions::default()).unwrap();
    let tokens = model.tokenize("one two").unwrap();
    let found = numbers(&document["texts"][0]["embedding"]);
    let wanted = session.embed(&tokens, Pooling::Mean).unwrap();
    assert!(found.iter().zip(&wanted).all(|(a, b)| (a - f64::from(*b)).abs() < 1e-6));
    let lines = home.path().join("lines.txt");
    fs::write(&lines, "one two\n\nthree\n").unwrap();
    let said = say(&["-f", lines.to_str().unwrap(), "--lines", "--pooling", "last"]).ok();
    let counts: Vec<usize> = said.lines().map(|line| line.split(' ').count()).collect();
    assert_eq!(counts, [96, 96]);
    say(&["-p", ""]).fails(2, 404);
}
