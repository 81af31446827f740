//! How fast the pairs of a head turn where positions are scaled: the formulas of transformers'
//! `modeling_rope_utils.py`, in f32 as there.

use crate::{Code, Result, ensure};

/// A scaling of rotary positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scaling {
    /// Every pair turns more slowly by a factor.
    Linear { factor: f32 },
    /// That of Llama 3.1: only pairs that turn slowly are scaled.
    Llama3 {
        factor: f32,
        /// Pairs that turn less often within the original context are scaled in full.
        low: f32,
        /// Pairs that turn more often are not scaled.
        high: f32,
        /// Positions that the model was trained for before it was scaled.
        original_context: f32,
    },
}

/// Radians for each position of the pairs of a head of this width.
pub(super) fn plain(theta: f32, head_dim: u32) -> Vec<f32> {
    let exponent = |pair: u32| (2 * pair) as f32 / head_dim as f32;
    (0..head_dim / 2).map(|pair| 1.0 / theta.powf(exponent(pair))).collect()
}

impl Scaling {
    /// `BadSource` for numbers that scale nothing in a sensible way; `place` is for the error.
    pub fn check(self, place: &str) -> Result<Self> {
        let is_sensible = match self {
            Self::Linear { factor } => factor > 0.0 && factor.is_finite(),
            Self::Llama3 { factor, low, high, original_context } => {
                let all = [factor, low, high, original_context];
                all.iter().all(|x| *x > 0.0 && x.is_finite()) && high > low
            }
        };
        ensure!(
            is_sensible,
            Code::BadSource,
            "{place} scales the rotary positions in a way that makes no sense ({self:?}): correct \
             it, or fetch the file again"
        );
        Ok(self)
    }

    /// The frequency of a pair that turns this fast without the scaling.
    pub fn apply(self, frequency: f32) -> f32 {
        match self {
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 { factor, low, high, original_context } => {
                let wavelength = 2.0 * std::f32::consts::PI / frequency;
                if wavelength < original_context / high {
                    frequency
                } else if wavelength > original_context / low {
                    frequency / factor
                } else {
                    let share = (original_context / wavelength - low) / (high - low);
                    (1.0 - share) * frequency / factor + share * frequency
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn frequencies_are_those_of_transformers() {
        let cases: Value =
            serde_json::from_str(include_str!("../../goldens/frequencies.json")).unwrap();
        let mut kinds = [0; 3];
        for case in cases.as_array().unwrap() {
            let number = |key: &str| case[key].as_f64().unwrap() as f32;
            let head_dim = case["head_dim"].as_u64().unwrap() as u32;
            let found = plain(number("theta"), head_dim).into_iter();
            let found: Vec<f32> = match case["kind"].as_str().unwrap() {
                "default" => {
                    kinds[0] += 1;
                    found.collect()
                }
                "linear" => {
                    kinds[1] += 1;
                    let scaling = Scaling::Linear { factor: number("factor") };
                    found.map(|frequency| scaling.apply(frequency)).collect()
                }
                _ => {
                    kinds[2] += 1;
                    let scaling = Scaling::Llama3 {
                        factor: number("factor"),
                        low: number("low"),
                        high: number("high"),
                        original_context: number("original_context"),
                    };
                    found.map(|frequency| scaling.apply(frequency)).collect()
                }
            };
            let wanted = case["frequencies"].as_array().unwrap();
            assert_eq!(found.len(), wanted.len());
            for (found, wanted) in found.iter().zip(wanted) {
                let wanted = wanted.as_f64().unwrap();
                let error = (f64::from(*found) - wanted).abs() / wanted;
                // Powers differ in the last bit between libraries.
                assert!(error < 4e-7, "{found} is not {wanted}: {case}");
            }
        }
        assert!(kinds.iter().all(|&count| count > 0));
    }
}
