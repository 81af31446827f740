//! Probabilities of tokens, in both of the OpenAI protocol's forms.

use kinglet::{Candidate, Model};
use serde_json::{Map, Value, json};

/// The bytes of a token as text. What is no text alone is spelled out, so that different tokens
/// stay different.
pub fn text(model: &Model, token: u32) -> String {
    let bytes = model.tokenizer().decode(token);
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let spelled: Vec<String> = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("bytes:{}", spelled.concat())
        }
    }
}

/// An entry of a chat's `logprobs`; nothing without candidates.
pub fn entry(model: &Model, candidates: &[Candidate]) -> Option<Value> {
    let (chosen, best) = candidates.split_first()?;
    let tell = |candidate: &Candidate| {
        json!({
            "token": text(model, candidate.token),
            "logprob": candidate.log_probability,
            "bytes": model.tokenizer().decode(candidate.token),
        })
    };
    let mut entry = tell(chosen);
    entry["top_logprobs"] = best.iter().map(tell).collect();
    Some(entry)
}

/// The `logprobs` of a completion: a list of each kind.
#[derive(Default)]
pub struct Lists {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Vec<Option<Map<String, Value>>>,
    text_offset: Vec<usize>,
    /// Characters until now.
    end: usize,
}

impl Lists {
    /// Adds a token with what is known of it: nothing for the first one of a text.
    pub fn push(&mut self, model: &Model, token: u32, candidates: &[Candidate]) {
        let text_of = text(model, token);
        self.text_offset.push(self.end);
        self.end += text_of.chars().count();
        self.tokens.push(text_of);
        self.token_logprobs.push(candidates.first().map(|chosen| chosen.log_probability));
        let top = candidates.split_first().map(|(_, best)| {
            // Of tokens with one text, the most probable one counts.
            let best = best.iter().rev();
            best.map(|c| (text(model, c.token), c.log_probability.into())).collect()
        });
        self.top_logprobs.push(top);
    }

    /// How many tokens there are.
    pub fn length(&self) -> usize {
        self.tokens.len()
    }

    /// All from the token of this number on.
    pub fn document(&self, from: usize) -> Value {
        json!({
            "tokens": self.tokens[from..],
            "token_logprobs": self.token_logprobs[from..],
            "top_logprobs": self.top_logprobs[from..],
            "text_offset": self.text_offset[from..],
        })
    }
}
