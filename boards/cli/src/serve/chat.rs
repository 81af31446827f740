//! `POST /v1/chat/completions`.

use super::answer::{Answer, Head, Prepared, Task, Usage, check_length, finish_reason};
use super::app::App;
use super::failure::{Failure, Outcome};
use super::fields::{self, Fields};
use super::job::{Event, Piece};
use super::{likely, messages, sampling};
use kinglet::guide::Guide;
use kinglet::template::Message;
use kinglet::tools::{Call, Choice, Toolbox, Tools, Turn};
use kinglet::{Candidate, Model, Sampling, StopReason};
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
    let tools = tools(&fields, &app.model)?;
    let prompt = match &tools {
        Some(tools) => tools.tokens(&app.model, &turns, true)?,
        None => {
            let template = app.template.as_ref().map_err(Clone::clone)?;
            let messages: Vec<Message> = turns.iter().map(Turn::plain).collect();
            template.tokens(&app.model.tokenizer(), &messages, true)?
        }
    };
    check_length(&prompt, app.context)?;
    let left = app.context - prompt.len();
    let mut manner = sampling::manner(&fields, app.model.config().vocab_size, left)?;
    manner.candidates = candidates(&fields)?;
    let shape = shape(&fields, app)?;
    let calls = match &tools {
        Some(tools) => calls(&fields, app, tools, shape.is_some())?,
        None => None,
    };
    let has_calls = calls.is_some();
    manner.guide = calls.or(shape);
    let count = sampling::replies(&fields)?;
    let task = |number: usize| {
        let seed = manner.sampling.seed.wrapping_add(number as u64);
        let mut manner = manner.clone();
        manner.sampling = Sampling { seed, ..manner.sampling };
        Task { prompt: prompt.clone(), prompt_candidates: None, manner }
    };
    let streams = fields.flag("stream")?.unwrap_or(false);
    let answer = Chat {
        streams,
        head: Head::new("chatcmpl", &app.name, &fields)?,
        usage: Usage { prompt: prompt.len(), ..Usage::default() },
        replies: (0..count).map(|_| Reply::default()).collect(),
        has_logprobs: manner.candidates.is_some(),
        toolbox: tools.filter(|_| has_calls),
        calls_several: fields.flag("parallel_tool_calls")?.unwrap_or(true),
        model: app.model.clone(),
    };
    Ok(Prepared { tasks: (0..count).map(task).collect(), answer: Box::new(answer), streams })
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

fn tools(fields: &Fields<'_>, model: &Model) -> Outcome<Option<Toolbox>> {
    match fields.list("tools")? {
        None | Some([]) => Ok(None),
        Some(tools) => {
            let tools = Tools::from_json(&Value::from(tools).to_string())?;
            Ok(Some(Toolbox::new(model, tools)?))
        }
    }
}

/// The grammar of replies that may call functions; none where they must not.
fn calls(
    fields: &Fields<'_>,
    app: &App,
    tools: &Toolbox,
    has_shape: bool,
) -> Outcome<Option<Guide>> {
    let unknown = || Failure::request("tool_choice must be none, auto, required or a function");
    let choice = match fields.get("tool_choice") {
        None => Choice::Auto,
        Some(Value::String(choice)) => match choice.as_str() {
            "none" => return Ok(None),
            "auto" => Choice::Auto,
            "required" => Choice::Required,
            _ => return Err(unknown()),
        },
        Some(choice) => {
            let function = Fields::of(choice, "tool_choice")?.object("function")?;
            Choice::Named(function.ok_or_else(unknown)?.text("name")?.ok_or_else(unknown)?)
        }
    };
    if has_shape {
        // A reply that has the shape is no call.
        return match choice {
            Choice::Auto => Ok(None),
            Choice::Required | Choice::Named(_) => Err(Failure::request(
                "response_format and a tool_choice that calls exclude each other: leave one out",
            )),
        };
    }
    Ok(Some(tools.guide(app.guides()?, choice)?))
}

