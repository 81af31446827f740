//! Durations as Prometheus has them: how many were at most so long, for a few lengths.

use super::number::Number;
use std::fmt::Write;
use std::time::Duration;

/// Bounds in seconds: from a token of a fast machine to a long reply.
const BOUNDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// Durations.
#[derive(Default)]
pub struct Histogram {
    /// Those that are above the bound before and not above this one.
    within: [Number; BOUNDS.len()],
    count: Number,
    sum_us: Number,
}

impl Histogram {
    /// Adds a duration.
    pub fn add(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        if let Some(place) = BOUNDS.iter().position(|&bound| seconds <= bound) {
            self.within[place].add(1);
        }
        self.sum_us.add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        self.count.add(1);
    }

    /// Writes its lines to a page.
    pub fn tell(&self, page: &mut String, name: &str, help: &str) {
        // Read before the rest, so that no bucket has more than all.
        let mut sum = 0;
        let mut buckets = String::new();
        for (bound, count) in BOUNDS.iter().zip(&self.within) {
            sum += count.get();
            let _ = writeln!(buckets, "kinglet_{name}_bucket{{le=\"{bound}\"}} {sum}");
        }
        let count = self.count.get().max(sum);
        let seconds = Duration::from_micros(self.sum_us.get()).as_secs_f64();
        let _ = write!(
            page,
            "# HELP kinglet_{name} {help}\n# TYPE kinglet_{name} histogram\n{buckets}\
             kinglet_{name}_bucket{{le=\"+Inf\"}} {count}\n\
             kinglet_{name}_sum {seconds}\nkinglet_{name}_count {count}\n"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_is_not_longer() {
        let times = Histogram::default();
        for ms in [1, 2, 30, 700, 90_000] {
            times.add(Duration::from_millis(ms));
        }
        let mut page = String::new();
        times.tell(&mut page, "x", "Something");
        let number = |start: &str| {
            let line = page.lines().find_map(|line| line.strip_prefix(start)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{start} is not in {page}")).parse::<f64>().unwrap()
        };
        for (bound, count) in [("0.001", 1.0), ("0.0025", 2.0), ("0.05", 3.0), ("1", 4.0)] {
            assert_eq!(number(&format!("kinglet_x_bucket{{le=\"{bound}\"}}")), count);
        }
        assert_eq!(number("kinglet_x_bucket{le=\"60\"}"), 4.0);
        assert_eq!(number("kinglet_x_bucket{le=\"+Inf\"}"), 5.0);
        assert_eq!((number("kinglet_x_count"), number("kinglet_x_sum")), (5.0, 90.733));
    }
}
