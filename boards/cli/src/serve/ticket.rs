//! What a request waits for.

use super::answer::{Answer, Delivery, Prepared, Task};
use super::event::Event;
use super::failure::{Failure, Outcome};
use super::job::Job;
use super::queue::Queue;
use super::recipient::{Abandoned, Message, Recipient};
use super::room::{Held, Room, Share};
use hyper::StatusCode;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::mpsc::UnboundedReceiver;

/// What a request waits for. Dropping it stops the engine's work for it.
pub struct Ticket {
    /// What the events become.
    pub answer: Box<dyn Answer>,
    /// Text that came already.
    pub ahead: String,
    messages: UnboundedReceiver<Message>,
    abandoned: Abandoned,
    /// The room that all answers share, and what this one keeps of it until it is whole.
    room: Room,
    share: Option<Share>,
    delivery: Delivery,
    /// Tasks that have not ended.
    left: usize,
    /// Those of them that are not in the queue yet, and the number of the first.
    later: VecDeque<Task>,
    next: usize,
    queue: Arc<Queue>,
}

impl Ticket {
    /// A ticket for a request, with the jobs that must be in the queue before it is used.
    pub fn new(prepared: Prepared, queue: &Arc<Queue>, room: &Room) -> (Self, Vec<Job>) {
        let Prepared { mut tasks, answer, delivery } = prepared;
        let left = tasks.len();
        let at_once = if delivery == Delivery::Parts { 1 } else { left };
        let later = tasks.split_off(at_once);
        let abandoned = Abandoned::default();
        let (recipients, messages) = Recipient::of(0, &abandoned, room);
        let jobs = tasks.into_iter().zip(recipients).map(|(task, recipient)| job(task, recipient));
        let jobs = jobs.collect();
        let ticket = Self {
            answer,
            ahead: String::new(),
            messages,
            abandoned,
            room: room.clone(),
            share: None,
            delivery,
            left,
            later: later.into(),
            next: at_once,
            queue: Arc::clone(queue),
        };
        (ticket, jobs)
    }

    /// The text of the next event, once there is one; nothing when all tasks have ended.
    pub fn poll_text(&mut self, context: &mut Context<'_>) -> Poll<Option<Outcome<String>>> {
        if !self.ahead.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.ahead))));
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.messages.poll_recv(context).map(|message| {
            let text = message.ok_or_else(Failure::engine).and_then(|message| self.take(message));
            if text.is_err() {
                self.left = 0;
            }
            Some(text)
        })
    }

    fn take(&mut self, message: Message) -> Outcome<String> {
        let Message { number, event, share } = message;
        let event = event.ok_or_else(no_room)?;
        // What a stream has taken leaves with its text.
        if let (Delivery::Whole, Some(share)) = (self.delivery, share) {
            match &mut self.share {
                Some(all) => all.join(share),
                all @ None => *all = Some(share),
            }
        }
        if matches!(event, Event::End(_)) {
            self.left -= 1;
            self.go_on()?;
        }
        self.answer.take(number, event)
    }

    /// The document, once all tasks have ended.
    pub fn document(&mut self) -> Held {
        Held::new(self.answer.text(), self.share.take())
    }

    /// Puts the next task into the queue when one has ended.
    fn go_on(&mut self) -> Outcome<()> {
        let Some(task) = self.later.pop_front() else { return Ok(()) };
        // Who waits must see when the engine drops the job, so nobody else may keep a recipient.
        let (mut recipients, messages) = Recipient::of(self.next, &self.abandoned, &self.room);
        self.messages = messages;
        let recipient = recipients.next().expect("there are any number");
        self.next += 1;
        match self.queue.push_next(job(task, recipient)) {
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

fn job(task: Task, recipient: Recipient) -> Job {
    let Task { prompt, prompt_candidates, wish } = task;
    Job { prompt, prompt_candidates, wish, recipient, asked: Instant::now() }
}

fn no_room() -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "the answers that are being made and read take all memory that there is for them: try \
         again later, or ask for less at once, such as fewer logprobs",
    )
}
