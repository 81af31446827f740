//! From the events of the engine to what a client gets: one document, or chunks as they come.

use super::failure::{Failure, Outcome};
use super::fields::Fields;
use super::job::{Event, Manner};
use kinglet::StopReason;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// A request that was understood.
pub struct Prepared {
    /// What the engine must make; their events carry the place in this list.
    pub tasks: Vec<Task>,
    /// What becomes of the events.
    pub answer: Box<dyn Answer>,
    /// Whether the client gets chunks.
    pub streams: bool,
}

/// A prompt and how its reply is made.
pub struct Task {
    /// The prompt.
    pub prompt: Vec<u32>,
    /// So many of the most probable tokens are wanted at each token of the prompt.
    pub prompt_candidates: Option<usize>,
    /// The rest.
    pub manner: Manner,
}

/// Collects the events of a request in the form that its protocol has.
pub trait Answer: Send {
    /// Takes the next event of a task; the chunks that a stream gets of it.
    fn take(&mut self, task: usize, event: Event) -> Outcome<Vec<Value>>;

    /// The chunk behind the last reply, if one was asked for.
    fn last_chunk(&self) -> Option<Value>;

    /// The document as text, once all replies have ended.
    fn text(&self) -> String;
}

/// What all documents of an answer begin with.
pub struct Head {
    id: String,
    created: u64,
    model: String,
    /// Whether chunks have a field for the usage.
    pub has_usage: bool,
}

impl Head {
    /// A head with an identifier of its own.
    pub fn new(prefix: &str, model: &str, fields: &Fields<'_>) -> Outcome<Self> {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let options = fields.object("stream_options")?;
        let has_usage = options.map_or(Ok(None), |options| options.flag("include_usage"))?;
        Ok(Self {
            id: format!("{prefix}-{:032x}", fastrand::u128(..)),
            created,
            model: model.to_owned(),
            has_usage: has_usage.unwrap_or(false),
        })
    }

    /// A document with these choices.
    pub fn document(&self, object: &str, choices: Vec<Value>) -> Value {
        let mut document = self.fields(object);
        document["choices"] = choices.into();
        document
    }

    /// What stands beside the choices.
    pub fn fields(&self, object: &str) -> Value {
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model,
        })
    }

    /// A chunk of a stream.
    pub fn chunk(&self, object: &str, choices: Vec<Value>) -> Value {
        let mut chunk = self.document(object, choices);
        if self.has_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    /// The chunk that tells behind all others what a request took, where it asks for that.
    pub fn usage_chunk(&self, object: &str, usage: &Usage) -> Option<Value> {
        self.has_usage.then(|| {
            let mut chunk = self.document(object, Vec::new());
            chunk["usage"] = usage.document();
            chunk
        })
    }
}

/// What a request took.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    /// Tokens of its prompts.
    pub prompt: usize,
    /// Those of them that were not computed again.
    pub reused: usize,
    /// Tokens of its replies.
    pub replies: usize,
}

impl Usage {
    /// As the OpenAI protocol has it.
    pub fn document(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.replies,
            "total_tokens": self.prompt + self.replies,
            "prompt_tokens_details": {"cached_tokens": self.reused},
        })
    }
}

/// The protocol's word for why a reply ended.
pub fn finish_reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::MaxTokens | StopReason::ContextFull | StopReason::Deadline => "length",
        StopReason::EndOfText
        | StopReason::Complete
        | StopReason::StopString
        | StopReason::Cancelled => "stop",
    }
}

/// A failure for a prompt that leaves no room for a reply.
pub fn check_length(prompt: &[u32], context: usize) -> Outcome<()> {
    match prompt.len() {
        0 => Err(Failure::request("the prompt is empty")),
        length if length < context => Ok(()),
        length => Err(Failure::request(format!(
            "the prompt has {length} tokens, the context {context}: shorten it, or start the \
             server with a larger --ctx"
        ))),
    }
}
