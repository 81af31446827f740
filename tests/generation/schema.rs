//! Schemas that are compiled into tables, and replies that follow them.

mod random;
mod valid;

use fastrand::Rng;
use kinglet::grammar::{Constraint, Grammar};
use kinglet::guide::Guides;
use kinglet::schema::{DEFAULT_DEPTH, MAX_DEPTH, compile};
use kinglet::table::Table;
use kinglet::{Code, GenerateOptions, Model, Sampling, SessionOptions, Specials, StopReason, Type};
use kinglet_core::automaton::{Automaton, State};
use kinglet_tests::models::{SMALL, small};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use valid::is_valid;

fn table(schema: &Value) -> Vec<u8> {
    compile(&schema.to_string(), DEFAULT_DEPTH).unwrap_or_else(|e| panic!("{schema}: {e}"))
}

fn accepts(table: &[u8], text: &str) -> bool {
    let automaton = Automaton::open(table).unwrap();
    let state = automaton.walk(State::START, text.as_bytes());
    state.is_some_and(|state| automaton.accepts(state))
}

/// JSON as replies write it.
fn written(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(", "))
        }
        Value::Object(members) => {
            let member =
                |(name, value): (&String, &Value)| format!("{}: {}", json!(name), written(value));
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A text that the automaton accepts: random bytes that fit, and its end where it may be.
fn accepted_text(rng: &mut Rng, automaton: &Automaton<'_>) -> Option<Vec<u8>> {
    let (mut state, mut text) = (State::START, Vec::new());
    while text.len() < 2000 {
        if automaton.accepts(state) && (automaton.is_last(state) || rng.u8(..) < 40) {
            return Some(text);
        }
        // Where a string may end it does soon, so that long ones do not take all the bytes.
        let byte = if rng.u8(..) < 60 { b'"' } else { rng.u8(..) };
        if let Some(next) = automaton.next(state, byte) {
            state = next;
            text.push(byte);
        }
    }
    None
}

#[test]
fn valid_values_are_what_tables_accept() {
    let mut rng = Rng::with_seed(5);
    let (mut valid, mut invalid, mut walked) = (0, 0, 0);
    for _ in 0..400 {
        let schema = random::any(&mut rng, 3);
        let table = table(&schema);
        for _ in 0..40 {
            let value = random::value(&mut rng, &schema, &schema);
            let expected = is_valid(&schema, &schema, &value);
            let text = written(&value);
            assert_eq!(accepts(&table, &text), expected, "{schema}\n{text}");
            valid += u32::from(expected);
            invalid += u32::from(!expected);
        }
        let automaton = Automaton::open(&table).unwrap();
        for _ in 0..10 {
            let Some(text) = accepted_text(&mut rng, &automaton) else { continue };
            let text = String::from_utf8(text).unwrap();
            let value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
            assert!(is_valid(&schema, &schema, &value), "{schema}\n{text}");
            walked += 1;
        }
    }
    assert!(valid > 2000 && invalid > 2000 && walked > 2000, "{valid} {invalid} {walked}");
}

/// The schema of an order: every kind of keyword.
fn order() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An order",
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "kind": {"enum": ["cat", "dog", "ein Löwe"]},
            "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
            "price": {"type": ["number", "null"]},
            "owner": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/owner"}]},
        },
        "required": ["name", "age", "kind", "owner"],
        "additionalProperties": false,
        "$defs": {
            "owner": {
                "type": "object",
                "properties": {"id": {"type": "string", "pattern": "^[A-Z]{2}[0-9]+$"}},
                "required": ["id"],
                "additionalProperties": false,
            },
        },
    })
}

fn model() -> Model {
    small(SMALL[1], Type::Q4)
}

