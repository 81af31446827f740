//! How probable the tokens of replies were, by the library and by the command.

use kinglet::{Candidate, GenerateOptions, Model, Sampling, SessionOptions, Type};
use kinglet_tests::models::{SMALL, small};
use std::ops::ControlFlow;

const TOKENS: usize = 40;

fn session(model: &Model) -> kinglet::Session {
    let options = SessionOptions { context: Some(128), ..SessionOptions::default() };
    model.session(&options).unwrap()
}

/// The tokens of a reply with what was told about each.
fn reply(model: &Model, options: &GenerateOptions<'_>) -> Vec<(u32, Vec<Candidate>)> {
    let mut told = Vec::new();
    let prompt = [5, 9, 5, 9, 5, 9];
    session(model)
        .generate(&prompt, options, &mut |piece| {
            assert_eq!(piece.token.is_some() && options.candidates.is_some(), {
                !piece.candidates.is_empty()
            });
            told.extend(piece.token.map(|token| (token, piece.candidates.to_vec())));
            ControlFlow::Continue(())
        })
        .unwrap();
    told
}

/// The logarithm of the softmax, in f64.
fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    logits.iter().map(|&x| f64::from(x - max) - sum.ln()).collect()
}

/// Against the logits that another session computes token by token: whatever bias, penalties,
/// temperature and guesses did to the choice.
#[test]
fn probabilities_are_those_of_all_logits() {
    for (name, kind) in [(SMALL[0], Type::Q4), (SMALL[1], Type::Q8), (SMALL[2], Type::F32)] {
        let model = small(name, kind);
        let warm = Sampling {
            temperature: 0.7,
            top_k: 5,
            presence_penalty: 0.5,
            logit_bias: &[(7, 2.0)],
            ..Sampling::default()
        };
        for sampling in [Sampling::default(), warm] {
            let options = GenerateOptions {
                max_tokens: TOKENS,
                sampling,
                ignore_eos: true,
                candidates: Some(3),
                ..GenerateOptions::default()
            };
            let told = reply(&model, &options);
            assert_eq!(told.len(), TOKENS);
            let mut steps = session(&model);
            steps.prefill(&[5, 9, 5, 9, 5, 9]).unwrap();
            for (token, candidates) in &told {
                let exact = log_softmax(steps.logits().unwrap());
                assert_eq!((candidates.len(), candidates[0].token), (4, *token));
                for candidate in candidates {
                    let wanted = exact[candidate.token as usize];
                    let error = (f64::from(candidate.log_probability) - wanted).abs();
                    assert!(error < 2e-5, "{name} {candidate:?} {wanted}");
                }
                let mut best: Vec<u32> = (0..exact.len() as u32).collect();
                let key = |&token: &u32| (-exact[token as usize], token);
                best.sort_by(|a, b| key(a).partial_cmp(&key(b)).unwrap());
                let top: Vec<u32> = candidates[1..].iter().map(|c| c.token).collect();
                assert_eq!(top, best[..3]);
                steps.push(*token).unwrap();
            }
        }
    }
}

/// Asking changes no token.
#[test]
fn tokens_are_the_same_with_and_without() {
    let model = small(SMALL[0], Type::Q4);
    for temperature in [0.0, 0.9] {
        let sampling = Sampling { temperature, seed: 3, ..Sampling::default() };
        let plain = GenerateOptions {
            max_tokens: TOKENS,
            sampling,
            ignore_eos: true,
            ..GenerateOptions::default()
        };
        let asked = GenerateOptions { candidates: Some(0), ..plain };
        let tokens = |told: Vec<(u32, Vec<Candidate>)>| -> Vec<u32> {
            told.into_iter().map(|(token, _)| token).collect()
        };
        assert_eq!(tokens(reply(&model, &plain)), tokens(reply(&model, &asked)));
    }
}
