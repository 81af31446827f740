//! The fields of a request: each is absent, null or what it must be.

use super::failure::{Failure, Outcome};
use serde_json::{Map, Value};
use std::fmt::Display;
use std::ops::RangeInclusive;

/// A JSON object of a request.
#[derive(Clone, Copy)]
pub struct Fields<'v>(&'v Map<String, Value>);

/// Reads the body of a request. A failure for what is not one JSON object in UTF-8.
pub fn parse(body: &[u8]) -> Outcome<Value> {
    let value: Value = serde_json::from_slice(body).map_err(|cause| {
        Failure::request(format!(
            "the body is not JSON: something is wrong at line {}, column {}",
            cause.line(),
            cause.column()
        ))
    })?;
    match value.is_object() {
        true => Ok(value),
        false => Err(Failure::request("the body is not a JSON object")),
    }
}

impl<'v> Fields<'v> {
    /// The fields of an object; `what` names it where it is none.
    pub fn of(value: &'v Value, what: &str) -> Outcome<Self> {
        let fields = value.as_object().map(Self);
        fields.ok_or_else(|| Failure::request(format!("{what} is not a JSON object")))
    }

    /// A field that is there and not null.
    pub fn get(&self, name: &str) -> Option<&'v Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text.
    pub fn text(&self, name: &str) -> Outcome<Option<&'v str>> {
        self.read(name, "a text", Value::as_str)
    }

    /// True or false.
    pub fn flag(&self, name: &str) -> Outcome<Option<bool>> {
        self.read(name, "true or false", Value::as_bool)
    }

    /// A list.
    pub fn list(&self, name: &str) -> Outcome<Option<&'v [Value]>> {
        self.read(name, "a list", |value| value.as_array().map(Vec::as_slice))
    }

    /// An object.
    pub fn object(&self, name: &str) -> Outcome<Option<Self>> {
        self.read(name, "a JSON object", |value| value.as_object().map(Self))
    }

    /// A whole number within a range.
    pub fn whole(&self, name: &str, range: RangeInclusive<u64>) -> Outcome<Option<u64>> {
        let wanted = between("a whole number", &range);
        self.read(name, &wanted, |value| value.as_u64().filter(|number| range.contains(number)))
    }

    /// A number within a range.
    pub fn number(&self, name: &str, range: RangeInclusive<f64>) -> Outcome<Option<f32>> {
        let wanted = between("a number", &range);
        let number = |value: &Value| value.as_f64().filter(|number| range.contains(number));
        Ok(self.read(name, &wanted, number)?.map(|number| number as f32))
    }

    fn read<T>(
        &self,
        name: &str,
        wanted: &str,
        read: impl FnOnce(&'v Value) -> Option<T>,
    ) -> Outcome<Option<T>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(Failure::request(format!("{name} must be {wanted}, not {}", brief(value)))),
        }
    }

    /// Its entries.
    pub fn entries(&self) -> impl Iterator<Item = (&'v str, &'v Value)> + use<'v> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

fn between<T: Display>(what: &str, range: &RangeInclusive<T>) -> String {
    format!("{what} from {} to {}", range.start(), range.end())
}

/// A value in messages.
fn brief(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(_) => "a text".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}
