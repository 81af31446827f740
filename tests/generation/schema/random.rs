//! Random schemas and values.

use super::valid::PATTERNS;
use fastrand::Rng;
use serde_json::{Map, Value, json};

const CHARS: [char; 16] =
    ['a', 'b', 'A', 'Z', '0', '7', ' ', '"', '\\', '/', '\n', '\u{1}', '\u{7F}', 'é', '€', '😀'];
const NAMES: [&str; 5] = ["a", "b", "na\"me", "é", ""];

fn text(rng: &mut Rng) -> String {
    (0..rng.usize(0..5)).map(|_| CHARS[rng.usize(..CHARS.len())]).collect()
}

fn constant(rng: &mut Rng) -> Value {
    match rng.usize(..8) {
        0 => Value::Null,
        1 => json!(rng.bool()),
        2 => json!(rng.i64(-30..30)),
        3 => json!([1, {"a": [], "b": "x"}]),
        4 => json!(1.5),
        _ => json!(text(rng)),
    }
}

fn integer(rng: &mut Rng) -> Value {
    let mut schema = json!({"type": "integer"});
    let span = 10_i64.pow(rng.u32(0..6));
    let low = rng.i64(-span..=span);
    let high = low + rng.i64(2..=2 * span + 2);
    if rng.bool() {
        schema[if rng.bool() { "minimum" } else { "exclusiveMinimum" }] = json!(low);
    }
    if rng.bool() {
        schema[if rng.bool() { "maximum" } else { "exclusiveMaximum" }] = json!(high);
    }
    schema
}

fn string(rng: &mut Rng) -> Value {
    let mut schema = json!({"type": "string"});
    if rng.bool() {
        schema["pattern"] = json!(PATTERNS[rng.usize(..PATTERNS.len())].0);
        return schema;
    }
    let min = rng.usize(0..3);
    if rng.bool() {
        schema["minLength"] = json!(min);
    }
    if rng.bool() {
        schema["maxLength"] = json!(min + rng.usize(0..3));
    }
    schema
}

fn array(rng: &mut Rng, depth: usize) -> Value {
    let mut schema = json!({"type": "array"});
    let first = rng.usize(0..3);
    if first > 0 {
        schema["prefixItems"] = (0..first).map(|_| any(rng, depth)).collect();
    }
    let has_rest = first == 0 || rng.bool();
    if has_rest {
        schema["items"] = any(rng, depth);
    } else {
        schema["items"] = json!(false);
    }
    let min = rng.usize(0..=if has_rest { 3 } else { first });
    if rng.bool() {
        schema["minItems"] = json!(min);
    }
    if rng.bool() {
        schema["maxItems"] = json!(min + rng.usize(0..3));
    }
    schema
}

fn object(rng: &mut Rng, depth: usize) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for name in NAMES {
        if rng.bool() {
            properties.insert(name.to_owned(), any(rng, depth));
            if rng.bool() {
                required.push(name);
            }
        }
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// A schema, with `depth` levels of others in it at most.
pub fn any(rng: &mut Rng, depth: usize) -> Value {
    match rng.usize(..if depth == 0 { 6 } else { 12 }) {
        0 => integer(rng),
        1 | 2 => string(rng),
        3 => json!({"type": (["boolean", "null", "number"][rng.usize(..3)])}),
        4 => json!({"enum": (0..3).map(|_| constant(rng)).collect::<Value>()}),
        5 => json!({"const": constant(rng), "title": "a constant"}),
        6 | 7 => array(rng, depth - 1),
        8 | 9 => object(rng, depth - 1),
        10 => json!({"anyOf": [any(rng, depth - 1), any(rng, depth - 1)]}),
        _ => json!({"oneOf": [
            {"type": ["boolean", "string"]},
            integer(rng),
            object(rng, depth - 1),
            array(rng, depth - 1),
        ]}),
    }
}

/// A value that is often valid for a schema, with properties in its order.
pub fn value(rng: &mut Rng, root: &Value, schema: &Value) -> Value {
    if rng.usize(..12) == 0 {
        return constant(rng);
    }
    let pick = |rng: &mut Rng, of: &Value| of[rng.usize(..of.as_array().unwrap().len())].clone();
    for keyword in ["anyOf", "oneOf"] {
        if let Some(branches) = schema.get(keyword) {
            let branch = pick(rng, branches);
            return value(rng, root, &branch);
        }
    }
    if let Some(reference) = schema.get("$ref") {
        return value(rng, root, root.pointer(&reference.as_str().unwrap()[1..]).unwrap());
    }
    if let Some(values) = schema.get("enum") {
        return pick(rng, values);
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    let name = match &schema["type"] {
        Value::Array(names) => names[rng.usize(..names.len())].clone(),
        name => name.clone(),
    };
    match name.as_str().unwrap() {
        "null" => Value::Null,
        "boolean" => json!(rng.bool()),
        "number" => json!(f64::from(rng.i32(-9999..9999)) / 64.0),
        "integer" => {
            let bounds = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"];
            let bound = bounds.iter().find_map(|bound| schema.get(bound)).and_then(Value::as_i64);
            json!(bound.unwrap_or(0) + rng.i64(-20..20) * 10_i64.pow(rng.u32(0..4)))
        }
        "string" if schema.get("pattern").is_some() && rng.bool() => {
            let texts = ["AB12", "b", "ab\n", "xé", "yes", "", "a/7", "\"\\\"", "😀€"];
            json!(texts[rng.usize(..texts.len())])
        }
        "string" => json!(text(rng)),
        "array" => {
            let none = Vec::new();
            let first = schema.get("prefixItems").and_then(Value::as_array).unwrap_or(&none);
            let rest = schema["items"].is_object().then(|| &schema["items"]);
            let schemas = (0..rng.usize(0..5)).map_while(|i| first.get(i).or(rest));
            schemas.map(|schema| value(rng, root, schema)).collect()
        }
        "object" => {
            let properties = schema["properties"].as_object().unwrap();
            let mut members = Map::new();
            for (name, schema) in properties {
                if rng.usize(..4) > 0 {
                    members.insert(name.clone(), value(rng, root, schema));
                }
            }
            Value::Object(members)
        }
        other => panic!("there is no type {other}"),
    }
}
