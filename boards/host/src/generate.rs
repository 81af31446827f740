//! Generation: from a prompt to streamed text and the reason why it ended.

use crate::Session;
use crate::grammar::Grammar;
use crate::runtime::Texts;
use kinglet_core::chances::Chances;
use kinglet_core::constraint::Constraint;
use kinglet_core::generate::{self as core, Counts, Reply, ReplyOptions};
use kinglet_core::sample::{Sampler, Sampling};
use kinglet_core::top::Candidate;
use kinglet_quant::{Code, Result, ensure};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use kinglet_core::generate::{Overflow, StopReason};
pub use kinglet_core::piece::Piece;
pub use kinglet_core::stop::{MAX_STOP_BYTES, MAX_STOPS as MAX_STOP_STRINGS};

/// How to generate.
#[derive(Clone, Copy, Debug)]
pub struct GenerateOptions<'a> {
    /// Tokens to generate at most.
    pub max_tokens: usize,
    /// How to choose each token.
    pub sampling: Sampling<'a>,
    /// Random numbers that an earlier part of the text has taken, see [`Generation::draws`].
    pub draws: u64,
    /// Texts that end the reply, at most [`MAX_STOP_STRINGS`]; they are not part of it.
    pub stop: &'a [&'a str],
    /// Goes on behind end-of-text tokens.
    pub ignore_eos: bool,
    /// Guesses tokens from the text so far and checks several in one pass: faster where the reply
    /// copies, and the same text. Needs more than one of [`crate::SessionOptions::logit_rows`] for
    /// each text, and quantized weights; without them, nothing is guessed.
    pub speculation: bool,
    /// Computes every logit of every token, instead of those alone that can be chosen. The text is
    /// the same; see `kinglet_core::screen` for why that is not a theorem.
    pub exact_head: bool,
    /// What happens when the context is full. A text that slides on keeps as many of its first
    /// tokens as it says, and its last ones, together half of the context; these are computed anew,
    /// which takes as long as a prompt of that length.
    pub overflow: Overflow,
    /// Tells with each token how probable it was, and so many of the most probable ones: see
    /// [`Piece::candidates`]. Every logit is computed then, and generating takes 8 bytes of the
    /// heap for each token of the vocabulary.
    pub candidates: Option<usize>,
    /// What the reply may be. It then ends with [`StopReason::Complete`] or
    /// [`StopReason::EndOfText`] where it is whole, and with another reason where it was cut.
    pub grammar: Option<&'a dyn Grammar>,
    /// Time for the prompt and the reply, looked at before each token and before each pass of a
    /// prompt: a reply ends with
    /// [`StopReason::Deadline`], a prompt with the error `DeadlinePassed`.
    pub deadline: Option<Duration>,
    /// Ends it once it is set, looked at as the deadline is: a reply with
    /// [`StopReason::Cancelled`], a prompt with the error `Interrupted`.
    pub cancel: Option<&'a AtomicBool>,
}

impl Default for GenerateOptions<'_> {
    fn default() -> Self {
        Self {
            max_tokens: 256,
            sampling: Sampling::default(),
            draws: 0,
            stop: &[],
            ignore_eos: false,
            speculation: true,
            exact_head: false,
            overflow: Overflow::Stop,
            candidates: None,
            grammar: None,
            deadline: None,
            cancel: None,
        }
    }
}

impl<'a> GenerateOptions<'a> {
    /// What a reply with these options works on.
    pub(crate) fn begin(&self, texts: &Texts) -> Result<Memory<'a>> {
        let vocabulary = texts.model().config().vocab_size as usize;
        Ok(Memory {
            candidates: self.candidates.map(|count| Candidates::new(vocabulary, count)),
            constraint: self.grammar.map(Grammar::begin).transpose()?,
        })
    }

    pub(crate) fn reply<'b>(
        &self,
        texts: &Texts,
        text: usize,
        stop: &[&str],
        memory: &'b mut Memory<'a>,
    ) -> Result<Reply<'b>>
    where
        'a: 'b,
    {
        let sampler = Sampler::resume(self.sampling, self.draws);
        let Self { max_tokens, ignore_eos, speculation, exact_head, overflow, .. } = *self;
        let options =
            ReplyOptions { max_tokens, stop, ignore_eos, speculation, exact_head, overflow };
        let mut reply = Reply::new(texts.model(), text, sampler, options)?;
        if let Some(candidates) = &mut memory.candidates {
            reply = reply.with_chances(candidates.chances());
        }
        if let Some(constraint) = &mut memory.constraint {
            reply = reply.with_constraint(&mut **constraint)?;
        }
        Ok(reply)
    }

    /// What ends a reply that began at `start`.
    pub(crate) fn reason_to_end(&self, start: Instant) -> Option<StopReason> {
        if self.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
            return Some(StopReason::Cancelled);
        }
        let is_late = self.deadline.is_some_and(|deadline| start.elapsed() >= deadline);
        is_late.then_some(StopReason::Deadline)
    }
}

/// What a reply works on, where it was asked for.
pub(crate) struct Memory<'a> {
    candidates: Option<Candidates>,
    constraint: Option<Box<dyn Constraint + 'a>>,
}

/// Memory in which the probabilities of a reply's tokens are computed.
struct Candidates {
    logits: Vec<f32>,
    scratch: Vec<u32>,
    out: Vec<Candidate>,
}

