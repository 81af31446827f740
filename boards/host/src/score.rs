//! Perplexity, and how far one model's predictions are from another's.

use kinglet_core::exp::exp;
use kinglet_core::sample::arg_max;

pub use kinglet_core::top::top;

/// Sums over scored positions; all arithmetic in f64.
#[derive(Clone, Debug, Default)]
pub struct Score {
    log_likelihood: f64,
    positions: u64,
    divergences: Vec<f64>,
    agreements: u64,
}

impl Score {
    /// Scores the prediction of `target` from the logits at one position.
    pub fn add(&mut self, logits: &[f32], target: u32) {
        self.log_likelihood += log_likelihood(logits, target);
        self.positions += 1;
    }

    /// Compares the predictions of two models at one position.
    pub fn compare(&mut self, logits: &[f32], reference: &[f32]) {
        self.divergences.push(divergence(reference, logits));
        self.agreements += u64::from(arg_max(logits) == arg_max(reference));
    }

    /// Positions scored.
    pub fn positions(&self) -> u64 {
        self.positions
    }

    /// The exponential of the mean negative log-likelihood; NaN without positions.
    pub fn perplexity(&self) -> f64 {
        (-self.log_likelihood / self.positions as f64).exp()
    }

    /// Mean KL divergence in nats, if models were compared.
    pub fn mean_divergence(&self) -> Option<f64> {
        let sum: f64 = self.divergences.iter().sum();
        (!self.divergences.is_empty()).then(|| sum / self.divergences.len() as f64)
    }

    /// The KL divergence that `fraction` of the positions stay below, interpolated linearly.
    pub fn divergence_quantile(&self, fraction: f64) -> Option<f64> {
        let mut sorted = self.divergences.clone();
        sorted.sort_by(f64::total_cmp);
        let place = fraction * sorted.len().checked_sub(1)? as f64;
        let (low, weight) = (place.floor() as usize, place.fract());
        let high = (low + 1).min(sorted.len() - 1);
        Some(sorted[low] * (1.0 - weight) + sorted[high] * weight)
    }

    /// The share of positions where both models find the same token likeliest.
    pub fn agreement(&self) -> Option<f64> {
        let compared = self.divergences.len();
        (compared > 0).then(|| self.agreements as f64 / compared as f64)
    }
}

/// The logarithm of the probability that logits give a token.
pub fn log_likelihood(logits: &[f32], token: u32) -> f64 {
    f64::from(logits[token as usize]) - log_sum_exp(logits)
}

/// Numbers that are computed side by side: compilers make vectors of them.
const LANES: usize = 16;
/// So many numbers of a lane are added in f32, before rounding shows.
const RUN: usize = 16;

/// ln Σ exp(x) without overflow, within 1e-7.
pub(crate) fn log_sum_exp(logits: &[f32]) -> f64 {
    let (lanes, rest) = logits.as_chunks::<LANES>();
    let larger = |max: f32, x: f32| if x > max { x } else { max };
    let mut max = [f32::NEG_INFINITY; LANES];
    for values in lanes {
        for (max, &x) in max.iter_mut().zip(values) {
            *max = larger(*max, x);
        }
    }
    let max = max.iter().chain(rest).fold(f32::NEG_INFINITY, |max, &x| larger(max, x));
    let mut sums = [0.0; LANES];
    for run in lanes.chunks(RUN) {
        let mut of_run = [0.0; LANES];
        for values in run {
            for (sum, &x) in of_run.iter_mut().zip(values) {
                *sum += exp(x - max);
            }
        }
        for (sum, of_run) in sums.iter_mut().zip(of_run) {
            *sum += f64::from(of_run);
        }
    }
    let rest: f64 = rest.iter().map(|&x| f64::from(exp(x - max))).sum();
    f64::from(max) + (sums.iter().sum::<f64>() + rest).ln()
}

/// KL(p ‖ q) in nats, where both distributions are the softmax of logits.
fn divergence(p: &[f32], q: &[f32]) -> f64 {
    assert_eq!(p.len(), q.len());
    let (p_norm, q_norm) = (log_sum_exp(p), log_sum_exp(q));
    let terms = p.iter().zip(q).map(|(&p, &q)| {
        let log_p = f64::from(p) - p_norm;
        log_p.exp() * (log_p - (f64::from(q) - q_norm))
    });
    // Rounding alone can make the sum of two equal distributions negative.
    terms.sum::<f64>().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6 * b.abs().max(1e-6)
    }

    #[test]
    fn uniform_predictions_have_the_perplexity_of_the_vocabulary() {
        let mut score = Score::default();
        for target in 0..7 {
            score.add(&[1000.0; 7], target);
        }
        assert!(close(score.perplexity(), 7.0));
        assert_eq!(score.positions(), 7);
        assert_eq!(score.mean_divergence(), None);
    }

    #[test]
    fn norms_are_those_of_sums_in_f64() {
        let mut state = 1u32;
        let mut uniform = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        for (count, width) in [(1, 1.0), (37, 3.0), (4099, 20.0), (49152, 60.0), (49152, 300.0)] {
            let logits: Vec<f32> = (0..count).map(|_| (uniform() - 0.7) * width).collect();
            let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let terms = logits.iter().map(|&x| (f64::from(x) - f64::from(max)).exp());
            let expected = f64::from(max) + terms.sum::<f64>().ln();
            let found = log_sum_exp(&logits);
            assert!((found - expected).abs() < 1e-7, "{count}, {width}: {found} {expected}");
        }
        assert!(log_sum_exp(&[0.0, f32::NAN, 1.0]).is_nan());
        assert_eq!(log_sum_exp(&[0.0, f32::NEG_INFINITY]), 0.0);
    }

    #[test]
    fn divergence_matches_a_sum_by_hand() {
        // p = (1/4, 3/4), q = (1/2, 1/2): KL = ln 2 − H(p).
        let (p, q) = ([0.0, 3f32.ln()], [5.0, 5.0]);
        let expected = 0.25 * 0.5f64.ln() + 0.75 * 1.5f64.ln();
        assert!(close(divergence(&p, &q), expected));
        assert_eq!(divergence(&p, &p), 0.0);
    }

    #[test]
    fn quantiles_are_interpolated() {
        let divergences = vec![4.0, 1.0, 3.0, 2.0, 0.0];
        let score = Score { divergences, ..Score::default() };
        assert_eq!(score.divergence_quantile(0.5), Some(2.0));
        assert_eq!(score.divergence_quantile(1.0), Some(4.0));
        assert!(close(score.divergence_quantile(0.9).unwrap(), 3.6));
        assert_eq!(score.mean_divergence(), Some(2.0));
        assert_eq!(Score::default().divergence_quantile(0.99), None);
    }

    #[test]
    fn agreement_counts_equal_choices() {
        let mut score = Score::default();
        score.compare(&[0.0, 1.0], &[0.0, 2.0]);
        score.compare(&[0.0, 1.0], &[3.0, 2.0]);
        assert_eq!(score.agreement(), Some(0.5));
    }
}
