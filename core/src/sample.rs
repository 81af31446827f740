//! Choosing the next token from logits.

use crate::exp::exp;
use crate::screen::Screen;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

/// Candidates that top-p looks at first, so that it need not sort the whole vocabulary.
const FIRST_CANDIDATES: usize = 256;
/// Candidates whose weights are computed together.
const TOGETHER: usize = 16;
/// How far below the largest logit a search looks at most: a wider one finds so many tokens that
/// computing all logits is faster.
const MAX_REACH: f32 = 8.0;
/// How many of the most probable tokens a search looks for at most, for the same reason.
const MAX_TOP: usize = 1024;
/// Weights below `e^-30` of the largest are zero in f32 sums.
const NEGLIGIBLE: f32 = -30.0;

/// How to choose; the steps apply in the order of the fields, as in `transformers`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling<'a> {
    /// Added to the logits of tokens.
    pub logit_bias: &'a [(u32, f32)],
    /// Divides positive and multiplies negative logits of recent tokens (Keskar et al. 2019); 1 is
    /// off.
    pub repetition_penalty: f32,
    /// Tokens that count as recent.
    pub repetition_window: usize,
    /// Subtracted from the logits of tokens that have occurred, as the OpenAI protocol defines it;
    /// 0 is off.
    pub presence_penalty: f32,
    /// Subtracted from the logits of tokens once for each time that they have occurred; 0 is off.
    pub frequency_penalty: f32,
    /// Whether these two count what came before the reply, too.
    pub penalizes_prompt: bool,
    /// Divides logits; 0 always takes the largest.
    pub temperature: f32,
    /// Keeps this many of the most probable tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the most probable tokens up to this sum (Holtzman et al. 2020); 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens at least this probable relative to the most probable; 0 keeps all.
    pub min_p: f32,
    /// Equal seeds give equal texts.
    pub seed: u64,
}

impl Default for Sampling<'_> {
    fn default() -> Self {
        Self {
            logit_bias: &[],
            repetition_penalty: 1.0,
            repetition_window: 64,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            penalizes_prompt: false,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 0,
        }
    }
}

/// A [`Sampling`] and its state of randomness.
#[derive(Clone, Debug)]
pub struct Sampler<'a> {
    sampling: Sampling<'a>,
    random: Pcg64Mcg,
    draws: u64,
    /// Where the reply begins in the text.
    reply_start: usize,
    /// See [`Sampler::kept`].
    kept: usize,
}

impl<'a> Sampler<'a> {
    /// A sampler at the start of its random sequence.
    pub fn new(sampling: Sampling<'a>) -> Self {
        Self::resume(sampling, 0)
    }

    /// A sampler that has already taken so many random numbers, see [`Sampler::draws`].
    pub fn resume(sampling: Sampling<'a>, draws: u64) -> Self {
        let mut random = Pcg64Mcg::seed_from_u64(sampling.seed);
        random.advance(draws.into());
        Self { sampling, random, draws, reply_start: 0, kept: 0 }
    }

    /// Tells where the reply begins in the text: see [`Sampling::penalizes_prompt`].
    pub fn begin_reply(&mut self, tokens_before: usize) {
        self.reply_start = tokens_before;
    }

    /// Tells that so many tokens of the text are gone, all of them behind its first ones.
    pub fn drop_tokens(&mut self, count: usize) {
        self.reply_start = self.reply_start.saturating_sub(count);
    }

    /// Random numbers taken so far. With the [`Sampling`] they are the sampler's whole state.
    pub fn draws(&self) -> u64 {
        self.draws
    }

    /// Chooses a token from `logits`, `[vocabulary]`, which this changes. `candidates` is scratch
    /// of the same length, `recent` the text so far. A NaN counts as the least probable.
    pub fn pick(&mut self, logits: &mut [f32], candidates: &mut [u32], recent: &[u32]) -> u32 {
        assert_eq!(logits.len(), candidates.len());
        self.adjust(logits, candidates, recent);
        self.kept = 0;
        let best = arg_max(logits);
        if self.sampling.temperature <= 0.0 {
            return best;
        }
        every_token(candidates);
        self.draw(logits, candidates, best)
    }

