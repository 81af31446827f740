//! Looking at a test while it runs: its laps, the board's heat, and whether it slows down.

use crate::bench::energy::{Energy, Power};
use crate::bench::lap::Lap;
use crate::bench::plan::Test;
use crate::bench::settings::{Goal, Settings};
use kinglet_machine::{Conditions, Root, Throttle, Throttling};
use serde::Serialize;
use std::time::{Duration, Instant};

/// The state of the board after some lap.
struct Look {
    at: Instant,
    /// Laps until then.
    laps: usize,
    celsius: Option<f64>,
    megahertz: Option<f64>,
}

/// A test that is being looked at.
pub struct Watch {
    root: Root,
    period: Duration,
    before: Conditions,
    laps: Vec<Lap>,
    looks: Vec<Look>,
    throttles: Vec<Throttle>,
    looked: Instant,
}

/// A part of a long test.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Point {
    /// Seconds from the start of the test to the end of this part.
    pub seconds: f64,
    /// Speed in this part.
    pub tokens_per_second: f64,
    /// Mean power in this part.
    pub watts: Option<f64>,
    /// The hottest part of the board then, in degrees Celsius.
    pub celsius: Option<f64>,
    /// The fastest processor then, in MHz.
    pub megahertz: Option<f64>,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Watched {
    /// Whether the board slowed down, and why.
    pub throttling: Throttling,
    /// How a sustained test went on.
    pub curve: Option<Vec<Point>>,
    /// What it cost, where that was asked.
    pub energy: Option<Energy>,
}

impl Watch {
    /// Begins; the sensor has given a reading.
    pub fn start(settings: &Settings<'_>) -> Self {
        let root = settings.root.clone();
        let before = Conditions::read(&root);
        let throttles = vec![Throttle::read(&root)];
        if let Some(power) = settings.power {
            power.begin();
        }
        let (period, looked) = (settings.goal.period(), Instant::now());
        Self { root, period, before, laps: Vec::new(), looks: Vec::new(), throttles, looked }
    }

    /// Another run has ended.
    pub fn add(&mut self, lap: Lap) {
        self.laps.push(lap);
    }

    /// Runs so far.
    pub fn laps(&self) -> usize {
        self.laps.len()
    }

    /// Whether the runs so far last as long as they are to.
    pub fn is_reached(&self, goal: &Goal, test: &Test) -> bool {
        let sum = |time: fn(&Lap) -> Duration| self.laps.iter().map(time).sum::<Duration>();
        let (read, written) = (sum(|lap| lap.read - lap.start), sum(|lap| lap.end - lap.read));
        let each = goal.each.is_none_or(|least| {
            (test.prompt == 0 || read >= least) && (test.generated == 0 || written >= least)
        });
        each && goal.sustained.is_none_or(|least| read + written >= least)
    }

    /// Looks at the board, between two runs, when it is time.
    pub fn look(&mut self) {
        if self.looked.elapsed() < self.period {
            return;
        }
        self.look_now();
    }

    fn look_now(&mut self) {
        let conditions = Conditions::read(&self.root);
        let (celsius, megahertz) = (conditions.hottest(), conditions.fastest_cpu());
        let (at, laps) = (Instant::now(), self.laps.len());
        self.looks.push(Look { at, laps, celsius, megahertz });
        self.throttles.push(Throttle::read(&self.root));
        self.looked = Instant::now();
    }

    /// Ends; the sensor has given a reading behind the last run.
    pub fn finish(mut self, test: &Test, settings: &Settings<'_>) -> Watched {
        if let Some(power) = settings.power {
            power.end();
        }
        self.look_now();
        let after = Conditions::read(&self.root);
        let energy = |power: &Power| power.cost(test, &self.laps, &self.before, &after);
        Watched {
            throttling: Throttling::of(&self.throttles),
            curve: settings.goal.sustained.map(|_| self.curve(test, settings.power)),
            energy: settings.power.map(energy),
        }
    }

    /// The parts between looks.
    fn curve(&self, test: &Test, power: Option<&Power>) -> Vec<Point> {
        let Some(start) = self.laps.first().map(|lap| lap.start) else { return Vec::new() };
        let tokens = (test.prompt + test.generated * test.texts) as f64;
        let mut from = 0;
        let mut points = Vec::new();
        for look in &self.looks {
            let laps = &self.laps[from..look.laps];
            from = look.laps;
            let seconds: f64 = laps.iter().map(|lap| (lap.end - lap.start).as_secs_f64()).sum();
            if laps.is_empty() {
                continue;
            }
            points.push(Point {
                seconds: (look.at - start).as_secs_f64(),
                tokens_per_second: tokens * laps.len() as f64 / seconds,
                watts: power.and_then(|power| power.watts(laps)),
                celsius: look.celsius,
                megahertz: look.megahertz,
            });
        }
        points
    }
}
