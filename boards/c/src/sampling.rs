//! How the tokens of one text are chosen, checked and kept for the calls that follow.

use crate::abi::KINGLET_MAX_LOGIT_BIAS as MAX_LOGIT_BIAS;
use kinglet_core::sample::{Sampler, Sampling};
use kinglet_quant::{Code, Float, Result, ensure, fail};

/// How a text's tokens are chosen.
pub(crate) struct TextSampling {
    /// Without the bias, which is the next field.
    sampling: Sampling<'static>,
    logit_bias: heapless::Vec<(u32, f32), MAX_LOGIT_BIAS>,
    /// Random numbers taken so far.
    pub draws: u64,
}

impl TextSampling {
    /// Always the most probable token.
    pub fn greedy() -> Self {
        let logit_bias = heapless::Vec::new();
        Self { sampling: Sampling::default(), logit_bias, draws: 0 }
    }

    /// A way of choosing at the start of its random sequence. `BadArgument` for numbers that make
    /// no sense, `TokenOutOfRange` for a bias of no token.
    pub fn new(sampling: &Sampling<'_>, vocabulary: u32) -> Result<Self> {
        let Sampling { temperature, top_p, min_p, repetition_penalty, logit_bias, .. } = *sampling;
        ensure!(
            temperature.is_finite() && temperature >= 0.0,
            Code::BadArgument,
            "a temperature of {}: give 0 or more",
            Float(temperature)
        );
        for (name, share) in [("top_p", top_p), ("min_p", min_p)] {
            let is_share = (0.0..=1.0).contains(&share);
            ensure!(is_share, Code::BadArgument, "a {name} of {}: give 0 to 1", Float(share));
        }
        ensure!(
            repetition_penalty.is_finite() && repetition_penalty > 0.0,
            Code::BadArgument,
            "a repetition penalty of {}: give more than 0",
            Float(repetition_penalty)
        );
        let penalties =
            [("presence", sampling.presence_penalty), ("frequency", sampling.frequency_penalty)];
        for (name, penalty) in penalties {
            ensure!(
                penalty.is_finite(),
                Code::BadArgument,
                "a {name} penalty of {}: give a number, usually between -2 and 2",
                Float(penalty)
            );
        }
        for &(token, bias) in logit_bias {
            ensure!(
                token < vocabulary,
                Code::TokenOutOfRange,
                "the bias names token {token}, the vocabulary has {vocabulary}"
            );
            ensure!(!bias.is_nan(), Code::BadArgument, "the bias of token {token} is no number");
        }
        let Ok(copied) = heapless::Vec::from_slice(logit_bias) else {
            fail!(
                Code::BadArgument,
                "a bias of {} tokens: at most {MAX_LOGIT_BIAS} are supported",
                logit_bias.len()
            );
        };
        Ok(Self {
            sampling: Sampling { logit_bias: &[], ..*sampling },
            logit_bias: copied,
            draws: 0,
        })
    }

    /// A sampler that goes on behind what was drawn.
    pub fn sampler(&self) -> Sampler<'_> {
        let sampling = Sampling { logit_bias: &self.logit_bias, ..self.sampling };
        Sampler::resume(sampling, self.draws)
    }
}
