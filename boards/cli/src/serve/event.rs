//! What the server hears of the engine.

use kinglet::{Candidate, Error, StopReason};
use std::time::Duration;

/// What an event takes beside its content.
const EVENT_BYTES: usize = 128;
/// What a token with its probability takes as a part of a document.
const CANDIDATE_BYTES: usize = 96;
/// What a number of an embedding takes, binary and as text.
const NUMBER_BYTES: usize = 20;

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
