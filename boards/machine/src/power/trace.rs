//! The readings of a sensor over time, and the energy of stretches of it.

use super::source::Quantity;
use std::time::Duration;

/// Readings further apart than this say nothing about the power between them.
const LONGEST_GAP: Duration = Duration::from_secs(1);
/// The same where readings are rare, in distances between them.
const LONGEST_GAP_IN_STEPS: u32 = 5;
/// A sensor that shows the same reading for this long is reported.
const UNCHANGING: Duration = Duration::from_secs(5);

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// When it begins.
    pub start: Duration,
    /// When it ends.
    pub end: Duration,
}

impl Interval {
    /// Its length in seconds.
    pub fn seconds(self) -> f64 {
        self.end.saturating_sub(self.start).as_secs_f64()
    }
}

/// A reading and the energy since the first one.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    reading: f64,
    joules: f64,
}

/// Readings in the order of time.
#[derive(Clone, Debug)]
pub struct Trace {
    quantity: Quantity,
    /// The distance between readings that is aimed at.
    step: Duration,
    samples: Vec<Sample>,
    /// When a reading last failed, and why.
    failure: Option<(Duration, String)>,
}

/// What a sensor showed in some intervals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Length of all intervals.
    pub seconds: f64,
    /// Energy in them.
    pub joules: f64,
    /// Readings in them.
    pub samples: usize,
    /// Readings that differ from the one before: how often the sensor really measures.
    pub changes: usize,
    /// Whether a reading stayed the same for 5 s, or for all of a shorter window.
    pub unchanging: bool,
}

impl Trace {
    /// An empty one, whose readings are to come `step` apart.
    pub fn new(quantity: Quantity, step: Duration) -> Self {
        Self { quantity, step, samples: Vec::new(), failure: None }
    }

    /// Readings come this far apart from now on.
    pub fn set_step(&mut self, step: Duration) {
        self.step = step;
    }

    /// The distance between readings that is aimed at.
    pub fn step(&self) -> Duration {
        self.step
    }

    /// Appends a reading: joules of a counter, or watts.
    pub fn push(&mut self, at: Duration, reading: f64) {
        let joules = self.samples.last().map_or(0.0, |last| {
            let seconds = at.saturating_sub(last.at).as_secs_f64();
            last.joules
                + match self.quantity {
                    Quantity::Energy => reading - last.reading,
                    Quantity::Power => (last.reading + reading) / 2.0 * seconds,
                }
        });
        self.samples.push(Sample { at, reading, joules });
    }

    /// Remembers that there was no reading, and why.
    pub fn fail(&mut self, at: Duration, reason: String) {
        self.failure = Some((at, reason));
    }

    /// When the last reading or failure was.
    pub fn last(&self) -> Option<Duration> {
        let failed = self.failure.as_ref().map(|(at, _)| *at);
        self.samples.last().map(|sample| sample.at).max(failed)
    }

    /// Forgets all but the last reading.
    pub fn clear(&mut self) {
        self.samples.drain(..self.samples.len().saturating_sub(1));
    }

    /// Energy and readings in the intervals, which are in the order of time.
    ///
    /// An error is the reason why the energy is not known.
    pub fn over(&self, intervals: &[Interval]) -> Result<Window, String> {
        let (Some(first), Some(last)) = (intervals.first(), intervals.last()) else {
            return Err("nothing was timed".into());
        };
        self.check(Interval { start: first.start, end: last.end })?;
        let mut window =
            Window { seconds: 0.0, joules: 0.0, samples: 0, changes: 0, unchanging: false };
        let mut same_since: Option<Duration> = None;
        let mut longest_same = Duration::ZERO;
        let mut same_samples = 0;
        for interval in intervals {
            window.seconds += interval.seconds();
            window.joules += self.joules_at(interval.end) - self.joules_at(interval.start);
            let from = self.samples.partition_point(|sample| sample.at < interval.start);
            let to = self.samples.partition_point(|sample| sample.at <= interval.end);
            for i in from..to {
                let changed = i > 0 && self.samples[i].reading != self.samples[i - 1].reading;
                window.samples += 1;
                window.changes += usize::from(changed);
                if changed || same_since.is_none() {
                    (same_since, same_samples) = (Some(self.samples[i].at), 0);
                }
                same_samples += 1;
                let since = same_since.unwrap_or_default();
                longest_same = longest_same.max(self.samples[i].at.saturating_sub(since));
            }
        }
        window.unchanging =
            longest_same >= UNCHANGING || window.samples > 2 && same_samples == window.samples;
        Ok(window)
    }

