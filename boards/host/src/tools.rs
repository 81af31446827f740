//! Functions that a model can call: what it is told of them, what its calls must be, and what they
//! were.
//!
//! Replies with calls follow a grammar made of the functions' JSON schemas, since small models
//! write calls that are none. Where a model's chat template knows tools, they and the calls are
//! written as it says; else by the convention of SmolLM2: see [`Dialect::TAGS`].

mod dialect;
mod own;
mod table;
mod told;
mod toolbox;

pub use dialect::{Call, Dialect};
pub use toolbox::Toolbox;

use crate::guide::{Guide, Guides};
use crate::template::Message;
use kinglet_quant::{Code, Result, ensure, fail};
use serde_json::{Value, json};

/// Between a system message and what is told of functions, where a template knows none.
const JOINT: &str = "\n\n";
/// In front of a result, between those of calls that were made at once, and behind.
const RESULTS: [&str; 3] = ["<tool_response>", "\n", "</tool_response>"];

/// A function that a model can call.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Its name, of letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// What it does.
    pub description: String,
    /// The JSON schema of its arguments, which are an object.
    pub parameters: Value,
    /// Whether calls keep all of the schema, so that one with keywords that Kinglet does not know
    /// is refused. Otherwise those keywords are ignored.
    pub is_strict: bool,
}

/// The functions of a conversation, each with a name of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Tools {
    functions: Vec<Function>,
}

/// Whether a reply calls functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<'n> {
    /// It may.
    Auto,
    /// It does, once at least.
    Required,
    /// It calls the function of this name, once.
    Named(&'n str),
}

/// One turn of a conversation with functions.
#[derive(Clone, Debug, PartialEq)]
pub enum Turn {
    /// Instructions; the first turn, if there is one.
    System(String),
    /// What the user said.
    User(String),
    /// What the model said, and what it called.
    Assistant {
        /// The text; empty where it only called.
        content: String,
        /// The calls, in order.
        calls: Vec<Call>,
    },
    /// What a function returned.
    Tool {
        /// The function.
        name: String,
        /// What it returned, as text.
        content: String,
    },
}

impl Turn {
    /// The turn as a message for a template that knows no functions: calls and results by the
    /// convention of [`Dialect::TAGS`].
    pub fn plain(&self) -> Message {
        match self {
            Self::System(text) => message("system", text.clone()),
            Self::User(text) => message("user", text.clone()),
            Self::Assistant { content, calls } if calls.is_empty() => {
                message("assistant", content.clone())
            }
            Self::Assistant { content, calls } => {
                message("assistant", format!("{content}{}", Dialect::TAGS.write(calls)))
            }
            Self::Tool { content, .. } => {
                let [open, _, close] = RESULTS;
                message("user", format!("{open}{content}{close}"))
            }
        }
    }
}

impl Tools {
    /// Reads a list of functions as the OpenAI protocol has it, each either
    /// `{"type": "function", "function": {"name", "description", "parameters", "strict"}}` or the
    /// inner object alone. `BadArgument` for anything else, and for a name that is not one or comes
    /// twice.
    pub fn from_json(text: &str) -> Result<Self> {
        let Ok(Value::Array(entries)) = serde_json::from_str(text) else {
            fail!(Code::BadArgument, "the tools are not a JSON list of functions");
        };
        let functions: Vec<Function> = entries.iter().map(function).collect::<Result<_>>()?;
        for (i, Function { name, .. }) in functions.iter().enumerate() {
            let is_new = functions[..i].iter().all(|other| other.name != *name);
            ensure!(is_new, Code::BadArgument, "two tools have the name {name}");
        }
        ensure!(!functions.is_empty(), Code::BadArgument, "the list of tools is empty");
        Ok(Self { functions })
    }

    /// The functions.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The list as the OpenAI protocol has it, which is what templates expect.
    pub fn to_json(&self) -> Value {
        let entry = |Function { name, description, parameters, .. }: &Function| {
            let function =
                json!({"name": name, "description": description, "parameters": parameters});
            json!({"type": "function", "function": function})
        };
        self.functions.iter().map(entry).collect()
    }

