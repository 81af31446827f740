//! What documents of chats and completions have in common.

use crate::serve::answer::Usage;
use crate::serve::failure::Outcome;
use crate::serve::fields::Fields;
use crate::serve::talk::Finish;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// What all documents of an answer begin with.
pub struct Head {
    id: String,
    created: u64,
    model: String,
    /// Whether chunks have a field for the usage.
    has_usage: bool,
}

impl Head {
    /// A head with an identifier of its own.
    pub fn new(prefix: &str, model: &str, fields: &Fields<'_>) -> Outcome<Self> {
        let options = fields.object("stream_options")?;
        let has_usage = options.map_or(Ok(None), |options| options.flag("include_usage"))?;
        Ok(Self {
            id: identifier(prefix),
            created: now(),
            model: model.to_owned(),
            has_usage: has_usage.unwrap_or(false),
        })
    }

    /// A document with these choices.
    pub fn document(&self, object: &str, choices: Vec<Value>) -> Value {
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model,
            "choices": choices,
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
            chunk["usage"] = usage_document(usage);
            chunk
        })
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// An identifier that no other answer has.
pub fn identifier(prefix: &str) -> String {
    format!("{prefix}{:032x}", fastrand::u128(..))
}

/// What a request took.
pub fn usage_document(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.replies,
        "total_tokens": usage.prompt + usage.replies,
        "prompt_tokens_details": {"cached_tokens": usage.reused},
    })
}

/// The word for why a reply ended.
pub fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Calls => "tool_calls",
    }
}
