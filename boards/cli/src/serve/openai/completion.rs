//! `POST /v1/completions`.

use super::head::{Head, finish_reason, usage_document};
use super::likely::Lists;
use crate::serve::answer::{Answer, Delivery, Prepared, Task, Usage, check_length};
use crate::serve::app::App;
use crate::serve::event::{Event, Piece, Read};
use crate::serve::failure::{Failure, Outcome, Protocol};
use crate::serve::fields::{self, Fields};
use crate::serve::framing::Framing;
use crate::serve::job::Wish;
use crate::serve::sampling;
use crate::serve::talk::Finish;
use crate::serve::tokens;
use kinglet::{Model, Sampling};
use serde_json::{Value, json};

/// Tokens of a reply that asks for no number, as the OpenAI protocol has it.
const TOKENS: usize = 16;
/// Prompts of a request.
const MAX_PROMPTS: usize = 32;
/// The most probable tokens that can be asked for.
const MAX_TOP: u64 = 20;
const FRAMING: Framing = Framing::Events;
const OBJECT: &str = "text_completion";

/// Understands a request.
pub fn prepare(app: &App, body: &[u8]) -> Outcome<Prepared> {
    let body = fields::parse(body)?;
    let fields = Fields::of(&body, "the body")?;
    for name in ["suffix", "best_of"] {
        if fields.get(name).is_some_and(|value| *value != json!("") && *value != json!(1)) {
            return Err(Failure::request(format!("{name} is not supported: leave it out")));
        }
    }
    let prompt = fields.get("prompt").ok_or_else(|| Failure::request("prompt is missing"))?;
    let prompts = prompts(prompt, &app.model)?;
    prompts.iter().try_for_each(|(_, tokens)| check_length(tokens, app.context))?;
    let max_tokens = sampling::max_tokens(&fields, &["max_completion_tokens", "max_tokens"])?;
    let max_tokens = max_tokens.unwrap_or(TOKENS);
    let mut manner = sampling::manner(&fields, app.model.config().vocab_size, max_tokens)?;
    let echo = fields.flag("echo")?.unwrap_or(false);
    manner.candidates = fields.whole("logprobs", 0..=MAX_TOP)?.map(|count| count as usize);
    // Who asks for the probabilities of a prompt takes the last of the list for the reply's token,
    // also where that ends the text.
    manner.ignore_eos = echo && manner.candidates.is_some() && manner.max_tokens == 1;
    let count = sampling::replies(&fields)?;
    let mut answer = Completion {
        head: Head::new("cmpl-", &app.name, &fields)?,
        usage: Usage::default(),
        replies: Vec::new(),
        echo,
        model: app.model.clone(),
    };
    let mut tasks = Vec::new();
    for (text, tokens) in prompts {
        answer.usage.prompt += tokens.len();
        for number in 0..count {
            let seed = manner.sampling.seed.wrapping_add(number as u64);
            let mut manner = manner.clone();
            manner.sampling = Sampling { seed, ..manner.sampling };
            answer.replies.push(Reply {
                prompt: text.clone(),
                prompt_tokens: tokens.clone(),
                counts_reused: number == 0,
                logprobs: manner.candidates.map(|_| Lists::default()),
                ..Reply::default()
            });
            let prompt_candidates = manner.candidates.filter(|_| echo);
            let wish = Wish::Reply(Box::new(manner));
            tasks.push(Task { prompt: tokens.clone(), prompt_candidates, wish });
        }
    }
    let streams = fields.flag("stream")?.unwrap_or(false);
    Ok(Prepared { tasks, answer: Box::new(answer), delivery: Delivery::of(streams, FRAMING) })
}

/// The prompts of a request, each as text and as tokens: a text, texts, tokens, or lists of tokens.
fn prompts(prompt: &Value, model: &Model) -> Outcome<Vec<(String, Vec<u32>)>> {
    let one = |prompt: &Value| match prompt {
        Value::String(text) => Ok((text.clone(), model.tokenize(text)?)),
        Value::Array(_) => {
            let tokens = tokens::read(prompt, model)?.ok_or_else(wrong_prompt)?;
            Ok((tokens::text(model, &tokens), tokens))
        }
        _ => Err(wrong_prompt()),
    };
    let is_list = |value: &Value| value.is_string() || value.is_array();
    match prompt {
        Value::Array(prompts) if prompts.len() <= MAX_PROMPTS && prompts.iter().all(is_list) => {
            match prompts.is_empty() {
                true => Err(wrong_prompt()),
                false => prompts.iter().map(one).collect(),
            }
        }
        Value::Array(prompts) if prompts.iter().any(is_list) => {
            Err(Failure::request(format!("prompt has more than {MAX_PROMPTS} entries")))
        }
        prompt => Ok(vec![one(prompt)?]),
    }
}

