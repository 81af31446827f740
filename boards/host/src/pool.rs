//! A small pool of threads with a barrier that takes microseconds; idle threads sleep.
//!
//! A task has parts, and a thread that is awake claims the next one, so no thread waits for one
//! that sleeps or that the system gave no processor. One atomic word says which parts are left,
//! another counts those that are not finished. A waiting thread spins on its word for 5 µs, then
//! sleeps on it (a futex on Linux).

use crate::thread::Thread;
use crate::{Cpus, Root};
use kinglet_core::Workers;
use kinglet_core::arena::{MAX_PARTS, MAX_WORKERS};
use kinglet_machine::Binding;
use kinglet_quant::{Code, Result, ensure};
use std::cell::UnsafeCell;
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a thread spins on its word before it sleeps on it: longer than the caller's own work
/// between two phases of a step, and short enough to leave the processor to others.
const SPIN: Duration = Duration::from_micros(5);
/// Turns of the spin loop between two looks at the clock.
const LOOKS: u32 = 16;

/// What debuggers call a worker.
const NAME: &CStr = c"kinglet";

/// A word that threads wait on, alone on its cache line.
#[repr(align(128))]
struct Word {
    value: AtomicU32,
    sleepers: AtomicU32,
}

impl Word {
    fn new(value: u32) -> Self {
        Self { value: AtomicU32::new(value), sleepers: AtomicU32::new(0) }
    }

    /// Returns once `is_over` holds for the value.
    fn wait(&self, is_over: impl Fn(u32) -> bool) {
        let mut start = None;
        loop {
            for _ in 0..LOOKS {
                if is_over(self.value.load(Ordering::Acquire)) {
                    return;
                }
                std::hint::spin_loop();
            }
            if start.get_or_insert_with(Instant::now).elapsed() >= SPIN {
                break;
            }
        }
        // Announced before the value is read again, so a later change of it wakes this thread.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        loop {
            let value = self.value.load(Ordering::SeqCst);
            if is_over(value) {
                break;
            }
            if cfg!(miri) {
                // It does not know how the crate calls the system, and a sleep may end early.
                std::thread::yield_now();
            } else {
                atomic_wait::wait(&self.value, value);
            }
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wakes the sleepers after the value was changed with `SeqCst`.
    fn wake(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 && !cfg!(miri) {
            atomic_wait::wake_all(&self.value);
        }
    }
}

type Task = *const (dyn Fn(usize) + Sync);

/// What the caller and the workers share.
struct Meeting {
    /// Workers that are ready for tasks.
    started: Word,
    /// The [`Handout`] of the current task.
    parts: Word,
    /// Parts of the current task that are not finished.
    unfinished: Word,
    /// The current task; written by the caller that has raised `unfinished` from 0, before it
    /// opens the parts.
    task: UnsafeCell<Option<Task>>,
    failed: AtomicBool,
}

// SAFETY: one caller at a time writes `task`: the one that has raised `unfinished` from 0, which
// the next one can do only when all of its parts are finished. Others read it between the claim of
// a part and its count as finished. Parts of earlier tasks are finished when it is written, as
// `unfinished` was 0, and those of this task cannot be claimed before it opens them. So a write
// overlaps with nothing; what the task points to is `Sync`.
unsafe impl Sync for Meeting {}
// SAFETY: the pointer is dereferenced only while `Pool::run` keeps its target alive.
unsafe impl Send for Meeting {}

/// Parts of a task and those handed out, in one number that a claim changes at once.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Handout(u32);

impl Handout {
    /// Tells the workers to end.
    const CLOSED: Self = Self(u32::MAX);

    fn new(count: usize) -> Self {
        assert!((1..=MAX_PARTS).contains(&count));
        Self((count as u32) << 16)
    }

    /// The next part to hand out, unless all are.
    fn next(self) -> Option<usize> {
        let (count, next) = (self.0 >> 16, self.0 & 0xFFFF);
        (next < count).then_some(next as usize)
    }
}

impl Meeting {
    /// Claims parts of the current task and runs them until none is left.
    fn run_parts(&self) {
        let mut seen = Handout(self.parts.value.load(Ordering::Acquire));
        while let Some(part) = seen.next() {
            let claim = self.parts.value.compare_exchange_weak(
                seen.0,
                seen.0 + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            if let Err(now) = claim {
                seen = Handout(now);
                continue;
            }
            // SAFETY: the caller wrote the task before it opened the parts, and keeps it and its
            // target until all are finished, which this one is not yet.
            let task = unsafe { &*(*self.task.get()).expect("a task has parts") };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| task(part))) {
                // Dropping it can panic again, which must not leave this function before the part
                // counts as finished.
                if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                    std::mem::forget(again);
                }
                self.failed.store(true, Ordering::Relaxed);
            }
            if self.unfinished.value.fetch_sub(1, Ordering::SeqCst) == 1 {
                self.unfinished.wake();
            }
            seen = Handout(self.parts.value.load(Ordering::Acquire));
        }
    }
}

