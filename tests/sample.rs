//! Choosing tokens, against definitions written down once more, slowly.

use kinglet::Sampling;
use kinglet_core::sample::{Sampler, arg_max};
use proptest::prelude::*;

/// Draws of one test of frequencies.
const DRAWS: usize = 40_000;

fn pick(sampling: Sampling<'_>, logits: &[f32], recent: &[u32]) -> u32 {
    Draws::new(sampling, logits).next(recent)
}

/// Draws again and again from the same logits.
struct Draws<'a> {
    sampler: Sampler<'a>,
    logits: &'a [f32],
}

impl<'a> Draws<'a> {
    fn new(sampling: Sampling<'a>, logits: &'a [f32]) -> Self {
        Self { sampler: Sampler::new(sampling), logits }
    }

    fn next(&mut self, recent: &[u32]) -> u32 {
        let mut scratch = vec![0; self.logits.len()];
        self.sampler.pick(&mut self.logits.to_vec(), &mut scratch, recent)
    }

    /// How often each token comes.
    fn frequencies(mut self) -> Vec<f64> {
        let mut counts = vec![0.0; self.logits.len()];
        for _ in 0..DRAWS {
            counts[self.next(&[]) as usize] += 1.0 / DRAWS as f64;
        }
        counts
    }
}

/// Softmax of `logits / temperature`.
fn probabilities(logits: &[f32], temperature: f64) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights = logits.iter().map(|&x| (f64::from(x - max) / temperature).exp());
    let weights: Vec<f64> = weights.collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|w| w / sum).collect()
}

/// What top-k, then top-p, then min-p leave of a distribution, renormalized.
fn filtered(mut p: Vec<f64>, sampling: &Sampling<'_>) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[b].total_cmp(&p[a]).then(a.cmp(&b)));
    if sampling.top_k > 0 {
        order.truncate(sampling.top_k);
    }
    if sampling.top_p < 1.0 {
        let total: f64 = order.iter().map(|&t| p[t]).sum();
        let mut sum = 0.0;
        let enough = order.iter().position(|&t| {
            sum += p[t];
            sum >= total * f64::from(sampling.top_p)
        });
        order.truncate(enough.map_or(order.len(), |last| last + 1));
    }
    let least = p[order[0]] * f64::from(sampling.min_p);
    order.retain(|&t| p[t] >= least);
    let sum: f64 = order.iter().map(|&t| p[t]).sum();
    for (token, p) in p.iter_mut().enumerate() {
        *p = if order.contains(&token) { *p / sum } else { 0.0 };
    }
    p
}

fn total_variation(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / 2.0
}

#[test]
fn frequencies_are_those_of_the_filtered_distribution() {
    let logits: Vec<f32> = (0..40).map(|i| ((i * 37 % 41) as f32 / 6.0).sin() * 4.0).collect();
    let base = Sampling { temperature: 0.8, seed: 3, ..Sampling::default() };
    for sampling in [
        base,
        Sampling { temperature: 2.5, ..base },
        Sampling { top_k: 7, ..base },
        Sampling { top_p: 0.6, ..base },
        Sampling { min_p: 0.2, ..base },
        Sampling { top_k: 12, top_p: 0.9, min_p: 0.05, temperature: 1.3, ..base },
    ] {
        let p = probabilities(&logits, f64::from(sampling.temperature));
        let wanted = filtered(p, &sampling);
        let found = Draws::new(sampling, &logits).frequencies();
        // The expected distance of 40,000 draws from 40 probabilities is about 0.012.
        assert!(total_variation(&wanted, &found) < 0.02, "{sampling:?}");
        let outside = wanted.iter().zip(&found).filter(|(w, _)| **w == 0.0).map(|(_, f)| f);
        assert_eq!(outside.sum::<f64>(), 0.0, "{sampling:?}");
    }
}

#[test]
fn more_candidates_than_the_first_look_takes() {
    // Nearly even weights: the nucleus is far larger than the 256 that are looked at first.
    let logits: Vec<f32> = (0..5000).map(|i| (i % 7) as f32 * 1e-3).collect();
    let sampling = Sampling { temperature: 1.0, top_p: 0.5, ..Sampling::default() };
    let mut draws = Draws::new(sampling, &logits);
    let least = (0..2000).map(|_| logits[draws.next(&[]) as usize]).fold(f32::MAX, f32::min);
    // Half of the weight lies in the upper half of seven levels.
    assert_eq!(least, 3e-3);
}

