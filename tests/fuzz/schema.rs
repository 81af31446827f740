//! JSON schemas and the tables that are compiled from them or from functions, which firmware gets
//! from elsewhere.

use kinglet::schema::{MAX_TABLE_BYTES, compile};
use kinglet::tools::{Choice, Tools as Functions};
use kinglet_core::automaton::{Automaton, MAGIC, State};
use kinglet_core::tools::Tools;

/// Levels of schemas that refer to themselves.
const DEPTH: u32 = 3;
/// Texts that are written with a table, and their bytes at most.
const TEXTS: u64 = 8;
const MOST_BYTES: usize = 2000;

pub fn run(input: &[u8]) -> bool {
    if input.starts_with(&MAGIC) {
        let Ok(table) = Automaton::open(input) else { return false };
        let texts: Vec<Vec<u8>> = (0..TEXTS).filter_map(|seed| text(&table, seed)).collect();
        if let Ok(tools) = Tools::open(input) {
            texts.iter().for_each(|text| read_calls(&tools, &String::from_utf8_lossy(text)));
            read_calls(&tools, tools.functions.told);
        }
        return true;
    }
    let Ok(schema) = str::from_utf8(input) else { return false };
    if repeats_much(input) {
        return false;
    }
    let Ok(bytes) = compile(schema, DEPTH) else { return false };
    assert!(bytes.len() <= MAX_TABLE_BYTES);
    let table = Automaton::open(&bytes).expect("what is written can be read");
    for seed in 0..TEXTS {
        let Some(text) = text(&table, seed) else { continue };
        let shown = String::from_utf8_lossy(&text);
        assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok(), "{shown}");
    }
    true
}

/// Reads the calls of a text, which are parts of it in their order.
fn read_calls(tools: &Tools<'_>, text: &str) {
    let mut before = text.as_bytes().as_ptr();
    for call in tools.dialect.calls(text).into_iter().flatten().flatten() {
        assert!(before <= call.name.as_ptr() && call.name.as_ptr() <= call.arguments.as_ptr());
        before = call.arguments.as_bytes().as_ptr_range().end;
        assert!(before <= text.as_bytes().as_ptr_range().end);
    }
}

/// Whether a pattern repeats something a hundred times or more. That ends, too, but may take
/// seconds, in which a thousand others can be tried.
fn repeats_much(schema: &[u8]) -> bool {
    schema.windows(4).any(|part| part[0] == b'{' && part[1..].iter().all(u8::is_ascii_digit))
}

/// A text that a table accepts, chosen by a number; none where it would be too long.
fn text(table: &Automaton<'_>, seed: u64) -> Option<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut text, mut state) = (Vec::new(), State::START);
    while text.len() < MOST_BYTES {
        if table.accepts(state) && (table.is_last(state) || random.u8(..4) == 0) {
            assert_eq!(table.walk(State::START, &text), Some(state));
            return Some(text);
        }
        let first = random.u8(..);
        let next = (0..=u8::MAX).find_map(|step| {
            let byte = first.wrapping_add(step);
            table.next(state, byte).map(|next| (byte, next))
        });
        let (byte, next) = next.expect("a state that is no end leads somewhere");
        if let Some(forced) = table.forced(state) {
            assert_eq!(forced, (byte, next));
        }
        text.push(byte);
        state = next;
    }
    None
}

pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let object = r#"{"type": "object", "properties": {"name": {"type": "string", "maxLength": 9},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "kind": {"enum": ["a", null, 1.5, "\u00e9"]}}, "required": ["name"],
        "additionalProperties": false}"#;
    let array = r#"{"type": "array", "items": {"anyOf": [{"type": "number"}, {"const": {"a": []}}]},
        "minItems": 1, "maxItems": 3}"#;
    let text = r#"{"type": "string", "pattern": "^[a-z]+(-[0-9]{2,3})?$"}"#;
    let format = r#"{"oneOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}"#;
    let recursive = r##"{"$defs": {"node": {"type": "object", "properties": {
        "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}}, "required": ["next"]}},
        "$ref": "#/$defs/node"}"##;
    let all = [
        ("object", object),
        ("array", array),
        ("text", text),
        ("format", format),
        ("recursive", recursive),
    ];
    let mut seeds: Vec<(&str, Vec<u8>)> =
        all.map(|(name, schema)| (name, schema.as_bytes().to_vec())).to_vec();
    seeds.push(("table", compile(text, 1).unwrap()));
    let functions = Functions::from_json(
        r#"[{"name": "f", "parameters": {"type": "object",
        "properties": {"a": {"type": "boolean"}}}}, {"name": "g"}]"#,
    );
    seeds.push(("functions", functions.unwrap().table(Choice::Auto, 1).unwrap()));
    seeds
}
