//! Pacing work so that a board stays under a temperature.

use crate::power::{Clock, Monotonic};
use crate::{Root, hottest_celsius};
use kinglet_quant::{Code, Error, Result, ensure, fail};
use std::sync::Arc;
use std::time::Duration;

/// The temperature is looked at as often as this.
const PERIOD: Duration = Duration::from_millis(500);
/// Below the limit by less than this, work becomes a smaller share of the time; after a rest it
/// begins again.
const NEAR: f64 = 1.5;
/// Below the limit by more than this, work becomes a larger share of the time.
const FAR: f64 = 3.0;
/// The smallest share of the time that is work.
const LEAST_SHARE: f64 = 0.05;
/// Who does not become cooler in this time without work never will.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// The share of the time that is work, from the temperature.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pace {
    limit: f64,
    share: f64,
    rests: bool,
}

impl Pace {
    /// Takes a temperature, measured every [`PERIOD`], into account.
    ///
    /// Between `NEAR` and `FAR` below the limit the share stays, so that it does not swing.
    fn look(&mut self, celsius: f64) {
        let below = self.limit - celsius;
        if below <= 0.0 {
            if !self.rests {
                self.share *= 0.7;
            }
            self.rests = true;
        } else if below > NEAR {
            self.rests = false;
        }
        if below > FAR {
            self.share *= 1.03;
        } else if below < NEAR && !self.rests {
            self.share *= 0.95;
        }
        self.share = self.share.clamp(LEAST_SHARE, 1.0);
    }

    /// How long to rest after some work.
    fn rest(&self, worked: Duration) -> Duration {
        worked.mul_f64(1.0 / self.share - 1.0)
    }
}

/// Makes a board rest so often that it stays under a temperature.
///
/// Call [`Cooler::pause`] after each token, for example in the function that gets the pieces of a
/// text.
pub struct Cooler {
    thermometer: Thermometer,
    clock: Arc<dyn Clock>,
    pace: Pace,
    looked: Option<Duration>,
    /// When the last pause ended.
    resumed: Duration,
    rested: Duration,
}

/// Gives degrees Celsius; `None` where they cannot be read.
pub type Thermometer = Box<dyn Fn() -> Option<f64> + Send>;

impl Cooler {
    /// Keeps the hottest part of the board below `limit_celsius`, by this machine's clock.
    ///
    /// `NotFound` where no temperature can be read.
    pub fn new(root: Root, limit_celsius: f64) -> Result<Self> {
        ensure!(
            hottest_celsius(&root).is_some(),
            Code::NotFound,
            "no temperature can be read in /sys/class/thermal or /sys/class/hwmon, and without one \
             the board cannot be kept cool"
        );
        let thermometer = Box::new(move || hottest_celsius(&root));
        Ok(Self::with(thermometer, limit_celsius, Arc::new(Monotonic::start())))
    }

    /// The same by another thermometer and clock.
    pub fn with(thermometer: Thermometer, limit_celsius: f64, clock: Arc<dyn Clock>) -> Self {
        let pace = Pace { limit: limit_celsius, share: 1.0, rests: false };
        let resumed = clock.now();
        Self { thermometer, clock, pace, looked: None, resumed, rested: Duration::ZERO }
    }

    /// Time rested so far.
    pub fn rested(&self) -> Duration {
        self.rested
    }

    /// Rests for as long as the work since the last call asks for, or until `goes_on` is false.
    ///
    /// `Resource` when the board stays too warm without any work, or its temperature is no longer
    /// to be read.
    pub fn pause(&mut self, goes_on: &mut dyn FnMut() -> bool) -> Result<()> {
        let start = self.clock.now();
        self.look(start)?;
        let end = start + self.pace.rest(start.saturating_sub(self.resumed));
        let mut now = start;
        while (now < end || self.pace.rests) && goes_on() {
            let step = if self.pace.rests { now + PERIOD } else { end.min(now + PERIOD) };
            self.clock.sleep_until(step);
            now = self.clock.now();
            self.look(now)?;
            if self.pace.rests && now.saturating_sub(start) > LONGEST_REST {
                fail!(
                    Code::Resource,
                    "the board is not below {} °C after {} minutes without work: choose a higher \
                     temperature, or cool it",
                    self.pace.limit,
                    LONGEST_REST.as_secs() / 60
                );
            }
        }
        self.resumed = now;
        self.rested += now.saturating_sub(start);
        Ok(())
    }

