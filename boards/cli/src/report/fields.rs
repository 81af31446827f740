//! Reading the fields of a document, with refusals that say what was found and what to do.

use kinglet::{Code, Result};
use kinglet_quant::{ensure, fail};
use serde_json::{Map, Value};

/// Characters of a foreign text that a page shows.
const MOST_CHARACTERS: usize = 160;
/// Characters of a wrong value that a message shows.
const SHOWN_CHARACTERS: usize = 40;

/// Counts above this are no longer exact as numbers of JSON.
pub const MOST_BYTES: f64 = 9e15;
/// More tokens than any context has.
pub const MOST_TOKENS: f64 = 1e9;
/// Rates and times that no machine has.
pub const MOST: f64 = 1e18;

/// One object, and how messages call it.
pub struct Fields<'a> {
    shown: String,
    object: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The fields of an object that messages call `shown`.
    pub fn new(shown: String, object: &'a Map<String, Value>) -> Self {
        Self { shown, object }
    }

    /// Whether there is a field, even if it is null.
    pub fn has(&self, name: &str) -> bool {
        self.object.contains_key(name)
    }

    /// A number from 0 to `most`. `BadArgument` if it is something else or missing.
    pub fn number(&self, name: &str, most: f64) -> Result<f64> {
        match self.optional_number(name, most)? {
            Some(number) => Ok(number),
            None => self.missing(name),
        }
    }

    /// A number from 0 to `most`, or nothing.
    pub fn optional_number(&self, name: &str, most: f64) -> Result<Option<f64>> {
        self.between(name, 0.0, most)
    }

    /// A number from `least` to `most`, or nothing.
    pub fn between(&self, name: &str, least: f64, most: f64) -> Result<Option<f64>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = value.as_f64().filter(|number| (least..=most).contains(number));
        match number {
            Some(number) => Ok(Some(number)),
            None => self.wrong(name, value, &format!("a number from {least} to {most:e}")),
        }
    }

    /// A text that is safe to show: short, and without characters that nobody sees.
    pub fn text(&self, name: &str) -> Result<String> {
        match self.optional_text(name)? {
            Some(text) => Ok(text),
            None => self.missing(name),
        }
    }

    /// A text, or nothing.
    pub fn optional_text(&self, name: &str) -> Result<Option<String>> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(clean(text))),
            Some(value) => self.wrong(name, value, "a text"),
        }
    }

    /// Yes, no, or nothing.
    pub fn optional_flag(&self, name: &str) -> Result<Option<bool>> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(value) => self.wrong(name, value, "true, false or null"),
        }
    }

    /// An object within this one, or nothing.
    pub fn object(&self, name: &str) -> Result<Option<Fields<'a>>> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Object(object)) => {
                Ok(Some(Fields::new(format!("{}, `{name}`", self.shown), object)))
            }
            Some(value) => self.wrong(name, value, "an object"),
        }
    }

    /// A list of objects; nothing makes an empty one.
    pub fn objects(&self, name: &str) -> Result<Vec<Fields<'a>>> {
        let list = match self.value(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(value) => return self.wrong(name, value, "a list of objects"),
        };
        let object = |(i, value): (usize, &'a Value)| match value {
            Value::Object(object) => {
                Ok(Fields::new(format!("{}, `{name}` {}", self.shown, i + 1), object))
            }
            value => self.wrong(name, value, "a list of objects"),
        };
        list.iter().enumerate().map(object).collect()
    }

    /// The largest number of a list of pairs of a name and a number; nothing without such a list.
    pub fn highest(&self, name: &str, least: f64, most: f64) -> Result<Option<f64>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = |pair: &Value| pair.get(1)?.as_f64().filter(|x| (least..=most).contains(x));
        let list = value.as_array().map(|list| list.iter().map(number).collect::<Option<Vec<_>>>());
        match list.flatten() {
            Some(numbers) => Ok(numbers.into_iter().reduce(f64::max)),
            None => self.wrong(name, value, "a list of pairs of a name and a number"),
        }
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn missing<T>(&self, name: &str) -> Result<T> {
        fail!(
            Code::BadArgument,
            "{}: `{name}` is missing: take a document as this version of kinglet writes it",
            self.shown
        )
    }

    fn wrong<T>(&self, name: &str, value: &Value, rule: &str) -> Result<T> {
        let mut found: String = value.to_string().chars().take(SHOWN_CHARACTERS).collect();
        if found.chars().count() == SHOWN_CHARACTERS {
            found.push('…');
        }
        fail!(Code::BadArgument, "{}: `{name}` is {found}: it must be {rule}", self.shown)
    }

    /// Fails unless a number is above 0.
    pub fn ensure_above_0(&self, name: &str, number: f64) -> Result<()> {
        ensure!(
            number > 0.0,
            Code::BadArgument,
            "{}: `{name}` is {number}: it must be a number above 0",
            self.shown
        );
        Ok(())
    }
}

/// Cuts a text, and replaces what would change the order of the text around it or is not seen.
fn clean(text: &str) -> String {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    let replaced = text.chars().map(|c| if is_hidden(c) { '\u{fffd}' } else { c });
    let mut shown: String = replaced.take(MOST_CHARACTERS + 1).collect();
    if let Some((cut, _)) = shown.char_indices().nth(MOST_CHARACTERS) {
        shown.truncate(cut);
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_say_what_was_found_and_what_is_right() {
        let value = json!({ "a": "fast", "b": -1, "c": [1], "d": "x".repeat(99), "n": null });
        let fields = Fields::new("x.json, document 2".into(), value.as_object().unwrap());
        let messages = [
            fields.number("a", 1e3).unwrap_err(),
            fields.number("b", 1e3).unwrap_err(),
            fields.number("n", 1e3).unwrap_err(),
            fields.text("c").map(drop).unwrap_err(),
            fields.object("d").map(drop).unwrap_err(),
            fields.objects("c").map(drop).unwrap_err(),
        ];
        let messages = messages.map(|error| {
            assert_eq!(error.code(), Code::BadArgument);
            error.message().strip_prefix("x.json, document 2: `").unwrap().to_owned()
        });
        let long = format!("d` is \"{}…: it must be an object", "x".repeat(39));
        let expected = [
            "a` is \"fast\": it must be a number from 0 to 1e3",
            "b` is -1: it must be a number from 0 to 1e3",
            "n` is missing: take a document as this version of kinglet writes it",
            "c` is [1]: it must be a text",
            &long,
            "c` is 1: it must be a list of objects",
        ];
        assert_eq!(messages, expected);
    }

    #[test]
    fn texts_hold_nothing_unseen() {
        assert_eq!(clean("a\u{202e}b\u{0}c\n"), "a\u{fffd}b\u{fffd}c\u{fffd}");
        assert_eq!(clean("Häschen 兎"), "Häschen 兎");
        assert_eq!(clean(&"é".repeat(200)), "é".repeat(160) + "…");
        assert_eq!(clean(&"é".repeat(160)), "é".repeat(160));
    }
}
