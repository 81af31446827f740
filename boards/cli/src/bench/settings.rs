//! How tests are run, and how long they go on.

use crate::args::{MemoryArgs, TrustArgs};
use crate::bench::energy::Power;
use kinglet_machine::Root;
use kinglet_quant::arrange::Preset;
use std::time::Duration;

/// Looks at the board are this far apart at least.
const LEAST_PERIOD: Duration = Duration::from_secs(1);
/// Looks in the time that a test is to last.
const LOOKS: u32 = 60;

/// How long a test goes on. Nothing means that its repetitions are counted instead.
#[derive(Clone, Copy, Debug, Default)]
pub struct Goal {
    /// What reading the prompt, and generating, each last at least.
    pub each: Option<Duration>,
    /// What both last together at least, with a record of how speed changes.
    pub sustained: Option<Duration>,
}

impl Goal {
    /// Whether tests go on until some time has passed.
    pub fn is_long(&self) -> bool {
        self.each.is_some() || self.sustained.is_some()
    }

    /// The time between looks at the board.
    pub fn period(&self) -> Duration {
        let longest = self.each.unwrap_or_default().max(self.sustained.unwrap_or_default());
        (longest / LOOKS).max(LEAST_PERIOD)
    }
}

/// How tests are run.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// Timed runs of every test.
    pub repetitions: u32,
    /// Whether a run that is not timed comes first.
    pub warmup: bool,
    /// Number format of models that are converted on the way.
    pub kind: Option<Preset>,
    /// What models must be signed with.
    pub trust: &'a TrustArgs,
    /// How long tests go on.
    pub goal: Goal,
    /// The sensor, where energy is measured.
    pub power: Option<&'a Power>,
    /// Degrees Celsius that the board is not to reach.
    pub cool: Option<f64>,
    /// Where the files of the system lie.
    pub root: &'a Root,
    /// How much memory a test may take.
    pub memory: MemoryArgs,
}
