//! The messages of a conversation, in Ollama's form.

use super::refuse_images;
use crate::serve::failure::{Failure, Outcome};
use crate::serve::fields::Fields;
use kinglet::tools::{Call, Turn};
use serde_json::Value;

/// Reads the messages of a request.
pub fn read(messages: &[Value]) -> Outcome<Vec<Turn>> {
    let mut turns: Vec<Turn> = Vec::new();
    for message in messages {
        let turn = turn(message, &turns)?;
        turns.push(turn);
    }
    Ok(turns)
}

fn turn(message: &Value, before: &[Turn]) -> Outcome<Turn> {
    let fields = Fields::of(message, "a message")?;
    refuse_images(&fields)?;
    let content = fields.text("content")?.unwrap_or_default().to_owned();
    match fields.text("role")?.unwrap_or_default() {
        "system" => Ok(Turn::System(content)),
        "user" => Ok(Turn::User(content)),
        "assistant" => {
            let calls = fields.list("tool_calls")?.unwrap_or_default();
            let calls = calls.iter().map(call).collect::<Outcome<_>>()?;
            Ok(Turn::Assistant { content, calls })
        }
        "tool" => {
            let named = match fields.text("tool_name")? {
                Some(name) => Some(name),
                None => fields.text("name")?,
            };
            let name = named.map(str::to_owned).or_else(|| answered(before));
            let name = name.ok_or_else(|| {
                Failure::request("a tool's message answers no call before it: give its tool_name")
            })?;
            Ok(Turn::Tool { name, content })
        }
        role => Err(Failure::request(format!(
            "the role of a message is {role:?}: system, user, assistant and tool are known"
        ))),
    }
}

/// The function that a result without a name belongs to: results come in the order of the calls.
fn answered(before: &[Turn]) -> Option<String> {
    let results = before.iter().rev().take_while(|turn| matches!(turn, Turn::Tool { .. })).count();
    match before.iter().rev().nth(results)? {
        Turn::Assistant { calls, .. } => calls.get(results).map(|call| call.name.clone()),
        _ => None,
    }
}

/// Reads a call that the model made.
fn call(entry: &Value) -> Outcome<Call> {
    let fields = Fields::of(entry, "a tool call")?;
    let function = fields.object("function")?;
    let Some((function, name)) = function.and_then(|f| Some((f, f.text("name").ok().flatten()?)))
    else {
        return Err(Failure::request("a tool call has no function with a name"));
    };
    let arguments = match function.get("arguments") {
        None => Value::Object(serde_json::Map::new()),
        Some(arguments @ Value::Object(_)) => arguments.clone(),
        Some(_) => {
            let message = format!("the arguments of a call of {name} are no JSON object");
            return Err(Failure::request(message));
        }
    };
    Ok(Call { name: name.to_owned(), arguments })
}
