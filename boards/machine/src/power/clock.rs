//! The time by which samples are taken.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// Nanoseconds that the calling thread ran; the first number of the file.
const THREAD_TIME: &str = "/proc/thread-self/schedstat";
/// Fields 16 and 17 are the ticks that finished children of the process ran, 100 of them a second.
const PROCESS_TIMES: &str = "/proc/thread-self/stat";
const TICKS_PER_SECOND: u64 = 100;

/// A clock that only goes forward. The time of day, which people and networks set, plays no part.
pub trait Clock: Send + Sync {
    /// Time since a moment that stays the same.
    fn now(&self) -> Duration;

    /// Returns once [`Clock::now`] has reached `time`.
    fn sleep_until(&self, time: Duration);

    /// What the calling thread and the programs that it ran have used of processors; `None` where
    /// the system does not tell.
    fn cpu_time(&self) -> Option<Duration>;
}

/// This machine's clock, from when it was made.
#[derive(Clone, Copy, Debug)]
pub struct Monotonic(Instant);

impl Monotonic {
    /// A clock that begins at 0 now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// What the clock showed, or will show, at a moment; 0 before its beginning.
    pub fn at(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.0)
    }
}

impl Clock for Monotonic {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep_until(&self, time: Duration) {
        thread::sleep(time.saturating_sub(self.now()));
    }

    fn cpu_time(&self) -> Option<Duration> {
        let own = fs::read_to_string(THREAD_TIME).ok()?;
        let own = own.split_whitespace().next()?.parse().ok()?;
        let children = children_ticks(&fs::read_to_string(PROCESS_TIMES).ok()?)?;
        Some(Duration::from_nanos(own) + Duration::from_millis(children * 1000 / TICKS_PER_SECOND))
    }
}

/// The ticks of finished children in a text of `/proc/*/stat`, whose second field may hold spaces.
fn children_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(13);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(ticks()? + ticks()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_counted_behind_a_name_with_spaces() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194304 102 9 0 0 11 12 13 14 20 0 1 0 80170 3133440";
        assert_eq!(children_ticks(stat), Some(13 + 14));
        assert_eq!(children_ticks("42 (a"), None);
    }

    #[test]
    fn work_takes_time_of_the_processor() {
        let clock = Monotonic::start();
        let Some(before) = clock.cpu_time() else {
            eprintln!("SKIPPED work_takes_time_of_the_processor: the system does not tell it");
            return;
        };
        while clock.now() < Duration::from_millis(30) {
            std::hint::spin_loop();
        }
        assert!(clock.cpu_time().unwrap() > before);
    }
}
