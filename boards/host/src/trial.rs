//! A short race between a device and the processor on the same tokens.
//!
//! [`crate::Model::select`] runs it for sessions of this crate. Who makes engines of their own
//! hands their [`lap`]s to a [`race`].

use crate::options::SessionOptions;
use crate::work::Work;
use kinglet_backends::Backend;
use kinglet_core::{Engine, Texts};
use kinglet_quant::Result;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Tokens of the timed prompt: enough for kernels that take many, few enough for a slow processor.
pub const PROMPT: usize = 32;
/// Tokens of the prompt that warms up: kernels for several tokens are made ready with it.
const WARM_PROMPT: usize = 4;
/// Tokens that are timed one by one.
const NEW: usize = 4;
/// Positions that all of them need.
pub const CONTEXT: usize = PROMPT + NEW;
/// What logits may be off between the two: rounding moves a few codes of activations, which a small
/// model of 4 bits feels by some percent. A device that computes something else is off by 100.
const RELATIVE_RMS: f64 = 0.25;

/// Seconds for a token.
#[derive(Clone, Copy, Debug)]
pub struct Speeds {
    /// Of a prompt.
    pub prompt_token: f64,
    /// Of a reply.
    pub new_token: f64,
}

impl Speeds {
    /// Seconds that some work takes.
    fn seconds(&self, work: Work) -> f64 {
        work.prompt_tokens as f64 * self.prompt_token + work.new_tokens as f64 * self.new_token
    }
}

/// What one of the two did.
#[derive(Clone, Debug)]
pub struct Lap {
    speeds: Speeds,
    /// Behind the last token `[vocabulary]`.
    logits: Vec<f32>,
}

/// What came of a race.
#[derive(Clone, Debug)]
pub enum Trial {
    /// Both arrived.
    Ran {
        /// The device.
        device: Speeds,
        /// The processor.
        processor: Speeds,
    },
    /// They disagree about the logits, so the device is not to be trusted.
    Differs {
        /// How much, as a root of mean squares.
        relative_rms: f64,
    },
    /// One of the two failed, such as for want of memory.
    Failed {
        /// What it is called.
        name: &'static str,
        /// What happened, in words.
        error: String,
    },
}

impl Trial {
    /// Whether the device does some work faster.
    pub fn favours_device(&self, work: Work) -> bool {
        match self {
            Self::Ran { device, processor } => device.seconds(work) < processor.seconds(work),
            Self::Differs { .. } | Self::Failed { .. } => false,
        }
    }
}

/// The races of a model, each by the options that it was run with: one is enough.
#[derive(Debug, Default)]
pub(crate) struct Trials(Mutex<Vec<(SessionOptions, Trial)>>);

impl Trials {
    /// The outcome with these options; `run` gives the [`lap`] of a whole session.
    ///
    /// The whole session is made on both for it, one after the other, and dropped again: a device
    /// without the memory for it is not chosen.
    pub fn outcome(
        &self,
        options: &SessionOptions,
        device: Backend,
        run: &dyn Fn(&SessionOptions) -> Result<Lap>,
    ) -> Trial {
        let options = SessionOptions {
            context: options.context.map(|context| context.max(CONTEXT)),
            work: Work::default(),
            ..options.clone()
        };
        let mut outcomes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, trial)) = outcomes.iter().find(|(known, _)| *known == options) {
            return trial.clone();
        }
        let trial = race(device, &mut |backend| {
            run(&SessionOptions { backend: Some(backend), ..options.clone() })
        });
        outcomes.push((options, trial.clone()));
        trial
    }
}

/// Has both run the same tokens: `run` gives the [`lap`] of a backend.
pub fn race(device: Backend, run: &mut dyn FnMut(Backend) -> Result<Lap>) -> Trial {
    let mut found = Vec::new();
    for backend in [device, Backend::best()] {
        match run(backend) {
            Ok(lap) => found.push(lap),
            Err(error) => return Trial::Failed { name: backend.name(), error: error.to_string() },
        }
    }
    let relative_rms = relative_rms(&found[0].logits, &found[1].logits);
    // What is not a number is off as well.
    if relative_rms <= RELATIVE_RMS {
        return Trial::Ran { device: found[0].speeds, processor: found[1].speeds };
    }
    Trial::Differs { relative_rms }
}

/// Runs the tokens with the first text, which has room for [`CONTEXT`] of them, and takes the time
/// from `now`, the time since any fixed moment.
pub fn lap<E: Engine>(
    texts: &mut Texts<'_, E>,
    now: &mut dyn FnMut() -> Result<Duration>,
) -> Result<Lap> {
    let vocab = texts.model().config().vocab_size;
    // Any tokens do: what they cost is the same.
    let tokens: [u32; CONTEXT] = std::array::from_fn(|i| i as u32 * 37 % vocab);
    let (prompt, new) = tokens.split_at(PROMPT);
    let mut text = texts.text(0);
    text.prefill(&prompt[..WARM_PROMPT], &mut |_| Ok(()))?;
    text.push(new[0], None)?;
    text.rewind(0)?;
    let start = now()?;
    text.prefill(prompt, &mut |_| Ok(()))?;
    let middle = now()?;
    for &token in new {
        text.push(token, None)?;
    }
    let seconds = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64();
    let prompt_token = seconds(start, middle) / PROMPT as f64;
    let new_token = seconds(middle, now()?) / NEW as f64;
    Ok(Lap { speeds: Speeds { prompt_token, new_token }, logits: text.logits()?.to_vec() })
}

/// How much `found` is off, as a root of mean squares.
fn relative_rms(found: &[f32], expected: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let error: f64 = found.iter().zip(expected).map(|(a, b)| square(a - b)).sum();
    let all: f64 = expected.iter().copied().map(square).sum();
    (error / all.max(f64::MIN_POSITIVE)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_decides() {
        let device = Speeds { prompt_token: 0.001, new_token: 0.1 };
        let trial =
            Trial::Ran { device, processor: Speeds { prompt_token: 0.01, new_token: 0.05 } };
        assert!(trial.favours_device(Work { prompt_tokens: 600, new_tokens: 100 }));
        assert!(!trial.favours_device(Work { prompt_tokens: 500, new_tokens: 100 }));
        assert!(trial.favours_device(Work { prompt_tokens: 1, new_tokens: 0 }));
        assert!(!trial.favours_device(Work { prompt_tokens: 0, new_tokens: 1 }));
    }

    #[test]
    fn logits_that_are_no_numbers_are_not_near() {
        assert_eq!(relative_rms(&[3.0, 5.0], &[3.0, 4.0]), 0.2);
        assert!(relative_rms(&[f32::NAN], &[1.0]).is_nan());
        assert_eq!(relative_rms(&[0.0], &[0.0]), 0.0);
    }
}