    /// The grammar of replies.
    ///
    /// `BadArgument` for a name that no function has, `BadGrammar` for parameters that are no
    /// schema that Kinglet can keep.
    pub fn guide(&self, guides: &Guides, dialect: &Dialect, choice: Choice<'_>) -> Result<Guide> {
        guides.lark(&dialect.grammar(&self.called(choice)?, choice))
    }

    /// The functions that a reply may call. `BadArgument` for a name that none has.
    fn called(&self, choice: Choice<'_>) -> Result<Vec<&Function>> {
        let called: Vec<&Function> = match choice {
            Choice::Named(name) => {
                let named = self.functions.iter().filter(|function| function.name == name);
                named.collect()
            }
            Choice::Auto | Choice::Required => self.functions.iter().collect(),
        };
        if let (Choice::Named(name), []) = (choice, &called[..]) {
            fail!(Code::BadArgument, "there is no tool {name}");
        }
        Ok(called)
    }

    /// The conversation as messages for a template that knows no tools: the functions stand in the
    /// system message, what they returned in the user's turns.
    pub fn plain(&self, turns: &[Turn]) -> Vec<Message> {
        let (system, turns) = match turns {
            [Turn::System(text), rest @ ..] => (text.as_str(), rest),
            turns => ("", turns),
        };
        let told = self.told();
        let told = if system.is_empty() { told } else { format!("{system}{JOINT}{told}") };
        let mut messages = vec![message("system", told)];
        let is_result = |turn: &Turn| matches!(turn, Turn::Tool { .. });
        for (i, turn) in turns.iter().enumerate() {
            let plain = turn.plain();
            match messages.last_mut() {
                // Results of calls that were made at once are one turn.
                Some(last) if i > 0 && is_result(turn) && is_result(&turns[i - 1]) => {
                    last.content.push_str(RESULTS[1]);
                    last.content.push_str(&plain.content);
                }
                _ => messages.push(plain),
            }
        }
        messages
    }

    /// What a model is told of the functions.
    fn told(&self) -> String {
        let tools = self.to_json();
        let example = r#"[{"name": "function", "arguments": {"argument": "value"}}]"#;
        format!(
            "You can call functions. These are the functions that there are:\n\
             <tools>{tools}</tools>\n\n\
             To call some of them, reply with their names and arguments alone, in this form:\n\
             <tool_call>{example}</tool_call>\n\
             If none of them helps, reply with an empty list: <tool_call>[]</tool_call>"
        )
    }
}

fn message(role: &'static str, content: String) -> Message {
    Message { role: role.into(), content }
}

/// Reads one function.
fn function(entry: &Value) -> Result<Function> {
    let inner = entry.get("function").unwrap_or(entry);
    let kind = match entry.get("type") {
        None | Some(Value::Null) => "function",
        Some(kind) => kind.as_str().unwrap_or("that is no text"),
    };
    ensure!(
        kind == "function",
        Code::BadArgument,
        "a tool of type {kind}: only functions are supported"
    );
    let Some(name) = inner.get("name").and_then(Value::as_str) else {
        fail!(Code::BadArgument, "a tool has no name: give each function a \"name\"");
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    ensure!(
        !name.is_empty() && name.len() <= 64 && name.chars().all(is_plain),
        Code::BadArgument,
        "a tool's name has 1 to 64 letters, digits, _, - and ., but one is {name:?}"
    );
    let description = match inner.get("description") {
        None | Some(Value::Null) => "",
        Some(Value::String(description)) => description,
        Some(_) => fail!(Code::BadArgument, "the description of {name} is not a text"),
    };
    let parameters = match inner.get("parameters") {
        None | Some(Value::Null) => json!({"type": "object", "properties": {}}),
        Some(parameters @ Value::Object(_)) => parameters.clone(),
        Some(_) => fail!(Code::BadArgument, "the parameters of {name} are not a JSON schema"),
    };
    let is_strict = match inner.get("strict") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(is_strict)) => *is_strict,
        Some(_) => fail!(Code::BadArgument, "strict of {name} must be true or false"),
    };
    Ok(Function { name: name.into(), description: description.into(), parameters, is_strict })
}