#[test]
fn seeds_repeat_and_differ() {
    let logits = [0.0; 100];
    let draw = |seed| {
        let sampling = Sampling { temperature: 1.0, seed, ..Sampling::default() };
        let mut draws = Draws::new(sampling, &logits);
        (0..20).map(|_| draws.next(&[])).collect::<Vec<_>>()
    };
    assert_eq!(draw(5), draw(5));
    assert_ne!(draw(5), draw(6));
}

#[test]
fn bias_and_penalty_change_the_choice() {
    let logits = [1.0, 3.0, 2.9, -1.0];
    let greedy = Sampling::default();
    assert_eq!(pick(greedy, &logits, &[]), 1);
    let bias = [(0, 2.5), (99, 5.0)];
    assert_eq!(pick(Sampling { logit_bias: &bias, ..greedy }, &logits, &[]), 0);
    let penalty = Sampling { repetition_penalty: 1.2, ..greedy };
    assert_eq!(pick(penalty, &logits, &[1, 1, 1]), 2);
    let window = Sampling { repetition_window: 2, ..penalty };
    assert_eq!(pick(window, &logits, &[1, 0, 3]), 1);
    // Penalized once, however often a token came: 3 / 1.2² would be less than 2.4.
    assert_eq!(pick(penalty, &[0.0, 3.0, 2.4, 0.0], &[1, 1]), 1);
}

/// As the OpenAI protocol defines them: once for having occurred, and once for each time.
#[test]
fn penalties_count_occurrences() {
    let greedy = Sampling::default();
    let presence = Sampling { presence_penalty: 1.0, penalizes_prompt: true, ..greedy };
    let frequency = Sampling { frequency_penalty: 0.6, penalizes_prompt: true, ..greedy };
    // 3 − 1 is less than 2.5, however often the token came.
    assert_eq!(pick(presence, &[0.0, 3.0, 2.5, 0.0], &[1]), 2);
    assert_eq!(pick(presence, &[0.0, 3.0, 1.9, 0.0], &[1, 1, 1, 1]), 1);
    // 3 − 0.6 is more than 2.3, and 3 − 1.2 is less.
    assert_eq!(pick(frequency, &[0.0, 3.0, 2.3, 0.0], &[1]), 1);
    assert_eq!(pick(frequency, &[0.0, 3.0, 2.3, 0.0], &[1, 1]), 2);
    let negative = Sampling { presence_penalty: -1.0, ..presence };
    assert_eq!(pick(negative, &[0.0, 3.0, 2.5, 0.0], &[2]), 2);
    // The prompt counts only where that is asked for.
    let reply = Sampling { penalizes_prompt: false, ..presence };
    let mut sampler = Sampler::new(reply);
    sampler.begin_reply(2);
    let mut choose = |text: &[u32]| sampler.pick(&mut [0.0, 3.0, 2.5, 0.0], &mut [0; 4], text);
    assert_eq!((choose(&[1, 1]), choose(&[1, 1, 1])), (1, 2));
    assert_eq!(Sampler::new(presence).screen(), None, "every logit counts");
}

#[test]
fn broken_logits_give_a_token() {
    let sampling = Sampling { temperature: 0.7, top_k: 3, top_p: 0.9, ..Sampling::default() };
    for logits in [[f32::NAN; 8], [f32::INFINITY; 8], [f32::NEG_INFINITY; 8]] {
        assert!(pick(sampling, &logits, &[]) < 8);
        assert!(pick(Sampling::default(), &logits, &[]) < 8);
    }
    assert_eq!(arg_max(&[f32::NAN, 1.0, f32::NAN, 2.0]), 3);
}

proptest! {
    #[test]
    fn only_allowed_tokens_come(
        logits in prop::collection::vec(-20f32..20.0, 1..600),
        top_k in 0usize..50, top_p in 0f32..1.0, min_p in 0f32..0.5,
        temperature in 0.05f32..3.0, seed: u64,
    ) {
        let sampling =
            Sampling { temperature, top_k, top_p, min_p, seed, ..Sampling::default() };
        let token = pick(sampling, &logits, &[]) as usize;
        let wide = Sampling { top_p: top_p + 1e-4, min_p: min_p * 0.999, ..sampling };
        let allowed = filtered(probabilities(&logits, f64::from(temperature)), &wide);
        prop_assert!(allowed[token] > 0.0);
    }
}
