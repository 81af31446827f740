//! Embeddings, whatever protocol they are asked by. A client gets one after the other, as it takes
//! them, so that any number of them takes the memory of one.

use super::answer::{Answer, Delivery, Prepared, Task};
use super::app::App;
use super::event::Event;
use super::failure::{Failure, Outcome};
use super::fields::Fields;
use super::job::Wish;
use super::tokens;
use kinglet::{Model, Pooling, Specials};
use serde_json::Value;

/// Texts of a request, as the OpenAI protocol has it.
const MAX_INPUTS: usize = 2048;

/// The document that embeddings are part of.
pub trait Envelope: Send {
    /// What stands in front of them.
    fn begin(&self) -> String;

    /// One of them; commas come between.
    fn entry(&self, index: usize, embedding: &[f32]) -> String;

    /// What stands behind them. All texts have so many tokens.
    fn end(&self, tokens: usize) -> String;
}

/// The texts of a request as tokens: a text, texts, tokens, or lists of tokens.
pub fn inputs(input: &Value, model: &Model) -> Outcome<Vec<Vec<u32>>> {
    let wrong = || {
        Failure::request(format!(
            "input must be a text, tokens, or a list of 1 to {MAX_INPUTS} of these"
        ))
    };
    let one = |input: &Value| match input {
        Value::String(text) => Ok(model.tokenize_as(text.as_bytes(), Specials::AsText)?),
        input => tokens::read(input, model)?.ok_or_else(wrong),
    };
    match input {
        Value::Array(list) if list.iter().all(Value::is_number) => Ok(vec![one(input)?]),
        Value::Array(list) if list.len() <= MAX_INPUTS => list.iter().map(one).collect(),
        Value::Array(_) => Err(wrong()),
        input => Ok(vec![one(input)?]),
    }
}

/// How hidden states become one vector: our own field.
pub fn pooling(fields: &Fields<'_>) -> Outcome<Pooling> {
    match fields.text("pooling")? {
        None | Some("mean") => Ok(Pooling::Mean),
        Some("last") => Ok(Pooling::Last),
        Some(_) => Err(Failure::request("pooling must be mean or last")),
    }
}

/// A failure for another size than the model's: parts of its embeddings mean nothing.
pub fn check_dimensions(fields: &Fields<'_>, app: &App) -> Outcome<()> {
    let size = u64::from(app.model.config().hidden);
    match fields.whole("dimensions", 1..=u64::from(u32::MAX))? {
        Some(wanted) if wanted != size => Err(Failure::request(format!(
            "dimensions is {wanted}, but the model's embeddings have {size}: leave it out"
        ))),
        _ => Ok(()),
    }
}

/// What the engine must make.
pub fn prepare(
    app: &App,
    inputs: Vec<Vec<u32>>,
    pooling: Pooling,
    envelope: Box<dyn Envelope>,
) -> Outcome<Prepared> {
    inputs.iter().try_for_each(|tokens| check_length(tokens, app.context))?;
    let tokens = inputs.iter().map(Vec::len).sum();
    let task = |prompt| Task { prompt, prompt_candidates: None, wish: Wish::Embedding(pooling) };
    Ok(Prepared {
        tasks: inputs.into_iter().map(task).collect(),
        answer: Box::new(Embeddings { envelope, tokens }),
        delivery: Delivery::Parts,
    })
}

/// A failure for a text that has no embedding.
fn check_length(tokens: &[u32], context: usize) -> Outcome<()> {
    match tokens.len() {
        0 => Err(Failure::request("a text to embed is empty")),
        length if length <= context => Ok(()),
        length => Err(Failure::request(format!(
            "a text to embed has {length} tokens, the context {context}: shorten it, or start the \
             server with a larger --ctx"
        ))),
    }
}

/// An answer in the making.
struct Embeddings {
    envelope: Box<dyn Envelope>,
    tokens: usize,
}

impl Answer for Embeddings {
    fn take(&mut self, task: usize, event: Event) -> Outcome<String> {
        match event {
            Event::Embedding(embedding) => {
                let before = if task == 0 { self.envelope.begin() } else { ",".into() };
                Ok(before + &self.envelope.entry(task, &embedding))
            }
            Event::End(outcome) => {
                outcome.map_err(|error| *error)?;
                Ok(String::new())
            }
            Event::Read(_) | Event::Piece(_) => unreachable!("an embedding was asked for"),
        }
    }

    fn end(&mut self) -> String {
        self.envelope.end(self.tokens)
    }

    fn failure(&mut self, _failure: &Failure) -> Option<String> {
        None
    }

    fn text(&self) -> String {
        unreachable!("embeddings are sent part by part")
    }
}
