//! What a request waits for.

use super::answer::{Answer, Delivery, Prepared, Task};
use super::failure::{Failure, Outcome};
use super::job::{Abandoned, Event, Job};
use super::queue::Queue;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

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
    /// A ticket for a request, with the jobs that must be in the queue before it is used.
    pub fn new(prepared: Prepared, queue: &Arc<Queue>) -> (Self, Vec<Job>) {
        let Prepared { mut tasks, answer, delivery } = prepared;
        let left = tasks.len();
        let at_once = if delivery == Delivery::Parts { 1 } else { left };
        let later = tasks.split_off(at_once);
        let (sender, events) = unbounded_channel();
        let ticket = Self {
            answer,
            ahead: String::new(),
            events,
            abandoned: Abandoned::default(),
            left,
            later: later.into(),
            next: at_once,
            queue: Arc::clone(queue),
        };
        let jobs = tasks.into_iter().enumerate();
        let jobs = jobs.map(|(number, task)| ticket.job(number, task, &sender)).collect();
        (ticket, jobs)
    }

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
