//! Replies that follow a JSON schema, a regular expression or a grammar.

use kinglet::guide::{Guide, Guides};
use kinglet::{Code, GenerateOptions, Model, Sampling, SessionOptions, StopReason, Type};
use kinglet_tests::models::{SMALL, small};
use serde_json::Value;
use std::ops::ControlFlow;

const SCHEMA: &str = r##"{
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "kind": {"enum": ["cat", "dog", "ein Löwe"]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
        "owner": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/owner"}]}
    },
    "required": ["name", "age", "kind", "tags", "owner"],
    "additionalProperties": false,
    "$defs": {
        "owner": {
            "type": "object",
            "properties": {"id": {"type": "string", "pattern": "^[A-Z]{2}[0-9]{3}$"}},
            "required": ["id"],
            "additionalProperties": false
        }
    }
}"##;

fn model() -> Model {
    small(SMALL[1], Type::Q4)
}

/// The text of a reply, how many of its tokens were forced, and why it ended.
fn reply(
    model: &Model,
    guide: &Guide,
    sampling: Sampling<'_>,
    max_tokens: usize,
) -> (String, usize, StopReason) {
    let session = SessionOptions { context: Some(400), ..SessionOptions::default() };
    let mut session = model.session(&session).unwrap();
    let options = GenerateOptions {
        max_tokens,
        sampling,
        grammar: Some(guide),
        ..GenerateOptions::default()
    };
    let mut text = String::new();
    let made = session.generate(&[5, 9, 17], &options, &mut |piece| {
        text.push_str(piece.text);
        ControlFlow::Continue(())
    });
    let made = made.unwrap();
    (text, made.forced, made.stop_reason)
}

fn samplings() -> impl Iterator<Item = Sampling<'static>> {
    let warm = |seed| Sampling { temperature: 1.5, seed, ..Sampling::default() };
    std::iter::once(Sampling::default()).chain((0..8).map(warm))
}

fn is_whole(reason: StopReason) -> bool {
    matches!(reason, StopReason::Complete | StopReason::EndOfText)
}

