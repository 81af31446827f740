//! Who runs the parts of a pass: the calling thread, the library's threads, or the caller's.

use crate::abi::{RunPart, RunParts};
use crate::handle::{User, caught};
use core::ffi::c_void;
use core::hint;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use kinglet_core::Workers;
use kinglet_core::claims::Claims;
use kinglet_core::kernels::Alone;

/// The workers of a session.
pub(crate) enum Crew {
    /// The calling thread.
    Alone,
    /// Threads of the caller's.
    Hook(Hook),
    /// Threads of the library's.
    #[cfg(feature = "std")]
    Pool(kinglet::Pool),
}

impl Crew {
    fn get(&self) -> &dyn Workers {
        match self {
            Self::Alone => &Alone,
            Self::Hook(hook) => hook,
            #[cfg(feature = "std")]
            Self::Pool(pool) => pool,
        }
    }
}

impl Workers for Crew {
    fn count(&self) -> usize {
        self.get().count()
    }

    fn run(&self, parts: usize, task: &(dyn Fn(usize) + Sync)) {
        self.get().run(parts, task);
    }
}

/// The caller's function that runs parts.
pub(crate) struct Hook {
    run: unsafe extern "C" fn(*mut c_void, usize, RunPart, *mut c_void),
    user: User,
    threads: usize,
}

impl Hook {
    /// A hook that uses as many threads.
    pub fn new(run: RunParts, user: User, threads: usize) -> Option<Self> {
        run.map(|run| Self { run, user, threads })
    }
}

/// One pass that is out of hand.
struct Pass<'t> {
    task: &'t (dyn Fn(usize) + Sync),
    parts: usize,
    /// The parts that somebody has begun.
    begun: Claims,
    /// How many parts are done.
    done: AtomicUsize,
    failed: AtomicBool,
}

impl Pass<'_> {
    /// Runs a part unless somebody has begun it: the caller's function may call twice.
    fn run(&self, part: usize) {
        if part >= self.parts || !self.begun.take(part) {
            return;
        }
        let outcome = caught(|| {
            (self.task)(part);
            Ok(())
        });
        if outcome.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        self.done.fetch_add(1, Ordering::Release);
    }

    /// Runs what the caller's function has left out and waits for what it has not waited for.
    fn finish(&self) {
        (0..self.parts).for_each(|part| self.run(part));
        while self.done.load(Ordering::Acquire) != self.parts {
            hint::spin_loop();
        }
    }
}

/// [`RunPart`] for a [`Pass`].
unsafe extern "C" fn run_part(context: *mut c_void, part: usize) {
    // SAFETY: the caller's function hands on the context that it got, while it runs.
    let pass = unsafe { &*context.cast::<Pass<'_>>() };
    pass.run(part);
}

impl Workers for Hook {
    fn count(&self) -> usize {
        self.threads
    }

    fn run(&self, parts: usize, task: &(dyn Fn(usize) + Sync)) {
        let pass = Pass {
            task,
            parts,
            begun: Claims::none(),
            done: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
        };
        let context = core::ptr::from_ref(&pass).cast_mut().cast();
        // SAFETY: the caller has given the function for this use, with this argument. The pass
        // lives until all of its parts are done.
        unsafe { (self.run)(self.user.0, parts, Some(run_part), context) };
        pass.finish();
        assert!(!pass.failed.load(Ordering::Relaxed), "a part of a pass failed");
    }
}
