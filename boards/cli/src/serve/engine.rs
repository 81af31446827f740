//! The thread that computes: texts of a batch, each with the reply of one job, in one pass.
//!
//! Between two passes one job at most reads its prompt, a chunk at a time, so that replies which
//! are being made go on. A text stays when its reply has ended, and a job whose prompt begins like
//! a text takes over what was computed of that. With a store, beginnings that two jobs had in
//! common go to disk while nobody waits, and come back from there.

use super::event::{Event, Piece, Read};
use super::job::{Job, Manner, Wish};
use super::metrics::Metrics;
use super::queue::{Next, Queue};
use super::recipient::Recipient;
use super::store::{Loading, Store};
use crate::chat::shared_prefix;
use kinglet::score::{log_likelihood, top};
use kinglet::{
    Batch, Candidate, Code, Error, GenerateOptions, Generation, Pooling, Replies, Result, Sampling,
    StopReason,
};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

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
    store: Option<Store>,
    /// Whether what computes can do so no more.
    is_lost: bool,
}

/// One text of the batch.
struct Slot {
    /// Who gets its reply; `None` while it has none.
    client: Option<Client>,
    /// When its last reply ended.
    used: Instant,
    /// Tokens at its beginning that two jobs had in common, until they have gone to the store.
    shared: usize,
}

/// Who waits for a reply.
struct Client {
    recipient: Recipient,
    asked: Instant,
    /// When its last token came.
    last: Option<Instant>,
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
    /// The beginning of the text, while it comes from the store.
    loading: Option<Loading>,
}

impl Engine {
    /// An engine whose texts are empty.
    pub fn new(
        batch: Batch,
        queue: Arc<Queue>,
        metrics: Arc<Metrics>,
        store: Option<Store>,
    ) -> Self {
        let slot = |_| Slot { client: None, used: Instant::now(), shared: 0 };
        let slots = (0..batch.texts()).map(slot).collect();
        let replies = Replies::new();
        Self { batch, replies, slots, reading: None, queue, metrics, store, is_lost: false }
    }

    /// Works until the queue is closed and what was begun is done, or until nothing can be computed
    /// any more.
    pub fn run(mut self) {
        while !self.is_lost {
            self.metrics.turns.add(1);
            let is_idle = self.reading.is_none() && self.replies.is_empty();
            if is_idle && self.queue.length() == 0 && self.keep_shared() {
                continue;
            }
            if self.reading.is_none() && self.slots.iter().any(|slot| slot.client.is_none()) {
                match self.queue.take(is_idle) {
                    Next::Job(job) => self.admit(job),
                    Next::Closed if is_idle => return self.keep_last(),
                    Next::Closed | Next::Empty => {}
                }
            }
            self.read();
            self.step();
            let running = self.slots.iter().filter(|slot| slot.client.is_some()).count();
            self.metrics.running.set(running as u64 + u64::from(self.reading.is_some()));
        }
    }

    /// Gives a job a text. Where the store has more of its prompt than any text, that is read
    /// first.
    fn admit(&mut self, job: Box<Job>) {
        self.metrics.queue.add(job.asked.elapsed());
        let (_, known) = self.source(&job);
        let loading = match &self.store {
            Some(store) if goes_on_from_texts(&job) => store.load(reusable(&job.prompt), known),
            _ => None,
        };
        if loading.is_some() {
            let slot = self.oldest_free();
            self.reading = Some(Reading { loading, ..self.begun(slot, job, 0) });
        } else {
            self.place(job);
        }
    }

    /// A prompt of which nothing was read but what a text had already.
    fn begun(&self, slot: usize, job: Box<Job>, reused: usize) -> Reading {
        let embedding = match job.wish {
            Wish::Embedding(_) => vec![0.0; self.batch.model().config().hidden as usize],
            Wish::Reply(_) => Vec::new(),
        };
        let (began, candidates) = (Instant::now(), Vec::new());
        Reading { slot, job, reused, began, candidates, embedding, loading: None }
    }

    /// The text that a job's prompt begins most like, and the tokens that both begin with.
    fn source(&self, job: &Job) -> (usize, usize) {
        let shared = |text: usize| match goes_on_from_texts(job) {
            true => shared_prefix(self.batch.tokens(text), reusable(&job.prompt)),
            false => 0,
        };
        let source = (0..self.slots.len()).max_by_key(|slot| (shared(*slot), self.is_free(*slot)));
        let source = source.expect("a batch has a text");
        (source, shared(source))
    }

    fn is_free(&self, slot: usize) -> bool {
        self.slots[slot].client.is_none()
    }

    fn oldest_free(&self) -> usize {
        let free = (0..self.slots.len()).filter(|slot| self.is_free(*slot));
        let oldest = free.max_by_key(|&slot| self.slots[slot].used.elapsed());
        oldest.expect("there is a free text")
    }

    /// Gives a job a text with what another one has computed of its prompt. That is the text which
    /// goes on there, if it is free and loses less than half of its tokens; else the one that has
    /// been free for longest.
    fn place(&mut self, job: Box<Job>) {
        let (source, reused) = self.source(&job);
        let goes_on = self.is_free(source) && 2 * reused > self.batch.tokens(source).len();
        let slot = if goes_on { source } else { self.oldest_free() };
        let outcome = match source == slot {
            true => self.batch.text(slot).rewind(reused),
            false => self.batch.copy(source, slot, reused),
        };
        if let Err(error) = outcome {
            self.fail(&job, error);
            return;
        }
        self.slots[slot].shared = reused;
        self.reading = Some(self.begun(slot, job, reused));
    }

