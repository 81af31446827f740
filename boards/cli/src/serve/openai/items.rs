//! The items of a response's input: messages, calls and what they returned.

use crate::serve::failure::{Failure, Outcome};
use crate::serve::fields::Fields;
use kinglet::tools::{Call, Turn};
use serde_json::Value;
use std::collections::HashMap;

/// Reads an input, with the instructions in front of it.
pub fn read(input: &Value, instructions: Option<&str>) -> Outcome<Vec<Turn>> {
    let mut turns = match input {
        Value::String(text) => vec![Turn::User(text.clone())],
        Value::Array(items) => {
            let mut turns = Vec::new();
            let mut names = HashMap::new();
            items.iter().try_for_each(|item| add(&mut turns, item, &mut names))?;
            turns
        }
        _ => return Err(Failure::request("input must be a text or a list of items")),
    };
    if turns.is_empty() {
        return Err(Failure::request("input is empty: give one item at least"));
    }
    match (instructions, &mut turns[0]) {
        (None, _) => {}
        // A conversation has one system turn, which is its first.
        (Some(text), Turn::System(system)) => *system = format!("{text}\n\n{system}"),
        (Some(text), _) => turns.insert(0, Turn::System(text.to_owned())),
    }
    Ok(turns)
}

/// Adds one item. `names` are those of functions by the identifiers of their calls.
fn add<'v>(
    turns: &mut Vec<Turn>,
    item: &'v Value,
    names: &mut HashMap<&'v str, &'v str>,
) -> Outcome<()> {
    let fields = Fields::of(item, "an item of input")?;
    match fields.text("type")?.unwrap_or("message") {
        "message" => turns.push(message(&fields)?),
        "function_call" => {
            let call = call(&fields, names)?;
            match turns.last_mut() {
                Some(Turn::Assistant { calls, .. }) => calls.push(call),
                _ => turns.push(Turn::Assistant { content: String::new(), calls: vec![call] }),
            }
        }
        "function_call_output" => {
            let name = fields.text("call_id")?.and_then(|id| names.get(id));
            let name = name.ok_or_else(|| {
                Failure::request(
                    "a function_call_output answers no function_call before it: give it that \
                     call's call_id",
                )
            })?;
            let content = content(&fields, "output")?;
            turns.push(Turn::Tool { name: (*name).to_owned(), content });
        }
        "item_reference" => {
            return Err(Failure::request(
                "input refers to an item, but this server keeps none: send the item itself",
            ));
        }
        kind => {
            return Err(Failure::request(format!(
                "input has an item of type {kind:?}: message, function_call and \
                 function_call_output are known"
            )));
        }
    }
    Ok(())
}

fn message(fields: &Fields<'_>) -> Outcome<Turn> {
    let content = content(fields, "content")?;
    match fields.text("role")?.unwrap_or_default() {
        "system" | "developer" => Ok(Turn::System(content)),
        "user" => Ok(Turn::User(content)),
        "assistant" => Ok(Turn::Assistant { content, calls: Vec::new() }),
        role => Err(Failure::request(format!(
            "the role of a message is {role:?}: system, developer, user and assistant are known"
        ))),
    }
}

fn call<'v>(fields: &Fields<'v>, names: &mut HashMap<&'v str, &'v str>) -> Outcome<Call> {
    let (Some(id), Some(name)) = (fields.text("call_id")?, fields.text("name")?) else {
        return Err(Failure::request("a function_call needs a call_id and a name"));
    };
    names.insert(id, name);
    let arguments = fields.text("arguments")?.unwrap_or("{}");
    match serde_json::from_str(arguments) {
        Ok(arguments @ Value::Object(_)) => Ok(Call { name: name.to_owned(), arguments }),
        _ => Err(Failure::request(format!("the arguments of a call of {name} are no JSON object"))),
    }
}

/// A text, or the texts of a list of parts.
fn content(fields: &Fields<'_>, name: &str) -> Outcome<String> {
    match fields.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            Ok(parts.iter().map(part).collect::<Outcome<Vec<&str>>>()?.concat())
        }
        _ => Err(Failure::request(format!("{name} of an item must be a text or a list of parts"))),
    }
}

fn part(part: &Value) -> Outcome<&str> {
    let fields = Fields::of(part, "a part of an item")?;
    match fields.text("type")?.unwrap_or_default() {
        "input_text" | "output_text" | "text" => {
            fields.text("text")?.ok_or_else(|| Failure::request("a part of an item has no text"))
        }
        kind => Err(Failure::request(format!(
            "an item has a part of type {kind:?}: the model reads text alone"
        ))),
    }
}
