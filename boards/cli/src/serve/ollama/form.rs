//! Replies in Ollama's form: lines, the last of which tells times and counts.

use crate::serve::failure::{Failure, Protocol};
use crate::serve::talk::{Called, Finish, Form, News, Talk};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// Where a reply's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a message, as chats have it.
    Message,
    /// In the field `response`.
    Response,
}

/// The form of one reply.
pub struct Line {
    model: String,
    place: Place,
}

impl Line {
    /// The form for the model of this name.
    pub fn new(model: &str, place: Place) -> Self {
        Self { model: model.to_owned(), place }
    }

    /// A line with this text and these calls.
    fn line(&self, text: &str, calls: &[Called]) -> Value {
        let mut line = json!({"model": self.model, "created_at": time(SystemTime::now())});
        match self.place {
            Place::Response => line["response"] = text.into(),
            Place::Message => {
                line["message"] = json!({"role": "assistant", "content": text});
                if !calls.is_empty() {
                    line["message"]["tool_calls"] = calls.iter().map(call).collect();
                }
            }
        }
        line["done"] = false.into();
        line
    }

    /// The line for a request without a prompt, which asks that the model be there.
    pub fn loaded(&self) -> Value {
        let mut line = self.line("", &[]);
        line["done"] = true.into();
        line["done_reason"] = "load".into();
        line
    }

    fn last(&self, talk: &Talk, text: &str, calls: &[Called]) -> Value {
        let mut line = self.line(text, calls);
        let reason = match talk.replies[0].finish {
            Some(Finish::Length) => "length",
            _ => "stop",
        };
        let took = json!({
            "done": true,
            "done_reason": reason,
            "total_duration": nanoseconds(talk.times.total()),
            // The model is always loaded.
            "load_duration": 0,
            "prompt_eval_count": talk.usage.prompt,
            "prompt_eval_duration": nanoseconds(talk.times.prompt),
            "eval_count": talk.usage.replies,
            "eval_duration": nanoseconds(talk.times.replies()),
        });
        for (name, value) in took.as_object().into_iter().flatten() {
            line[name] = value.clone();
        }
        line
    }
}

/// A moment as RFC 3339 has it.
pub fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_nanos(time).to_string()
}

/// A duration in nanoseconds.
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn call(Called { id, call }: &Called) -> Value {
    json!({"id": id, "function": {"name": call.name, "arguments": call.arguments}})
}

impl Form for Line {
    fn tell(&mut self, talk: &Talk, _reply: usize, news: &News) -> Vec<Value> {
        match news {
            News::Goes(text, _) => vec![self.line(text, &[])],
            News::Calls(number) => {
                vec![self.line("", &talk.replies[0].calls[*number..=*number])]
            }
            News::Begins | News::Ends => Vec::new(),
        }
    }

    fn end(&mut self, talk: &Talk) -> Vec<Value> {
        vec![self.last(talk, "", &[])]
    }

    fn failure(&mut self, failure: &Failure) -> Value {
        failure.document(Protocol::Ollama)
    }

    fn document(&self, talk: &Talk) -> Value {
        let reply = &talk.replies[0];
        self.last(talk, &reply.text, &reply.calls)
    }
}
