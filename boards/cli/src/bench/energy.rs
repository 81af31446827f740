//! Energy of a test: the sensor that is read meanwhile, and what each phase cost.

use crate::bench::lap::Lap;
use crate::bench::plan::Test;
use crate::interrupt;
use kinglet::Result;
use kinglet_machine::power::{Interval, Monotonic, Phase, Request, Run, Sampler, Window};
use kinglet_machine::{Conditions, Root, Settings};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// The idle board is measured for as long as a phase, and for this long at most.
const LONGEST_IDLE: Duration = Duration::from_secs(10);
/// How soon Ctrl-C ends it.
const IDLE_STEP: Duration = Duration::from_millis(100);

/// A sensor that is being read, and what it showed before any work.
pub struct Power {
    clock: Monotonic,
    sampler: Sampler,
    idle: std::result::Result<Window, String>,
    settings: Settings,
    parts: usize,
}

/// What a test cost.
#[derive(Debug)]
pub struct Energy {
    /// The sensor.
    pub source: String,
    /// What it covers.
    pub boundary: String,
    /// What its readings are.
    pub readings: &'static str,
    /// Readings a second that were aimed at.
    pub rate_hz: f64,
    /// The share of one processor that reading took.
    pub cost_share: Option<f64>,
    /// Mean power of the idle board.
    pub idle_watts: Option<f64>,
    /// How long that was measured.
    pub idle_seconds: Option<f64>,
    /// What stays as it is.
    pub settings: Settings,
    /// Heat and frequencies before the test.
    pub before: Conditions,
    /// And after it.
    pub after: Conditions,
    /// The test as a whole.
    pub whole: Phase,
    /// Reading the prompt.
    pub prefill: Option<Phase>,
    /// Generating.
    pub decode: Option<Phase>,
}

impl Power {
    /// Opens the sensor and measures the idle board. `parts` is the number of repeats of which
    /// phases tell the spread.
    ///
    /// Fails as [`Request::open`] does, and with `Interrupted`.
    pub fn start(request: &Request, phase: Duration, parts: usize, root: &Root) -> Result<Self> {
        let source = request.open(root)?;
        let clock = Monotonic::start();
        let sampler = Sampler::start(source, Arc::new(clock))?;
        sampler.settle();
        let start = sampler.now();
        let end = start + phase.min(LONGEST_IDLE);
        while sampler.now() < end {
            interrupt::check()?;
            thread::sleep(IDLE_STEP);
        }
        let interval = Interval { start, end: sampler.now() };
        sampler.settle();
        let idle = sampler.over(&[interval]);
        Ok(Self { clock, sampler, idle, settings: Settings::read(root), parts })
    }

    /// The sensor, its boundary and the idle board, in a sentence.
    pub fn describe(&self) -> String {
        let idle = match &self.idle {
            Ok(window) => format!("{:.2} W over {:.0} s", watts(window), window.seconds),
            Err(reason) => format!("unknown, since {reason}"),
        };
        format!("{}: {}; idle {idle}", self.sampler.name(), self.sampler.boundary())
    }

    /// A test begins.
    pub fn begin(&self) {
        self.sampler.settle();
        self.sampler.forget();
    }

    /// A test has ended.
    pub fn end(&self) {
        self.sampler.settle();
    }

    /// Mean power of some runs.
    pub fn watts(&self, laps: &[Lap]) -> Option<f64> {
        let laps: Vec<Interval> =
            laps.iter().map(|lap| self.interval(lap.start, lap.end)).collect();
        self.sampler.over(&laps).ok().map(|window| watts(&window))
    }

    /// What a test that has ended cost.
    pub fn cost(
        &self,
        test: &Test,
        laps: &[Lap],
        before: &Conditions,
        after: &Conditions,
    ) -> Energy {
        let idle = self.idle.as_ref().ok();
        let idle_watts = idle.map(watts);
        let phase = |tokens: usize, times: fn(&Lap) -> (Instant, Instant)| {
            let run = |lap: &Lap| {
                let (start, end) = times(lap);
                Run { tokens: tokens as u64, interval: self.interval(start, end) }
            };
            let runs: Vec<Run> = if tokens > 0 { laps.iter().map(run).collect() } else { vec![] };
            Phase::new(&runs, idle_watts, self.parts, |intervals| self.sampler.over(intervals))
        };
        let (read, written) = (test.prompt, test.generated * test.texts);
        Energy {
            source: self.sampler.name().into(),
            boundary: self.sampler.boundary().into(),
            readings: self.sampler.quantity().name(),
            rate_hz: self.sampler.rate_hz(),
            cost_share: self.sampler.cost(),
            idle_watts,
            idle_seconds: idle.map(|window| window.seconds),
            settings: self.settings.clone(),
            before: before.clone(),
            after: after.clone(),
            whole: phase(read + written, |lap| (lap.start, lap.end))
                .expect("a test does something"),
            prefill: phase(read, |lap| (lap.start, lap.read)),
            decode: phase(written, |lap| (lap.read, lap.end)),
        }
    }

    fn interval(&self, start: Instant, end: Instant) -> Interval {
        Interval { start: self.clock.at(start), end: self.clock.at(end) }
    }
}

fn watts(window: &Window) -> f64 {
    window.joules / window.seconds
}
