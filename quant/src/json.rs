//! JSON as people's tools write it, and its values with errors in plain words.

use crate::{Code, Result, ensure, fail};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What Python writes for numbers that JSON has none for. The longest comes first.
const NO_NUMBERS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
/// Characters of a value that a message repeats.
const SHOWN: usize = 40;
/// How a file begins that Git LFS left in place of another.
const LFS_POINTER: &str = "version https://git-lfs.github.com/spec/";

/// An object of a JSON file, whose members that are `null` count as absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Object {
    /// What messages call it.
    name: String,
    members: Map<String, Value>,
}

/// The text as strict JSON: without a byte order mark, and with `NaN` and its like as strings, so
/// that only who reads such a member is told that it is no number.
pub(crate) fn strict(text: &str) -> Cow<'_, str> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    if !NO_NUMBERS.iter().any(|word| text.contains(word)) {
        return Cow::Borrowed(text);
    }
    let mut strict = String::with_capacity(text.len() + 64);
    let mut rest = text;
    let mut is_inside = false;
    while let Some(character) = rest.chars().next() {
        let word = NO_NUMBERS.iter().find(|word| !is_inside && rest.starts_with(**word));
        let length = match (word, character) {
            (Some(word), _) => {
                strict.extend(["\"", word, "\""]);
                rest = &rest[word.len()..];
                continue;
            }
            (None, '\\') if is_inside => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            (None, '"') => {
                is_inside = !is_inside;
                1
            }
            (None, other) => other.len_utf8(),
        };
        strict.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    Cow::Owned(strict)
}

/// Parses a whole file; `name` is for errors, which are `BadSource`.
pub(crate) fn parse(name: &str, text: &str) -> Result<Value> {
    match serde_json::from_str(&strict(text)) {
        Ok(value) => Ok(value),
        Err(error) => {
            reject_stand_in(name, text.as_bytes())?;
            fail!(
                Code::BadSource,
                "{name} is no valid JSON at line {}, column {}: save or fetch it again",
                error.line(),
                error.column()
            )
        }
    }
}

/// Fails for what lies in place of a file that was not fetched: `bytes` is how the file begins.
pub(crate) fn reject_stand_in(name: &str, bytes: &[u8]) -> Result<()> {
    ensure!(
        !bytes.starts_with(LFS_POINTER.as_bytes()),
        Code::BadSource,
        "{name} is only a pointer of Git LFS: run `git lfs pull` in its repository, or fetch the \
         file itself"
    );
    let begin = bytes.trim_ascii_start();
    let is_page = [&b"<!doctype"[..], b"<html"]
        .iter()
        .any(|tag| begin.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag)));
    ensure!(
        !is_page,
        Code::BadSource,
        "{name} is a web page in place of the file: fetch the file itself"
    );
    Ok(())
}

