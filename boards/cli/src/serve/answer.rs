//! From the events of the engine to what a client gets: one document, or text as it comes.

use super::event::Event;
use super::failure::{Failure, Outcome};
use super::framing::Framing;
use super::job::Wish;
use serde_json::Value;

/// A request that was understood.
pub struct Prepared {
    /// What the engine must make; their events carry the place in this list.
    pub tasks: Vec<Task>,
    /// What becomes of the events.
    pub answer: Box<dyn Answer>,
    /// How the client gets it.
    pub delivery: Delivery,
}

impl Prepared {
    /// An answer that needs nothing of the engine.
    pub fn ready(document: Value, delivery: Delivery) -> Self {
        Self { tasks: Vec::new(), answer: Box::new(Ready { document, delivery }), delivery }
    }
}

/// A document that was there from the beginning.
struct Ready {
    document: Value,
    delivery: Delivery,
}

impl Answer for Ready {
    fn take(&mut self, _task: usize, _event: Event) -> Outcome<String> {
        unreachable!("no task was given")
    }

    fn end(&mut self) -> String {
        match self.delivery {
            Delivery::Stream(framing) => {
                framing.text(std::slice::from_ref(&self.document)) + framing.end()
            }
            Delivery::Whole | Delivery::Parts => String::new(),
        }
    }

    fn failure(&mut self, _failure: &Failure) -> Option<String> {
        None
    }

    fn text(&self) -> String {
        self.document.to_string()
    }
}

/// A prompt and what is wanted of it.
pub struct Task {
    /// The prompt.
    pub prompt: Vec<u32>,
    /// So many of the most probable tokens are wanted at each token of the prompt.
    pub prompt_candidates: Option<usize>,
    /// The rest.
    pub wish: Wish,
}

/// How a client gets an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// One document, once all is made.
    Whole,
    /// Documents while it is made.
    Stream(Framing),
    /// One document, sent part by part, so that it never lies in memory: one task is made after
    /// the other, as the client takes them.
    Parts,
}

impl Delivery {
    /// A stream with this framing if one is wanted, else one document.
    pub fn of(streams: bool, framing: Framing) -> Self {
        if streams { Self::Stream(framing) } else { Self::Whole }
    }
}

/// Collects the events of a request in the form that its protocol has.
pub trait Answer: Send {
    /// Takes the next event of a task; the text that goes to the client now, if it gets any before
    /// the end.
    fn take(&mut self, task: usize, event: Event) -> Outcome<String>;

    /// The text behind the last reply.
    fn end(&mut self) -> String;

    /// The text that tells of a failure after the answer has begun; none where no text can, and the
    /// connection is cut.
    fn failure(&mut self, failure: &Failure) -> Option<String>;

    /// The document as text, once all replies have ended.
    fn text(&self) -> String;
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
