//! How calls stand in a reply.

use super::{Choice, Function};
use crate::guide::JSON_STYLE;
use crate::schema::value;
use kinglet_core::calls;
use kinglet_quant::{Code, Result, fail};
use serde_json::{Value, json};
use std::borrow::Cow;

/// A call of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function.
    pub name: String,
    /// Its arguments, an object.
    pub arguments: Value,
}

impl Call {
    /// A call of a reply. `BadArgument` for arguments that are no JSON.
    fn read(call: &calls::Call<'_>) -> Result<Self> {
        let Ok(arguments) = serde_json::from_str(call.arguments) else {
            fail!(Code::BadArgument, "the arguments of {} are not JSON", call.name);
        };
        Ok(Self { name: call.name.to_owned(), arguments })
    }
}

/// The texts around the names and arguments of calls in a reply. Arguments are JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// In front of the first call.
    pub open: Cow<'static, str>,
    /// In front of a name.
    pub before_name: Cow<'static, str>,
    /// Between a name and its arguments.
    pub between: Cow<'static, str>,
    /// Behind arguments.
    pub after: Cow<'static, str>,
    /// Between two calls; none where a reply has one call at most.
    pub separator: Option<Cow<'static, str>>,
    /// Behind the last call.
    pub close: Cow<'static, str>,
    /// Whether a reply may open and close without a call.
    pub can_be_empty: bool,
}

impl Dialect {
    /// The convention that SmolLM2-1.7B-Instruct was trained with:
    /// `<tool_call>[{"name": "f", "arguments": {}}]</tool_call>`, with an empty list for no call.
    pub const TAGS: Self = Self {
        open: Cow::Borrowed("<tool_call>["),
        before_name: Cow::Borrowed("{\"name\": \""),
        between: Cow::Borrowed("\", \"arguments\": "),
        after: Cow::Borrowed("}"),
        separator: Some(Cow::Borrowed(", ")),
        close: Cow::Borrowed("]</tool_call>"),
        can_be_empty: true,
    };

    /// The text of calls, at least one, as replies have it: so what a session has computed of a
    /// reply is kept when it becomes a turn.
    pub fn write(&self, calls: &[Call]) -> String {
        let Self { open, before_name, between, after, separator, close, .. } = self;
        let write = |Call { name, arguments }: &Call| {
            format!("{before_name}{name}{between}{}{after}", value::text(arguments))
        };
        let calls: Vec<String> = calls.iter().map(write).collect();
        format!("{open}{}{close}", calls.join(separator.as_deref().unwrap_or_default()))
    }

    /// The calls of a reply that was made with the grammar of this dialect; `None` for a reply in
    /// words. `BadArgument` for a reply that was cut.
    pub fn read(&self, reply: &str) -> Result<Option<Vec<Call>>> {
        let calls = self.borrowed().calls(reply);
        let read = |call: Option<_>| Call::read(&call.ok_or_else(calls::cut)?);
        calls.map(|calls| calls.map(read).collect()).transpose()
    }

    /// The texts, as the core has them.
    pub(super) fn borrowed(&self) -> calls::Dialect<'_> {
        calls::Dialect {
            open: &self.open,
            before_name: &self.before_name,
            between: &self.between,
            after: &self.after,
            separator: self.separator.as_deref(),
            close: &self.close,
            can_be_empty: self.can_be_empty,
        }
    }

    /// The character that calls begin with and no reply in words, as the brackets of a regular
    /// expression have it.
    pub(super) fn escaped_begin(&self) -> String {
        let begin = format!("{}{}", self.open, self.before_name);
        let begin = begin.chars().next().expect("a name is quoted");
        format!("\\x{{{:X}}}", u32::from(begin))
    }

    /// The grammar of replies that may call these functions, in Lark's notation.
    pub(super) fn grammar(&self, functions: &[&Function], choice: Choice<'_>) -> String {
        let Self { open, before_name, between, after, separator, close, can_be_empty } = self;
        let mut rules = Vec::new();
        let calls = match (choice, separator) {
            (Choice::Named(_), _) | (_, None) => "call".to_owned(),
            (Choice::Auto | Choice::Required, Some(separator)) => {
                format!("call ({}call)*", quoted(separator))
            }
        };
        let made = |calls: &str| format!("{}{calls}{}", quoted(open), quoted(close));
        let mut start = made(&format!("{calls} "));
        if choice == Choice::Auto {
            if *can_be_empty {
                start += &format!(" | {}", made(""));
            }
            start += " | WORDS";
            rules.push(format!("WORDS: /[^{}](.|\\n)*/", self.escaped_begin()));
        }
        rules.push(format!("start: {start}"));
        let names: Vec<String> = (0..functions.len()).map(|i| format!("call_{i}")).collect();
        rules.push(format!("call: {}", names.join(" | ")));
        for (i, function) in functions.iter().enumerate() {
            let head = quoted(&format!("{before_name}{}{between}", function.name));
            let mut schema = function.parameters.clone();
            if let Value::Object(keywords) = &mut schema {
                keywords.entry("type").or_insert(json!("object"));
                let mut style: Value = serde_json::from_str(JSON_STYLE).expect("a constant");
                style["lenient"] = (!function.is_strict).into();
                keywords.entry("x-guidance").or_insert(style);
            }
            rules.push(format!("call_{i}: {head}arguments_{i} {}", quoted(after)));
            rules.push(format!("arguments_{i}: %json {schema}"));
        }
        rules.join("\n") + "\n"
    }
}

/// A text in Lark's notation with a space behind it; nothing for no text.
fn quoted(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{} ", json!(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, arguments: Value) -> Call {
        Call { name: name.into(), arguments }
    }

    #[test]
    fn calls_that_were_written_are_read() {
        let calls = [
            call("f", json!({"a": "]</tool_call>", "b": [1, {"c": null}]})),
            call("g-1.x", json!({})),
            call("f", json!({"\", \"arguments\": ": 1})),
        ];
        let other = Dialect {
            open: "".into(),
            before_name: "<tool_call>\n{\"name\": \"".into(),
            after: "}\n</tool_call>".into(),
            separator: Some("\n".into()),
            close: "".into(),
            can_be_empty: false,
            ..Dialect::TAGS
        };
        for count in 1..=calls.len() {
            let calls = &calls[..count];
            assert_eq!(Dialect::TAGS.read(&Dialect::TAGS.write(calls)).unwrap().unwrap(), calls);
            assert_eq!(other.read(&other.write(calls)).unwrap().unwrap(), calls);
        }
    }

    #[test]
    fn replies_in_words_and_replies_that_were_cut_are_told_apart() {
        assert_eq!(Dialect::TAGS.read("Hello").unwrap(), None);
        assert_eq!(Dialect::TAGS.read("<tool_call>[]</tool_call>").unwrap(), Some(vec![]));
        let whole = Dialect::TAGS.write(&[call("f", json!({"a": [1, 2]}))]);
        for end in 1..whole.len() {
            let error = Dialect::TAGS.read(&whole[..end]).unwrap_err();
            assert_eq!(error.code(), Code::BadArgument, "{}", &whole[..end]);
        }
    }
}