impl Object {
    /// Parses a file that holds one object; `name` is for errors, which are `BadSource`.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        match parse(name, text)? {
            Value::Object(members) => Ok(Self { name: name.to_owned(), members }),
            other => fail!(
                Code::BadSource,
                "{name} holds {}, where names with values belong: save or fetch it again",
                shown(&other)
            ),
        }
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has no member.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether the key is there, also with `null`.
    pub fn has(&self, key: &str) -> bool {
        self.members.contains_key(key)
    }

    /// All members with their keys, also those that are `null`.
    pub fn members(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.members.iter()
    }

    /// A value of any kind.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.members.get(key).filter(|value| !value.is_null())
    }

    /// A whole number that is not negative, however it is written.
    pub fn count(&self, key: &str) -> Result<Option<u64>> {
        self.read(key, "a whole number", |value| match value.as_u64() {
            Some(count) => Some(count),
            None => value.as_f64().filter(|&x| is_whole(x)).map(|x| x as u64),
        })
    }

    /// A number.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        self.read(key, "a number", Value::as_f64)
    }

    /// A switch; off where there is none.
    pub fn flag(&self, key: &str) -> Result<bool> {
        Ok(self.read(key, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    /// A text.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.read(key, "a text", Value::as_str)
    }

    /// An object within this one.
    pub fn object(&self, key: &str) -> Result<Option<Self>> {
        let members = self.read(key, "an object", Value::as_object)?;
        let name = format!("{key} of {}", self.name);
        Ok(members.map(|members| Self { name, members: members.clone() }))
    }

    /// Token ids, one or several. Those that no token can have, such as -1, mean that there is
    /// none.
    pub fn tokens(&self, key: &str) -> Result<Vec<u32>> {
        let all = self.read(key, "a token id or a list of them", |value| match value {
            Value::Array(all) => all.iter().filter(|id| !id.is_null()).map(Value::as_f64).collect(),
            one => one.as_f64().map(|id| vec![id]),
        })?;
        let all = all.unwrap_or_default().into_iter();
        Ok(all.filter(|&id| is_whole(id) && id < f64::from(u32::MAX)).map(|id| id as u32).collect())
    }

    fn read<'o, T>(
        &'o self,
        key: &str,
        wanted: &str,
        read: impl FnOnce(&'o Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match read(value) {
            Some(read) => Ok(Some(read)),
            None => fail!(
                Code::BadSource,
                "{key} in {} is {}, where {wanted} belongs: correct it, or fetch the file again",
                self.name,
                shown(value)
            ),
        }
    }
}

/// Whether a number counts something: 512.0 does, 0.5 and -1 do not.
fn is_whole(x: f64) -> bool {
    x >= 0.0 && x.fract() == 0.0 && x < 2f64.powi(53)
}

/// A value for a message, cut where it is long.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(all) => format!("a list of {}", all.len()),
        Value::Object(_) => "an object".to_owned(),
        other => {
            let text = other.to_string();
            match text.char_indices().nth(SHOWN) {
                Some((end, _)) => format!("{}…", &text[..end]),
                None => text,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object {
        Object::parse("some.json", text).unwrap()
    }

    #[test]
    fn what_python_writes_is_read() {
        let all =
            object("\u{FEFF}{\"a\": NaN, \"b\": [-Infinity, Infinity], \"NaN\": \"\\\"NaN\"}");
        assert_eq!(all.get("a"), Some(&Value::from("NaN")));
        assert_eq!(all.get("b"), Some(&Value::from(vec!["-Infinity", "Infinity"])));
        assert_eq!(all.text("NaN").unwrap(), Some("\"NaN"));
        let error = all.number("a").unwrap_err();
        assert_eq!(error.code(), Code::BadSource);
        assert!(
            error.message().starts_with("a in some.json is \"NaN\", where a number"),
            "{error}"
        );
    }

    #[test]
    fn numbers_are_numbers_in_every_spelling() {
        let all = object(
            r#"{"a": 512, "b": 512.0, "c": 0.5, "d": -1, "e": null, "f": [2.0, -1, null, 7]}"#,
        );
        let counts = ["a", "b", "e", "none"].map(|key| all.count(key).unwrap());
        assert_eq!(counts, [Some(512), Some(512), None, None]);
        assert!(all.count("c").is_err() && all.count("d").is_err() && all.count("f").is_err());
        assert_eq!(all.tokens("f").unwrap(), [2, 7]);
        assert!(all.tokens("d").unwrap().is_empty());
        assert!(!all.flag("e").unwrap() && all.flag("a").is_err());
    }

    #[test]
    fn what_is_no_object_is_named() {
        let message = |text| Object::parse("some.json", text).unwrap_err().message().to_owned();
        assert!(message("[1, 2]").contains("a list of 2"));
        assert!(message("{").contains("line 1, column 1"));
        assert!(message("").contains("no valid JSON"));
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
        assert!(message(pointer).contains("git lfs pull"));
        assert!(message("\n<!DOCTYPE html><html>").contains("web page"));
    }
}
