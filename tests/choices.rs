//! Multiple-choice questions: log likelihoods against those of `transformers`, and the command.

use kinglet::choices::log_likelihoods;
use kinglet::{KvType, SessionOptions, Type};
use kinglet_tests::command::kinglet;
use kinglet_tests::models::{converted_path, golden_path, small};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

/// What a log likelihood may be off.
const ABSOLUTE: f64 = 2e-2;

struct Question {
    context: String,
    choices: Vec<String>,
    answer: usize,
}

fn questions() -> Vec<Question> {
    let text = fs::read_to_string(golden_path("choices.jsonl")).unwrap();
    let question = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Question {
            context: text(&line["context"]),
            choices: line["choices"].as_array().unwrap().iter().map(text).collect(),
            answer: line["answer"].as_u64().unwrap() as usize,
        }
    };
    text.lines().map(question).collect()
}

/// For each model the log likelihoods of every choice.
fn goldens() -> BTreeMap<String, Vec<Vec<f64>>> {
    serde_json::from_slice(&fs::read(golden_path("choices.json")).unwrap()).unwrap()
}

#[test]
fn choices_are_as_likely_as_transformers_finds_them() {
    let (questions, goldens) = (questions(), goldens());
    assert_eq!(goldens.len(), 2);
    for (name, expected) in goldens {
        let model = small(&name, Type::Bf16);
        let options = SessionOptions { kv: KvType::F16, ..SessionOptions::default() };
        let mut session = model.session(&options).unwrap();
        assert_eq!(questions.len(), expected.len());
        for (question, expected) in questions.iter().zip(&expected) {
            let found = log_likelihoods(&mut session, &question.context, &question.choices);
            for (found, expected) in found.unwrap().iter().zip(expected) {
                let error = (found - expected).abs();
                assert!(error < ABSOLUTE, "{name}, {}: {found} {expected}", question.context);
            }
        }
    }
}

#[test]
fn contexts_that_do_not_fit_lose_their_beginning() {
    let model = small("gqa3-head64", Type::Q8);
    let options = SessionOptions { context: Some(16), ..SessionOptions::default() };
    let mut session = model.session(&options).unwrap();
    let choice = [" b".to_owned()];
    let long = log_likelihoods(&mut session, &"a b c d e f g h ".repeat(20), &choice).unwrap();
    assert!(long[0].is_finite());
    let too_long = ["b c d e ".repeat(20)];
    assert!(log_likelihoods(&mut session, "a", &too_long).is_err());
    assert!(log_likelihoods(&mut session, "a", &[String::new()]).is_err());
}

#[test]
fn the_command_counts_right_answers() {
    let model = small("gqa3-head64", Type::Bf16);
    drop(model);
    let home = tempfile::tempdir().unwrap();
    let mut command = kinglet(home.path());
    command.arg("eval").arg(converted_path("gqa3-head64", Type::Bf16)).arg("--choices");
    command.arg(golden_path("choices.jsonl")).args(["--json", "--kv", "f16", "--ctx", "256"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (questions, goldens) = (questions(), goldens());
    let best = |values: &[f64]| (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b]));
    let expected = &goldens["gqa3-head64"];
    let right = |per_byte: bool| {
        let is_right = |(question, sums): (&Question, &Vec<f64>)| {
            let scale = |(sum, choice): (&f64, &String)| match per_byte {
                true => sum / choice.len() as f64,
                false => *sum,
            };
            let sums: Vec<f64> = sums.iter().zip(&question.choices).map(scale).collect();
            best(&sums) == Some(question.answer)
        };
        let count = questions.iter().zip(expected).filter(|pair| is_right(*pair)).count();
        count as f64 / questions.len() as f64
    };
    assert_eq!(document["accuracy"].as_f64().unwrap(), right(false));
    assert_eq!(document["normalized_accuracy"].as_f64().unwrap(), right(true));
    assert_eq!(document["questions"], questions.len());
}

#[test]
fn lines_that_are_no_questions_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("questions.jsonl");
    drop(small("gqa3-head64", Type::Bf16));
    let lines = ["{}", "", "{\"context\": \"a\", \"choices\": [\"b\"], \"answer\": 1}"];
    for line in lines {
        fs::write(&path, line).unwrap();
        let mut command = kinglet(folder.path());
        command.arg("eval").arg(converted_path("gqa3-head64", Type::Bf16));
        let output = command.arg("--choices").arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}");
    }
}
