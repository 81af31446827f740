//! What the server asks of the engine.

use super::recipient::Recipient;
use kinglet::guide::Guide;
use kinglet::{Pooling, Sampling};
use std::time::Instant;

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
