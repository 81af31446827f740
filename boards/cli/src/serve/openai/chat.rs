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

    fn logprobs(&self, candidates: &[Vec<Candidate>]) -> Value {
        let entries = candidates.iter().filter_map(|each| likely::entry(&self.model, each));
        json!({"content": entries.collect::<Vec<Value>>()})
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
                let logprobs = self.has_logprobs.then(|| self.logprobs(candidates));
                (json!({"content": text}), logprobs)
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

    fn document(&self, talk: &Talk) -> Value {
        let choice = |(index, reply): (usize, &Reply)| {
            let mut message = json!({"role": "assistant", "content": reply.text});
            if !reply.calls.is_empty() {
                message["content"] = Value::Null;
                message["tool_calls"] = reply.calls.iter().map(call_document).collect();
            }
            let logprobs = self.has_logprobs.then(|| self.logprobs(&reply.candidates));
            json!({
                "index": index, "message": message, "logprobs": logprobs,
                "finish_reason": reply.finish.map(finish_reason),
            })
        };
        let choices = talk.replies.iter().enumerate().map(choice).collect();
        let mut document = self.head.document("chat.completion", choices);
        document["usage"] = usage_document(&talk.usage);
        document
    }
}
