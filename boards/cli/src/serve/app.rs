//! What all requests share.

use super::access::Access;
use super::answer::{Answer, Prepared};
use super::failure::{Failure, Outcome};
use super::job::{Abandoned, Event, Job};
use super::metrics::Metrics;
use super::queue::Queue;
use hyper::StatusCode;
use kinglet::guide::Guides;
use kinglet::template::Template;
use kinglet::{Error, Model};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The model and the ways to the engine.
pub struct App {
    /// The model.
    pub model: Model,
    /// Its name in documents.
    pub name: String,
    /// How conversations become tokens, or why they cannot.
    pub template: Result<Template, Error>,
    /// When the server began, in seconds since 1970.
    pub created: u64,
    /// Positions of a text.
    pub context: usize,
    /// Who may ask.
    pub access: Access,
    /// Where jobs wait.
    pub queue: Arc<Queue>,
    /// What was done.
    pub metrics: Arc<Metrics>,
    /// Kilobytes that bodies of requests may still take.
    pub bodies: Arc<Semaphore>,
    /// Made when the first reply with a shape is asked for.
    pub guides: OnceLock<Guides>,
}

impl App {
    /// What compiles grammars.
    pub fn guides(&self) -> Outcome<&Guides> {
        if let Some(guides) = self.guides.get() {
            return Ok(guides);
        }
        let guides = Guides::new(&self.model)?;
        Ok(self.guides.get_or_init(|| guides))
    }

    /// Puts what a request asks for into the queue. A failure where that is full.
    pub fn submit(&self, prepared: Prepared) -> Outcome<Ticket> {
        let (sender, events) = unbounded_channel();
        let abandoned = Abandoned::default();
        let left = prepared.tasks.len();
        let job = |(number, task): (usize, super::answer::Task)| Job {
            prompt: task.prompt,
            prompt_candidates: task.prompt_candidates,
            manner: task.manner,
            number,
            events: sender.clone(),
            abandoned: abandoned.clone(),
            asked: Instant::now(),
        };
        let jobs = prepared.tasks.into_iter().enumerate().map(job).collect();
        if !self.queue.push(jobs) {
            self.metrics.refused.add(1);
            return Err(Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many requests wait already: try again later",
            ));
        }
        Ok(Ticket { answer: prepared.answer, events, abandoned, left })
    }
}

/// The replies that a request waits for. Dropping it stops them.
pub struct Ticket {
    /// What the events become.
    pub answer: Box<dyn Answer>,
    events: UnboundedReceiver<(usize, Event)>,
    abandoned: Abandoned,
    /// Replies that have not ended.
    left: usize,
}

impl Ticket {
    /// The chunks of the next event, once there is one; nothing when all replies have ended.
    pub fn poll_chunks(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Outcome<Vec<serde_json::Value>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.events.poll_recv(context).map(|event| {
            let Some((task, event)) = event else {
                self.left = 0;
                return Some(Err(Failure::engine()));
            };
            self.left -= usize::from(matches!(event, Event::End(_)));
            let chunks = self.answer.take(task, event);
            if chunks.is_err() {
                self.left = 0;
            }
            Some(chunks)
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.abandoned.set();
    }
}
