//! A small pool of threads that meet in microseconds and sleep when there is nothing to do.
//!
//! One word counts the tasks handed out, another the workers still busy. Who waits looks at its
//! word for a few microseconds, then sleeps on it (a futex on Linux).

use crate::cpu;
use kinglet_core::Workers;
use kinglet_core::arena::MAX_WORKERS;
use kinglet_quant::{Code, Error, Result, ensure};
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a thread looks at its word before it sleeps on it: longer than what the caller does
/// alone between two phases of a step, and short enough to leave the processor to others.
const SPIN: Duration = Duration::from_micros(5);
/// Looks between two looks at the clock.
const LOOKS: u32 = 16;

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
        // Announced before the last look, so whoever changes the value afterwards wakes us.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        loop {
            let value = self.value.load(Ordering::SeqCst);
            if is_over(value) {
                break;
            }
            atomic_wait::wait(&self.value, value);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wakes the sleepers after the value was changed with `SeqCst`.
    fn wake(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            atomic_wait::wake_all(&self.value);
        }
    }
}

type Task = *const (dyn Fn(usize) + Sync);

/// What the caller and the workers share.
struct Meeting {
    /// Tasks handed out so far.
    handed_out: Word,
    /// Workers that have not finished the current one.
    busy: Word,
    /// The current task; written by the caller while no worker is busy.
    task: UnsafeCell<Option<Task>>,
    failed: AtomicBool,
    closing: AtomicBool,
}

// SAFETY: `task` is written only while `busy` is 0 and read only between the release of
// `handed_out` and the decrement of `busy`, so accesses never overlap; what it points to is `Sync`.
unsafe impl Sync for Meeting {}
// SAFETY: the pointer is dereferenced only while `Pool::run` keeps its target alive.
unsafe impl Send for Meeting {}

/// Threads that run tasks together with the caller, who is worker 0.
pub struct Pool {
    meeting: Arc<Meeting>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// A pool of `count` workers, so `count − 1` threads. With `pin` every worker, the calling
    /// thread included, is bound to a processor of its own as far as there are enough.
    pub fn new(count: usize, pin: bool) -> Result<Self> {
        ensure!(
            (1..=MAX_WORKERS).contains(&count),
            Code::BadArgument,
            "{count} threads: 1 to {MAX_WORKERS} are supported"
        );
        let cpus = cpu::available_cpus();
        let cpu_of = |worker: usize| (pin && count <= cpus.len()).then(|| cpus[worker]);
        let meeting = Arc::new(Meeting {
            handed_out: Word::new(0),
            busy: Word::new(0),
            task: UnsafeCell::new(None),
            failed: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        });
        let mut pool = Self { meeting, threads: Vec::with_capacity(count - 1) };
        for worker in 1..count {
            let (meeting, cpu) = (Arc::clone(&pool.meeting), cpu_of(worker));
            let thread = std::thread::Builder::new().name(format!("kinglet-{worker}"));
            let thread = thread.spawn(move || {
                cpu.into_iter().for_each(cpu::pin_to);
                work(&meeting, worker);
            });
            pool.threads.push(thread.map_err(|error| {
                Error::new(Code::Resource, format_args!("cannot start a thread: {error}"))
            })?);
        }
        cpu_of(0).into_iter().for_each(cpu::pin_to);
        // A first meeting, so that what threads allocate when they start is behind us.
        pool.run(&|_| {});
        Ok(pool)
    }
}

/// The life of a worker thread.
fn work(meeting: &Meeting, worker: usize) {
    let mut seen = 0u32;
    loop {
        meeting.handed_out.wait(|handed_out| handed_out != seen);
        seen = seen.wrapping_add(1);
        if meeting.closing.load(Ordering::Acquire) {
            return;
        }
        // SAFETY: the caller wrote the task before it changed `handed_out` and keeps its target
        // alive until `busy` is 0, which this thread has not counted down yet.
        let task = unsafe { &*(*meeting.task.get()).expect("a task was handed out") };
        if catch_unwind(AssertUnwindSafe(|| task(worker))).is_err() {
            meeting.failed.store(true, Ordering::Relaxed);
        }
        if meeting.busy.value.fetch_sub(1, Ordering::SeqCst) == 1 {
            meeting.busy.wake();
        }
    }
}

impl Workers for Pool {
    fn count(&self) -> usize {
        self.threads.len() + 1
    }

    fn run(&self, task: &(dyn Fn(usize) + Sync)) {
        let meeting = &*self.meeting;
        if self.threads.is_empty() {
            return task(0);
        }
        let threads = self.threads.len() as u32;
        let claim =
            meeting.busy.value.compare_exchange(0, threads, Ordering::AcqRel, Ordering::Relaxed);
        assert!(claim.is_ok(), "a pool runs one task at a time");
        // SAFETY: only the lifetime changes; this function returns or unwinds after `busy` is 0
        // only, so no worker uses the task after it ends.
        let task_pointer = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), Task>(task) };
        // SAFETY: no worker is busy, so nobody reads `task`.
        unsafe { *meeting.task.get() = Some(task_pointer) };
        meeting.handed_out.value.fetch_add(1, Ordering::SeqCst);
        meeting.handed_out.wake();
        let own = catch_unwind(AssertUnwindSafe(|| task(0)));
        meeting.busy.wait(|busy| busy == 0);
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        assert!(!meeting.failed.load(Ordering::Relaxed), "a worker failed, see its message above");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.meeting.closing.store(true, Ordering::Release);
        self.meeting.handed_out.value.fetch_add(1, Ordering::SeqCst);
        self.meeting.handed_out.wake();
        for thread in self.threads.drain(..) {
            // A worker's panic was reported when it happened.
            let _ = thread.join();
        }
    }
}
