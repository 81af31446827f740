//! Generation: from a prompt to streamed text and the reason why it ended.

use crate::Session;
use kinglet_core::piece::{Cut, OnPiece, PieceStream};
use kinglet_core::sample::{Sampler, Sampling};
use kinglet_quant::Result;
use std::time::{Duration, Instant};

pub use kinglet_core::piece::Piece;
pub use kinglet_core::stop::MAX_STOPS as MAX_STOP_STRINGS;

/// How to generate.
#[derive(Clone, Copy, Debug)]
pub struct GenerateOptions<'a> {
    /// Tokens to generate at most.
    pub max_tokens: usize,
    /// How to choose each token.
    pub sampling: Sampling<'a>,
    /// Texts that end the reply, at most [`MAX_STOP_STRINGS`]; they are not part of it.
    pub stop: &'a [&'a str],
    /// Goes on behind end-of-text tokens.
    pub ignore_eos: bool,
    /// Guesses tokens from the text so far and checks several in one step: faster where the reply
    /// copies, and the same text. Needs more than one of [`crate::SessionOptions::logit_rows`] and
    /// quantized weights; without them, nothing is guessed.
    pub speculation: bool,
    /// Computes every logit of every token, instead of those alone that can be chosen. The text is
    /// the same; see `kinglet_core::screen` for why that is not a theorem.
    pub exact_head: bool,
}

impl Default for GenerateOptions<'_> {
    fn default() -> Self {
        Self {
            max_tokens: 256,
            sampling: Sampling::default(),
            stop: &[],
            ignore_eos: false,
            speculation: true,
            exact_head: false,
        }
    }
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// As many tokens as asked for.
    MaxTokens,
    /// The model ended its text.
    EndOfText,
    /// A stop string appeared.
    StopString,
    /// The context is full; [`Session::rewind`] or [`Session::reset`] makes room.
    ContextFull,
    /// The callback said so.
    Cancelled,
}

impl StopReason {
    /// The name in machine-readable output.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::EndOfText => "end_of_text",
            Self::StopString => "stop_string",
            Self::ContextFull => "context_full",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a generation did.
#[derive(Clone, Copy, Debug)]
pub struct Generation {
    /// Why it ended.
    pub stop_reason: StopReason,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens chosen, without the end-of-text token.
    pub tokens: usize,
    /// Steps through the model that decoding took; each reads the weights once.
    pub decode_steps: usize,
    /// Tokens that were guessed and checked.
    pub drafted: usize,
    /// Guesses that came true; each saved a step.
    pub accepted: usize,
    /// Time for the prompt.
    pub prefill: Duration,
    /// Time from the start until the first token was chosen.
    pub first_token: Duration,
    /// Time for everything after the first token.
    pub decode: Duration,
}

impl Generation {
    /// Prompt tokens per second.
    pub fn prefill_tps(&self) -> f64 {
        rate(self.prompt_tokens, self.prefill)
    }

    /// Generated tokens per second: those that the model took in to go on.
    pub fn decode_tps(&self) -> f64 {
        rate(self.decode_steps + self.accepted, self.decode)
    }

    /// Steps of decoding per second.
    pub fn decode_steps_ps(&self) -> f64 {
        rate(self.decode_steps, self.decode)
    }
}

fn rate(count: usize, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

pub(crate) fn generate(
    session: &mut Session,
    prompt: &[u32],
    options: &GenerateOptions<'_>,
    on_piece: OnPiece<'_>,
) -> Result<Generation> {
    let mut pieces = PieceStream::new(session.core().model(), options.stop)?;
    let mut sampler = Sampler::new(options.sampling);
    let screen = sampler.screen().filter(|_| !options.exact_head);
    let start = Instant::now();
    if !prompt.is_empty() || session.tokens().is_empty() {
        session.prefill(prompt)?;
    } else {
        // They may have been computed for another way of sampling.
        session.complete_logits();
    }
    let prefill = start.elapsed();
    let mut ahead = session.lookahead(options.speculation, screen);
    let (mut tokens, mut first_token) = (0, prefill);
    let stop_reason = loop {
        if tokens == options.max_tokens {
            break StopReason::MaxTokens;
        }
        let token = ahead.sample(&mut sampler);
        if tokens == 0 {
            first_token = start.elapsed();
        }
        if !options.ignore_eos && pieces.is_end(token) {
            break StopReason::EndOfText;
        }
        tokens += 1;
        match pieces.push(token, on_piece) {
            Some(Cut::StopString) => break StopReason::StopString,
            Some(Cut::Callback) => break StopReason::Cancelled,
            None => {}
        }
        if tokens == options.max_tokens {
            break StopReason::MaxTokens;
        }
        if ahead.room() == 0 {
            break StopReason::ContextFull;
        }
        ahead.push(token, options.max_tokens - tokens - 1)?;
    };
    if !matches!(stop_reason, StopReason::StopString | StopReason::Cancelled) {
        pieces.finish(on_piece);
    }
    let decode = start.elapsed().saturating_sub(first_token);
    let counts = ahead.counts();
    drop(ahead);
    // Whoever reads them next finds all of them.
    session.complete_logits();
    Ok(Generation {
        stop_reason,
        prompt_tokens: prompt.len(),
        tokens,
        decode_steps: counts.steps,
        drafted: counts.drafted,
        accepted: counts.accepted,
        prefill,
        first_token,
        decode,
    })
}
