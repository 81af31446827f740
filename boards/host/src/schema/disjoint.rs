//! Whether branches of `oneOf` exclude one another, as far as types and constants tell.

use super::keywords::refusal;
use super::value::{self, Kind};
use kinglet_quant::Result;
use serde_json::Value;

/// References that are followed in a row.
const MAX_FOLLOWED: usize = 32;

/// `BadGrammar` for branches that may have a value in common.
pub fn check(root: &Value, branches: &[Value], place: &str) -> Result<()> {
    for (i, one) in branches.iter().enumerate() {
        for (j, other) in branches[..i].iter().enumerate() {
            if !exclude(root, one, other, place)? {
                let reason = format_args!(
                    "branches {j} and {i} may have a value in common: give them other types or \
                     constants, or write anyOf"
                );
                return Err(refusal(place, reason));
            }
        }
    }
    Ok(())
}

/// Whether no value is valid for both.
fn exclude(root: &Value, one: &Value, other: &Value, place: &str) -> Result<bool> {
    let (one, other) = (resolved(root, one, place)?, resolved(root, other, place)?);
    if let (Some(ones), Some(others)) = (constants(one), constants(other)) {
        return Ok(!ones.iter().any(|value| others.iter().any(|other| is_same(value, other))));
    }
    for (constant, typed) in [(one, other), (other, one)] {
        let Some(values) = constants(constant) else { continue };
        let kinds = kinds(typed, place)?;
        let fits = |value: &Value| kinds.iter().any(|kind| kind.has(value));
        return Ok(!kinds.is_empty() && !values.iter().any(fits));
    }
    let (kinds, others) = (kinds(one, place)?, kinds(other, place)?);
    let shared: Vec<Kind> = kinds
        .iter()
        .copied()
        .filter(|kind| others.iter().any(|other| kind.meets(*other)))
        .collect();
    match shared[..] {
        _ if kinds.is_empty() || others.is_empty() => Ok(false),
        [] => Ok(true),
        [Kind::Object] => members_exclude(root, one, other, place),
        _ => Ok(false),
    }
}

/// Whether both require a property that cannot be the same.
fn members_exclude(root: &Value, one: &Value, other: &Value, place: &str) -> Result<bool> {
    let (Some(ones), Some(others)) = (one.as_object(), other.as_object()) else {
        return Ok(false);
    };
    let required = value::names(others, "required", place)?;
    for name in value::names(ones, "required", place)? {
        let property =
            |schema: &'_ Value| schema.get("properties").and_then(|p| p.get(name)).cloned();
        if let (Some(one), Some(other)) = (property(one), property(other))
            && required.contains(&name)
            && exclude(root, &one, &other, place)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a schema is, behind its references.
fn resolved<'s>(root: &'s Value, mut schema: &'s Value, place: &str) -> Result<&'s Value> {
    for _ in 0..MAX_FOLLOWED {
        match schema.get("$ref") {
            Some(reference) => schema = value::target(root, reference, place)?.1,
            None => return Ok(schema),
        }
    }
    Err(refusal(place, "its references lead in a circle"))
}

fn constants(schema: &Value) -> Option<&[Value]> {
    let values = schema.get("enum").and_then(Value::as_array).map(|values| &values[..]);
    values.or(schema.get("const").map(std::slice::from_ref))
}

fn kinds(schema: &Value, place: &str) -> Result<Vec<Kind>> {
    schema.as_object().map_or(Ok(Vec::new()), |keywords| value::kinds(keywords, place))
}

/// Whether two values are the same to JSON Schema, which does not tell 1 from 1.0.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}