impl Candidates {
    fn new(vocabulary: usize, count: usize) -> Self {
        Self {
            logits: vec![0.0; vocabulary],
            scratch: vec![0; vocabulary],
            out: vec![Candidate::default(); 1 + count.min(vocabulary)],
        }
    }

    fn chances(&mut self) -> Chances<'_> {
        Chances::new(&mut self.logits, &mut self.scratch, &mut self.out)
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
    /// Tokens that the grammar forced; each saved a step.
    pub forced: usize,
    /// How often the context was full and the text slid on, see [`Overflow`].
    pub slides: usize,
    /// Random numbers taken, those before it included: with the same sampling, the next reply goes
    /// on behind them.
    pub draws: u64,
    /// Time for the prompt.
    pub prefill: Duration,
    /// Time from the start until the first token was chosen.
    pub first_token: Duration,
    /// Time for everything after the first token.
    pub decode: Duration,
    /// Steps until the first token was chosen: 0 where a prompt's logits were there.
    first_steps: usize,
}

impl Generation {
    /// Prompt tokens per second.
    pub fn prefill_tps(&self) -> f64 {
        rate(self.prompt_tokens, self.prefill)
    }

    /// Generated tokens per second: those that the model took in to go on.
    pub fn decode_tps(&self) -> f64 {
        rate(self.decode_steps + self.accepted + self.forced - self.first_steps, self.decode)
    }

    /// Steps of decoding per second.
    pub fn decode_steps_ps(&self) -> f64 {
        rate(self.decode_steps - self.first_steps, self.decode)
    }
}

fn rate(count: usize, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

/// When the first token was there, and the rest.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub prefill: Duration,
    /// Since the start.
    pub first_token: Option<Duration>,
    pub end: Duration,
    /// Steps that the first token needs.
    pub first_steps: usize,
}

impl Generation {
    pub(crate) fn new(reply: &Reply<'_>, prompt_tokens: usize, times: Times) -> Self {
        let Counts { tokens, steps, drafted, accepted, forced, slides } = reply.counts();
        let first_token = times.first_token.unwrap_or(times.end);
        Self {
            stop_reason: reply.stop_reason().expect("a reply that did not fail has ended"),
            prompt_tokens,
            tokens,
            decode_steps: steps,
            drafted,
            accepted,
            forced,
            slides,
            draws: reply.draws(),
            prefill: times.prefill,
            first_token,
            decode: times.end - first_token,
            first_steps: times.first_steps.min(steps),
        }
    }
}

pub(crate) fn generate(
    session: &mut Session,
    prompt: &[u32],
    options: &GenerateOptions<'_>,
    on_piece: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>,
) -> Result<Generation> {
    let start = Instant::now();
    let texts = &mut session.runtime().texts;
    let mut memory = options.begin(texts)?;
    let mut reply = options.reply(texts, 0, options.stop, &mut memory)?;
    if !prompt.is_empty() || texts.tokens(0).is_empty() {
        texts.text(0).prefill(prompt, &mut |_| {
            let reason = options.reason_to_end(start);
            ensure!(
                reason != Some(StopReason::Deadline),
                Code::DeadlinePassed,
                "the deadline passed while reading the prompt; the tokens until then stay"
            );
            ensure!(reason.is_none(), Code::Interrupted, "interrupted while reading the prompt");
            Ok(())
        })?;
    }
    let prefill = start.elapsed();
    let mut first_token = None;
    let first_steps = usize::from(!texts.has_logits(0));
    core::generate(
        texts,
        std::slice::from_mut(&mut reply),
        &mut |_| Ok(options.reason_to_end(start)),
        &mut |_, piece| {
            first_token.get_or_insert_with(|| start.elapsed());
            on_piece(piece)
        },
    )?;
    let times = Times { prefill, first_token, end: start.elapsed(), first_steps };
    Ok(Generation::new(&reply, prompt.len(), times))
}

pub(crate) fn generate_all(
    texts: &mut Texts,
    requests: &[(usize, GenerateOptions<'_>)],
    on_piece: &mut dyn FnMut(usize, Piece<'_>) -> ControlFlow<()>,
) -> Result<Vec<Generation>> {
    let start = Instant::now();
    let memories = requests.iter().map(|(_, options)| options.begin(texts));
    let mut memories: Vec<Memory<'_>> = memories.collect::<Result<_>>()?;
    let replies = requests.iter().zip(&mut memories);
    let replies =
        replies.map(|((text, options), memory)| options.reply(texts, *text, options.stop, memory));
    let mut replies: Vec<Reply<'_>> = replies.collect::<Result<_>>()?;
    let mut first_tokens = vec![None; requests.len()];
    // Texts that are not there are refused below.
    let first_steps: Vec<usize> = requests
        .iter()
        .map(|&(text, _)| {
            usize::from(text >= texts.plan().limits().texts || !texts.has_logits(text))
        })
        .collect();
    core::generate(
        texts,
        &mut replies,
        &mut |number| Ok(requests[number].1.reason_to_end(start)),
        &mut |number, piece| {
            first_tokens[number].get_or_insert_with(|| start.elapsed());
            on_piece(number, piece)
        },
    )?;
    let end = start.elapsed();
    let tell = |(number, reply): (usize, &Reply<'_>)| {
        let (first_token, first_steps) = (first_tokens[number], first_steps[number]);
        let times = Times { prefill: Duration::ZERO, first_token, end, first_steps };
        Generation::new(reply, 0, times)
    };
    Ok(replies.iter().enumerate().map(tell).collect())
}
