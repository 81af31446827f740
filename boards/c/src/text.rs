//! A session without the boundary: one text, how it goes on, and who computes it.
//!
//! The last token of a text may be chosen but not yet in the cache: a step takes it when logits
//! behind it are wanted. So a chosen token is handed out before the work for the next one begins,
//! and a text that was rewound, restored or interrupted has logits as soon as they are asked for.

use crate::abi::KINGLET_MAX_LOGIT_BIAS as MAX_LOGIT_BIAS;
use crate::reply::Reply;
use crate::workers::Crew;
use kinglet_backends::Tier;
use kinglet_backends::lookahead::Lookahead;
use kinglet_core::Session;
use kinglet_core::sample::{Sampler, Sampling};
use kinglet_core::screen::Screen;
use kinglet_core::session::Logits;
use kinglet_core::top::Candidate;
use kinglet_quant::{Code, File, Result, ensure, fail};

/// How a text's tokens are chosen.
pub(crate) struct Choice {
    /// Without the bias, which is the next field.
    sampling: Sampling<'static>,
    logit_bias: heapless::Vec<(u32, f32), MAX_LOGIT_BIAS>,
    /// Random numbers taken so far.
    draws: u64,
}

impl Choice {
    /// A way of choosing at the start of its random sequence. `BadArgument` for numbers that make
    /// no sense, `TokenOutOfRange` for a bias of no token.
    pub fn new(sampling: &Sampling<'_>, vocabulary: u32) -> Result<Self> {
        let Sampling { temperature, top_p, min_p, repetition_penalty, logit_bias, .. } = *sampling;
        let is_share = |share: f32| (0.0..=1.0).contains(&share);
        ensure!(
            temperature.is_finite() && temperature >= 0.0,
            Code::BadArgument,
            "a temperature of {temperature}: give 0 or more"
        );
        ensure!(is_share(top_p), Code::BadArgument, "a top_p of {top_p}: give 0 to 1");
        ensure!(is_share(min_p), Code::BadArgument, "a min_p of {min_p}: give 0 to 1");
        ensure!(
            repetition_penalty.is_finite() && repetition_penalty > 0.0,
            Code::BadArgument,
            "a repetition penalty of {repetition_penalty}: give more than 0"
        );
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

    fn sampler(&self) -> Sampler<'_> {
        let sampling = Sampling { logit_bias: &self.logit_bias, ..self.sampling };
        Sampler::resume(sampling, self.draws)
    }
}

/// One text, how it goes on, and who computes it.
pub(crate) struct Text<'a> {
    core: Session<'a>,
    tier: Tier,
    crew: Crew,
    choice: Choice,
    /// The last token, when the cache does not have it yet.
    chosen: Option<u32>,
    /// Whether the core has all logits behind the last token of the cache, in row 0.
    has_logits: bool,
    /// The row of the core's logits while a reply goes on.
    row: usize,
}

impl<'a> Text<'a> {
    /// An empty text, whose most probable tokens will be chosen.
    pub fn new(core: Session<'a>, tier: Tier, crew: Crew) -> Result<Self> {
        let choice = Choice::new(&Sampling::default(), core.model().config().vocab_size)?;
        Ok(Self { core, tier, crew, choice, chosen: None, has_logits: false, row: 0 })
    }