    /// Refuses what the readings do not cover.
    fn check(&self, whole: Interval) -> Result<(), String> {
        let why = |what: &str| match &self.failure {
            Some((at, reason)) if *at >= whole.start => reason.clone(),
            _ => what.into(),
        };
        let next = self.samples.partition_point(|sample| sample.at <= whole.start);
        if next == 0 {
            return Err(why("the sensor gave no reading before the work began"));
        }
        let end = self.samples.partition_point(|sample| sample.at < whole.end);
        if end == self.samples.len() {
            return Err(why("the sensor gave no reading until the work ended"));
        }
        let longest = LONGEST_GAP.max(self.step * LONGEST_GAP_IN_STEPS);
        let has_gap = self.samples[next - 1..=end]
            .windows(2)
            .any(|pair| pair[1].at.saturating_sub(pair[0].at) > longest);
        // A counter goes on while nobody reads it.
        match has_gap && self.quantity == Quantity::Power {
            true => Err(why("the sensor gave no readings for a while")),
            false => Ok(()),
        }
    }

    /// Energy from the first reading to `time`, which readings surround.
    fn joules_at(&self, time: Duration) -> f64 {
        let next = self.samples.partition_point(|sample| sample.at < time);
        let b = self.samples[next];
        if next == 0 || b.at == time {
            return b.joules;
        }
        let a = self.samples[next - 1];
        let span = (b.at - a.at).as_secs_f64();
        let part = (time - a.at).as_secs_f64();
        match self.quantity {
            Quantity::Energy => a.joules + (b.joules - a.joules) * part / span,
            Quantity::Power => {
                let slope = (b.reading - a.reading) / span;
                a.joules + (a.reading + slope * part / 2.0) * part
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(100);

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn interval(start: f64, end: f64) -> Interval {
        Interval { start: at(start), end: at(end) }
    }

    fn trace(quantity: Quantity, law: impl Fn(f64) -> f64) -> Trace {
        let mut trace = Trace::new(quantity, STEP);
        for i in 0..=100 {
            trace.push(STEP * i, law(f64::from(i) / 10.0));
        }
        trace
    }

    #[test]
    fn energy_is_exact_between_readings_of_a_line() {
        let ramp = trace(Quantity::Power, |t| 2.0 + t);
        let counter = trace(Quantity::Energy, |t| 2.0 * t);
        for (start, end) in [(0.0, 10.0), (0.55, 3.21), (4.0, 4.05), (9.99, 10.0)] {
            let window = ramp.over(&[interval(start, end)]).unwrap();
            let expected = 2.0 * (end - start) + (end * end - start * start) / 2.0;
            assert!((window.joules - expected).abs() < 1e-6, "{start} {end}");
            let window = counter.over(&[interval(start, end)]).unwrap();
            assert!((window.joules - 2.0 * (end - start)).abs() < 1e-6, "{start} {end}");
        }
    }

    #[test]
    fn windows_of_several_intervals_leave_out_what_lies_between() {
        let window = trace(Quantity::Power, |t| if t < 5.0 { 10.0 } else { 1.0 })
            .over(&[interval(1.0, 2.0), interval(7.0, 9.0)])
            .unwrap();
        assert!((window.joules - 12.0).abs() < 1e-6 && (window.seconds - 3.0).abs() < 1e-9);
        assert_eq!((window.samples, window.changes), (11 + 21, 0));
    }

    #[test]
    fn what_readings_do_not_cover_is_unknown() {
        let mut trace = trace(Quantity::Power, |t| t);
        assert!(trace.over(&[]).is_err());
        assert!(trace.over(&[interval(9.0, 10.1)]).unwrap_err().contains("until the work ended"));
        trace.fail(at(10.1), "unplugged".into());
        assert_eq!(trace.over(&[interval(9.0, 10.1)]).unwrap_err(), "unplugged");
        trace.push(at(11.5), 1.0);
        assert_eq!(trace.over(&[interval(9.0, 11.2)]).unwrap_err(), "unplugged");
        assert!(trace.over(&[interval(1.0, 9.0)]).is_ok());
        trace.clear();
        assert!(trace.over(&[interval(1.0, 9.0)]).unwrap_err().contains("unplugged"));
    }

    #[test]
    fn readings_that_stand_still_are_flagged() {
        let frozen = trace(Quantity::Power, |t| t.min(4.0));
        assert!(!frozen.over(&[interval(0.0, 8.0)]).unwrap().unchanging);
        assert!(frozen.over(&[interval(0.0, 10.0)]).unwrap().unchanging);
        assert!(frozen.over(&[interval(6.0, 8.0)]).unwrap().unchanging);
        assert!(!frozen.over(&[interval(1.0, 3.0)]).unwrap().unchanging);
    }
}