    /// Looks at the temperature when it is time.
    fn look(&mut self, now: Duration) -> Result<()> {
        if self.looked.is_some_and(|looked| now.saturating_sub(looked) < PERIOD) {
            return Ok(());
        }
        let celsius = (self.thermometer)().ok_or_else(|| {
            Error::new(
                Code::Resource,
                format_args!("the temperature of the board is no longer to be read"),
            )
        })?;
        self.pace.look(celsius);
        self.looked = Some(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A board with a heat sink that follows slowly and a chip that follows fast.
    struct Board(Mutex<State>);

    struct State {
        now: f64,
        sink: f64,
        chip: f64,
        hottest: f64,
    }

    impl Board {
        const AMBIENT: f64 = 25.0;
        /// How much warmer than its surroundings the sink is under load for ever, and the chip than
        /// the sink.
        const SINK: f64 = 60.0;
        const CHIP: f64 = 8.0;

        /// The board, and a way of keeping it cool.
        fn with_cooler(limit: f64) -> (Arc<Self>, Cooler) {
            let state = State { now: 0.0, sink: 40.0, chip: 40.0, hottest: 0.0 };
            let board = Arc::new(Self(Mutex::new(state)));
            let measured = board.clone();
            let thermometer = Box::new(move || Some(measured.0.lock().unwrap().chip));
            (board.clone(), Cooler::with(thermometer, limit, board))
        }

        /// `seconds` go by under a load between 0 and 1.
        fn pass(&self, seconds: f64, load: f64) {
            let mut state = self.0.lock().unwrap();
            let steps = (seconds / 0.01).ceil().max(1.0);
            for _ in 0..steps as u32 {
                let dt = seconds / steps;
                let sink = Self::AMBIENT + Self::SINK * load;
                state.sink += (sink - state.sink) * dt / 40.0;
                let chip = state.sink + Self::CHIP * load;
                state.chip += (chip - state.chip) * dt / 0.8;
                state.hottest = state.hottest.max(state.chip);
                state.now += dt;
            }
        }
    }

    impl Clock for Board {
        fn now(&self) -> Duration {
            Duration::from_secs_f64(self.0.lock().unwrap().now)
        }

        fn sleep_until(&self, time: Duration) {
            self.pass(time.saturating_sub(self.now()).as_secs_f64(), 0.0);
        }

        fn cpu_time(&self) -> Option<Duration> {
            None
        }
    }

    /// The share of an hour that is work, in tokens of this length, and the highest temperature.
    fn paced(limit: f64, token_seconds: f64) -> (f64, f64) {
        let (board, mut cooler) = Board::with_cooler(limit);
        while board.now() < Duration::from_secs(3600) {
            board.pass(token_seconds, 1.0);
            cooler.pause(&mut || true).unwrap();
        }
        let share = 1.0 - cooler.rested().as_secs_f64() / board.now().as_secs_f64();
        let hottest = board.0.lock().unwrap().hottest;
        (share, hottest)
    }

    #[test]
    fn a_board_stays_under_the_limit_and_works_as_much_as_that_allows() {
        for limit in [60.0, 75.0] {
            for token_seconds in [0.02, 0.1] {
                let (share, hottest) = paced(limit, token_seconds);
                // The share at which the sink and the chip on it would be at the limit for ever.
                let most = (limit - Board::AMBIENT) / (Board::SINK + Board::CHIP);
                assert!(hottest <= limit, "{hottest} °C with {limit} °C wanted");
                assert!(share > 0.85 * most, "{share} of {most} at {limit} °C");
            }
        }
    }

    #[test]
    fn a_board_that_never_grows_that_warm_is_left_alone() {
        let (share, hottest) = paced(120.0, 0.05);
        assert!(share == 1.0 && hottest > 90.0, "{share} {hottest}");
    }

    #[test]
    fn a_limit_below_the_surroundings_is_refused_after_a_while() {
        let (_board, mut cooler) = Board::with_cooler(20.0);
        assert_eq!(cooler.pause(&mut || true).unwrap_err().code(), Code::Resource);
        let mut calls = 0;
        let mut twice = || {
            calls += 1;
            calls <= 2
        };
        cooler.pause(&mut twice).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let nothing = Root::at(folder.path());
        assert_eq!(Cooler::new(nothing, 75.0).err().unwrap().code(), Code::NotFound);
    }
}
