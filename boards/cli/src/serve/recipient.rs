//! Who waits for what the engine makes of a job.

use super::event::Event;
use super::room::{Room, Share};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// One event of a reply of a request.
pub struct Message {
    /// Which reply it is.
    pub number: usize,
    /// What became of it; none where there was no room for that.
    pub event: Option<Event>,
    /// The memory that the event takes.
    pub share: Option<Share>,
}

/// Who waits for one reply of a request.
#[derive(Clone)]
pub struct Recipient {
    number: usize,
    messages: UnboundedSender<Message>,
    room: Room,
    abandoned: Abandoned,
}

impl Recipient {
    /// The recipients of a request's replies from number `first` on, and where their messages come
    /// out.
    pub fn of(
        first: usize,
        abandoned: &Abandoned,
        room: &Room,
    ) -> (impl Iterator<Item = Self> + use<>, UnboundedReceiver<Message>) {
        let (messages, receiver) = unbounded_channel();
        let (abandoned, room) = (abandoned.clone(), room.clone());
        let recipients = (first..).map(move |number| Self {
            number,
            messages: messages.clone(),
            room: room.clone(),
            abandoned: abandoned.clone(),
        });
        (recipients, receiver)
    }

    /// Tells what becomes of the job. Whether somebody hears it and there was room for it.
    pub fn tell(&self, event: Event) -> bool {
        let share = self.room.take(event.bytes());
        let event = share.is_some().then_some(event);
        let has_room = event.is_some();
        let is_sent = self.messages.send(Message { number: self.number, event, share }).is_ok();
        is_sent && has_room && !self.has_left()
    }

    /// Whether nobody waits any more.
    pub fn has_left(&self) -> bool {
        self.abandoned.is_set()
    }

    /// What says that, for options of the library.
    pub fn abandoned(&self) -> &Abandoned {
        &self.abandoned
    }
}

/// Whether nobody waits for a reply any more.
#[derive(Clone, Debug, Default)]
pub struct Abandoned(Arc<AtomicBool>);

impl Abandoned {
    /// Says that nobody waits.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether nobody waits.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// For options of the library.
    pub fn flag(&self) -> &AtomicBool {
        &self.0
    }
}
