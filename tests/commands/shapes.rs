//! Replies of the command that have a shape: schemas, regular expressions, grammars, calls.

use kinglet::Type;
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::process::Stdio;
use tempfile::TempDir;

const MODEL: &str = "gqa3-head64";

/// Runs a command on a small model, with this standard input.
fn said(home: &TempDir, command: &str, args: &[&str], input: &str) -> Said {
    drop(models::small(MODEL, Type::Q4));
    let mut stdin = tempfile::tempfile().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    std::io::Seek::rewind(&mut stdin).unwrap();
    let mut process = kinglet(home.path());
    process.arg(command).arg(models::converted_path(MODEL, Type::Q4)).args(args);
    process.args(["--threads", "1"]);
    Said::by(process.stdin(Stdio::from(stdin)))
}

/// Writes a file and returns its path.
fn file(home: &TempDir, name: &str, text: &str) -> String {
    let path = home.path().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn replies_have_the_shape_that_is_asked_for() {
    let home = TempDir::new().unwrap();
    let base = ["-p", "one two", "-q", "--temp", "1"];
    let run = |args: &[&str]| said(&home, "run", &[&base[..], args].concat(), "");
    let schema = r#"{"type": "object", "required": ["a", "b"], "additionalProperties": false,
        "properties": {"a": {"type": "boolean"}, "b": {"enum": [1, 2]}}}"#;
    // Editors of some systems put a mark in front.
    for text in [schema.to_owned(), format!("\u{feff}{schema}")] {
        let schema = file(&home, "schema.json", &text);
        let reply: Value = serde_json::from_str(&run(&["--json-schema", &schema]).ok()).unwrap();
        assert!(reply["a"].is_boolean() && [1, 2].contains(&reply["b"].as_u64().unwrap()));
    }
    let word = run(&["--regex", "-(yes|no)-"]).ok();
    assert!(["-yes-", "-no-"].contains(&word.as_str()), "{word}");
    let grammar = file(&home, "grammar.lark", "start: \"(\" (\"x\" | \"y\") \")\"\n");
    let letter = run(&["--grammar", &grammar]).ok();
    assert!(["(x)", "(y)"].contains(&letter.as_str()), "{letter}");
    let told = run(&["--regex", "(ab){20}", "--json", "-n", "3"]).json();
    assert_eq!(told["stop_reason"], "max_tokens", "a reply that was cut says so");
    let told = run(&["--regex", "(ab){20}", "--json"]).json();
    assert_eq!(
        (&told["stop_reason"], &told["text"]),
        (&"complete".into(), &"ab".repeat(20).into())
    );
    let replies = run(&["--regex", "x|y", "--replies", "3", "--json"]).json();
    for reply in replies["replies"].as_array().unwrap() {
        assert!(["x", "y"].contains(&reply["text"].as_str().unwrap()));
    }
}

#[test]
fn shapes_that_cannot_be_used_are_the_callers_mistake() {
    let home = TempDir::new().unwrap();
    let schema = file(&home, "schema.json", r#"{"type": "array", "uniqueItems": true}"#);
    let tools = file(&home, "tools.json", r#"[{"name": "f"}]"#);
    let latin = home.path().join("latin.lark");
    fs::write(&latin, b"start: \"\xE4\"\n").unwrap();
    let latin = latin.to_str().unwrap();
    for (command, args, named) in [
        ("run", &["--json-schema", &schema][..], "uniqueItems"),
        ("run", &["--regex", "("], "unclosed group"),
        ("run", &["--regex", "a", "--json-schema", &schema], "cannot be used with"),
        ("run", &["--regex", "a", "--ignore-eos"], "end of the text"),
        ("run", &["--grammar", latin], "UTF-8"),
        ("chat", &["--tools", &schema], "not a JSON list"),
        ("chat", &["--tools", &tools, "--tool-choice", "g"], "no tool g"),
        ("chat", &["--tools", &tools, "--regex", "a"], "cannot be used with"),
        ("chat", &["--tool-choice", "f"], "--tools"),
    ] {
        let prompt: &[&str] = if command == "run" { &["-p", "a"] } else { &[] };
        let said = said(&home, command, &[prompt, args].concat(), "");
        assert_eq!(said.code, Some(2), "{args:?}: {said:?}");
        assert!(said.err.contains(named), "{args:?}: {}", said.err);
    }
    let missing = said(&home, "run", &["-p", "a", "--grammar", "/nowhere/g.lark"], "");
    assert_eq!(missing.code, Some(1), "{missing:?}");
}

#[test]
fn a_conversation_calls_functions() {
    let home = TempDir::new().unwrap();
    let tools = file(
        &home,
        "tools.json",
        r#"[{"name": "f", "parameters": {"type": "object",
        "properties": {"n": {"enum": [1, 2, 3]}}, "required": ["n"],
        "additionalProperties": false}}]"#,
    );
    let args = ["--tools", &tools, "--tool-choice", "f", "-q", "--temp", "1", "--ctx", "512"];
    let lines = "How many?\n/result three\nAnd now?\n/result four\n";
    let told = said(&home, "chat", &args, lines).ok();
    let replies: Vec<&str> = told.lines().collect();
    assert_eq!(replies.len(), 4, "{told}");
    for reply in replies {
        let call = reply.strip_prefix("<tool_call>[").unwrap().strip_suffix("]</tool_call>");
        let call: Value = serde_json::from_str(call.unwrap()).unwrap();
        assert!(
            call["name"] == "f" && [1, 2, 3].contains(&call["arguments"]["n"].as_u64().unwrap())
        );
    }
    let early = said(&home, "chat", &args, "/result three\n");
    assert!(early.err.contains("no call waits for a result"), "{early:?}");
    assert_eq!(early.code, Some(2), "{early:?}");
}