    /// Chooses as [`Sampler::pick`] would if all logits but those of `tokens`, which ascend, were
    /// too small to be chosen; both slices change. For samplers with a [`Sampler::screen`].
    pub fn pick_among(&mut self, logits: &mut [f32], tokens: &mut [u32]) -> u32 {
        self.kept = 0;
        match likeliest(logits, tokens) {
            Some(best) if self.sampling.temperature <= 0.0 => best,
            Some(best) => self.draw(logits, tokens, best),
            None => 0,
        }
    }

    /// Chooses one of `tokens`, at least one, from logits that were adjusted; both slices change.
    pub(crate) fn pick_one_of(&mut self, logits: &mut [f32], tokens: &mut [u32]) -> u32 {
        match likeliest(logits, tokens) {
            Some(best) if self.sampling.temperature <= 0.0 => best,
            best => self.draw(logits, tokens, best.unwrap_or(tokens[0])),
        }
    }

    /// How many candidates at the front of the scratch the last token was drawn from, their logits
    /// being weights now; 0 where nothing was drawn.
    pub(crate) fn kept(&self) -> usize {
        self.kept
    }

    /// Which logits [`Sampler::pick`] needs; `None` when it needs all, since bias and penalty
    /// change their order, or so many that searching them does not pay.
    pub fn screen(&self) -> Option<Screen> {
        let Sampling { logit_bias, repetition_penalty, temperature, top_k, .. } = self.sampling;
        let is_plain = logit_bias.is_empty() && repetition_penalty == 1.0 && !self.is_penalizing();
        let screen = match temperature <= 0.0 {
            true => Screen { reach: 0.0, top: 0 },
            // A little wider than the range of weights that count: the division there rounds.
            false => Screen { reach: -NEGLIGIBLE * temperature * 1.001, top: top_k },
        };
        let finds_few = screen.reach <= MAX_REACH || (1..=MAX_TOP).contains(&screen.top);
        (is_plain && finds_few).then_some(screen)
    }

    /// Draws one of `candidates`, of which `best` has the largest logit, by its weight, after all
    /// filters.
    fn draw(&mut self, logits: &mut [f32], candidates: &mut [u32], best: u32) -> u32 {
        self.kept = self.keep(logits, candidates, best).len();
        self.draw_again(logits, &candidates[..self.kept])
    }

    /// Draws one of `tokens`, at least one, by its weight: some of those that were kept.
    pub(crate) fn draw_again(&mut self, weights: &[f32], tokens: &[u32]) -> u32 {
        let sum: f32 = tokens.iter().map(|&t| weights[t as usize]).sum();
        let mut left = self.uniform() * sum;
        for &token in tokens {
            left -= weights[token as usize];
            if left < 0.0 {
                return token;
            }
        }
        // Rounding can leave a remainder: then the last token with any weight is chosen.
        *tokens.iter().rfind(|&&t| weights[t as usize] > 0.0).unwrap_or(&tokens[0])
    }

    /// Whether tokens are penalized for having occurred.
    fn is_penalizing(&self) -> bool {
        (self.sampling.presence_penalty, self.sampling.frequency_penalty) != (0.0, 0.0)
    }

    /// Bias and penalties; `scratch` has the length of the logits.
    pub(crate) fn adjust(&self, logits: &mut [f32], scratch: &mut [u32], recent: &[u32]) {
        for &(token, bias) in self.sampling.logit_bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
        let Sampling { repetition_penalty, repetition_window, .. } = self.sampling;
        if repetition_penalty != 1.0 {
            let window = &recent[recent.len().saturating_sub(repetition_window)..];
            for (i, &token) in window.iter().enumerate() {
                if !window[..i].contains(&token) {
                    let logit = &mut logits[token as usize];
                    *logit = match *logit > 0.0 {
                        true => *logit / repetition_penalty,
                        false => *logit * repetition_penalty,
                    };
                }
            }
        }
        if self.is_penalizing() {
            self.penalize(logits, scratch, recent);
        }
    }

