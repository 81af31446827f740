//! The messages of a conversation, from the OpenAI protocol's form.

use crate::serve::failure::{Failure, Outcome};
use crate::serve::fields::Fields;
use kinglet::tools::{Call, Turn};
use serde_json::Value;
use std::collections::HashMap;

/// Reads the messages of a request.
pub fn read(messages: &[Value]) -> Outcome<Vec<Turn>> {
    if messages.is_empty() {
        return Err(Failure::request("messages is empty: give one at least"));
    }
    let mut names = HashMap::new();
    messages.iter().map(|message| turn(message, &mut names)).collect()
}

/// Reads one message. `names` are those of functions by the identifiers of their calls.
fn turn<'v>(message: &'v Value, names: &mut HashMap<&'v str, &'v str>) -> Outcome<Turn> {
    let fields = Fields::of(message, "a message")?;
    let content = content(fields.get("content"))?;
    let needed = |content: Option<String>| {
        content.ok_or_else(|| Failure::request("a message has no content"))
    };
    match fields.text("role")?.unwrap_or_default() {
        "system" | "developer" => Ok(Turn::System(needed(content)?)),
        "user" => Ok(Turn::User(needed(content)?)),
        "assistant" => {
            let calls = fields.list("tool_calls")?.unwrap_or_default();
            let calls = calls.iter().map(|entry| call(entry, names)).collect::<Outcome<_>>()?;
            Ok(Turn::Assistant { content: content.unwrap_or_default(), calls })
        }
        "tool" => {
            let known = fields.text("tool_call_id")?.and_then(|id| names.get(id).copied());
            let Some(name) = known.or(fields.text("name")?) else {
                return Err(Failure::request(
                    "a tool's message answers no call before it: give it that call's tool_call_id",
                ));
            };
            Ok(Turn::Tool { name: name.to_owned(), content: needed(content)? })
        }
        role => Err(Failure::request(format!(
            "the role of a message is {role:?}: system, user, assistant and tool are known"
        ))),
    }
}

/// Reads a call that the model made.
fn call<'v>(entry: &'v Value, names: &mut HashMap<&'v str, &'v str>) -> Outcome<Call> {
    let fields = Fields::of(entry, "a tool call")?;
    let function = fields.object("function")?;
    let Some((function, name)) = function.and_then(|f| Some((f, f.text("name").ok().flatten()?)))
    else {
        return Err(Failure::request("a tool call has no function with a name"));
    };
    if let Some(id) = fields.text("id")? {
        names.insert(id, name);
    }
    let arguments = function.text("arguments")?.unwrap_or("{}");
    match serde_json::from_str(arguments) {
        Ok(arguments @ Value::Object(_)) => Ok(Call { name: name.to_owned(), arguments }),
        _ => Err(Failure::request(format!("the arguments of a call of {name} are no JSON object"))),
    }
}

/// The text of a message's content; nothing where there is none.
fn content(content: Option<&Value>) -> Outcome<Option<String>> {
    match content {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Array(parts)) => {
            let parts = parts.iter().map(part).collect::<Outcome<Vec<&str>>>()?;
            Ok(Some(parts.concat()))
        }
        Some(_) => Err(Failure::request("the content of a message is neither a text nor a list")),
    }
}

fn part(part: &Value) -> Outcome<&str> {
    let fields = Fields::of(part, "a part of a message")?;
    match fields.text("type")?.unwrap_or_default() {
        "text" => {
            fields.text("text")?.ok_or_else(|| Failure::request("a part of a message has no text"))
        }
        kind => Err(Failure::request(format!(
            "a message has a part of type {kind:?}: the model reads text alone"
        ))),
    }
}
