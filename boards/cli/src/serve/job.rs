//! What the server asks of the engine, and what it hears of it.

use kinglet::guide::Guide;
use kinglet::{Candidate, Error, Pooling, Sampling, StopReason};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// One prompt and what to make of it.
pub struct Job {
    /// The prompt, at least one token.
    pub prompt: Vec<u32>,
    /// So many of the most probable tokens are wanted at each token of the prompt.
    pub prompt_candidates: Option<usize>,
    /// What is wanted.
    pub wish: Wish,
    /// Which reply of its request it is.
    pub number: usize,
    /// Where its events go, with its number. The context bounds how many there are.
    pub events: UnboundedSender<(usize, Event)>,
    /// Set once nobody waits for the reply.
    pub abandoned: Abandoned,
    /// When it was asked for.
    pub asked: Instant,
}

impl Job {
    /// Tells what becomes of it, if somebody still listens.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send((self.number, event));
    }
}

/// What is wanted of a prompt.
pub enum Wish {
    /// A reply, made so.
    Reply(Box<Manner>),
    /// Its embedding.
    Embedding(Pooling),
}

/// How a reply is made.
#[derive(Clone)]
pub struct Manner {
    /// Tokens at most.
    pub max_tokens: usize,
    /// How tokens are chosen, but for the bias.
    pub sampling: Sampling<'static>,
    /// Added to the logits of tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Goes on behind tokens that end the model's text.
    pub ignore_eos: bool,
    /// Texts that end the reply.
    pub stop: Vec<String>,
    /// What the reply may be.
    pub guide: Option<Guide>,
    /// So many of the most probable tokens are wanted with each token.
    pub candidates: Option<usize>,
}

/// What becomes of a job, in this order.
pub enum Event {
    /// The prompt was read, and a reply begins.
    Read(Read),
    /// The reply goes on.
    Piece(Piece),
    /// The prompt's embedding.
    Embedding(Vec<f32>),
    /// All was made, or it has failed.
    End(Result<StopReason, Box<Error>>),
}

/// What reading a prompt took.
pub struct Read {
    /// Tokens that were known from earlier texts.
    pub reused: usize,
    /// How long it took, without the time in the queue.
    pub time: Duration,
    /// For each token of the prompt but the first: itself, then the most probable ones.
    pub candidates: Vec<Vec<Candidate>>,
}

/// A part of a reply.
pub struct Piece {
    /// Text that became certain.
    pub text: String,
    /// Whether it comes with a token.
    pub has_token: bool,
    /// The token, then the most probable ones, if they are wanted.
    pub candidates: Vec<Candidate>,
}

/// Whether nobody waits for a reply any more.
#[derive(Clone, Debug, Default)]
pub struct Abandoned(Arc<AtomicBool>);

impl Abandoned {
    /// Says that nobody waits.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether nobody waits.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// For options of the library.
    pub fn flag(&self) -> &AtomicBool {
        &self.0
    }
}
