//! `POST /v1/chat/completions`.

use super::head::{Head, finish_reason, usage_document};
use super::{likely, messages};
use crate::serve::answer::{Delivery, Prepared};
use crate::serve::app::App;
use crate::serve::ask::{Ask, Calls, Prompt, Shape};
use crate::serve::failure::{Failure, Outcome, Protocol};
use crate::serve::fields::{self, Fields};
use crate::serve::framing::Framing;
use crate::serve::sampling;
use crate::serve::talk::{Called, Form, News, Reply, Talk};
use kinglet::{Candidate, Model};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// The most probable tokens that can be asked for.
const MAX_TOP: u64 = 20;
const CHUNK: &str = "chat.completion.chunk";

/// Understands a request.
pub fn prepare(app: &App, body: &[u8]) -> Outcome<Prepared> {
    let body = fields::parse(body)?;
    let fields = Fields::of(&body, "the body")?;
    let given = fields.list("messages")?;
    let turns = messages::read(given.ok_or_else(|| Failure::request("messages is missing"))?)?;
    let max_tokens = sampling::max_tokens(&fields, &["max_completion_tokens", "max_tokens"])?;
    let max_tokens = max_tokens.unwrap_or(app.context);
    let mut manner = sampling::manner(&fields, app.model.config().vocab_size, max_tokens)?;
    manner.candidates = candidates(&fields)?;
    let form = Chat {
        head: Head::new("chatcmpl-", &app.name, &fields)?,
        has_logprobs: manner.candidates.is_some(),
        model: app.model.clone(),
    };
    let ask = Ask {
        prompt: Prompt::Turns(turns),
        calls: Calls::read(&fields)?,
        shape: shape(&fields)?,
        manner,
        replies: sampling::replies(&fields)?,
        delivery: Delivery::of(fields.flag("stream")?.unwrap_or(false), Framing::Events),
    };
    ask.prepare(app, Box::new(form))
}

/// How many of the most probable tokens are wanted.
fn candidates(fields: &Fields<'_>) -> Outcome<Option<usize>> {
    let count = fields.whole("top_logprobs", 0..=MAX_TOP)?;
    match fields.flag("logprobs")? {
        Some(true) => Ok(Some(count.unwrap_or(0) as usize)),
        _ if count.is_some_and(|count| count > 0) => {
            Err(Failure::request("top_logprobs needs logprobs to be true"))
        }
        _ => Ok(None),
    }
}

/// The shape that a reply must have.
fn shape(fields: &Fields<'_>) -> Outcome<Option<Shape>> {
    let Some(format) = fields.object("response_format")? else { return Ok(None) };
    match format.text("type")?.unwrap_or_default() {
        "text" => Ok(None),
        "json_object" => Ok(Some(Shape::Object)),
        "json_schema" => {
            let schema = format.object("json_schema")?.and_then(|named| named.get("schema"));
            let schema = schema.map(Shape::schema);
            let lacking = || Failure::request("response_format has no json_schema with a schema");
            schema.ok_or_else(lacking).map(Some)
        }
        _ => Err(Failure::request(
            "the type of response_format must be text, json_object or json_schema",
        )),
    }
}

/// Replies as chats have them.
struct Chat {
    head: Head,
    has_logprobs: bool,
    model: Model,
}

impl Chat {
    fn chunk(&self, talk: &Talk, index: usize, delta: Value, logprobs: Option<Value>) -> Value {
        let choice = json!({
            "index": index, "delta": delta, "logprobs": logprobs,
            "finish_reason": talk.replies[index].finish.map(finish_reason),
        });
        self.head.chunk(CHUNK, vec![choice])
    }

    fn logprobs<'a>(&'a self, candidates: &'a [Vec<Candidate>]) -> Option<Logprobs<'a>> {
        self.has_logprobs.then_some(Logprobs { content: Entries(&self.model, candidates) })
    }

    fn told<'a>(&'a self, index: usize, reply: &'a Reply) -> Told<'a> {
        let mut message = json!({"role": "assistant", "content": reply.text});
        if !reply.calls.is_empty() {
            message["content"] = Value::Null;
            message["tool_calls"] = reply.calls.iter().map(call_document).collect();
        }
        let logprobs = self.logprobs(&reply.candidates);
        Told { index, message, logprobs, finish_reason: reply.finish.map(finish_reason) }
    }
}

/// An answer as it is written. Probabilities become text one by one: as values, those of all tokens
/// would take many times the memory.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    head: Value,
    choices: Vec<Told<'a>>,
    usage: Value,
}

#[derive(Serialize)]
struct Told<'a> {
    index: usize,
    message: Value,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
struct Logprobs<'a> {
    content: Entries<'a>,
}

/// The probabilities of a reply's tokens.
struct Entries<'a>(&'a Model, &'a [Vec<Candidate>]);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(model, candidates) = self;
        serializer.collect_seq(candidates.iter().filter_map(|told| likely::entry(model, told)))
    }
}

fn call_document(Called { id, call }: &Called) -> Value {
    let function = json!({"name": call.name, "arguments": call.arguments.to_string()});
    json!({"id": id, "type": "function", "function": function})
}

impl Form for Chat {
    fn tell(&mut self, talk: &Talk, reply: usize, news: &News) -> Vec<Value> {
        let (delta, logprobs) = match news {
            News::Begins => (json!({"role": "assistant", "content": null}), None),
            News::Goes(text, candidates) => {
                (json!({"content": text}), self.logprobs(candidates).map(|told| json!(told)))
            }
            News::Calls(number) => {
                let mut call = call_document(&talk.replies[reply].calls[*number]);
                call["index"] = (*number).into();
                // The reason belongs to the last chunk alone.
                let choice = json!({
                    "index": reply, "delta": {"tool_calls": [call]}, "logprobs": null,
                    "finish_reason": null,
                });
                return vec![self.head.chunk(CHUNK, vec![choice])];
            }
            News::Ends => (json!({}), None),
        };
        vec![self.chunk(talk, reply, delta, logprobs)]
    }

    fn end(&mut self, talk: &Talk) -> Vec<Value> {
        self.head.usage_chunk(CHUNK, &talk.usage).into_iter().collect()
    }

    fn failure(&mut self, failure: &Failure) -> Value {
        failure.document(Protocol::OpenAi)
    }

    fn text(&self, talk: &Talk) -> String {
        let told = |(index, reply)| self.told(index, reply);
        let document = Document {
            head: self.head.fields("chat.completion"),
            choices: talk.replies.iter().enumerate().map(told).collect(),
            usage: usage_document(&talk.usage),
        };
        serde_json::to_string(&document).expect("documents serialize")
    }
}
