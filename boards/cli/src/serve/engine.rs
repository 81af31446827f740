//! The thread that computes: texts of a batch, each with the reply of one job, in one pass.
//!
//! Between two passes one job at most reads its prompt, a chunk at a time, so that replies which
//! are being made go on. A text stays when its reply has ended, and a job whose prompt begins like
//! a text takes over what was computed of that.

use super::job::{Abandoned, Event, Job, Manner, Piece, Read, Wish};
use super::metrics::Metrics;
use super::queue::{Next, Queue};
use crate::chat::shared_prefix;
use kinglet::score::{log_likelihood, top};
use kinglet::{
    Batch, Candidate, Code, Error, GenerateOptions, Generation, Pooling, Replies, Result, Sampling,
    StopReason,
};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// The longest that one reply may take, its prompt not counted.
const REPLY_TIME: Duration = Duration::from_secs(3600);

/// A batch and the jobs that it works on.
pub struct Engine {
    batch: Batch,
    replies: Replies,
    slots: Vec<Slot>,
    reading: Option<Reading>,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    /// Whether what computes can do so no more.
    is_lost: bool,
}

/// One text of the batch.
struct Slot {
    /// Who gets its reply; `None` while it has none.
    client: Option<Client>,
    /// When its last reply ended.
    used: Instant,
}

/// Who waits for a reply.
struct Client {
    number: usize,
    events: UnboundedSender<(usize, Event)>,
    abandoned: Abandoned,
    asked: Instant,
    has_begun: bool,
}

/// A job whose prompt is being read into a text.
struct Reading {
    slot: usize,
    job: Box<Job>,
    reused: usize,
    began: Instant,
    candidates: Vec<Vec<Candidate>>,
    /// What is to become the prompt's embedding.
    embedding: Vec<f32>,
}

impl Engine {
    /// An engine whose texts are empty.
    pub fn new(batch: Batch, queue: Arc<Queue>, metrics: Arc<Metrics>) -> Self {
        let slot = |_| Slot { client: None, used: Instant::now() };
        let slots = (0..batch.texts()).map(slot).collect();
        let replies = Replies::new();
        Self { batch, replies, slots, reading: None, queue, metrics, is_lost: false }
    }

    /// Works until the queue is closed and what was begun is done, or until nothing can be computed
    /// any more.
    pub fn run(mut self) {
        while !self.is_lost {
            let is_idle = self.reading.is_none() && self.replies.is_empty();
            if self.reading.is_none() && self.slots.iter().any(|slot| slot.client.is_none()) {
                match self.queue.take(is_idle) {
                    Next::Job(job) => self.admit(job),
                    Next::Closed if is_idle => return,
                    Next::Closed | Next::Empty => {}
                }
            }
            self.read();
            self.step();
            let running = self.slots.iter().filter(|slot| slot.client.is_some()).count();
            self.metrics.running.set(running as u64 + u64::from(self.reading.is_some()));
        }
    }

    /// Gives a job a text and what another one has computed of its prompt. That is the text which
    /// goes on there, if it is free and loses less than half of its tokens; else the one that has
    /// been free for longest.
    fn admit(&mut self, job: Box<Job>) {
        let shared = |text: usize| match (job.prompt_candidates, &job.wish) {
            // The last token is computed again: its logits begin the reply.
            (None, Wish::Reply(_)) => {
                shared_prefix(self.batch.tokens(text), &job.prompt[..job.prompt.len() - 1])
            }
            // Every token of the prompt needs its logits, or its hidden state.
            _ => 0,
        };
        let is_free = |slot: &usize| self.slots[*slot].client.is_none();
        let source = (0..self.slots.len()).max_by_key(|slot| (shared(*slot), is_free(slot)));
        let source = source.expect("a batch has a text");
        let reused = shared(source);
        let goes_on = is_free(&source) && 2 * reused > self.batch.tokens(source).len();
        let free = (0..self.slots.len()).filter(is_free);
        let oldest = free.max_by_key(|&slot| self.slots[slot].used.elapsed());
        let slot = if goes_on { source } else { oldest.expect("there is a free text") };
        let outcome = match source == slot {
            true => self.batch.text(slot).rewind(reused),
            false => self.batch.copy(source, slot, reused),
        };
        if let Err(error) = outcome {
            self.fail(&job, error);
            return;
        }
        let embedding = match job.wish {
            Wish::Embedding(_) => vec![0.0; self.batch.model().config().hidden as usize],
            Wish::Reply(_) => Vec::new(),
        };
        let (began, candidates) = (Instant::now(), Vec::new());
        self.reading = Some(Reading { slot, job, reused, began, candidates, embedding });
    }

    /// Reads the next chunk of a prompt, and begins the reply behind the last one.
    fn read(&mut self) {
        let Some(mut reading) = self.reading.take() else { return };
        if reading.job.abandoned.is_set() {
            return;
        }
        let outcome = match self.read_chunk(&mut reading) {
            Ok(false) => {
                self.reading = Some(reading);
                return;
            }
            Ok(true) => self.finish(&mut reading),
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            self.fail(&reading.job, error);
        }
    }

    /// Tells that there will be no reply.
    fn fail(&mut self, job: &Job, error: Error) {
        self.note(&error);
        job.tell(Event::End(Err(Box::new(error))));
    }

