//! The most probable next tokens and their probabilities.

use crate::exp::exp;
use crate::sample::{most_probable, sort_by_weight};

/// A token and how probable it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: u32,
    /// Natural logarithm of its probability, the softmax of all logits.
    pub log_probability: f32,
}

/// Writes the most probable tokens to the front of `out`, best first and lower tokens first among
/// equals, and returns how many: fewer than there is room for when the vocabulary has fewer.
///
/// `scratch` has the length of `logits`, `[vocabulary]`. Tokens whose logit is NaN are left out.
pub fn top(logits: &[f32], scratch: &mut [u32], out: &mut [Candidate]) -> usize {
    assert_eq!(logits.len(), scratch.len());
    let mut count = 0;
    for (token, logit) in logits.iter().enumerate() {
        if !logit.is_nan() {
            scratch[count] = token as u32;
            count += 1;
        }
    }
    let wanted = out.len().min(count);
    if wanted == 0 {
        return 0;
    }
    let logit = |token: u32| f64::from(logits[token as usize]);
    let known = &mut scratch[..count];
    let log_sum = log_sum_exp(logits);
    let best = most_probable(logits, known, wanted);
    sort_by_weight(logits, best);
    for (candidate, &token) in out.iter_mut().zip(&*best) {
        let log_probability = (logit(token) - log_sum) as f32;
        *candidate = Candidate { token, log_probability };
    }
    wanted
}

/// The logarithm of the sum of `e^logit`; NaN counts nothing. The terms are within 2 units in the
/// last place of f32, and are added in f64.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    // Comparing with NaN keeps the maximum.
    let max = logits.iter().fold(f32::NEG_INFINITY, |max, &logit| max.max(logit));
    let term = |&logit: &f32| if logit.is_nan() { 0.0 } else { f64::from(exp(logit - max)) };
    f64::from(max) + libm::log(logits.iter().map(term).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    fn top_of(logits: &[f32], count: usize) -> Vec<Candidate> {
        let mut out = vec![Candidate::default(); count];
        let count = top(logits, &mut vec![0; logits.len()], &mut out);
        out.truncate(count);
        out
    }

    proptest! {
        /// Against a whole sort, and probabilities that sum to 1.
        #[test]
        fn they_are_the_first_of_all(
            logits in prop::collection::vec(-30f32..30.0, 1..200),
            count in 0usize..250,
        ) {
            let all = top_of(&logits, logits.len());
            let sum: f64 = all.iter().map(|c| f64::from(c.log_probability).exp()).sum();
            prop_assert!((sum - 1.0).abs() < 1e-5, "{sum}");
            let is_ordered = |pair: &[Candidate]| {
                let [a, b] = [pair[0].token, pair[1].token];
                let (x, y) = (logits[a as usize], logits[b as usize]);
                x > y || x == y && a < b
            };
            prop_assert!(all.windows(2).all(is_ordered));
            prop_assert_eq!(top_of(&logits, count), &all[..count.min(logits.len())]);
        }
    }

    #[test]
    fn what_is_not_a_number_is_left_out() {
        let found = top_of(&[f32::NAN, 1.0, -f32::NAN, 2.0], 4);
        assert_eq!(found.iter().map(|c| c.token).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(top_of(&[f32::NAN], 4), []);
    }
}
