//! Chat templates that know functions.

use super::{Call, Dialect, Tools, Turn};
use crate::template::guarded;
use kinglet_core::tokenizer::Tokenizer;
use kinglet_quant::Result;
use kinglet_quant::template::{Serde, Template, Value};
use serde_json::{Value as Json, json};

/// What is looked for in what a template writes. No template has these words.
const WORDS: &str = "kinglet words";
const NAMES: [&str; 2] = ["kinglet_first", "kinglet_second"];
const ARGUMENTS: &str = "{\"kinglet_argument\"";

/// A template that writes functions and calls in a way of its own.
#[derive(Clone, Debug)]
pub(super) struct OwnTemplate {
    template: Template,
    pub dialect: Dialect,
}

impl OwnTemplate {
    /// The template, if it tells of functions and writes a call as a name with its arguments in
    /// JSON behind it.
    pub fn of(template: Template) -> Option<Self> {
        let question = Turn::User("kinglet question".into());
        let text = |turns: &[Turn], tools: &Json| {
            template.render_with(values(turns, &str::to_owned), Value::from(Serde(tools)), false)
        };
        let tools = json!([probe(NAMES[0]), probe(NAMES[1])]);
        let told = text(std::slice::from_ref(&question), &tools).ok()?;
        if !told.contains(NAMES[0]) {
            return None;
        }
        let said = |content: &str, calls: Vec<Call>| {
            let answer = Turn::Assistant { content: content.into(), calls };
            text(&[question.clone(), answer], &tools).ok()
        };
        let in_words = said(WORDS, Vec::new())?;
        let around = in_words.split_once(WORDS)?;
        let calls = NAMES.map(|name| Call {
            name: name.into(),
            arguments: json!({"kinglet_argument": "kinglet value"}),
        });
        let one = said("", calls[..1].to_vec())?;
        let both = said("", calls.to_vec());
        let dialect = dialect(around, &one, both.as_deref())?;
        Some(Self { template, dialect })
    }

    /// The text of a conversation.
    pub fn text(&self, tools: &Tools, turns: &[Turn]) -> Result<String> {
        let tools = Value::from(Serde(tools.to_json()));
        self.template.render_with(values(turns, &str::to_owned), tools, false)
    }

    /// The tokens of a conversation.
    pub fn tokens(
        &self,
        tokenizer: &Tokenizer<'_>,
        tools: &Tools,
        turns: &[Turn],
        is_reply_next: bool,
    ) -> Result<Vec<u32>> {
        let tools = tools.to_json();
        let whole = turns.iter().map(|turn| value(turn, &str::to_owned).to_string());
        let whole: Vec<String> = whole.chain([tools.to_string()]).collect();
        let texts: Vec<&str> = whole.iter().map(String::as_str).collect();
        guarded(&self.template, tokenizer, &texts, |guard| {
            let tools = Value::from(Serde(changed(&tools, guard)));
            self.template.render_with(values(turns, guard), tools, is_reply_next)
        })
    }
}

/// A function to look for.
fn probe(name: &str) -> Json {
    let schema = json!({"type": "object", "properties": {"kinglet_argument": {"type": "string"}}});
    let function = json!({"name": name, "description": "", "parameters": schema});
    json!({"type": "function", "function": function})
}

/// How calls stand between what is around a reply.
fn dialect(around: (&str, &str), one: &str, both: Option<&str>) -> Option<Dialect> {
    let reply = |text: &'_ str| {
        // Some templates trim what is around a reply of nothing but calls.
        let text =
            text.strip_prefix(around.0).or_else(|| text.strip_prefix(around.0.trim_end()))?;
        let reply = text.strip_suffix(around.1);
        reply.or_else(|| text.strip_suffix(around.1.trim_start())).map(str::to_owned)
    };
    let one = reply(one)?;
    let (open, rest) = one.split_once(NAMES[0])?;
    let (between, close) = parts(rest)?;
    let separator = both.and_then(|both| {
        let both = reply(both)?;
        let rest = both.strip_prefix(open)?.strip_prefix(NAMES[0])?;
        let (first, rest) = parts(rest)?;
        let (separator, rest) = rest.split_once(NAMES[1])?;
        let (second, end) = parts(rest)?;
        (first == between && second == between && end == close).then(|| separator.to_owned())
    });
    Some(Dialect {
        open: open.to_owned().into(),
        before_name: "".into(),
        between: between.to_owned().into(),
        after: "".into(),
        separator: separator.map(Into::into),
        close: close.to_owned().into(),
        can_be_empty: false,
    })
}

/// What stands in front of arguments and behind them.
fn parts(text: &str) -> Option<(&str, &str)> {
    let start = text.find(ARGUMENTS)?;
    let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Json>();
    values.next()?.ok()?;
    Some((&text[..start], &text[start + values.byte_offset()..]))
}

/// A conversation as templates get it, every text changed by `change`.
fn values(turns: &[Turn], change: &dyn Fn(&str) -> String) -> Value {
    turns.iter().map(|turn| Value::from(Serde(value(turn, change)))).collect()
}

fn value(turn: &Turn, change: &dyn Fn(&str) -> String) -> Json {
    match turn {
        Turn::System(text) => json!({"role": "system", "content": change(text)}),
        Turn::User(text) => json!({"role": "user", "content": change(text)}),
        Turn::Assistant { content, calls } if calls.is_empty() => {
            json!({"role": "assistant", "content": change(content)})
        }
        Turn::Assistant { content, calls } => {
            let call = |Call { name, arguments }: &Call| {
                let function = json!({"name": name, "arguments": changed(arguments, change)});
                json!({"type": "function", "function": function})
            };
            let calls: Vec<Json> = calls.iter().map(call).collect();
            json!({"role": "assistant", "content": change(content), "tool_calls": calls})
        }
        Turn::Tool { name, content } => {
            json!({"role": "tool", "name": name, "content": change(content)})
        }
    }
}

/// A value with every text in it changed.
fn changed(value: &Json, change: &dyn Fn(&str) -> String) -> Json {
    match value {
        Json::String(text) => change(text).into(),
        Json::Array(values) => values.iter().map(|value| changed(value, change)).collect(),
        Json::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| (change(key), changed(value, change)));
            Json::Object(fields.collect())
        }
        other => other.clone(),
    }
}