    /// The penalties for presence and frequency; `seen` has the length of the logits.
    fn penalize(&self, logits: &mut [f32], seen: &mut [u32], text: &[u32]) {
        let start = if self.sampling.penalizes_prompt { 0 } else { self.reply_start };
        let tokens = &text[start.min(text.len())..];
        tokens.iter().for_each(|&token| seen[token as usize] = 0);
        for &token in tokens {
            let logit = &mut logits[token as usize];
            if seen[token as usize] == 0 {
                *logit -= self.sampling.presence_penalty;
                seen[token as usize] = 1;
            }
            *logit -= self.sampling.frequency_penalty;
        }
    }

    /// Turns logits into weights relative to the largest and keeps the candidates that have any and
    /// that top-k, top-p and min-p allow; at least one.
    ///
    /// Sums run in an order that depends on the kept candidates alone, so that candidates without a
    /// chance do not change the choice.
    fn keep<'c>(&self, logits: &mut [f32], candidates: &'c mut [u32], best: u32) -> &'c mut [u32] {
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.sampling;
        let max = logits[best as usize];
        let count = weigh(logits, candidates, max, temperature);
        if count == 0 {
            candidates[0] = best;
            return &mut candidates[..1];
        }
        let weights = &*logits;
        let mut kept = &mut candidates[..count];
        if top_k > 0 {
            kept = most_probable(weights, kept, top_k.min(count));
            sort_by_weight(weights, kept);
        }
        if top_p < 1.0 {
            kept = nucleus(weights, kept, top_p);
        }
        if min_p > 0.0 {
            let mut count = 0;
            for i in 0..kept.len() {
                if weights[kept[i] as usize] >= min_p.min(1.0) {
                    kept.swap(i, count);
                    count += 1;
                }
            }
            kept = &mut kept[..count.max(1)];
        }
        kept
    }

    /// A number in `[0, 1)`.
    fn uniform(&mut self) -> f32 {
        self.draws += 1;
        (self.random.next_u32() >> 8) as f32 / (1 << 24) as f32
    }
}

/// Turns the logits of `candidates` into weights relative to `max`, and moves the candidates that
/// have any to the front, in their order; returns their number.
fn weigh(logits: &mut [f32], candidates: &mut [u32], max: f32, temperature: f32) -> usize {
    let mut count = 0;
    for start in (0..candidates.len()).step_by(TOGETHER) {
        // Compilers make vectors of loops over such arrays, but not of a loop with gaps in its
        // output.
        let (mut tokens, mut exponents) = ([0; TOGETHER], [f32::NEG_INFINITY; TOGETHER]);
        let here = &candidates[start..candidates.len().min(start + TOGETHER)];
        for ((token, exponent), &candidate) in tokens.iter_mut().zip(&mut exponents).zip(here) {
            *token = candidate;
            *exponent = logits[candidate as usize] - max;
        }
        let mut weights = [0.0; TOGETHER];
        for (weight, exponent) in weights.iter_mut().zip(&mut exponents) {
            *exponent /= temperature;
            *weight = exp(*exponent);
        }
        for ((token, exponent), weight) in tokens.into_iter().zip(exponents).zip(weights) {
            // Also false for NaN, which then weighs nothing.
            if exponent > NEGLIGIBLE {
                logits[token as usize] = weight;
                candidates[count] = token;
                count += 1;
            }
        }
    }
    count
}

/// Writes the whole vocabulary, ascending.
pub(crate) fn every_token(tokens: &mut [u32]) {
    tokens.iter_mut().zip(0..).for_each(|(place, token)| *place = token);
}

/// The first of the largest logits; 0 when all are NaN.
pub fn arg_max(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, &logit) in logits.iter().enumerate() {
        if logit > best.1 {
            best = (token, logit);
        }
    }
    best.0 as u32
}