/// Threads that run tasks together with the caller.
pub struct Pool {
    meeting: Arc<Meeting>,
    threads: Vec<Thread>,
    /// Keeps the thread that made the pool on its processor.
    _binding: Option<Binding>,
}

impl Pool {
    /// A pool of `count` workers on the fastest processors; see [`Pool::on`].
    pub fn new(count: usize, pin: bool) -> Result<Self> {
        Self::on(&Cpus::fastest(&Root::here()), count, pin)
    }

    /// A pool of `count` workers, so `count − 1` threads, which run on `cpus` alone; an empty set
    /// binds nothing. With `pin` every worker, the calling thread included, is bound to a
    /// processor of its own; where there are too few, to all of `cpus`. The calling thread is
    /// released when the pool is dropped on it.
    pub fn on(cpus: &Cpus, count: usize, pin: bool) -> Result<Self> {
        ensure!(
            (1..=MAX_WORKERS).contains(&count),
            Code::BadArgument,
            "{count} threads: 1 to {MAX_WORKERS} are supported"
        );
        let cpus_of = |worker| if pin { cpus.share(worker, count) } else { cpus.clone() };
        let meeting = Arc::new(Meeting {
            started: Word::new(0),
            parts: Word::new(0),
            unfinished: Word::new(0),
            task: UnsafeCell::new(None),
            failed: AtomicBool::new(false),
        });
        let threads = Vec::with_capacity(count - 1);
        let mut pool = Self { meeting, threads, _binding: None };
        for worker in 1..count {
            let (meeting, cpus) = (Arc::clone(&pool.meeting), cpus_of(worker));
            pool.threads.push(Thread::start(NAME, move || {
                // A thread that never calls the allocator gets no arena of its own.
                cpus.bind();
                meeting.started.value.fetch_add(1, Ordering::SeqCst);
                meeting.started.wake();
                work(&meeting);
            })?);
        }
        if pin {
            pool._binding = Binding::new(&cpus_of(0));
        }
        // By now the system has started every thread.
        pool.meeting.started.wait(|started| started as usize == count - 1);
        Ok(pool)
    }
}

/// What a worker thread runs.
fn work(meeting: &Meeting) {
    loop {
        meeting.run_parts();
        let is_news = |value| Handout(value) == Handout::CLOSED || Handout(value).next().is_some();
        meeting.parts.wait(is_news);
        if Handout(meeting.parts.value.load(Ordering::Acquire)) == Handout::CLOSED {
            return;
        }
    }
}

impl Workers for Pool {
    fn count(&self) -> usize {
        self.threads.len() + 1
    }

    fn run(&self, parts: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.threads.is_empty() || parts <= 1 {
            return (0..parts).for_each(task);
        }
        // Refuses what one word cannot count, while the pool is still free.
        let opened = Handout::new(parts);
        let meeting = &*self.meeting;
        let unfinished = &meeting.unfinished.value;
        let claim =
            unfinished.compare_exchange(0, parts as u32, Ordering::AcqRel, Ordering::Relaxed);
        assert!(claim.is_ok(), "a pool runs one task at a time");
        // SAFETY: only the lifetime changes. Once the parts are open nothing below unwinds before
        // all of them are finished: what tasks panic with is caught. So nobody uses the task after
        // it ends.
        let task = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), Task>(task) };
        // SAFETY: this caller has raised `unfinished` from 0, see `Meeting`.
        unsafe { *meeting.task.get() = Some(task) };
        meeting.parts.value.store(opened.0, Ordering::SeqCst);
        meeting.parts.wake();
        meeting.run_parts();
        meeting.unfinished.wait(|unfinished| unfinished == 0);
        assert!(
            !meeting.failed.swap(false, Ordering::Relaxed),
            "a part of a task failed, see its message above"
        );
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.meeting.parts.value.store(Handout::CLOSED.0, Ordering::SeqCst);
        self.meeting.parts.wake();
        self.threads.drain(..).for_each(Thread::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Tasks borrow from whoever runs them, also those that fail. `tests/workers.rs` says more of
    /// what a pool does; this is little enough for an interpreter that sees every access.
    #[test]
    fn tasks_end_before_what_they_borrow() {
        let pool = Pool::new(3, false).unwrap();
        for round in 0..6 {
            let done = Mutex::new(Vec::new());
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                pool.run(2 + round, &|part| {
                    done.lock().unwrap().push(Box::new(part));
                    assert!(round != 4 || part != 1, "part 1 of task 4 fails");
                });
            }));
            assert_eq!(outcome.is_err(), round == 4);
            let mut done: Vec<usize> =
                done.into_inner().unwrap_or_else(|e| e.into_inner()).iter().map(|p| **p).collect();
            done.sort_unstable();
            assert!(done.into_iter().eq(0..2 + round));
        }
    }

    #[test]
    fn a_task_that_cannot_be_counted_leaves_the_pool_free() {
        let pool = Pool::new(2, false).unwrap();
        let run = |parts| catch_unwind(AssertUnwindSafe(|| pool.run(parts, &|_| ())));
        assert!(run(MAX_PARTS + 1).is_err());
        assert!(run(MAX_PARTS).is_ok());
    }
}