fn wrong_prompt() -> Failure {
    Failure::request("prompt must be a text, a list of texts, tokens, or a list of lists of tokens")
}

/// An answer in the making.
struct Completion {
    head: Head,
    usage: Usage,
    replies: Vec<Reply>,
    echo: bool,
    model: Model,
}

/// One of its replies.
#[derive(Default)]
struct Reply {
    prompt: String,
    prompt_tokens: Vec<u32>,
    /// Whether it is the first one to its prompt.
    counts_reused: bool,
    text: String,
    logprobs: Option<Lists>,
    finish: Option<Finish>,
}

impl Completion {
    fn read(&mut self, index: usize, read: &Read) -> Vec<Value> {
        let reply = &mut self.replies[index];
        if reply.counts_reused {
            self.usage.reused += read.reused;
        }
        if !self.echo {
            return Vec::new();
        }
        let before = reply.logprobs.as_ref().map(Lists::length);
        if let Some(lists) = &mut reply.logprobs {
            let known = std::iter::once(&[][..]).chain(read.candidates.iter().map(Vec::as_slice));
            for (&token, candidates) in reply.prompt_tokens.iter().zip(known) {
                lists.push(&self.model, token, candidates);
            }
        }
        reply.text.push_str(&reply.prompt);
        let text = reply.prompt.clone();
        vec![self.chunk(index, &text, before)]
    }

    fn piece(&mut self, index: usize, piece: &Piece) -> Vec<Value> {
        self.usage.replies += usize::from(piece.has_token);
        let reply = &mut self.replies[index];
        reply.text.push_str(&piece.text);
        let before = reply.logprobs.as_ref().map(Lists::length);
        if let (Some(lists), Some(chosen)) = (&mut reply.logprobs, piece.candidates.first()) {
            lists.push(&self.model, chosen.token, &piece.candidates);
        } else if piece.text.is_empty() {
            return Vec::new();
        }
        vec![self.chunk(index, &piece.text, before)]
    }

    /// A chunk with a text and the probabilities from `before` on.
    fn chunk(&self, index: usize, text: &str, before: Option<usize>) -> Value {
        let reply = &self.replies[index];
        let logprobs = reply.logprobs.as_ref().zip(before).map(|(lists, n)| lists.document(n));
        let choice = json!({
            "index": index, "text": text, "logprobs": logprobs,
            "finish_reason": reply.finish.map(finish_reason),
        });
        self.head.chunk(OBJECT, vec![choice])
    }
}

impl Answer for Completion {
    fn take(&mut self, task: usize, event: Event) -> Outcome<String> {
        let chunks = match event {
            Event::Read(read) => self.read(task, &read),
            Event::Piece(piece) => self.piece(task, &piece),
            Event::End(outcome) => {
                self.replies[task].finish = Some(Finish::of(outcome.map_err(|error| *error)?));
                vec![self.chunk(task, "", None)]
            }
            Event::Embedding(_) => unreachable!("a reply was asked for"),
        };
        Ok(FRAMING.text(&chunks))
    }

    fn end(&mut self) -> String {
        let usage = self.head.usage_chunk(OBJECT, &self.usage);
        FRAMING.text(usage.as_slice()) + FRAMING.end()
    }

    fn failure(&mut self, failure: &Failure) -> Option<String> {
        Some(FRAMING.text(&[failure.document(Protocol::OpenAi)]))
    }

    fn text(&self) -> String {
        let choice = |(index, reply): (usize, &Reply)| {
            let logprobs = reply.logprobs.as_ref().map(|lists| lists.document(0));
            json!({
                "index": index, "text": reply.text, "logprobs": logprobs,
                "finish_reason": reply.finish.map(finish_reason),
            })
        };
        let choices = self.replies.iter().enumerate().map(choice).collect();
        let mut document = self.head.document(OBJECT, choices);
        document["usage"] = usage_document(&self.usage);
        document.to_string()
    }
}