/// The shape that a reply must have.
fn shape(fields: &Fields<'_>, app: &App) -> Outcome<Option<Guide>> {
    let Some(format) = fields.object("response_format")? else { return Ok(None) };
    match format.text("type")?.unwrap_or_default() {
        "text" => Ok(None),
        "json_object" => Ok(Some(app.guides()?.json_schema(r#"{"type": "object"}"#)?)),
        "json_schema" => {
            let schema = format.object("json_schema")?.and_then(|named| named.get("schema"));
            let Some(schema) = schema else {
                return Err(Failure::request("response_format has no json_schema with a schema"));
            };
            Ok(Some(app.guides()?.json_schema(&schema.to_string())?))
        }
        _ => Err(Failure::request(
            "the type of response_format must be text, json_object or json_schema",
        )),
    }
}

/// An answer in the making.
struct Chat {
    /// Whether it goes out in chunks; what is in them need not be kept.
    streams: bool,
    head: Head,
    usage: Usage,
    replies: Vec<Reply>,
    has_logprobs: bool,
    /// The functions, where replies may call them.
    toolbox: Option<Toolbox>,
    /// Whether a reply may have more than one call.
    calls_several: bool,
    model: Model,
}

/// One of its replies.
#[derive(Default)]
struct Reply {
    text: String,
    /// Bytes of the text that a stream has got.
    sent: usize,
    calls: Vec<Call>,
    /// For each token, where the reply does not go out in chunks: itself, then the most probable
    /// ones.
    candidates: Vec<Vec<Candidate>>,
    finish: Option<&'static str>,
}

impl Chat {
    fn chunk(&self, index: usize, delta: Value, logprobs: Option<Value>) -> Value {
        let choice = json!({
            "index": index, "delta": delta, "logprobs": logprobs,
            "finish_reason": self.replies[index].finish,
        });
        self.head.chunk(CHUNK, vec![choice])
    }

    /// Whether a reply is, or may become, calls instead of words.
    fn may_call(&self, text: &str) -> bool {
        self.toolbox.as_ref().is_some_and(|toolbox| {
            let dialect = toolbox.dialect();
            let begin = format!("{}{}", dialect.open, dialect.before_name);
            text.chars().next() == begin.chars().next() || text.is_empty()
        })
    }

    fn piece(&mut self, index: usize, piece: &Piece) -> Vec<Value> {
        self.usage.replies += usize::from(piece.has_token);
        let entry = match self.streams {
            true => likely::entry(&self.model, &piece.candidates),
            false => None,
        };
        let reply = &mut self.replies[index];
        reply.text.push_str(&piece.text);
        if !self.streams && self.has_logprobs {
            reply.candidates.push(piece.candidates.clone());
        }
        if self.may_call(&self.replies[index].text) {
            return Vec::new();
        }
        let reply = &mut self.replies[index];
        let new = reply.text[reply.sent..].to_owned();
        reply.sent = reply.text.len();
        if new.is_empty() && entry.is_none() {
            return Vec::new();
        }
        let logprobs = entry.map(|entry| json!({"content": [entry]}));
        vec![self.chunk(index, json!({"content": new}), logprobs)]
    }

    fn end(&mut self, index: usize, reason: StopReason) -> Vec<Value> {
        let is_calls = self.may_call(&self.replies[index].text);
        let reply = &mut self.replies[index];
        let mut finish = finish_reason(reason);
        if let Some(toolbox) = self.toolbox.as_ref().filter(|_| is_calls) {
            // A call that was cut is none, and no text either.
            if let Ok(Turn::Assistant { calls, .. }) = toolbox.read(&reply.text) {
                reply.calls = calls;
            }
            if !self.calls_several {
                reply.calls.truncate(1);
            }
            reply.text.clear();
            if !reply.calls.is_empty() {
                finish = "tool_calls";
            }
        }
        let calls = call_documents(&reply.calls);
        let mut chunks = Vec::new();
        for (number, mut call) in calls.into_iter().enumerate() {
            call["index"] = number.into();
            chunks.push(self.chunk(index, json!({"tool_calls": [call]}), None));
        }
        self.replies[index].finish = Some(finish);
        chunks.push(self.chunk(index, json!({}), None));
        chunks
    }

    fn told<'a>(&'a self, index: usize, reply: &'a Reply) -> Told<'a> {
        let mut message = json!({"role": "assistant", "content": reply.text});
        if !reply.calls.is_empty() {
            message["content"] = Value::Null;
            message["tool_calls"] = call_documents(&reply.calls).into();
        }
        let content = Entries(&self.model, &reply.candidates);
        let logprobs = self.has_logprobs.then_some(Logprobs { content });
        Told { index, message, logprobs, finish_reason: reply.finish }
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

fn call_documents(calls: &[Call]) -> Vec<Value> {
    let document = |call: &Call| {
        let function = json!({"name": call.name, "arguments": call.arguments.to_string()});
        let id = format!("call_{:024x}", fastrand::u64(..));
        json!({"id": id, "type": "function", "function": function})
    };
    calls.iter().map(document).collect()
}

impl Answer for Chat {
    fn take(&mut self, task: usize, event: Event) -> Outcome<Vec<Value>> {
        match event {
            Event::Read(read) => {
                if task == 0 {
                    self.usage.reused = read.reused;
                }
                Ok(vec![self.chunk(task, json!({"role": "assistant", "content": null}), None)])
            }
            Event::Piece(piece) => Ok(self.piece(task, &piece)),
            Event::End(outcome) => Ok(self.end(task, outcome.map_err(|error| *error)?)),
        }
    }

    fn last_chunk(&self) -> Option<Value> {
        self.head.usage_chunk(CHUNK, &self.usage)
    }

    fn text(&self) -> String {
        let told = |(index, reply)| self.told(index, reply);
        let document = Document {
            head: self.head.fields("chat.completion"),
            choices: self.replies.iter().enumerate().map(told).collect(),
            usage: self.usage.document(),
        };
        serde_json::to_string(&document).expect("documents serialize")
    }
}
