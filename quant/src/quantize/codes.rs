//! The integers that quantized weights can become, and the search for scales.

use crate::format::MAX_CODE;
use std::array;

/// Largest group scale.
pub(crate) const MAX_GROUP_SCALE: f32 = 127.0;
/// Largest magnitude of a Q8 code.
pub(crate) const MAX_Q8: f32 = 127.0;
/// Scales tried for a group, of both signs: the largest weight is mapped onto the last code times
/// `FIRST_FACTOR`, `FIRST_FACTOR + FACTOR_STEP` and so on.
const CANDIDATES: usize = 2 * 16;
const FIRST_FACTOR: f32 = 0.70;
const FACTOR_STEP: f32 = 0.03;

/// The values that a weight divided by its scale can take.
pub(crate) trait Codes: Sync {
    /// The nearest of them.
    fn nearest(&self, x: f32) -> f32;

    /// The best scale for a group, before it is rounded to the row's grid.
    fn scale(&self, weights: &[f32], importance: &[f32]) -> f32;
}

/// The bytes −127 to 127.
pub(crate) struct Bytes;

/// All integers from `LOW` to `HIGH`, of which `LOW` is the largest in magnitude.
pub(crate) struct Linear<const LOW: i8, const HIGH: i8>;

/// Any ascending table.
pub(crate) struct Codebook<const N: usize> {
    values: [f32; N],
    /// What lies between `values[i - 1]` and `values[i]`, and how far apart they are; the first of
    /// each is never looked at.
    middles: [f32; N],
    steps: [f32; N],
}

impl Codes for Bytes {
    #[inline(always)]
    fn nearest(&self, x: f32) -> f32 {
        round(x.clamp(-MAX_Q8, MAX_Q8))
    }

    /// With so many codes a search gains little over the scale that clips nothing.
    #[inline(always)]
    fn scale(&self, weights: &[f32], _: &[f32]) -> f32 {
        largest(weights) / MAX_Q8
    }
}

impl<const LOW: i8, const HIGH: i8> Codes for Linear<LOW, HIGH> {
    #[inline(always)]
    fn nearest(&self, x: f32) -> f32 {
        round(x.clamp(f32::from(LOW), f32::from(HIGH)))
    }

    #[inline(always)]
    fn scale(&self, weights: &[f32], importance: &[f32]) -> f32 {
        search_scale(self, -f32::from(LOW), weights, importance)
    }
}

impl<const N: usize> Codebook<N> {
    /// The first `N` entries of a table, which must ascend within ±32.
    pub fn new(table: &[i8; 16]) -> Self {
        let values: [f32; N] = array::from_fn(|i| f32::from(table[i]));
        assert!(values.is_sorted_by(|a, b| a < b));
        assert!(values.iter().all(|value| value.abs() <= f32::from(MAX_CODE)));
        let before = |i: usize| values[i.max(1) - 1];
        let middles = array::from_fn(|i| (before(i) + values[i]) / 2.0);
        let steps = array::from_fn(|i| values[i] - before(i));
        Self { values, middles, steps }
    }
}

impl<const N: usize> Codes for Codebook<N> {
    #[inline(always)]
    fn nearest(&self, x: f32) -> f32 {
        // Sums of steps instead of a look-up: vectors have no cheap one. Each step is read whether
        // it counts or not, because loops with reads that depend on `x` become gathers.
        let mut value = self.values[0];
        for i in 1..N {
            let step = self.steps[i];
            value += if x > self.middles[i] { step } else { 0.0 };
        }
        value
    }

    #[inline(always)]
    fn scale(&self, weights: &[f32], importance: &[f32]) -> f32 {
        let reach = self.values[0].abs().max(self.values[N - 1].abs());
        search_scale(self, reach, weights, importance)
    }
}

/// Rounds to the nearest integer, ties to even, for |x| up to 2²²: without a library call on
/// processors that lack the instruction, so that loops around it stay vectors.
#[inline(always)]
pub(crate) fn round(x: f32) -> f32 {
    const SHIFT: f32 = 1.5 * (1 << 23) as f32;
    (x + SHIFT) - SHIFT
}

#[inline(always)]
pub(crate) fn largest(weights: &[f32]) -> f32 {
    weights.iter().fold(0.0, |largest, weight| weight.abs().max(largest))
}

/// 1/x, and 0 for 0: groups without a scale get the code nearest to zero.
#[inline(always)]
pub(crate) fn inverse(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

/// The group scale near `scale` with the least error; the first of equals.
///
/// The search begins with the scale rounded up, which clips nothing when `scale` does not.
/// `units` are the weights over the row scale.
#[inline(always)]
pub(crate) fn snap<C: Codes>(codes: &C, scale: f32, units: &[f32], importance: &[f32]) -> f32 {
    let error = |scale: f32| -> f32 {
        let inverse = inverse(scale);
        let error = |unit: f32| unit - scale * codes.nearest(unit * inverse);
        let pairs = units.iter().zip(importance);
        pairs.map(|(&unit, importance)| importance * error(unit).powi(2)).sum()
    };
    let mut best = (f32::INFINITY, 0.0);
    for offset in [0.0, -1.0, 1.0, 2.0] {
        let scale = (scale.ceil() + offset).clamp(-MAX_GROUP_SCALE, MAX_GROUP_SCALE);
        let error = error(scale);
        if error < best.0 {
            best = (error, scale);
        }
    }
    best.1
}

/// The real scale, of either sign, with the least error among the candidates; `reach` is the
/// largest magnitude of a code.
///
/// With nearest codes `c` and the least-squares scale `Σhwc / Σhc²` the error is
/// `Σhw² − (Σhwc)² / Σhc²`, so the largest quotient wins.
#[inline(always)]
fn search_scale<C: Codes>(codes: &C, reach: f32, weights: &[f32], importance: &[f32]) -> f32 {
    let largest = largest(weights);
    if largest < f32::MIN_POSITIVE {
        return 0.0;
    }
    let inverses: [f32; CANDIDATES] = array::from_fn(|k| {
        let factor = FIRST_FACTOR + (k / 2) as f32 * FACTOR_STEP;
        if k % 2 == 0 { factor * reach } else { -factor * reach }
    });
    let (mut cross, mut square) = ([0.0; CANDIDATES], [0.0; CANDIDATES]);
    for (&weight, &importance) in weights.iter().zip(importance) {
        // In units of the largest weight nothing overflows or underflows.
        let unit = weight / largest;
        // Candidates side by side, so that this loop becomes vector instructions.
        for k in 0..CANDIDATES {
            let code = codes.nearest(unit * inverses[k]);
            cross[k] += importance * unit * code;
            square[k] += importance * code * code;
        }
    }
    let mut best = (0.0, 0.0);
    for (cross, square) in cross.into_iter().zip(square) {
        let gain = cross * cross / square;
        // Not true for the NaN of columns without importance.
        if gain > best.0 {
            best = (gain, cross / square * largest);
        }
    }
    best.1
}
