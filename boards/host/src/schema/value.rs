//! Values of a schema's keywords.

use super::refusal::refusal;
use kinglet_quant::Result;
use serde_json::{Map, Value};

/// The keywords of a schema.
pub type Keywords = Map<String, Value>;

/// A type of JSON values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::Null,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "string" => Self::String,
            "array" => Self::Array,
            "object" => Self::Object,
            _ => return None,
        })
    }

    /// The keywords that a table keeps for the type.
    pub fn keywords(self) -> &'static [&'static str] {
        match self {
            Self::Null | Self::Boolean | Self::Number => &[],
            Self::Integer => &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
            Self::String => &["minLength", "maxLength", "pattern", "format"],
            Self::Array => &["items", "prefixItems", "minItems", "maxItems"],
            Self::Object => &["properties", "required", "additionalProperties"],
        }
    }

    /// Whether a value has the type.
    pub fn has(self, value: &Value) -> bool {
        match value {
            Value::Null => self == Self::Null,
            Value::Bool(_) => self == Self::Boolean,
            Value::Number(number) => {
                let is_whole = number.as_f64().is_some_and(|number| number.fract() == 0.0);
                self == Self::Number || self == Self::Integer && is_whole
            }
            Value::String(_) => self == Self::String,
            Value::Array(_) => self == Self::Array,
            Value::Object(_) => self == Self::Object,
        }
    }

    /// Whether a value can have both types.
    pub fn meets(self, other: Self) -> bool {
        let is_number = |kind| matches!(kind, Self::Integer | Self::Number);
        self == other || is_number(self) && is_number(other)
    }
}

/// The types that the keyword `type` names; none without it.
pub fn kinds(keywords: &Keywords, place: &str) -> Result<Vec<Kind>> {
    let names = match keywords.get("type") {
        None => return Ok(Vec::new()),
        Some(Value::Array(names)) if !names.is_empty() => &names[..],
        Some(name) => std::slice::from_ref(name),
    };
    let kinds = names.iter().map(|name| match name.as_str().and_then(Kind::named) {
        Some(kind) => Ok(kind),
        None => Err(refusal(place, format_args!("there is no type {name}"))),
    });
    kinds.collect()
}

/// What a reference leads to, with its name.
pub fn target<'s>(
    root: &'s Value,
    reference: &'s Value,
    place: &str,
) -> Result<(&'s str, &'s Value)> {
    let name = reference.as_str().unwrap_or_default();
    let target = name.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
    match target {
        Some(target) => Ok((name, target)),
        None => Err(refusal(place, format_args!("its reference {reference} leads nowhere in it"))),
    }
}

/// A keyword that counts.
pub fn count(keywords: &Keywords, keyword: &str, place: &str) -> Result<Option<usize>> {
    let Some(value) = keywords.get(keyword) else { return Ok(None) };
    let whole =
        value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..1e9).contains(number));
    match whole {
        Some(count) => Ok(Some(count as usize)),
        None => Err(refusal(place, format_args!("{keyword} is a whole number from 0 on"))),
    }
}

/// A keyword that lists names.
pub fn names<'s>(keywords: &'s Keywords, keyword: &str, place: &str) -> Result<Vec<&'s str>> {
    let Some(value) = keywords.get(keyword) else { return Ok(Vec::new()) };
    let names = value.as_array().and_then(|names| names.iter().map(Value::as_str).collect());
    names.ok_or_else(|| refusal(place, format_args!("{keyword} is a list of names")))
}

/// A name in a pointer to a place.
pub fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// JSON on one line, with a space behind each comma and colon.
pub fn text(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(text).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                format!("{}: {}", Value::String(name.clone()), text(value))
            };
            let members: Vec<String> = members.iter().map(member).collect();
            format!("{{{}}}", members.join(", "))
        }
        other => other.to_string(),
    }
}
