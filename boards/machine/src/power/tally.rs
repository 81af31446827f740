//! Energy counted for as long as a process lives.

use super::clock::Clock;
use super::source::{Quantity, Source};
use kinglet_quant::{Code, Error, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// The mean distance of readings: rare enough to cost nothing, and over minutes as good as many.
const STEP: Duration = Duration::from_secs(1);
/// Nobody knows the power between readings that are further apart.
const LONGEST_GAP: Duration = Duration::from_secs(5);
/// Its multiples lie more evenly between whole numbers than those of any other number.
const GOLDEN_RATIO: f64 = 0.618_033_988_749_895;

/// What a sensor has shown since a [`Tally`] began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Total {
    /// The energy.
    pub joules: f64,
    /// The time of which the energy is not known, and not counted: the sensor gave no readings.
    pub unknown_seconds: f64,
}

/// A thread that reads a sensor about once a second until this is dropped, and keeps the sum alone.
pub struct Tally {
    count: Arc<Mutex<Count>>,
    name: String,
    boundary: String,
}

impl Tally {
    /// Starts to count. `Resource` when there is no thread to be had.
    pub fn start(mut source: Box<dyn Source>, clock: Arc<dyn Clock>) -> Result<Self> {
        let count = Arc::new(Mutex::new(Count::new(source.quantity())));
        let (name, boundary) = (source.name().into(), source.boundary().into());
        let shared = Arc::downgrade(&count);
        let work = move || run(&mut *source, &*clock, &shared);
        thread::Builder::new().name("power".into()).spawn(work).map_err(|cause| {
            Error::new(
                Code::Resource,
                format_args!("the thread that reads the power sensor does not start: {cause}"),
            )
        })?;
        Ok(Self { count, name, boundary })
    }

    /// The name of the sensor.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the sensor covers.
    pub fn boundary(&self) -> &str {
        &self.boundary
    }

    /// What the sensor has shown until its last reading.
    pub fn total(&self) -> Total {
        let count = lock(&self.count);
        Total { joules: count.joules, unknown_seconds: count.unknown.as_secs_f64() }
    }
}

fn lock(count: &Mutex<Count>) -> MutexGuard<'_, Count> {
    count.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads until the tally is dropped.
fn run(source: &mut dyn Source, clock: &dyn Clock, count: &Weak<Mutex<Count>>) {
    let mut turn: f64 = 0.0;
    loop {
        let before = clock.now();
        let reading = source.read();
        let after = clock.now();
        let Some(count) = count.upgrade() else { return };
        if let Ok(reading) = reading {
            // A reading is of some moment between the call and the return.
            lock(&count).push(before + (after - before) / 2, reading);
        }
        drop(count);
        // Readings at regular times would find a load that comes and goes as regularly always in
        // the same state.
        turn = (turn + GOLDEN_RATIO).fract();
        clock.sleep_until((before + STEP.mul_f64(0.5 + turn)).max(after));
    }
}

/// The sum over readings.
struct Count {
    quantity: Quantity,
    last: Option<(Duration, f64)>,
    joules: f64,
    unknown: Duration,
}

impl Count {
    fn new(quantity: Quantity) -> Self {
        Self { quantity, last: None, joules: 0.0, unknown: Duration::ZERO }
    }

    /// Adds what was used since the last reading.
    fn push(&mut self, at: Duration, reading: f64) {
        let Some((last_at, last)) = self.last.replace((at, reading)) else { return };
        let time = at.saturating_sub(last_at);
        match self.quantity {
            Quantity::Energy => self.joules += reading - last,
            Quantity::Power if time > LONGEST_GAP => self.unknown += time,
            Quantity::Power => self.joules += (last + reading) / 2.0 * time.as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(quantity: Quantity, readings: &[(u64, f64)]) -> (f64, f64) {
        let mut count = Count::new(quantity);
        for &(seconds, reading) in readings {
            count.push(Duration::from_secs(seconds), reading);
        }
        (count.joules, count.unknown.as_secs_f64())
    }

    #[test]
    fn energy_is_power_over_time_where_that_is_known() {
        assert_eq!(total(Quantity::Power, &[(7, 5.0)]), (0.0, 0.0));
        assert_eq!(total(Quantity::Power, &[(1, 4.0), (2, 6.0), (4, 6.0)]), (17.0, 0.0));
        // The sensor was silent for 20 s.
        assert_eq!(total(Quantity::Power, &[(1, 4.0), (21, 4.0), (22, 4.0)]), (4.0, 20.0));
    }

    #[test]
    fn counters_know_what_was_used_while_nobody_read() {
        assert_eq!(total(Quantity::Energy, &[(1, 100.0), (500, 160.0), (501, 161.5)]), (61.5, 0.0));
    }
}