/// The first of `tokens` with the largest logit; none when all are NaN or −∞.
fn likeliest(logits: &[f32], tokens: &[u32]) -> Option<u32> {
    let mut best = (None, f32::NEG_INFINITY);
    for &token in tokens {
        if logits[token as usize] > best.1 {
            best = (Some(token), logits[token as usize]);
        }
    }
    best.0
}

/// The `count` candidates of most weight, in no order; equal weights go to the lower token.
pub(crate) fn most_probable<'c>(
    weights: &[f32],
    candidates: &'c mut [u32],
    count: usize,
) -> &'c mut [u32] {
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count - 1, |&a, &b| by_weight(weights, a, b));
    }
    &mut candidates[..count]
}

/// More weight first, equal weights in the tokens' order.
pub(crate) fn sort_by_weight(weights: &[f32], tokens: &mut [u32]) {
    tokens.sort_unstable_by(|&a, &b| by_weight(weights, a, b));
}

/// The fewest candidates whose weights sum to `share` of all candidates' weight, in order.
fn nucleus<'c>(weights: &[f32], candidates: &'c mut [u32], share: f32) -> &'c mut [u32] {
    let sum = |tokens: &[u32]| tokens.iter().map(|&t| weights[t as usize]).sum::<f32>();
    let wanted = sum(candidates) * share.max(0.0);
    let mut count = FIRST_CANDIDATES.min(candidates.len());
    while count < candidates.len() && sum(most_probable(weights, candidates, count)) < wanted {
        count = (count * 8).min(candidates.len());
    }
    let kept = most_probable(weights, candidates, count);
    sort_by_weight(weights, kept);
    let mut reached = 0.0;
    let within = kept.iter().position(|&t| {
        reached += weights[t as usize];
        reached >= wanted
    });
    let count = within.map_or(kept.len(), |last| last + 1);
    &mut kept[..count]
}

/// More weight first, the lower token first among equals.
fn by_weight(weights: &[f32], a: u32, b: u32) -> core::cmp::Ordering {
    weights[b as usize].total_cmp(&weights[a as usize]).then(a.cmp(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// Tokens that are chosen one after the other, always from the same logits.
    fn choose(sampler: &mut Sampler<'_>, logits: &[f32], count: usize) -> Vec<u32> {
        let mut candidates = std::vec![0; logits.len()];
        let mut choose_one = || sampler.pick(&mut logits.to_vec(), &mut candidates, &[]);
        (0..count).map(|_| choose_one()).collect()
    }

    proptest! {
        #[test]
        fn a_resumed_sampler_goes_on_as_the_first_would(
            logits in prop::collection::vec(-3f32..3.0, 2..40),
            temperature in 0.1f32..2.0, top_k in 0usize..5, seed: u64, before in 0usize..50,
        ) {
            let sampling = Sampling { temperature, top_k, seed, ..Sampling::default() };
            let mut first = Sampler::new(sampling);
            choose(&mut first, &logits, before);
            prop_assert_eq!(first.draws(), before as u64);
            let mut resumed = Sampler::resume(sampling, first.draws());
            prop_assert_eq!(resumed.draws(), first.draws());
            prop_assert_eq!(choose(&mut resumed, &logits, 50), choose(&mut first, &logits, 50));
        }

        #[test]
        fn any_number_of_draws_can_be_resumed(draws: u64) {
            let sampling = Sampling { temperature: 1.0, ..Sampling::default() };
            let logits = [0.0; 16];
            // Starting one draw later gives the same numbers without the first.
            let behind = choose(&mut Sampler::resume(sampling, draws), &logits, 9);
            let next = choose(&mut Sampler::resume(sampling, draws.wrapping_add(1)), &logits, 8);
            prop_assert_eq!(&behind[1..], next);
        }
    }

    #[test]
    fn the_most_probable_token_takes_no_random_number() {
        let mut sampler = Sampler::new(Sampling::default());
        assert_eq!(choose(&mut sampler, &[0.0, 2.0, 1.0], 10), [1; 10]);
        assert_eq!(sampler.draws(), 0);
    }
}
