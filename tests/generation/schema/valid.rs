//! Whether a value is valid, as JSON Schema defines it keyword by keyword.

use serde_json::Value;

/// A pattern, and whether a string fits it.
type Pattern = (&'static str, fn(&str) -> bool);

/// What random schemas ask of strings.
pub const PATTERNS: [Pattern; 8] = [
    ("^[A-Z]{2}[0-9]+$", |text| {
        let digits = text.trim_start_matches(|c: char| c.is_ascii_uppercase());
        text.len() == digits.len() + 2 && is_digits(digits)
    }),
    ("b", |text| text.contains('b')),
    ("^ab|é$", |text| text.starts_with("ab") || text.ends_with('é')),
    ("^(yes|no)?$", |text| ["yes", "no", ""].contains(&text)),
    (r"\d$", |text| text.ends_with(|c: char| c.is_ascii_digit())),
    (r"^[^\s/]+$", |text| !text.is_empty() && !text.contains([' ', '\n', '\t', '/'])),
    (r#"^["\\]*$"#, |text| text.chars().all(|c| c == '"' || c == '\\')),
    ("^.{2,3}$", |text| (2..=3).contains(&text.chars().count()) && !text.contains('\n')),
];

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn has_type(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("there is no type {other}"),
    }
}

/// Whether a value is valid for a schema of a document.
pub fn is_valid(root: &Value, schema: &Value, value: &Value) -> bool {
    let keywords = schema.as_object().unwrap();
    let is = |schema: &Value| is_valid(root, schema, value);
    keywords.iter().all(|(keyword, given)| match keyword.as_str() {
        "$ref" => is(root.pointer(&given.as_str().unwrap()[1..]).unwrap()),
        "type" => match given {
            Value::Array(names) => names.iter().any(|name| has_type(name.as_str().unwrap(), value)),
            name => has_type(name.as_str().unwrap(), value),
        },
        "const" => given == value,
        "enum" => given.as_array().unwrap().contains(value),
        "anyOf" => given.as_array().unwrap().iter().any(is),
        "oneOf" => given.as_array().unwrap().iter().filter(|schema| is(schema)).count() == 1,
        "minimum" => value.as_f64().is_none_or(|n| n >= given.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|n| n <= given.as_f64().unwrap()),
        "exclusiveMinimum" => value.as_f64().is_none_or(|n| n > given.as_f64().unwrap()),
        "exclusiveMaximum" => value.as_f64().is_none_or(|n| n < given.as_f64().unwrap()),
        "minLength" => value.as_str().is_none_or(|s| s.chars().count() >= count(given)),
        "maxLength" => value.as_str().is_none_or(|s| s.chars().count() <= count(given)),
        "pattern" => value.as_str().is_none_or(|text| {
            PATTERNS.iter().find(|(pattern, _)| given == pattern).unwrap().1(text)
        }),
        "minItems" => value.as_array().is_none_or(|items| items.len() >= count(given)),
        "maxItems" => value.as_array().is_none_or(|items| items.len() <= count(given)),
        "prefixItems" => value.as_array().is_none_or(|items| {
            let mut pairs = given.as_array().unwrap().iter().zip(items);
            pairs.all(|(schema, item)| is_valid(root, schema, item))
        }),
        "items" => value.as_array().is_none_or(|items| {
            let first =
                keywords.get("prefixItems").map_or(0, |first| first.as_array().unwrap().len());
            items.iter().skip(first).all(|item| match given {
                Value::Bool(may) => *may,
                schema => is_valid(root, schema, item),
            })
        }),
        "required" => value.as_object().is_none_or(|members| {
            given
                .as_array()
                .unwrap()
                .iter()
                .all(|name| members.contains_key(name.as_str().unwrap()))
        }),
        "properties" => value.as_object().is_none_or(|members| {
            let schemas = given.as_object().unwrap();
            members.iter().all(|(name, member)| {
                schemas.get(name).is_none_or(|schema| is_valid(root, schema, member))
            })
        }),
        "additionalProperties" => value.as_object().is_none_or(|members| {
            assert_eq!(given, false);
            members.keys().all(|name| keywords["properties"].get(name).is_some())
        }),
        "title" | "description" | "$defs" | "$schema" => true,
        other => panic!("the test does not know {other}"),
    })
}

fn count(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}
