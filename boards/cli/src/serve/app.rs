//! What all requests share.

use super::access::Access;
use super::answer::Prepared;
use super::failure::{Failure, Outcome};
use super::metrics::Metrics;
use super::queue::Queue;
use super::room::Room;
use super::ticket::Ticket;
use hyper::StatusCode;
use kinglet::guide::Guides;
use kinglet::template::Template;
use kinglet::{Error, Model};
use std::sync::{Arc, OnceLock};
use tokio::sync::Semaphore;

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
    /// What answers may still take.
    pub answers: Room,
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
        let (ticket, jobs) = Ticket::new(prepared, &self.queue, &self.answers);
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