    /// The model.
    pub fn model(&self) -> &File<'a> {
        self.core.model()
    }

    /// The session.
    pub fn core(&self) -> &Session<'a> {
        &self.core
    }

    /// The kernels in use.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Tokens of the text.
    pub fn len(&self) -> usize {
        self.core.position() + usize::from(self.chosen.is_some())
    }

    /// The tokens of the text.
    pub fn tokens(&self) -> impl Iterator<Item = u32> {
        self.core.tokens().iter().copied().chain(self.chosen)
    }

    /// Tokens that the text can still take.
    pub fn room(&self) -> usize {
        self.core.plan().limits().context - self.len()
    }

    /// Chooses in this way from now on.
    pub fn set_choice(&mut self, choice: Choice) {
        self.choice = choice;
    }

    /// Appends a prompt, and computes the logits behind it.
    ///
    /// `PromptTooLong`, `TokenOutOfRange` and `BadArgument` leave the text unchanged. `goes_on`
    /// gets the number of tokens done before every step; when it fails, the tokens taken until then
    /// stay.
    pub fn prefill(
        &mut self,
        tokens: &[u32],
        goes_on: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        ensure!(!tokens.is_empty(), Code::BadArgument, "the prompt is empty");
        ensure!(
            tokens.len() <= self.room(),
            Code::PromptTooLong,
            "the prompt has {} tokens, {} of {} are free: shorten it or raise the context",
            tokens.len(),
            self.room(),
            self.core.plan().limits().context
        );
        let vocabulary = self.model().config().vocab_size;
        if let Some(token) = tokens.iter().find(|&&token| token >= vocabulary) {
            fail!(Code::TokenOutOfRange, "token {token} is not in the vocabulary of {vocabulary}");
        }
        self.take_chosen(Logits::None, None)?;
        self.has_logits = false;
        let batch = self.core.plan().limits().batch;
        let (mut done, mut refusal) = (0, Ok(()));
        let mut ask = || {
            refusal = goes_on(done);
            done += batch;
            refusal.is_ok()
        };
        let outcome = self.tier.prefill(&mut self.core, self.crew.workers(), tokens, &mut ask);
        refusal?;
        outcome?;
        self.has_logits = true;
        Ok(())
    }

    /// Chooses the next token and appends it. `ContextFull`; `BadArgument` for an empty text.
    pub fn next(&mut self) -> Result<u32> {
        ensure!(
            self.room() > 0,
            Code::ContextFull,
            "the context of {} positions is full: reset or rewind the session",
            self.core.plan().limits().context
        );
        let screen = self.choice.sampler().screen();
        self.compute_logits(screen)?;
        // Choosing changes them.
        self.has_logits = false;
        let mut sampler = self.choice.sampler();
        let token = self.core.sample(&mut sampler);
        self.choice.draws = sampler.draws();
        self.chosen = Some(token);
        Ok(token)
    }

    /// Goes on with the text token by token, and ahead of it where the core has the rows of logits
    /// for that. `BadArgument` for an empty text.
    pub fn reply(&mut self) -> Result<Reply<'_, 'a>> {
        self.find_chosen()?;
        // Choosing changes them, and they can be in any row afterwards.
        (self.has_logits, self.row) = (false, 0);
        let Self { core, tier, crew, choice, chosen, row, .. } = self;
        let Choice { sampling, logit_bias, draws } = choice;
        let sampler = Sampler::resume(Sampling { logit_bias, ..*sampling }, *draws);
        let ahead = Lookahead::new(core, row, *tier, crew.workers(), true, sampler.screen());
        Ok(Reply { ahead, sampler, draws, chosen, is_full: false })
    }

    /// All logits behind the text, `[vocabulary]`. `BadArgument` for an empty text.
    pub fn logits(&mut self) -> Result<&[f32]> {
        self.compute_logits(None)?;
        Ok(self.core.logits(0))
    }

    /// The most probable next tokens, see [`Session::top`]. `BadArgument` for an empty text.
    pub fn top(&mut self, out: &mut [Candidate]) -> Result<usize> {
        self.compute_logits(None)?;
        Ok(self.core.top(0, out))
    }

    /// Keeps the first `count` tokens. `BadArgument` when there are fewer.
    pub fn rewind(&mut self, count: usize) -> Result<()> {
        ensure!(
            count <= self.len(),
            Code::BadArgument,
            "cannot rewind to {count} tokens: the text has {}",
            self.len()
        );
        if count < self.len() {
            self.chosen = None;
            self.core.rewind(count);
            self.has_logits = false;
        }
        Ok(())
    }

    /// Replaces the text by the first `count` tokens of another one, see [`Session::copy_prefix`].
    pub fn fork(&mut self, source: &Self, count: usize) -> Result<()> {
        let cached = count.min(source.core.position());
        ensure!(
            count <= source.len(),
            Code::BadArgument,
            "a prefix of {count} tokens: the text has {}",
            source.len()
        );
        ensure!(
            count <= self.core.plan().limits().context,
            Code::ContextFull,
            "a prefix of {count} tokens does not fit into a context of {}",
            self.core.plan().limits().context
        );
        self.core.copy_prefix(&source.core, cached)?;
        self.chosen = source.chosen.filter(|_| cached < count);
        self.has_logits = false;
        Ok(())
    }

    /// Bytes of the state once the cache has every token.
    pub fn state_bytes(&mut self) -> Result<usize> {
        self.take_chosen(Logits::Last, None)?;
        Ok(self.core.state_bytes())
    }

    /// Saves the text and the state of choosing, see [`Session::save`].
    pub fn save(&mut self, out: &mut [u8]) -> Result<usize> {
        self.take_chosen(Logits::Last, None)?;
        self.core.save(self.choice.draws, out)
    }

    /// Replaces the text and the state of choosing by saved ones, see [`Session::restore`].
    pub fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.choice.draws = self.core.restore(state)?;
        self.chosen = None;
        self.has_logits = false;
        Ok(())
    }

    /// Takes the chosen token into the cache, if there is one.
    fn take_chosen(&mut self, wanted: Logits, screen: Option<Screen>) -> Result<()> {
        if let Some(token) = self.chosen {
            self.has_logits = false;
            let workers = self.crew.workers();
            self.tier.step(&mut self.core, workers, &[token], wanted, screen)?;
            self.chosen = None;
            self.has_logits = wanted == Logits::Last && !self.core.is_screened();
        }
        Ok(())
    }

    /// Makes the core have logits behind the last token: all, or those that `screen` asks for.
    fn compute_logits(&mut self, screen: Option<Screen>) -> Result<()> {
        self.find_chosen()?;
        self.take_chosen(Logits::Last, screen)
    }

    /// Takes the last token back out of the cache where a step has to compute logits behind it.
    fn find_chosen(&mut self) -> Result<()> {
        if self.chosen.is_none() && !self.has_logits {
            let Some(&last) = self.core.tokens().last() else {
                fail!(Code::BadArgument, "the session is empty: give it a prompt first");
            };
            self.core.rewind(self.core.position() - 1);
            self.chosen = Some(last);
        }
        Ok(())
    }
}
