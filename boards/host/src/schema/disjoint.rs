//! Whether branches of `oneOf` exclude one another, as far as types and constants tell.

use super::refusal::refusal;
use super::value::{self, Kind};
use kinglet_quant::Result;
use serde_json::Value;

/// References that are followed in a row.
const MAX_FOLLOWED: usize = 32;
/// Objects inside of one another whose properties are looked at.
const MAX_LEVELS: usize = 3;

/// Compares schemas of a document.
struct Comparison<'s> {
    root: &'s Value,
    place: &'s str,
}

/// `BadGrammar` for branches that may have a value in common.
pub fn check(root: &Value, branches: &[Value], place: &str) -> Result<()> {
    let comparison = Comparison { root, place };
    for (i, one) in branches.iter().enumerate() {
        for (j, other) in branches[..i].iter().enumerate() {
            if !comparison.exclude(one, other, MAX_LEVELS)? {
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

impl<'s> Comparison<'s> {
    /// Whether it is clear that no value is valid for both.
    fn exclude(&self, one: &'s Value, other: &'s Value, levels: usize) -> Result<bool> {
        let (one, other) = (self.resolved(one)?, self.resolved(other)?);
        if let (Some(ones), Some(others)) = (constants(one), constants(other)) {
            return Ok(!ones.iter().any(|value| others.iter().any(|other| is_same(value, other))));
        }
        for (constant, typed) in [(one, other), (other, one)] {
            let Some(values) = constants(constant) else { continue };
            let kinds = self.kinds(typed)?;
            let fits = |value: &Value| kinds.iter().any(|kind| kind.has(value));
            return Ok(!kinds.is_empty() && !values.iter().any(fits));
        }
        let (kinds, others) = (self.kinds(one)?, self.kinds(other)?);
        if kinds.is_empty() || others.is_empty() {
            return Ok(false);
        }
        let meets = |kind: &&Kind| others.iter().any(|other| kind.meets(*other));
        match kinds.iter().filter(meets).collect::<Vec<_>>()[..] {
            [] => Ok(true),
            [Kind::Object] if levels > 0 => self.members_exclude(one, other, levels - 1),
            _ => Ok(false),
        }
    }

    /// Whether both require a property that cannot be the same.
    fn members_exclude(&self, one: &'s Value, other: &'s Value, levels: usize) -> Result<bool> {
        let (Some(ones), Some(others)) = (one.as_object(), other.as_object()) else {
            return Ok(false);
        };
        let required = value::names(others, "required", self.place)?;
        for name in value::names(ones, "required", self.place)? {
            let property = |schema: &'s Value| schema.get("properties").and_then(|p| p.get(name));
            if let (Some(one), Some(other)) = (property(one), property(other))
                && required.contains(&name)
                && self.exclude(one, other, levels)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What a schema is, behind its references.
    fn resolved(&self, mut schema: &'s Value) -> Result<&'s Value> {
        for _ in 0..MAX_FOLLOWED {
            match schema.get("$ref") {
                Some(reference) => schema = value::target(self.root, reference, self.place)?.1,
                None => return Ok(schema),
            }
        }
        Err(refusal(self.place, "its references lead in a circle"))
    }

    fn kinds(&self, schema: &Value) -> Result<Vec<Kind>> {
        let keywords = schema.as_object();
        keywords.map_or(Ok(Vec::new()), |keywords| value::kinds(keywords, self.place))
    }
}

fn constants(schema: &Value) -> Option<&[Value]> {
    let values = schema.get("enum").and_then(Value::as_array).map(|values| &values[..]);
    values.or(schema.get("const").map(std::slice::from_ref))
}

/// Whether two values are the same to JSON Schema, which does not tell 1 from 1.0.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}
