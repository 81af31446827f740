//! The queue of jobs between the server and the engine.

use super::job::Job;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Jobs that wait, at most so many.
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    capacity: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    is_closed: bool,
    /// Whether the engine waits for a job.
    is_awaited: bool,
    /// Whether the engine shall look around before it waits on.
    is_woken: bool,
}

/// What the engine finds.
pub enum Next {
    /// The job that has waited longest.
    Job(Box<Job>),
    /// No job waits, or the engine was woken.
    Empty,
    /// No job will ever come.
    Closed,
}

impl Queue {
    /// An empty queue.
    pub fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), capacity }
    }

    /// Appends all jobs or none. Whether there was room for them.
    pub fn push(&self, jobs: Vec<Job>) -> bool {
        let mut state = self.lock();
        // Those whose clients have left take no room.
        state.jobs.retain(|job| !job.recipient.has_left());
        let fits = !state.is_closed && state.jobs.len() + jobs.len() <= self.capacity;
        if fits {
            state.jobs.extend(jobs);
            self.changed.notify_one();
        }
        fits
    }

    /// Appends the next job of a request that had one here before: it needs no further room. False
    /// when the queue is closed.
    pub fn push_next(&self, job: Job) -> bool {
        let mut state = self.lock();
        if !state.is_closed {
            state.jobs.push_back(job);
            self.changed.notify_one();
        }
        !state.is_closed
    }

    /// The next job that somebody waits for; with `waits`, once there is one or [`Queue::wake`] is
    /// called.
    pub fn take(&self, waits: bool) -> Next {
        let mut state = self.lock();
        loop {
            while let Some(job) = state.jobs.pop_front() {
                if !job.recipient.has_left() {
                    return Next::Job(Box::new(job));
                }
            }
            if state.is_closed {
                return Next::Closed;
            }
            if !waits || std::mem::take(&mut state.is_woken) {
                return Next::Empty;
            }
            state.is_awaited = true;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.is_awaited = false;
        }
    }

    /// Has the engine look around, now or when it next waits.
    pub fn wake(&self) {
        self.lock().is_woken = true;
        self.changed.notify_one();
    }

    /// Whether the engine waits and there is nothing for it.
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        state.is_awaited && state.jobs.is_empty() && !state.is_woken
    }

    /// Jobs that wait, those that nobody waits for among them.
    pub fn length(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Whether it takes no more jobs.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Takes no more jobs and drops those that wait, which tells their clients.
    pub fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.jobs.clear();
        drop(state);
        self.changed.notify_all();
    }

    /// Every change of the state is whole, so a panic elsewhere leaves it usable.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::job::Wish;
    use crate::serve::recipient::{Abandoned, Recipient};
    use crate::serve::room::Room;
    use kinglet::Pooling;
    use std::time::Instant;

    fn job(number: u32) -> (Job, Abandoned) {
        let abandoned = Abandoned::default();
        let (mut recipients, _) = Recipient::of(0, &abandoned, &Room::new(0));
        let job = Job {
            prompt: vec![number],
            prompt_candidates: None,
            wish: Wish::Embedding(Pooling::Mean),
            recipient: recipients.next().expect("there are any number"),
            asked: Instant::now(),
        };
        (job, abandoned)
    }

    fn next(queue: &Queue) -> Option<u32> {
        match queue.take(false) {
            Next::Job(job) => Some(job.prompt[0]),
            Next::Empty | Next::Closed => None,
        }
    }

    #[test]
    fn jobs_come_in_their_order_and_those_that_nobody_waits_for_never() {
        let queue = Queue::new(3);
        let (jobs, flags): (Vec<_>, Vec<_>) = (1..=3).map(job).unzip();
        assert!(queue.push(jobs));
        assert!(!queue.push(vec![job(4).0]), "it is full");
        flags[1].set();
        assert!(!queue.push(vec![job(4).0, job(5).0]), "all or none");
        assert!(queue.push(vec![job(4).0]), "who left makes room");
        flags[0].set();
        assert_eq!([next(&queue), next(&queue), next(&queue)], [Some(3), Some(4), None]);
        assert!(queue.push(vec![job(5).0, job(6).0, job(7).0]));
        assert!(queue.push_next(job(8).0), "what goes on needs no room");
        assert_eq!(next(&queue), Some(5));
        assert!(!queue.is_idle(), "nobody waits for a job");
        queue.wake();
        assert!(matches!(queue.take(false), Next::Job(_)));
        queue.close();
        assert!(!queue.push(vec![job(9).0]) && !queue.push_next(job(9).0));
        assert!(matches!(queue.take(true), Next::Closed));
    }
}
