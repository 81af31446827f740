//! Multiple-choice questions: log likelihoods against those of `transformers`, and the command.

use kinglet::choices::{self, log_likelihoods, log_likelihoods_of_all};
use kinglet::score::log_likelihood;
use kinglet::{Code, Error, KvType, Model, Session, SessionOptions, Specials, Tier, Type};
use kinglet_tests::command::kinglet;
use kinglet_tests::models::{SMALL, converted_path, golden_path, small};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::slice;

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
        let options = SessionOptions { kv: Some(KvType::F16), ..SessionOptions::default() };
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

/// Questions whose choices begin alike, are one token, have no context, and need more of one than
/// there is room for.
fn all_kinds() -> Vec<Question> {
    let question = |context: &str, choices: &[&str]| {
        let choices = choices.iter().map(|&choice| choice.to_owned()).collect();
        Question { context: context.to_owned(), choices, answer: 0 }
    };
    let mut all = questions();
    all.push(question("a", &[" b", " b", " b c d", " b c", " b c d e f", " x"]));
    all.push(question("a", &[" b c d e f", " b c e f"]));
    let long = "one two three four five ".repeat(12);
    all.push(question(&long, &["six seven", "six", "six seven eight nine ten eleven", "seven"]));
    all.push(question("", &[" and so on", " and so forth", "or not"]));
    all.push(question(&long[..90], &["u", "u and six"]));
    all
}

/// The log likelihood of a choice, token by token in a session that has read nothing before.
fn alone(session: &mut Session, context: &str, choice: &str) -> f64 {
    let model = session.model().clone();
    let tokenize = |text: &str| model.tokenize_as(text.as_bytes(), Specials::Parse).unwrap();
    let mut tokens = tokenize(&[context, choice].concat());
    let mut own = tokens.len() - tokenize(context.trim_end()).len();
    if context.trim_end().is_empty() {
        tokens.insert(0, model.config().eos_tokens()[0]);
        own = tokens.len() - 1;
    }
    let last = tokens.pop().unwrap();
    tokens.drain(..tokens.len().saturating_sub(session.room()));
    let targets = [&tokens[tokens.len() + 1 - own..], &[last]].concat();
    session.prefill(&tokens[..tokens.len() + 1 - own]).unwrap();
    let mut sum = 0.0;
    for target in targets {
        sum += log_likelihood(session.logits().unwrap(), target);
        if session.room() > 0 {
            session.push(target).unwrap();
        }
    }
    session.reset();
    sum
}

#[test]
fn choices_are_the_same_together_and_alone() {
    let questions = all_kinds();
    for (name, kind) in SMALL.into_iter().zip([Type::Q8, Type::Q4].into_iter().cycle()) {
        let model = small(name, kind);
        // Others than the fastest one take their time.
        let tiers = if name == SMALL[0] { Tier::available().collect() } else { vec![Tier::best()] };
        for tier in tiers {
            let options = SessionOptions {
                context: Some(40),
                threads: Some(1),
                backend: Some(tier.into()),
                ..SessionOptions::default()
            };
            let mut session = model.session(&options).unwrap();
            let alone = |question: &Question| {
                let choices = question.choices.iter();
                choices.map(|choice| alone(&mut session, &question.context, choice)).collect()
            };
            let expected: Vec<Vec<f64>> = questions.iter().map(alone).collect();
            for (texts, batch, logit_rows) in [(8, 64, 64), (3, 7, 4), (2, 5, 2)] {
                let options = SessionOptions { texts, batch, logit_rows, ..options.clone() };
                let found = together(&model, &options, &questions);
                assert_eq!(found, expected, "{name}, {}, {texts} texts", tier.name());
            }
        }
    }
}

fn tasks(model: &Model, questions: &[Question]) -> Vec<choices::Question> {
    let task = |q: &Question| choices::Question::new(model, &q.context, &q.choices).unwrap();
    questions.iter().map(task).collect()
}

fn together(model: &Model, options: &SessionOptions, questions: &[Question]) -> Vec<Vec<f64>> {
    let mut batch = model.batch(options).unwrap();
    let mut done = 0;
    log_likelihoods_of_all(&mut batch, &tasks(model, questions), &mut |now| {
        assert!(now >= done && now < questions.len());
        done = now;
        Ok(())
    })
    .unwrap()
}

#[test]
fn an_interruption_leaves_a_batch_as_good_as_new() {
    let model = small("gqa3-head64", Type::Q8);
    let options = SessionOptions { texts: 3, batch: 16, logit_rows: 16, ..Default::default() };
    let questions = all_kinds();
    let (tasks, expected) = (tasks(&model, &questions), together(&model, &options, &questions));
    let mut batch = model.batch(&options).unwrap();
    for passes in 0..12 {
        let mut left = passes;
        let outcome = log_likelihoods_of_all(&mut batch, &tasks, &mut |_| {
            left = i32::checked_sub(left, 1).filter(|left| *left >= 0).ok_or(stopped())?;
            Ok(())
        });
        assert_eq!(outcome.unwrap_err().code(), Code::Interrupted);
    }
    let found = log_likelihoods_of_all(&mut batch, &tasks, &mut |_| Ok(())).unwrap();
    assert_eq!(found, expected);
}

