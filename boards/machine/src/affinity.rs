//! Which processors the calling thread may run on, as Linux keeps it.

use crate::Cpus;
use kinglet_quant::Result;
use std::cell::Cell;
use std::mem::MaybeUninit;

/// Numbers of processors lie below this: a set has a bit for each.
pub(crate) const MAX_CPUS: usize = 8 * size_of::<libc::cpu_set_t>();

thread_local! {
    /// The bindings of this thread that live.
    static BOUND: Cell<Option<Bound>> = const { Cell::new(None) };
}

/// A thread that is bound.
#[derive(Clone, Copy)]
struct Bound {
    /// Where it ran before the first binding.
    before: libc::cpu_set_t,
    /// Where the last binding put it.
    now: libc::cpu_set_t,
    /// Bindings that live.
    count: usize,
}

/// The calling thread bound to processors until this is dropped.
///
/// Bindings of one thread may overlap: the last one counts, and the thread is where it was before
/// when all are dropped. One that is dropped on another thread releases nothing, and neither does
/// one whose thread was bound otherwise meanwhile.
pub struct Binding {
    thread: usize,
}

impl Binding {
    /// `BadArgument` on a system that binds no threads to processors; Linux does.
    pub fn check() -> Result<()> {
        Ok(())
    }

    /// Binds the calling thread; a refusal, or an empty set, costs speed only.
    pub fn new(cpus: &Cpus) -> Option<Self> {
        let before = BOUND.get().map_or_else(current, |bound| Some(bound.before))?;
        if !bind(cpus) {
            return None;
        }
        let now = set_of(cpus);
        let count = BOUND.get().map_or(0, |bound| bound.count) + 1;
        BOUND.set(Some(Bound { before, now, count }));
        Some(Self { thread: this_thread() })
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        // A new thread can have the number of one that has ended, and knows of no binding.
        let Some(bound) = BOUND.get().filter(|_| self.thread == this_thread()) else { return };
        if bound.count > 1 {
            return BOUND.set(Some(Bound { count: bound.count - 1, ..bound }));
        }
        BOUND.set(None);
        if current().is_some_and(|now| numbers(&now) == numbers(&bound.now)) {
            move_to(&bound.before);
        }
    }
}

/// Binds the calling thread, without memory of its own and for as long as it lives; whether the
/// system did.
pub(crate) fn bind(cpus: &Cpus) -> bool {
    if cpus.numbers().is_empty() {
        return false;
    }
    let is_bound = move_to(&set_of(cpus));
    if !is_bound {
        log::debug!("could not bind a thread to the processors {cpus}");
    }
    is_bound
}

/// The calling thread's number, which no other thread has while it lives: an integer or a pointer,
/// as each C library likes.
fn this_thread() -> usize {
    // SAFETY: it asks for nothing.
    unsafe { libc::pthread_self() as usize }
}

/// The processors that the calling thread may run on when it is not bound; empty where the system
/// does not say.
pub(crate) fn allowed() -> Vec<usize> {
    let set = BOUND.get().map_or_else(current, |bound| Some(bound.before));
    set.map_or_else(Vec::new, |set| numbers(&set))
}

fn numbers(set: &libc::cpu_set_t) -> Vec<usize> {
    // SAFETY: every index is below the set's size.
    (0..MAX_CPUS).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, set) }).collect()
}

/// Where the calling thread may run now.
fn current() -> Option<libc::cpu_set_t> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: the set is as large as the size given, and all zeros is a valid set.
    unsafe {
        let status = libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr());
        (status == 0).then(|| set.assume_init())
    }
}

/// Puts the calling thread onto these processors; whether the system did.
fn move_to(set: &libc::cpu_set_t) -> bool {
    // SAFETY: the set is as large as the size given.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) == 0 }
}

fn set_of(cpus: &Cpus) -> libc::cpu_set_t {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: all zeros is a valid set; `CPU_SET` stays within it (it checks the index).
    unsafe {
        cpus.numbers().iter().for_each(|&cpu| libc::CPU_SET(cpu, &mut *set.as_mut_ptr()));
        set.assume_init()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a thread of its own, which can be bound without the others.
    fn alone(work: impl FnOnce() + Send) {
        std::thread::scope(|scope| scope.spawn(work).join().unwrap());
    }

    fn here() -> Vec<usize> {
        numbers(&current().unwrap())
    }

    fn cpus(numbers: &[usize]) -> Cpus {
        let list: Vec<_> = numbers.iter().map(ToString::to_string).collect();
        list.join(",").parse().unwrap()
    }

    #[test]
    fn threads_run_where_they_are_bound_and_are_released() {
        let before = here();
        alone(|| {
            let all = allowed();
            let last = cpus(&all[all.len() - 1..]);
            let binding = Binding::new(&last).unwrap();
            assert_eq!(here(), last.numbers());
            assert_eq!(allowed(), all, "a bound thread knows where it could run");
            let first = Binding::new(&cpus(&all[..1])).unwrap();
            drop(binding);
            assert_eq!(here(), all[..1], "one binding still lives");
            drop(first);
            assert_eq!(here(), before);
        });
        assert_eq!(here(), before, "other threads stay free");
    }

    #[test]
    fn a_binding_releases_its_own_thread_only() {
        alone(|| {
            let all = allowed();
            let binding = Binding::new(&cpus(&all[..1])).unwrap();
            alone(move || drop(binding));
            assert_eq!(here(), all[..1]);
        });
    }

    #[test]
    fn a_thread_that_was_moved_meanwhile_stays_there() {
        alone(|| {
            let all = allowed();
            let binding = Binding::new(&cpus(&all[..1])).unwrap();
            let last = &all[all.len() - 1..];
            assert!(move_to(&set_of(&cpus(last))));
            drop(binding);
            assert_eq!(here(), last);
        });
    }
}
