//! What the server asks of the engine, and what it hears of it.

use super::recipient::Recipient;
use kinglet::guide::Guide;
use kinglet::{Candidate, Error, Pooling, Sampling, StopReason};
use std::time::{Duration, Instant};

/// What an event takes beside its content.
const EVENT_BYTES: usize = 128;
/// What a token with its probability takes as a part of a document.
const CANDIDATE_BYTES: usize = 96;
/// What a number of an embedding takes, binary and as text.
const NUMBER_BYTES: usize = 20;

/// One prompt and what to make of it.
pub struct Job {
    /// The prompt, at least one token.
    pub prompt: Vec<u32>,
    /// So many of the most probable tokens are wanted at each token of the prompt.
    pub prompt_candidates: Option<usize>,
    /// What is wanted.
    pub wish: Wish,
    /// Who waits for it.
    pub recipient: Recipient,
    /// When it was asked for.
    pub asked: Instant,
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

impl Event {
    /// About what it takes until it has been sent as a part of a document.
    pub fn bytes(&self) -> usize {
        let content = match self {
            Self::Read(read) => {
                CANDIDATE_BYTES * read.candidates.iter().map(Vec::len).sum::<usize>()
            }
            Self::Piece(piece) => 6 * piece.text.len() + CANDIDATE_BYTES * piece.candidates.len(),
            Self::Embedding(numbers) => NUMBER_BYTES * numbers.len(),
            Self::End(_) => 0,
        };
        EVENT_BYTES + content
    }
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
