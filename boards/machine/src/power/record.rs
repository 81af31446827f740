//! What a phase of the work cost.

use super::trace::{Interval, Window};

/// Work that was timed.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Tokens that it read or wrote.
    pub tokens: u64,
    /// When it was done.
    pub interval: Interval,
}

/// One phase: all its runs.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Tokens of all runs.
    pub tokens: u64,
    /// Seconds of all runs.
    pub seconds: f64,
    /// What they cost, or why that is not known.
    pub figures: Result<Figures, String>,
}

/// What a phase cost. All but the net figures include what the board draws when it is idle.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Energy, in joules.
    pub joules: f64,
    /// Mean power, in watts.
    pub watts: f64,
    /// Mean power above that of the idle board, in watts.
    pub net_watts: Option<f64>,
    /// Joules for each token.
    pub joules_per_token: f64,
    /// The same without the power of the idle board.
    pub net_joules_per_token: Option<f64>,
    /// Tokens for each joule. Tokens per second per watt is the same number.
    pub tokens_per_joule: f64,
    /// Tokens of a run, divided by mean power times the median time of a run: how
    /// <https://www.smolhub.com/posts/jetson-nano-super-benchmark-non-reasoning/> defines "output
    /// tok/J" for decoding.
    pub output_tokens_per_joule: f64,
    /// The readings behind these figures.
    pub window: Window,
    /// Joules for each token, in parts of the phase with as many runs each.
    pub repeats: Vec<f64>,
    /// The standard deviation of these; `None` for fewer than two.
    pub spread: Option<f64>,
}

impl Phase {
    /// What `runs`, in the order of time, cost; `None` where there are none.
    ///
    /// `idle_watts` was measured before; `parts` is the number of repeats to compare; `over` tells
    /// what the sensor showed in some intervals, or why that is not known.
    pub fn new(
        runs: &[Run],
        idle_watts: Option<f64>,
        parts: usize,
        over: impl Fn(&[Interval]) -> Result<Window, String>,
    ) -> Option<Self> {
        if runs.is_empty() {
            return None;
        }
        let tokens = runs.iter().map(|run| run.tokens).sum();
        let seconds = runs.iter().map(|run| run.interval.seconds()).sum();
        let figures = figures(runs, idle_watts, parts, &over);
        Some(Self { tokens, seconds, figures })
    }
}

/// Tokens, and what the sensor showed while they were read or written.
fn cost(
    runs: &[Run],
    over: &impl Fn(&[Interval]) -> Result<Window, String>,
) -> Result<(f64, Window), String> {
    let intervals: Vec<Interval> = runs.iter().map(|run| run.interval).collect();
    let window = over(&intervals)?;
    if window.joules <= 0.0 || window.seconds <= 0.0 {
        return Err("the sensor showed no energy at all".into());
    }
    Ok((runs.iter().map(|run| run.tokens as f64).sum(), window))
}

fn figures(
    runs: &[Run],
    idle_watts: Option<f64>,
    parts: usize,
    over: &impl Fn(&[Interval]) -> Result<Window, String>,
) -> Result<Figures, String> {
    let (tokens, window) = cost(runs, over)?;
    let Window { joules, seconds, .. } = window;
    let watts = joules / seconds;
    let net_watts = idle_watts.map(|idle| watts - idle);
    let each = runs.len().div_ceil(parts.max(1));
    let per_token = |part: &[Run]| cost(part, over).map(|(tokens, window)| window.joules / tokens);
    let repeats: Vec<f64> = runs.chunks(each).flat_map(per_token).collect();
    let mut times: Vec<f64> = runs.iter().map(|run| run.interval.seconds()).collect();
    times.sort_by(f64::total_cmp);
    Ok(Figures {
        joules,
        watts,
        net_watts,
        joules_per_token: joules / tokens,
        net_joules_per_token: net_watts.map(|net| net * seconds / tokens),
        tokens_per_joule: tokens / joules,
        output_tokens_per_joule: tokens / runs.len() as f64 / (watts * median(&times)),
        window,
        spread: spread(&repeats),
        repeats,
    })
}

/// The middle of values in ascending order, of which there is one at least.
fn median(sorted: &[f64]) -> f64 {
    (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0
}

/// The standard deviation of a sample; `None` for fewer than two values.
fn spread(values: &[f64]) -> Option<f64> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::power::{Quantity, Trace};
    use std::time::Duration;

    fn run(tokens: u64, start: u64, end: u64) -> Run {
        let interval =
            Interval { start: Duration::from_secs(start), end: Duration::from_secs(end) };
        Run { tokens, interval }
    }

    #[test]
    fn figures_follow_from_energy_time_and_tokens() {
        let mut trace = Trace::new(Quantity::Energy, Duration::from_secs(1));
        for (at, joules) in [0.0, 6.0, 12.0, 22.0, 32.0, 40.0, 48.0].into_iter().enumerate() {
            trace.push(Duration::from_secs(at as u64), joules);
        }
        // Two runs of 2 s at 8 W and one of 1 s at 8 W, with a pause.
        let runs = [run(20, 1, 3), run(20, 3, 5), run(20, 5, 6)];
        let phase = Phase::new(&runs, Some(2.0), 3, |all| trace.over(all)).unwrap();
        assert_eq!((phase.tokens, phase.seconds), (60, 5.0));
        let figures = phase.figures.unwrap();
        assert_eq!((figures.joules, figures.watts), (42.0, 8.4));
        assert_eq!((figures.joules_per_token, figures.tokens_per_joule), (0.7, 60.0 / 42.0));
        assert!((figures.net_watts.unwrap() - 6.4).abs() < 1e-9);
        assert!((figures.net_joules_per_token.unwrap() - 32.0 / 60.0).abs() < 1e-9);
        assert!((figures.output_tokens_per_joule - 20.0 / (8.4 * 2.0)).abs() < 1e-9);
        assert_eq!(figures.repeats, [0.8, 0.9, 0.4]);
        let squares = [0.1f64, 0.2, -0.3].iter().map(|x| x * x).sum::<f64>();
        assert!((figures.spread.unwrap() - (squares / 2.0).sqrt()).abs() < 1e-9);
    }

    #[test]
    fn what_is_unknown_has_a_reason_and_no_figure() {
        let trace = Trace::new(Quantity::Power, Duration::from_secs(1));
        assert!(Phase::new(&[], None, 3, |all| trace.over(all)).is_none());
        let phase = Phase::new(&[run(1, 0, 1)], None, 3, |all| trace.over(all)).unwrap();
        assert!(phase.figures.unwrap_err().contains("no reading"));
        let mut dead = Trace::new(Quantity::Energy, Duration::from_secs(1));
        (0..4).for_each(|at| dead.push(Duration::from_secs(at), 5.0));
        let phase = Phase::new(&[run(1, 1, 2)], None, 3, |all| dead.over(all)).unwrap();
        assert!(phase.figures.unwrap_err().contains("no energy"));
    }
}
