//! Reading a sensor in a thread of its own.

use super::clock::Clock;
use super::source::{Quantity, Source};
use super::trace::{Interval, Trace, Window};
use kinglet_quant::{Code, Error, Result};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// A share of one processor that reading may take, half of the 1% that is promised.
const MOST_COST: f64 = 0.005;
/// The slowest rate to which reading falls back.
const LEAST_RATE_HZ: f64 = 1.0;
/// The time between questions for the cost. To ask costs as much as a reading.
const COST_STEP: Duration = Duration::from_millis(100);
/// The time after which the rate follows the cost.
const COST_WINDOW: Duration = Duration::from_secs(1);
/// Its multiples lie more evenly between whole numbers than those of any other number.
const GOLDEN_RATIO: f64 = 0.618_033_988_749_895;
/// How long [`Sampler::settle`] waits for a sensor; any that works answers within this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// A thread that reads a sensor until this is dropped.
pub struct Sampler {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    name: String,
    boundary: String,
    quantity: Quantity,
    rate_hz: f64,
}

struct Shared {
    state: Mutex<State>,
    fresh: Condvar,
}

struct State {
    trace: Trace,
    /// Time and processor time at the last call of [`Sampler::forget`] and at the last reading.
    cost_from: Option<Cost>,
    cost_to: Option<Cost>,
    is_over: bool,
}

/// What the thread had used at some moment.
#[derive(Clone, Copy)]
struct Cost {
    at: Duration,
    cpu: Duration,
}

impl Cost {
    /// The share of one processor that was used until `later`.
    fn share_until(self, later: Self) -> Option<f64> {
        let wall = later.at.saturating_sub(self.at).as_secs_f64();
        (wall > 0.0).then(|| later.cpu.saturating_sub(self.cpu).as_secs_f64() / wall)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sampler {
    /// Starts to read, at uneven times, at the rate that suits the sensor or at a lower one if its
    /// readings would take more than 0.5% of a processor's time. `Resource` when there is no thread
    /// to be had.
    pub fn start(source: Box<dyn Source>, clock: Arc<dyn Clock>) -> Result<Self> {
        let rate_hz = source.rate_hz();
        let quantity = source.quantity();
        let trace = Trace::new(quantity, Duration::from_secs_f64(1.0 / rate_hz));
        let state = State { trace, cost_from: None, cost_to: None, is_over: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), fresh: Condvar::new() });
        let (name, boundary) = (source.name().into(), source.boundary().into());
        let sampler = Self {
            shared: shared.clone(),
            clock: clock.clone(),
            name,
            boundary,
            quantity,
            rate_hz,
        };
        let work = move || run(source, &*clock, &shared);
        thread::Builder::new().name("power".into()).spawn(work).map_err(|cause| {
            Error::new(
                Code::Resource,
                format_args!("the thread that reads the power sensor does not start: {cause}"),
            )
        })?;
        Ok(sampler)
    }

    /// The name of the sensor.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the sensor covers.
    pub fn boundary(&self) -> &str {
        &self.boundary
    }

    /// What its readings are.
    pub fn quantity(&self) -> Quantity {
        self.quantity
    }

    /// Readings a second that were aimed at in the beginning.
    pub fn rate_hz(&self) -> f64 {
        self.rate_hz
    }

    /// The time by which intervals are given.
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Waits until there is a reading from after this call, or until the sensor has failed to give
    /// one. Called before and after the work, so that readings surround it.
    pub fn settle(&self) {
        let since = self.clock.now();
        let is_old = |state: &mut State| state.trace.last().is_none_or(|last| last < since);
        let waited = self.shared.fresh.wait_timeout_while(self.shared.lock(), PATIENCE, is_old);
        // What is missing then shows in the readings themselves.
        drop(waited);
    }

    /// Forgets earlier readings, and counts the cost anew.
    pub fn forget(&self) {
        let mut state = self.shared.lock();
        state.trace.clear();
        state.cost_from = state.cost_to;
    }

    /// What the sensor showed in some intervals, in the order of time; or why that is not known.
    pub fn over(&self, intervals: &[Interval]) -> std::result::Result<Window, String> {
        self.shared.lock().trace.over(intervals)
    }

    /// The share of one processor's time that reading took since [`Sampler::forget`]; `None` where
    /// the system does not tell.
    pub fn cost(&self) -> Option<f64> {
        let state = self.shared.lock();
        state.cost_from?.share_until(state.cost_to?)
    }
}

impl Drop for Sampler {
    /// Ends the thread after its next reading. It is not waited for: a sensor may hang.
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
    }
}

/// Reads until the sampler is dropped.
fn run(mut source: Box<dyn Source>, clock: &dyn Clock, shared: &Shared) {
    let (mut counted, mut looked): (Option<Cost>, Option<Cost>) = (None, None);
    let mut turn: f64 = 0.0;
    loop {
        let before = clock.now();
        let reading = source.read();
        let after = clock.now();
        let is_due = |last: Cost| after.saturating_sub(last.at) >= COST_STEP;
        let cost = match counted.is_none_or(is_due) {
            true => clock.cpu_time().map(|cpu| Cost { at: after, cpu }),
            false => None,
        };
        let mut state = shared.lock();
        if state.is_over {
            return;
        }
        match reading {
            // A reading is of some moment between the call and the return.
            Ok(reading) => state.trace.push(before + (after - before) / 2, reading),
            Err(error) => state.trace.fail(after, error.message().into()),
        }
        if let Some(cost) = cost {
            counted = Some(cost);
            state.cost_from = state.cost_from.or(counted);
            state.cost_to = counted;
            let last = *looked.get_or_insert(cost);
            if cost.at.saturating_sub(last.at) >= COST_WINDOW {
                let share = last.share_until(cost).unwrap_or(0.0);
                let step = affordable(state.trace.step(), share);
                state.trace.set_step(step);
                looked = Some(cost);
            }
        }
        let step = state.trace.step();
        drop(state);
        shared.fresh.notify_all();
        // Readings at regular times would find a load that comes and goes as regularly always in
        // the same state.
        turn = (turn + GOLDEN_RATIO).fract();
        clock.sleep_until((before + step.mul_f64(0.5 + turn)).max(after));
    }
}

/// The distance of readings that brings their cost, which is `share` of a processor at `step`, down
/// to what they may take.
fn affordable(step: Duration, share: f64) -> Duration {
    let slowest = Duration::from_secs_f64(1.0 / LEAST_RATE_HZ);
    let wanted = step.mul_f64((share / MOST_COST).max(1.0));
    wanted.min(slowest.max(step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dear_readings_become_rare() {
        let step = Duration::from_millis(10);
        assert_eq!(affordable(step, 0.004), step);
        assert_eq!(affordable(step, 0.02), step * 4);
        assert_eq!(affordable(step, 5.0), Duration::from_secs(1));
    }
}