/// A model of random weights, which knows nothing about JSON.
#[test]
fn replies_are_json_of_the_schema() {
    let model = model();
    let guide = Guides::new(&model).unwrap().json_schema(SCHEMA).unwrap();
    for sampling in samplings() {
        let (text, forced, reason) = reply(&model, &guide, sampling, 380);
        assert!(is_whole(reason), "{reason:?}: {text}");
        assert!(forced > 20, "only {forced} tokens were forced: {text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        let fields: Vec<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(fields.len(), 5);
        assert!(text.starts_with(r#"{"name": ""#), "{text}");
        assert!(value["name"].as_str().unwrap().chars().count() <= 12, "{text}");
        assert!(value["age"].as_u64().unwrap() <= 120, "{text}");
        assert!(["cat", "dog", "ein Löwe"].contains(&value["kind"].as_str().unwrap()), "{text}");
        let tags = value["tags"].as_array().unwrap();
        assert!(tags.len() <= 3 && tags.iter().all(Value::is_boolean), "{text}");
        if !value["owner"].is_null() {
            let id = value["owner"]["id"].as_str().unwrap();
            let (letters, digits) = id.split_at(2);
            assert!(letters.bytes().all(|b| b.is_ascii_uppercase()), "{text}");
            assert!(digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit()), "{text}");
        }
    }
}

#[test]
fn a_reply_that_is_cut_says_so() {
    let model = model();
    let guide = Guides::new(&model).unwrap().json_schema(SCHEMA).unwrap();
    let (whole, ..) = reply(&model, &guide, Sampling::default(), 380);
    for max_tokens in [1, 7, 30] {
        let (text, _, reason) = reply(&model, &guide, Sampling::default(), max_tokens);
        assert_eq!(reason, StopReason::MaxTokens);
        assert!(whole.starts_with(&text) && text.len() < whole.len(), "{text}");
    }
}

#[test]
fn replies_match_the_regular_expression() {
    let model = model();
    let guides = Guides::new(&model).unwrap();
    let date = guides.regex("20[0-9]{2}-(0[1-9]|1[0-2])-[0-3][0-9]").unwrap();
    let word = guides.regex("(yes|no|yes and no)( ü)?").unwrap();
    // All begin with the same byte.
    let letter = guides.regex("(é|è|ê|ë)").unwrap();
    for sampling in samplings() {
        let (text, _, reason) = reply(&model, &letter, sampling, 50);
        assert!(reason == StopReason::Complete && "éèêë".contains(&text), "{text}");
        let (text, _, reason) = reply(&model, &date, sampling, 50);
        assert_eq!(reason, StopReason::Complete, "{text}");
        assert!(text.len() == 10 && text.starts_with("20") && &text[4..5] == "-", "{text}");
        let month: u32 = text[5..7].parse().unwrap();
        assert!((1..=12).contains(&month), "{text}");
        let (text, _, reason) = reply(&model, &word, sampling, 50);
        assert!(is_whole(reason), "{text}");
        let stem = text.strip_suffix(" ü").unwrap_or(&text);
        assert!(["yes", "no", "yes and no"].contains(&stem), "{text}");
    }
}

#[test]
fn replies_follow_the_grammar() {
    let model = model();
    let guides = Guides::new(&model).unwrap();
    let guide =
        guides.lark("start: sum \";\"\nsum: /[1-9]/ | \"(\" sum \"+\" sum \")\"\n").unwrap();
    let mut depths = 0;
    for sampling in samplings() {
        let (text, _, reason) = reply(&model, &guide, sampling, 150);
        let (mut depth, mut is_cut) = (0, reason == StopReason::MaxTokens);
        for c in text.chars() {
            assert!("()+;123456789".contains(c), "{text}");
            depth += i32::from(c == '(') - i32::from(c == ')');
            assert!(depth >= 0, "{text}");
            depths = depths.max(depth);
        }
        is_cut |= reason == StopReason::Complete && depth == 0 && text.ends_with(';');
        assert!(is_cut, "{reason:?}: {text}");
    }
    assert!(depths > 0, "no seed took a bracket");
}

/// One guide serves any number of replies, also at once.
#[test]
fn replies_of_one_guide_are_their_own() {
    let model = model();
    let guide = Guides::new(&model).unwrap().json_schema(SCHEMA).unwrap();
    let alone: Vec<String> =
        samplings().take(4).map(|sampling| reply(&model, &guide, sampling, 380).0).collect();
    let limits = SessionOptions { texts: 4, context: Some(400), ..SessionOptions::default() };
    let mut batch = model.batch(&limits).unwrap();
    let mut requests = Vec::new();
    for (text, sampling) in samplings().take(4).enumerate() {
        batch.text(text).prefill(&[5, 9, 17], &mut |_| Ok(())).unwrap();
        let grammar: Option<&dyn kinglet::grammar::Grammar> = Some(&guide);
        let options =
            GenerateOptions { max_tokens: 380, sampling, grammar, ..GenerateOptions::default() };
        requests.push((text, options));
    }
    let mut together = vec![String::new(); 4];
    let mut collect = |reply: usize, piece: kinglet::Piece<'_>| {
        together[reply].push_str(piece.text);
        ControlFlow::Continue(())
    };
    batch.generate(&requests, &mut collect).unwrap();
    assert_eq!(together, alone);
}

/// What cannot be used is refused in the user's words, by name.
#[test]
fn what_is_not_supported_is_named() {
    let model = model();
    let guides = Guides::new(&model).unwrap();
    let long = format!(r#"{{"const": "{}"}}"#, "x".repeat(20_000));
    let schemas = [
        (r#"{"type": "object", "not": {}}"#, "not"),
        (r#"{"type": "array", "uniqueItems": true}"#, "uniqueItems"),
        (r#"{"type": "object""#, "line 1, column 17"),
        (r#"{"enum": []}"#, "nothing fits"),
        (r#"{"oneOf": [{"type": "integer"}, {"minimum": 2}]}"#, "write anyOf"),
        (r#"{"$ref": "other.json"}"#, "'other.json'"),
        (r#"{"type": "string", "format": "iri"}"#, "the format iri"),
        (r#"{"type": "string", "pattern": "a{9000}"}"#, "repeat less"),
        (&long, "at most 16384"),
    ];
    for (schema, named) in schemas {
        let error = guides.json_schema(schema).unwrap_err();
        assert_eq!(error.code(), Code::BadGrammar, "{schema}");
        assert!(error.message().contains(named), "{}", error.message());
        for word in ["Unimplemented", "Unsatisfiable", "feature", "option", "EOF"] {
            assert!(!error.message().contains(word), "{}", error.message());
        }
    }
    let error = guides.regex("a(b").unwrap_err();
    assert!(error.message().contains("unclosed group"), "{}", error.message());
    let error = guides.lark("start: foo").unwrap_err();
    assert!(error.message().contains("foo"), "{}", error.message());
}
