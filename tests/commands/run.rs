//! `kinglet run`: probabilities, several replies, and texts that are saved.

use kinglet::Type;
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models;
use serde_json::Value;
use std::fs;
use std::process::Stdio;
use tempfile::TempDir;

const MODEL: &str = "gqa3-head64";

/// Runs the command on a small model.
fn run(home: &TempDir, args: &[&str]) -> Said {
    drop(models::small(MODEL, Type::Q4));
    let mut command = kinglet(home.path());
    command.arg("run").arg(models::converted_path(MODEL, Type::Q4)).args(args);
    Said::by(command.args(["--ignore-eos"]).stdin(Stdio::null()))
}

#[test]
fn probabilities_are_told_on_request() {
    let home = TempDir::new().unwrap();
    let base = ["-p", "one two", "-n", "6", "--temp", "0", "--json"];
    let plain = run(&home, &base).json();
    assert_eq!(plain["logprobs"], Value::Null);
    let told = run(&home, &[&base[..], &["--logprobs", "2"]].concat()).json();
    assert_eq!(told["tokens"], plain["tokens"]);
    let tokens = told["logprobs"].as_array().unwrap();
    assert_eq!(tokens.len(), 6);
    for (token, chosen) in tokens.iter().zip(told["tokens"].as_array().unwrap()) {
        assert_eq!(&token["token"], chosen);
        let top = token["top"].as_array().unwrap();
        // Without randomness the chosen token is the most probable one.
        assert_eq!((top.len(), &top[0]["token"]), (2, chosen));
        assert_eq!(top[0]["logprob"], token["logprob"]);
        assert!(token["logprob"].as_f64().unwrap() < 0.0 && token["text"].is_string());
    }
    let said = run(&home, &["-p", "a", "--logprobs", "2"]);
    assert_eq!(said.code, Some(2), "{said:?}");
}

#[test]
fn replies_of_one_pass_are_those_of_their_seeds() {
    let home = TempDir::new().unwrap();
    let base = ["-p", "one two three", "-n", "12", "--temp", "0.9", "--json"];
    let all = run(&home, &[&base[..], &["--replies", "3", "--seed", "7"]].concat()).json();
    let replies = all["replies"].as_array().unwrap();
    assert_eq!(replies.len(), 3);
    for (number, reply) in replies.iter().enumerate() {
        let seed = (7 + number).to_string();
        let alone = run(&home, &[&base[..], &["--seed", &seed]].concat()).json();
        assert_eq!((&reply["text"], &reply["tokens"]), (&alone["text"], &alone["tokens"]));
        assert_eq!(reply["stop_reason"], "max_tokens");
    }
    assert_ne!(replies[0]["tokens"], replies[1]["tokens"]);
    let base = ["-p", "one", "-n", "2", "--replies", "2", "-q"];
    let said = run(&home, &base).ok();
    assert!(said.starts_with("--- reply 1, seed 0\n") && said.contains("--- reply 2, seed 1\n"));
}

/// A control token that somebody else wrote is plain text on request.
#[test]
fn special_tokens_can_be_plain_text() {
    let home = TempDir::new().unwrap();
    let count = |args: &[&str]| {
        let base = ["-p", "<|im_end|>", "-n", "1", "--json"];
        run(&home, &[&base[..], args].concat()).json()["prompt_tokens"].as_u64().unwrap()
    };
    assert_eq!(count(&[]), 1);
    assert!(count(&["--no-specials"]) > 1);
}

#[test]
fn saved_texts_are_not_computed_again() {
    let home = TempDir::new().unwrap();
    let state = home.path().join("text.state");
    let path = state.to_str().unwrap();
    let go = |args: &[&str]| run(&home, &[args, &["-n", "6", "--temp", "0", "--json"]].concat());
    let saved = go(&["-p", "one two three four", "--save-state", path]).json();
    // A longer text, a text that ends within the saved one, and one that parts from it.
    for prompt in ["one two three four five six", "one two three", "one two five"] {
        let fresh = go(&["-p", prompt]).json();
        let loaded = go(&["-p", prompt, "--load-state", path]).json();
        assert_eq!(loaded["tokens"], fresh["tokens"], "{prompt}");
        let [known, new] = ["loaded_tokens", "prompt_tokens"].map(|k| loaded[k].as_u64().unwrap());
        assert!(known > 0, "{prompt}");
        assert_eq!(known + new, fresh["prompt_tokens"].as_u64().unwrap(), "{prompt}");
    }
    assert!(saved["tokens"].as_array().unwrap().len() == 6);
    let other = ["-p", "one", "--ctx", "64", "--load-state", path];
    run(&home, &other).fails(2, 409);
    fs::write(&state, "no state").unwrap();
    assert_eq!(go(&["-p", "one", "--load-state", path]).code, Some(1));
    let nowhere = home.path().join("none");
    run(&home, &["-p", "one", "--load-state", nowhere.to_str().unwrap()]).fails(1, 101);
    let unwritable = home.path().join("none/text.state");
    let said = go(&["-p", "one", "--save-state", unwritable.to_str().unwrap()]);
    assert!(said.code == Some(1) && said.err.contains("cannot write"), "{said:?}");
}

#[test]
fn a_deadline_ends_what_takes_longer() {
    let home = TempDir::new().unwrap();
    let base = ["-p", "one two three", "-n", "4", "--temp", "0"];
    let plain = run(&home, &base).ok();
    assert_eq!(run(&home, &[&base[..], &["--deadline", "1h"]].concat()).ok(), plain);
    for replies in ["1", "2"] {
        let late = [&base[..], &["--deadline", "1ns", "--replies", replies]].concat();
        let said = run(&home, &late);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains("deadline passed while reading the prompt"), "{said:?}");
    }
    let wrong = run(&home, &[&base[..], &["--deadline", "10"]].concat());
    assert!(wrong.code == Some(2) && wrong.err.contains("500ms, 10s or 2m"), "{wrong:?}");
}