    /// Takes over what the store has read, once it has. Whatever is wrong with that, the job goes
    /// on without.
    fn restore(&mut self, mut reading: Reading, loading: Loading) {
        let state = match self.replies.is_empty() {
            true => loading.state.recv().ok(),
            // Replies do not wait for the disk.
            false => match loading.state.try_recv() {
                Err(TryRecvError::Empty) => {
                    reading.loading = Some(loading);
                    self.reading = Some(reading);
                    return;
                }
                state => state.ok(),
            },
        };
        let prompt = reusable(&reading.job.prompt);
        let mut text = self.batch.text(reading.slot);
        let outcome = state.flatten().map(|state| {
            text.restore(&state)?;
            let shared = shared_prefix(text.tokens(), prompt);
            text.rewind(shared).map(|()| shared)
        });
        if let Some(Ok(shared)) = outcome {
            self.metrics.restored_tokens.add(shared as u64);
            self.slots[reading.slot].shared = shared;
            self.reading = Some(Reading { reused: shared, ..reading });
            return;
        }
        if let Some(Err(error)) = outcome {
            self.note(&error);
        }
        if let Some(store) = &self.store {
            store.remove(&loading.name);
        }
        self.place(reading.job);
    }

    /// Hands a beginning that two jobs had in common to the store, if there is one that is worth it
    /// and the store is free. Whether it has.
    fn keep_shared(&mut self) -> bool {
        let Some(store) = self.store.as_ref().filter(|store| !store.is_busy()) else {
            return false;
        };
        for (text, slot) in self.slots.iter_mut().enumerate() {
            let tokens = self.batch.tokens(text);
            let count = std::mem::take(&mut slot.shared).min(tokens.len());
            if store.wants_shared(&tokens[..count]) {
                // What cannot be saved now is computed again when it is needed.
                return store.keep(&mut self.batch, text, count).is_ok();
            }
        }
        false
    }

    /// Hands the texts to the store that the server ends with, whose conversations may go on.
    fn keep_last(&mut self) {
        let Some(store) = &self.store else { return };
        for text in 0..self.slots.len() {
            let count = self.batch.tokens(text).len();
            if store.wants_last(self.batch.tokens(text))
                && store.keep(&mut self.batch, text, count).is_err()
            {
                return;
            }
        }
    }

    /// Reads the next chunk of a prompt, and begins the reply behind the last one.
    fn read(&mut self) {
        let Some(mut reading) = self.reading.take() else { return };
        if reading.job.recipient.has_left() {
            return;
        }
        if let Some(loading) = reading.loading.take() {
            self.restore(reading, loading);
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
        job.recipient.tell(Event::End(Err(Box::new(error))));
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
        let Reading { slot, job, reused, began, candidates, embedding, .. } = reading;
        let manner = match &job.wish {
            Wish::Reply(manner) => manner,
            Wish::Embedding(_) => {
                // No text goes on from what was read for an embedding alone.
                self.batch.text(*slot).rewind(0)?;
                Pooling::finish(embedding);
                job.recipient.tell(Event::Embedding(std::mem::take(embedding)));
                job.recipient.tell(Event::End(Ok(StopReason::Complete)));
                return Ok(());
            }
        };
        let stop: Vec<&str> = manner.stop.iter().map(String::as_str).collect();
        let owner = (manner.clone(), job.recipient.abandoned().clone());
        self.replies.join(&mut self.batch, *slot, &stop, owner, |(manner, abandoned)| {
            GenerateOptions {
                deadline: Some(REPLY_TIME),
                cancel: Some(abandoned.flag()),
                ..options(manner)
            }
        })?;
        let candidates = std::mem::take(candidates);
        let read = Read { reused: *reused, time: began.elapsed(), candidates };
        job.recipient.tell(Event::Read(read));
        self.slots[*slot].client =
            Some(Client { recipient: job.recipient.clone(), asked: job.asked, last: None });
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
                let now = Instant::now();
                match client.last.replace(now) {
                    None => metrics.first_token.add(now - client.asked),
                    Some(last) => metrics.token.add(now - last),
                }
            }
            let piece = Piece {
                text: piece.text.to_owned(),
                has_token: piece.token.is_some(),
                candidates: piece.candidates.to_vec(),
            };
            match client.recipient.tell(Event::Piece(piece)) {
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
        if client.recipient.has_left() {
            self.metrics.abandoned.add(1);
        }
        self.metrics.replies.add(client.asked.elapsed());
        let event = Event::End(outcome.map(|made| made.stop_reason).map_err(Box::new));
        client.recipient.tell(event);
    }
}

/// What of a prompt need not be computed where it is known. The last token is computed again: its
/// logits begin the reply.
fn reusable(prompt: &[u32]) -> &[u32] {
    &prompt[..prompt.len() - 1]
}

/// Whether a job needs nothing of the tokens that a text has already: with candidates it needs the
/// logits of each, for an embedding the hidden states.
fn goes_on_from_texts(job: &Job) -> bool {
    job.prompt_candidates.is_none() && matches!(job.wish, Wish::Reply(_))
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
