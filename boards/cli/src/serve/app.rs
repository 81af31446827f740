//! What all requests share.

use super::access::Access;
use super::answer::{Answer, Delivery, Prepared, Task};
use super::failure::{Failure, Outcome};
use super::job::{Abandoned, Event, Job};
use super::metrics::Metrics;
use super::queue::Queue;
use hyper::StatusCode;
use kinglet::guide::Guides;
use kinglet::template::Template;
use kinglet::{Error, Model};
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

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
        let Prepared { mut tasks, answer, delivery } = prepared;
        let at_once = if delivery == Delivery::Parts { 1 } else { tasks.len() };
        let later = tasks.split_off(at_once);
        let (sender, events) = unbounded_channel();
        let ticket = Ticket {
            answer,
            ahead: String::new(),
            events,
            abandoned: Abandoned::default(),
            left: tasks.len() + later.len(),
            next: tasks.len(),
            later: later.into(),
            queue: Arc::clone(&self.queue),
        };
        let jobs = tasks.into_iter().enumerate();
        let jobs = jobs.map(|(number, task)| ticket.job(number, task, &sender)).collect();
        if !self.queue.push(jobs) {
            self.metrics.refused.add(1);
            return Err(Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many requests wait already: try again later",
            ));
        }
        Ok(ticket)
    }
}

/// What a request waits for. Dropping it stops the engine's work for it.
pub struct Ticket {
    /// What the events become.
    pub answer: Box<dyn Answer>,
    /// Text that came already.
    pub ahead: String,
    events: UnboundedReceiver<(usize, Event)>,
    abandoned: Abandoned,
    /// Tasks that have not ended.
    left: usize,
    /// Those of them that are not in the queue yet, and the number of the first.
    later: VecDeque<Task>,
    next: usize,
    queue: Arc<Queue>,
}

impl Ticket {
    fn job(&self, number: usize, task: Task, events: &UnboundedSender<(usize, Event)>) -> Job {
        Job {
            prompt: task.prompt,
            prompt_candidates: task.prompt_candidates,
            wish: task.wish,
            number,
            events: events.clone(),
            abandoned: self.abandoned.clone(),
            asked: Instant::now(),
        }
    }

    /// The text of the next event, once there is one; nothing when all tasks have ended.
    pub fn poll_text(&mut self, context: &mut Context<'_>) -> Poll<Option<Outcome<String>>> {
        if !self.ahead.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.ahead))));
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.events.poll_recv(context).map(|event| {
            let text = event.ok_or_else(Failure::engine).and_then(|(task, event)| {
                if matches!(event, Event::End(_)) {
                    self.left -= 1;
                    self.go_on()?;
                }
                self.answer.take(task, event)
            });
            if text.is_err() {
                self.left = 0;
            }
            Some(text)
        })
    }

    /// Puts the next task into the queue when one has ended.
    fn go_on(&mut self) -> Outcome<()> {
        let Some(task) = self.later.pop_front() else { return Ok(()) };
        // Who waits must see when the engine drops the job, so nobody else may hold the sender.
        let (sender, events) = unbounded_channel();
        self.events = events;
        let job = self.job(self.next, task, &sender);
        self.next += 1;
        match self.queue.push_next(job) {
            true => Ok(()),
            false => Err(Failure::engine()),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.abandoned.set();
    }
}