fn stopped() -> Error {
    Error::new(Code::Interrupted, format_args!("stopped"))
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

/// What the command says of the questions in a file, with a model that is there.
fn evaluated(model: &Path, questions: &Path, flags: &[&str]) -> Value {
    let home = tempfile::tempdir().unwrap();
    let mut command = kinglet(home.path());
    command.arg("eval").arg(model).arg("--choices").arg(questions).arg("--json").args(flags);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let count = fs::read_to_string(questions).unwrap().lines().count();
    assert!(said.contains(&format!("questions: {count} of {count}")), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_command_counts_right_answers() {
    drop(small("gqa3-head64", Type::Bf16));
    let model = converted_path("gqa3-head64", Type::Bf16);
    let flags = ["--kv", "f16", "--ctx", "256"];
    let document = evaluated(&model, &golden_path("choices.jsonl"), &flags);
    let (questions, goldens) = (questions(), goldens());
    let best = |values: &[f64]| (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b]));
    let expected = &goldens["gqa3-head64"];
    let count = questions.len() as f64;
    let right = |length: fn(&str) -> usize| {
        let is_right = |(question, sums): (&Question, &Vec<f64>)| {
            let scale = |(sum, choice): (&f64, &String)| sum / length(choice) as f64;
            let sums: Vec<f64> = sums.iter().zip(&question.choices).map(scale).collect();
            best(&sums) == Some(question.answer)
        };
        questions.iter().zip(expected).filter(|pair| is_right(*pair)).count() as f64 / count
    };
    // What lm-eval puts between context and choice is no part of the choice.
    let characters = |choice: &str| choice.strip_prefix(' ').unwrap_or(choice).chars().count();
    let shares = [
        ("accuracy", right(|_| 1)),
        ("normalized_accuracy", right(str::len)),
        ("accuracy_per_character", right(characters)),
    ];
    for (name, share) in shares {
        assert_eq!(document[name].as_f64().unwrap(), share, "{name}");
        // A sample's deviation over the root of its size, as lm-eval has it.
        let deviation = (count * share * (1.0 - share) / (count - 1.0)).sqrt();
        let error = document[format!("{name}_stderr")].as_f64().unwrap();
        assert!((error - deviation / count.sqrt()).abs() < 1e-12, "{name}: {error}");
    }
    assert_eq!(document["questions"], questions.len());
    assert_eq!((&document["texts"], &document["context"]), (&8.into(), &256.into()));
    assert!(document["questions_per_second"].as_f64().unwrap() > 0.0);
}

#[test]
fn characters_are_counted_where_bytes_would_choose_another() {
    let opened = small("gqa3-head64", Type::Q8);
    let model = converted_path("gqa3-head64", Type::Q8);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("questions.jsonl");
    // Some become one token together with the context.
    let is_own =
        |other: &String| choices::Question::new(&opened, "a", slice::from_ref(other)).is_ok();
    let others: Vec<String> = ('!'..='~').map(String::from).filter(is_own).collect();
    let line = |other: &String| {
        let choices = [" ééééééééé", other];
        serde_json::json!({ "context": "a", "choices": choices, "answer": 0 }).to_string() + "\n"
    };
    fs::write(&path, others.iter().map(line).collect::<String>()).unwrap();
    let found = evaluated(&model, &path, &[]);
    let sum = |i: usize, choice: usize| found["log_likelihoods"][i][choice].as_f64().unwrap();
    let right = |length: f64| {
        let is_right = |i: &usize| sum(*i, 0) / length >= sum(*i, 1);
        (0..others.len()).filter(is_right).count() as f64 / others.len() as f64
    };
    assert_eq!(found["accuracy_per_character"], right(9.0));
    assert_eq!(found["normalized_accuracy"], right(19.0));
    assert!(right(9.0) < right(19.0), "the questions decide nothing");
    // A single question has no deviation, and a byte order mark is no part of it.
    fs::write(&path, format!("\u{FEFF}{}", line(&others[0]))).unwrap();
    assert_eq!(evaluated(&model, &path, &[])["accuracy_stderr"], Value::Null);
}

#[test]
fn less_memory_changes_no_likelihood() {
    drop(small("gqa3-head64", Type::Q4));
    let (model, path) = (converted_path("gqa3-head64", Type::Q4), golden_path("choices.jsonl"));
    let whole = evaluated(&model, &path, &[]);
    assert_eq!(whole["texts"], 8);
    let home = tempfile::tempdir().unwrap();
    let mut plan = kinglet(home.path());
    plan.arg("plan").arg(&model).args(["--texts", "6", "--ctx", "256", "--json"]);
    let plan: Value = serde_json::from_slice(&plan.output().unwrap().stdout).unwrap();
    let budget = plan["process_bytes"].as_u64().unwrap().to_string();
    let flags: [&[&str]; 3] =
        [&["--texts", "1"], &["--texts", "3"], &["--ctx", "256", "--memory-budget", &budget]];
    for flags in flags {
        let found = evaluated(&model, &path, flags);
        assert!(found["texts"].as_u64() < Some(8), "{flags:?}");
        assert_eq!(found["log_likelihoods"], whole["log_likelihoods"], "{flags:?}");
    }
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
    let mut command = kinglet(folder.path());
    command.arg("eval").arg(converted_path("gqa3-head64", Type::Bf16));
    let output = command.args(["--texts", "2", "--text"]).arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "texts of no questions");
}