/// The text of a reply, its tokens, how many of them were forced, and why it ended.
fn reply(model: &Model, grammar: &dyn Grammar, seed: u64) -> (String, Vec<u32>, usize, StopReason) {
    let session = SessionOptions { context: Some(400), ..SessionOptions::default() };
    let mut session = model.session(&session).unwrap();
    let sampling = Sampling { temperature: 1.5, seed, ..Sampling::default() };
    let options = GenerateOptions {
        max_tokens: 390,
        sampling,
        grammar: Some(grammar),
        ..GenerateOptions::default()
    };
    let (mut text, mut tokens) = (String::new(), Vec::new());
    let made = session.generate(&[5, 9, 17], &options, &mut |piece| {
        text.push_str(piece.text);
        tokens.extend(piece.token);
        ControlFlow::Continue(())
    });
    let made = made.unwrap();
    (text, tokens, made.forced, made.stop_reason)
}

/// A model of random weights, which knows nothing about JSON.
#[test]
fn replies_of_a_table_are_valid() {
    let (model, schema) = (model(), order());
    let grammar = Table::new(&model, &table(&schema)).unwrap();
    let mut whole = 0;
    for seed in 0..10 {
        let (text, _, forced, reason) = reply(&model, &grammar, seed);
        assert!(forced > 15, "only {forced} tokens were forced: {text}");
        if reason == StopReason::MaxTokens {
            continue;
        }
        assert_eq!(reason, StopReason::Complete);
        assert!(text.starts_with(r#"{"name": ""#), "{text}");
        let value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert!(is_valid(&schema, &schema, &value), "{text}");
        whole += 1;
    }
    assert!(whole >= 8, "only {whole} replies came to an end");
}

/// Where there is one text only, all tokens are forced, and they are the tokenizer's.
#[test]
fn forced_tokens_are_those_of_the_text() {
    let model = model();
    for text in ["a constant of several words, it's 42 and é€", "", "x", "'ll"] {
        let grammar = Table::new(&model, &table(&json!({"const": text}))).unwrap();
        let (replied, tokens, forced, reason) = reply(&model, &grammar, 1);
        assert_eq!((&replied, reason), (&json!(text).to_string(), StopReason::Complete));
        let expected = model.tokenize_as(replied.as_bytes(), Specials::AsText).unwrap();
        if replied.len() <= 60 {
            assert_eq!(tokens, expected, "{replied}");
        }
        assert_eq!(forced, tokens.len(), "{replied}");
    }
}

/// Tokens that are settled are the first ones of every text that begins so.
#[test]
fn settled_tokens_stay_whatever_follows() {
    let words =
        [" ", "  ", "a", "'", "'l", "l", "ll", "\"", "\": ", "12", "é", "\n", "na", "_", "😀"];
    let mut rng = Rng::with_seed(9);
    let mut random = |most: usize| -> String {
        (0..rng.usize(0..most)).map(|_| words[rng.usize(..words.len())]).collect()
    };
    let mut settled_tokens = 0;
    for name in SMALL {
        let model = small(name, Type::Q4);
        for _ in 0..3000 {
            let beginning = random(8);
            let mut settled = vec![0; beginning.len()];
            let count = model
                .tokenizer()
                .encode_settled(beginning.as_bytes(), false, &mut settled)
                .unwrap();
            settled_tokens += count;
            for _ in 0..4 {
                let text = format!("{beginning}{}", random(4));
                let all = model.tokenize_as(text.as_bytes(), Specials::AsText).unwrap();
                assert!(all.starts_with(&settled[..count]), "{beginning:?} of {text:?}");
            }
        }
    }
    assert!(settled_tokens > 10_000, "only {settled_tokens} tokens were settled");
}

/// Which tokens may come next, asked one by one: of many, llguidance leaves those alone that spell
/// forced bytes as the tokenizer does.
fn fitting(constraint: &mut dyn Constraint, vocabulary: u32) -> Vec<u32> {
    (0..vocabulary).filter(|&token| constraint.filter(&mut [token]).unwrap() == 1).collect()
}

/// Where a table and llguidance define the same texts, they allow the same tokens everywhere. They
/// differ in the escapes of strings and in the digits of numbers without bounds.
#[test]
fn tables_allow_what_guides_allow() {
    let model = model();
    let guides = Guides::new(&model).unwrap();
    let vocabulary = model.config().vocab_size;
    let schemas = [
        json!({"enum": ["cat", "dog", "ein Löwe", 1, 12, null, [true, {"a": "b"}]]}),
        json!({"type": "integer", "minimum": 7, "maximum": 3007}),
        json!({"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 4}),
        json!({"type": "array", "items": {"enum": ["x", "y"]}}),
        json!({"type": "string", "pattern": "^[A-Z]{2}-?[0-9]+( é)*$"}),
        json!({
            "type": "object",
            "properties": {
                "id": {"type": "string", "pattern": "^[a-z]{1,8}$"},
                "count": {"type": "integer", "minimum": 0, "maximum": 40},
                "next": {"anyOf": [{"type": "null"}, {"const": "more"}]},
            },
            "required": ["count"],
            "additionalProperties": false,
        }),
    ];
    let mut rng = Rng::with_seed(3);
    let mut compared = 0;
    for schema in schemas {
        let guide = guides.json_schema(&schema.to_string()).unwrap();
        let table = Table::new(&model, &table(&schema)).unwrap();
        for _ in 0..12 {
            let (mut one, mut other) = (table.begin().unwrap(), guide.begin().unwrap());
            for _ in 0..60 {
                let tokens = fitting(&mut *one, vocabulary);
                assert_eq!(tokens, fitting(&mut *other, vocabulary), "{schema}");
                compared += 1;
                let forced = one.forced().unwrap();
                assert!(forced.is_none_or(|token| tokens.contains(&token)), "{schema}");
                let token = forced.unwrap_or(tokens[rng.usize(..tokens.len())]);
                if one.is_complete().unwrap() || model.config().eos_tokens().contains(&token) {
                    break;
                }
                one.advance(token).unwrap();
                other.advance(token).unwrap();
            }
        }
    }
    assert!(compared > 500, "{compared}");
}

/// A schema can be inside itself as deep as asked; deeper branches are left out.
#[test]
fn references_are_followed_as_deep_as_asked() {
    let tree = json!({
        "anyOf": [
            {"type": "null"},
            {
                "type": "object",
                "properties": {"left": {"$ref": "#"}, "value": {"type": "boolean"}},
                "required": ["left", "value"],
            },
        ],
    });
    let nested = |depth: usize| {
        (0..depth)
            .fold("null".to_owned(), |tree, _| format!(r#"{{"left": {tree}, "value": true}}"#))
    };
    for depth in 1..6 {
        let table = compile(&tree.to_string(), depth).unwrap();
        for inner in 0..8 {
            let fits = inner < depth as usize;
            assert_eq!(accepts(&table, &nested(inner)), fits, "{inner} of {depth}");
        }
    }
    let list = json!({
        "$ref": "#/$defs/list",
        "$defs": {"list": {"type": "array", "items": {"$ref": "#/$defs/list"}, "maxItems": 2}},
    });
    let table = compile(&list.to_string(), 2).unwrap();
    assert!(["[]", "[[]]", "[[], []]"].iter().all(|text| accepts(&table, text)));
    assert!(!accepts(&table, "[[[]]]"));
    assert!(accepts(&compile(&tree.to_string(), MAX_DEPTH).unwrap(), &nested(63)));
    let endless = json!({
        "type": "object",
        "properties": {"next": {"$ref": "#"}},
        "required": ["next"],
    });
    let error = compile(&endless.to_string(), 4).unwrap_err();
    assert!(error.message().contains("nothing fits"), "{error}");
}

#[test]
fn formats_are_kept() {
    for (format, right, wrong) in [
        (
            "date",
            &["2024-02-29", "2000-02-29", "1999-12-31"][..],
            &["2023-02-29", "1900-02-29"][..],
        ),
        ("date", &["2026-04-30"], &["2026-04-31", "2026-13-01", "2026-1-01", "2026-00-10", ""]),
        ("time", &["23:59:59Z", "00:00:00.5+01:30"], &["24:00:00Z", "12:00:00", "12:60:00Z"]),
        ("date-time", &["2026-11-30T12:00:00Z"], &["2026-11-31T12:00:00Z", "2026-11-30"]),
        ("uuid", &["123e4567-e89b-12d3-a456-426614174000"], &["123e4567e89b12d3a456426614174000"]),
        (
            "email",
            &["a.b@example.org", "x_y@a-b.co.uk"],
            &["a@b", "@example.org", "a..b@c.de", "a b@c.de"],
        ),
    ] {
        let table = table(&json!({"type": "string", "format": format}));
        for (texts, fits) in [(right, true), (wrong, false)] {
            for text in texts {
                assert_eq!(accepts(&table, &json!(text).to_string()), fits, "{format}: {text}");
            }
        }
    }
}

/// Strings have the escapes of JSON, and no more of them than needed.
#[test]
fn strings_are_those_of_json() {
    let table = table(&json!({"type": "string", "maxLength": 2}));
    for text in [
        r#""""#,
        r#""é😀""#,
        r#""\"\\""#,
        r#""\/\b""#,
        r#""\f\n""#,
        r#""\r\t""#,
        r#""\u0001\u001F""#,
    ] {
        assert!(accepts(&table, text), "{text}");
    }
    for text in [r#""abc""#, r#""\x""#, r#""\u0041""#, r#""\u00"#, "\"\n\"", r#"""""#, r#"""#, "a"]
    {
        assert!(!accepts(&table, text), "{text}");
    }
    let automaton = Automaton::open(&table).unwrap();
    let broken: [&[u8]; 5] =
        [b"\"\xFF", b"\"\xC0\x80", b"\"\xED\xA0\x80", b"\"\xF4\x90\x80\x80", b"\"\xC3\""];
    for bytes in broken {
        assert!(automaton.walk(State::START, bytes).is_none(), "{bytes:?}");
    }
}

/// What cannot be used is refused in the user's words, with its place.
#[test]
fn what_a_table_cannot_keep_is_named() {
    for (schema, named) in [
        (
            r#"{"type": "object", "properties": {"a/b": {"uniqueItems": true}}}"#,
            &["uniqueItems", "#/properties/a~1b"][..],
        ),
        (r#"{"type": "object", "patternProperties": {}}"#, &["patternProperties"]),
        (r#"{"type": "string", "minimum": 3}"#, &["minimum"]),
        (r#"{"type": "string", "format": "ipv4"}"#, &["ipv4", "date-time"]),
        (r#"{"type": "string", "pattern": "a(?=b)"}"#, &["pattern"]),
        (r#"{"type": "string", "pattern": "a", "maxLength": 3}"#, &["length into the pattern"]),
        (r#"{"type": "string", "minLength": 3, "maxLength": 2}"#, &["minLength"]),
        (r#"{"type": "number", "maximum": 3}"#, &["maximum"]),
        (r#"{"type": "integer", "minimum": 3, "maximum": 2}"#, &["no integer"]),
        (r#"{"type": "integer", "maximum": 1e17}"#, &["15 digits"]),
        (r#"{"type": "object", "additionalProperties": true}"#, &["additionalProperties"]),
        (r#"{"type": "object", "required": ["a"]}"#, &["requires a"]),
        (r#"{"type": "array"}"#, &["items"]),
        (r#"{"type": "array", "prefixItems": [{"type": "null"}], "minItems": 2}"#, &["minItems"]),
        (r#"{"type": "whole"}"#, &["whole"]),
        (r#"{"title": "anything"}"#, &["give it a type"]),
        (r#"{"type": "string", "enum": [1]}"#, &["no value is left"]),
        (r##"{"$ref": "#/$defs/none"}"##, &["leads nowhere"]),
        (r#"{"$ref": "https://example.org/a.json"}"#, &["leads nowhere"]),
        (
            r#"{"oneOf": [{"type": "integer"}, {"type": "number"}]}"#,
            &["branches 0 and 1", "#/oneOf"],
        ),
        (r#"{"anyOf": [true]}"#, &["#/anyOf/0"]),
        (r#"{"type": "object""#, &["line 1, column 17"]),
        (r#"{"type": "string", "maxLength": 4000}"#, &["256000 at most", "maxLength"]),
        (r#"{"type": "string", "maxLength": 900000}"#, &["maxLength"]),
        (r#"{"type": "string", "pattern": "a[^b]{20000}c.*d"}"#, &["lower"]),
        (r#"{"type": "string", "pattern": "a[^\\s\\S]"}"#, &["matches no text"]),
    ] {
        let error = compile(schema, DEFAULT_DEPTH).expect_err(schema);
        assert_eq!(error.code(), Code::BadGrammar, "{schema}");
        for word in named {
            assert!(error.message().contains(word), "{}", error.message());
        }
        for word in ["serde", "EOF", "regex", "Hir"] {
            assert!(!error.message().contains(word), "{}", error.message());
        }
    }
    assert_eq!(compile("{}", 0).unwrap_err().code(), Code::BadArgument);
}

/// Branches that types, constants or a tag tell apart are taken.
#[test]
fn one_of_takes_what_can_be_told_apart() {
    let tagged = |tag: &str| {
        json!({
            "type": "object",
            "properties": {"kind": {"const": tag}, "n": {"type": "boolean"}},
            "required": ["kind"],
        })
    };
    for branches in [
        json!([{"type": "null"}, {"type": "integer"}, {"enum": ["a", "b"]}, {"const": "c"}]),
        json!([tagged("a"), tagged("b"), {"type": "array", "items": {"type": "null"}}]),
    ] {
        table(&json!({"oneOf": branches}));
    }
    for branches in [
        json!([{"enum": ["a", "b"]}, {"enum": ["b"]}]),
        json!([{"const": 1}, {"const": 1.0}]),
        json!([{"const": 1}, {"type": "number"}]),
        json!([tagged("a"), tagged("a")]),
        json!([{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]),
    ] {
        let endless = |name: &str| {
            json!({
                "type": "object",
                "properties": {"next": {"$ref": format!("#/$defs/{name}")}},
                "required": ["next"],
            })
        };
        let schema = json!({"oneOf": branches, "$defs": {"a": endless("a"), "b": endless("b")}});
        let error = compile(&schema.to_string(), 4).unwrap_err();
        assert!(error.message().contains("in common"), "{error}");
    }
}

/// Broken tables are refused, or replies of them end in one way or another.
#[test]
fn damaged_tables_do_no_harm() {
    let model = model();
    let right = table(&json!({"type": "array", "items": {"enum": ["ab", 12]}, "maxItems": 3}));
    let mut rng = Rng::with_seed(8);
    let (mut refused, mut begun) = (0, 0);
    for _ in 0..3000 {
        let mut bytes = right.clone();
        for _ in 0..=rng.usize(..2) {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
        }
        let Ok(table) = Table::new(&model, &bytes) else {
            refused += 1;
            continue;
        };
        begun += 1;
        let mut walk = table.begin().unwrap();
        for _ in 0..20 {
            let forced = walk.forced().unwrap();
            let tokens = fitting(&mut *walk, model.config().vocab_size);
            let Some(token) = forced.or_else(|| rng.choice(tokens)) else { break };
            if walk.is_complete().unwrap() || walk.advance(token).is_err() {
                break;
            }
        }
    }
    assert!(refused > 100 && begun > 100, "{refused} {begun}");
}
