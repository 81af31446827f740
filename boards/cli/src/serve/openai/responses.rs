//! `POST /v1/responses`. Nothing is kept of a response, so none can be referred to.

use super::head::{identifier, now};
use super::items;
use super::steps::Steps;
use crate::serve::answer::{Delivery, Prepared, Usage};
use crate::serve::app::App;
use crate::serve::ask::{Ask, Calls, Prompt, Shape};
use crate::serve::failure::{Failure, Outcome};
use crate::serve::fields::{self, Fields};
use crate::serve::framing::Framing;
use crate::serve::sampling;
use crate::serve::talk::{Called, Finish, Form, News, Talk};
use serde_json::{Value, json};

/// Understands a request.
pub fn prepare(app: &App, body: &[u8]) -> Outcome<Prepared> {
    let body = fields::parse(body)?;
    let fields = Fields::of(&body, "the body")?;
    refuse(&fields)?;
    let input = fields.get("input").ok_or_else(|| Failure::request("input is missing"))?;
    let turns = items::read(input, fields.text("instructions")?)?;
    let max_tokens = sampling::max_tokens(&fields, &["max_output_tokens"])?;
    let max_tokens = max_tokens.unwrap_or(app.context);
    let manner = sampling::manner(&fields, app.model.config().vocab_size, max_tokens)?;
    let calls = Calls::read(&fields)?;
    let shape = shape(&fields)?;
    let mut head = head(&fields, &app.name);
    head["temperature"] = manner.sampling.temperature.into();
    head["top_p"] = manner.sampling.top_p.into();
    let ask = Ask {
        prompt: Prompt::Turns(turns),
        calls,
        shape,
        manner,
        replies: 1,
        delivery: Delivery::of(fields.flag("stream")?.unwrap_or(false), Framing::NamedEvents),
    };
    let form = Response { head, message: identifier("msg_"), steps: Steps::default() };
    ask.prepare(app, Box::new(form))
}

/// Refuses what needs responses that were kept, and what is not made.
fn refuse(fields: &Fields<'_>) -> Outcome<()> {
    for name in ["previous_response_id", "conversation"] {
        if fields.get(name).is_some() {
            return Err(Failure::request(format!(
                "{name} is given, but this server keeps no responses: send the whole conversation \
                 as input"
            )));
        }
    }
    if fields.flag("background")? == Some(true) {
        return Err(Failure::request("background cannot be true: this server keeps no responses"));
    }
    if fields.get("prompt").is_some() {
        return Err(Failure::request("prompt is given, but this server keeps no prompts"));
    }
    let is_told = |item: &Value| item == "message.output_text.logprobs";
    let wants_told = fields.list("include")?.unwrap_or_default().iter().any(is_told);
    if wants_told || fields.whole("top_logprobs", 0..=20)?.unwrap_or(0) > 0 {
        return Err(Failure::request(
            "probabilities of tokens are told by /v1/chat/completions and /v1/completions alone",
        ));
    }
    // It has no meaning here, but it must be what it is in the protocol.
    fields.flag("store")?;
    Ok(())
}

fn shape(fields: &Fields<'_>) -> Outcome<Option<Shape>> {
    let format = fields.object("text")?.map_or(Ok(None), |text| text.object("format"))?;
    let Some(format) = format else { return Ok(None) };
    match format.text("type")?.unwrap_or_default() {
        "text" => Ok(None),
        "json_object" => Ok(Some(Shape::Object)),
        "json_schema" => {
            let schema = format.get("schema").map(Shape::schema);
            schema.ok_or_else(|| Failure::request("text.format has no schema")).map(Some)
        }
        _ => Err(Failure::request(
            "the type of text.format must be text, json_object or json_schema",
        )),
    }
}

/// What all documents of a response tell alike.
fn head(fields: &Fields<'_>, model: &str) -> Value {
    let given = |name: &str| fields.get(name).cloned();
    json!({
        "id": identifier("resp_"),
        "object": "response",
        "created_at": now(),
        "status": "in_progress",
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": given("instructions"),
        "max_output_tokens": given("max_output_tokens"),
        "metadata": given("metadata").unwrap_or_else(|| json!({})),
        "model": model,
        "output": [],
        "parallel_tool_calls": given("parallel_tool_calls").unwrap_or(true.into()),
        "previous_response_id": null,
        "reasoning": {"effort": null, "summary": null},
        "store": false,
        "text": {"format": fields.object("text").ok().flatten()
            .and_then(|text| text.get("format").cloned())
            .unwrap_or_else(|| json!({"type": "text"}))},
        "tool_choice": given("tool_choice").unwrap_or("auto".into()),
        "tools": given("tools").unwrap_or_else(|| json!([])),
        "top_logprobs": 0,
        "truncation": "disabled",
        "usage": null,
    })
}

fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.reused},
        "output_tokens": usage.replies,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt + usage.replies,
    })
}

/// A response in the making.
struct Response {
    head: Value,
    /// The identifier of its message.
    message: String,
    steps: Steps,
}

impl Response {
    fn status(talk: &Talk) -> &'static str {
        match talk.replies[0].finish {
            None => "in_progress",
            Some(Finish::Length) => "incomplete",
            Some(Finish::Stop | Finish::Calls) => "completed",
        }
    }

    /// The message as an item, with this text.
    fn message(&self, text: Option<&str>, status: &str) -> Value {
        let content: Vec<Value> = text.map(text_part).into_iter().collect();
        json!({
            "id": self.message, "type": "message", "role": "assistant", "status": status,
            "content": content,
        })
    }

    fn begin_message(&mut self) -> Vec<Value> {
        let item = self.message(None, "in_progress");
        let place = json!({"item_id": self.message, "output_index": 0, "content_index": 0});
        let added = self.steps.step("output_item.added", json!({"output_index": 0, "item": item}));
        let part = self.steps.at("content_part.added", &place, json!({"part": text_part("")}));
        vec![added, part]
    }

    fn end_message(&mut self, talk: &Talk) -> Vec<Value> {
        let text = talk.replies[0].text.as_str();
        let item = self.message(Some(text), Self::status(talk));
        let place = json!({"item_id": self.message, "output_index": 0, "content_index": 0});
        let steps = &mut self.steps;
        vec![
            steps.at("output_text.done", &place, json!({"text": text, "logprobs": []})),
            steps.at("content_part.done", &place, json!({"part": text_part(text)})),
            steps.step("output_item.done", json!({"output_index": 0, "item": item})),
        ]
    }

    fn call(&mut self, number: usize, called: &Called) -> Vec<Value> {
        let whole = call_item(called);
        let mut begun = whole.clone();
        begun["arguments"] = "".into();
        begun["status"] = "in_progress".into();
        let (arguments, name) = (whole["arguments"].clone(), whole["name"].clone());
        let place = json!({"item_id": whole["id"], "output_index": number});
        let steps = &mut self.steps;
        let delta = json!({"delta": arguments});
        let done = json!({"arguments": arguments, "name": name});
        vec![
            steps.step("output_item.added", json!({"output_index": number, "item": begun})),
            steps.at("function_call_arguments.delta", &place, delta),
            steps.at("function_call_arguments.done", &place, done),
            steps.step("output_item.done", json!({"output_index": number, "item": whole})),
        ]
    }
}

fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn call_item(Called { id, call }: &Called) -> Value {
    let number = id.strip_prefix("call_").unwrap_or(id);
    json!({
        "id": format!("fc_{number}"), "type": "function_call", "call_id": id, "name": call.name,
        "arguments": call.arguments.to_string(), "status": "completed",
    })
}

impl Form for Response {
    fn tell(&mut self, talk: &Talk, _reply: usize, news: &News) -> Vec<Value> {
        match news {
            News::Begins => {
                let response = json!({"response": self.head});
                let steps = &mut self.steps;
                vec![steps.step("created", response.clone()), steps.step("in_progress", response)]
            }
            News::Goes(text, _) => {
                let mut documents = Vec::new();
                if !self.steps.has_message {
                    self.steps.has_message = true;
                    documents = self.begin_message();
                }
                let place = json!({"item_id": self.message, "output_index": 0, "content_index": 0});
                let delta = json!({"delta": text, "logprobs": []});
                documents.push(self.steps.at("output_text.delta", &place, delta));
                documents
            }
            News::Calls(number) => self.call(*number, &talk.replies[0].calls[*number]),
            News::Ends if self.steps.has_message => self.end_message(talk),
            News::Ends => Vec::new(),
        }
    }

    fn end(&mut self, talk: &Talk) -> Vec<Value> {
        let document = self.document(talk);
        vec![self.steps.step(Self::status(talk), json!({"response": document}))]
    }

    fn failure(&mut self, failure: &Failure) -> Value {
        self.steps.error(&failure.message)
    }

    fn document(&self, talk: &Talk) -> Value {
        let reply = &talk.replies[0];
        let status = Self::status(talk);
        let mut document = self.head.clone();
        document["status"] = status.into();
        if status == "incomplete" {
            document["incomplete_details"] = json!({"reason": "max_output_tokens"});
        }
        document["output"] = match (&reply.calls[..], reply.text.as_str()) {
            ([], "") => json!([]),
            ([], text) => json!([self.message(Some(text), status)]),
            (calls, _) => calls.iter().map(call_item).collect(),
        };
        document["usage"] = usage(&talk.usage);
        document
    }
}
