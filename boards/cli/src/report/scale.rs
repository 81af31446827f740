//! The scale of an axis, with its marks.

use crate::report::format::short;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use std::ops::Range;

/// Positions of the marks between two powers of ten, from few to many.
const LOG_MARKS: [&[f64]; 3] = [&[1.0], &[1.0, 3.0], &[1.0, 2.0, 5.0]];

/// An axis.
#[derive(Clone, Debug)]
pub struct Scale {
    range: Range<f64>,
    is_log: bool,
    marks: Vec<f64>,
}

impl Scale {
    /// From `low` to `high`, with about `count` round marks. Equal ends are moved apart.
    pub fn linear(low: f64, high: f64, count: usize) -> Self {
        let high = if high > low { high } else { low + low.abs().max(1.0) };
        let step = round_step((high - low) / count as f64);
        let first = (low / step).ceil() as i64;
        let marks = (first..).map(|i| i as f64 * step).take_while(|mark| *mark <= high * 1.000_001);
        Self { range: low..high, is_log: false, marks: marks.take(count * 4).collect() }
    }

    /// From 0 to a little above `most`.
    pub fn from_zero(most: f64, count: usize) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        Self::linear(0.0, most * 1.08, count)
    }

    /// A logarithmic one; both ends are above 0.
    pub fn log(low: f64, high: f64, count: usize) -> Self {
        assert!(0.0 < low && low < high, "{low}..{high} has no logarithmic scale");
        let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let marks = |each: &[f64]| {
            let all =
                powers.clone().flat_map(|power| each.iter().map(move |x| x * 10f64.powi(power)));
            all.filter(|mark| (low..=high).contains(mark)).collect::<Vec<f64>>()
        };
        let mut best = marks(LOG_MARKS[0]);
        while best.len() > count {
            best = best.into_iter().step_by(2).collect();
        }
        for each in &LOG_MARKS[1..] {
            let more = marks(each);
            if more.len() <= count {
                best = more;
            }
        }
        Self { range: low..high, is_log: true, marks: best }
    }

    /// Characters of the longest mark.
    pub fn longest_mark(&self) -> usize {
        self.marks.iter().map(|mark| short(*mark).chars().count()).max().unwrap_or(0)
    }
}

/// The next of 1, 2, 5, 10, 20 and so on.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * power >= step * 0.999_999);
    digit.unwrap_or(10.0) * power
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let place = |x: f64| if self.is_log { x.ln() } else { x };
        let (low, high) = (place(self.range.start), place(self.range.end));
        let share = (place(*value) - low) / (high - low);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.marks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Scale {
    fn format(value: &f64) -> String {
        short(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round() {
        assert_eq!(Scale::linear(0.0, 4096.0, 5).marks, [0.0, 1000.0, 2000.0, 3000.0, 4000.0]);
        assert_eq!(Scale::linear(41.3, 58.2, 4).marks, [45.0, 50.0, 55.0]);
        assert_eq!(Scale::linear(5.0, 5.0, 2).range, 5.0..10.0);
        assert_eq!(Scale::from_zero(0.0, 2).range, 0.0..1.08);
    }

    #[test]
    fn logarithmic_marks_are_as_many_as_fit() {
        assert_eq!(Scale::log(0.5, 200.0, 4).marks, [1.0, 10.0, 100.0]);
        assert_eq!(Scale::log(0.5, 200.0, 6).marks.len(), 5);
        assert_eq!(Scale::log(2.0, 9.0, 4).marks, [2.0, 5.0]);
        assert!(Scale::log(1e-9, 1e9, 5).marks.len() <= 5);
    }

    #[test]
    fn the_ends_lie_at_the_ends() {
        for scale in [Scale::linear(-3.0, 8.0, 4), Scale::log(0.3, 9e9, 4)] {
            let Range { start, end } = scale.range();
            assert_eq!((scale.map(&start, (10, 90)), scale.map(&end, (10, 90))), (10, 90));
        }
    }
}