    /// Notes whether an error is one after which nothing works.
    fn note(&mut self, error: &Error) {
        self.is_lost |= matches!(error.code(), Code::DeviceLost | Code::Internal);
    }

    /// Whether the whole prompt has been read.
    fn read_chunk(&mut self, reading: &mut Reading) -> Result<bool> {
        let prompt = &reading.job.prompt;
        let done = self.batch.tokens(reading.slot).len();
        let most = self.batch.plan().limits().batch;
        let end = prompt.len().min(done + most);
        let chunk = &prompt[done..end];
        if let Wish::Embedding(pooling) = reading.job.wish {
            let embedding = &mut reading.embedding;
            let mut text = self.batch.text(reading.slot);
            text.hidden_states(chunk, &mut |states| pooling.add(embedding, states))?;
            return Ok(end == prompt.len());
        }
        let Some(count) = reading.job.prompt_candidates else {
            self.batch.text(reading.slot).prefill(chunk, &mut |_| Ok(()))?;
            return Ok(end == prompt.len());
        };
        let mut scratch = vec![0; self.batch.model().config().vocab_size as usize];
        let candidates = &mut reading.candidates;
        self.batch.text(reading.slot).score(chunk, &mut |index, logits| {
            if let Some(&token) = prompt.get(done + index + 1) {
                let mut told = vec![Candidate::default(); 1 + count];
                let found = top(logits, &mut scratch, &mut told[1..]);
                told.truncate(1 + found);
                // Among the most probable ones it has the same number, to the bit: clients compare.
                let known = told[1..].iter().find(|candidate| candidate.token == token);
                told[0] = known.copied().unwrap_or_else(|| {
                    let log_probability = log_likelihood(logits, token) as f32;
                    Candidate { token, log_probability }
                });
                candidates.push(told);
            }
        })?;
        Ok(end == prompt.len())
    }

    /// Begins the reply of a job whose prompt has been read, or tells the embedding.
    fn finish(&mut self, reading: &mut Reading) -> Result<()> {
        self.metrics.prompt_tokens.add(reading.job.prompt.len() as u64);
        self.metrics.reused_tokens.add(reading.reused as u64);
        let Reading { slot, job, reused, began, candidates, embedding } = reading;
        let manner = match &job.wish {
            Wish::Reply(manner) => manner,
            Wish::Embedding(_) => {
                // No text goes on from what was read for an embedding alone.
                self.batch.text(*slot).rewind(0)?;
                Pooling::finish(embedding);
                job.tell(Event::Embedding(std::mem::take(embedding)));
                job.tell(Event::End(Ok(StopReason::Complete)));
                return Ok(());
            }
        };
        let stop: Vec<&str> = manner.stop.iter().map(String::as_str).collect();
        let owner = (manner.clone(), job.abandoned.clone());
        self.replies.join(&mut self.batch, *slot, &stop, owner, |(manner, abandoned)| {
            GenerateOptions {
                deadline: Some(REPLY_TIME),
                cancel: Some(abandoned.flag()),
                ..options(manner)
            }
        })?;
        let candidates = std::mem::take(candidates);
        let read = Read { reused: *reused, time: began.elapsed(), candidates };
        job.tell(Event::Read(read));
        self.slots[*slot].client = Some(Client {
            number: job.number,
            events: job.events.clone(),
            abandoned: job.abandoned.clone(),
            asked: job.asked,
            has_begun: false,
        });
        Ok(())
    }

    /// Lets all replies go on.
    fn step(&mut self) {
        let Self { replies, batch, slots, metrics, .. } = self;
        if replies.is_empty() {
            return;
        }
        let ended = replies.step(batch, &mut |text, piece| {
            let client = slots[text].client.as_mut().expect("a reply has a client");
            if piece.token.is_some() {
                metrics.reply_tokens.add(1);
                if !client.has_begun {
                    client.has_begun = true;
                    metrics.first_token.add(client.asked.elapsed());
                }
            }
            let piece = Piece {
                text: piece.text.to_owned(),
                has_token: piece.token.is_some(),
                candidates: piece.candidates.to_vec(),
            };
            let is_heard = client.events.send((client.number, Event::Piece(piece))).is_ok();
            match is_heard && !client.abandoned.is_set() {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        for (text, outcome) in ended {
            self.end(text, outcome);
        }
    }

    fn end(&mut self, text: usize, outcome: Result<Generation>) {
        if let Err(error) = &outcome {
            self.note(error);
        }
        let slot = &mut self.slots[text];
        slot.used = Instant::now();
        let client = slot.client.take().expect("a reply has a client");
        if client.abandoned.is_set() {
            self.metrics.abandoned.add(1);
        }
        self.metrics.replies.add(client.asked.elapsed());
        let event = Event::End(outcome.map(|made| made.stop_reason).map_err(Box::new));
        // Nobody hears it where the client has left.
        let _ = client.events.send((client.number, event));
    }
}

/// The library's options for a reply.
fn options(manner: &Manner) -> GenerateOptions<'_> {
    GenerateOptions {
        max_tokens: manner.max_tokens,
        ignore_eos: manner.ignore_eos,
        sampling: Sampling { logit_bias: &manner.logit_bias, ..manner.sampling },
        candidates: manner.candidates,
        grammar: manner.guide.as_ref().map(|guide| guide as _),
        ..GenerateOptions::default()
    }
}
