//! A session: one text with memory and threads of its own.

use crate::generate::{self, GenerateOptions, Generation, Piece};
use crate::options::SessionOptions;
use crate::runtime::Runtime;
use crate::{Model, ReadStream, Selection};
use kinglet_backends::Backend;
use kinglet_core::engine::Observer;
use kinglet_core::plan::Plan;
use kinglet_core::sample::Sampler;
use kinglet_core::screen::Screen;
use kinglet_core::text::Pooling;
use kinglet_core::top::Candidate;
use kinglet_core::{Engine, Workers};
use kinglet_quant::{Code, Result, ensure};
use std::ops::ControlFlow;

/// One text of the core on an engine with threads.
pub type Text<'t> =
    kinglet_core::Text<'t, 'static, kinglet_backends::AnyEngine<'static, crate::Pool>>;

/// A model, the memory of one text and the threads that work on it.
pub struct Session {
    runtime: Runtime,
}

impl Session {
    pub(crate) fn new(model: Model, options: &SessionOptions) -> Result<Self> {
        ensure!(
            options.texts == 1,
            Code::BadArgument,
            "a session with {} texts: it has one, take a batch for several",
            options.texts
        );
        Ok(Self { runtime: Runtime::new(model, options)? })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.runtime.model
    }

    /// What the passes run on.
    pub fn backend(&self) -> Backend {
        self.runtime.selection.backend()
    }

    /// The same, and why.
    pub fn selection(&self) -> &Selection {
        &self.runtime.selection
    }

    /// Threads in use, the caller included.
    pub fn threads(&self) -> usize {
        self.runtime.texts.engine().workers().count()
    }

    /// Bytes per second that the session's threads read from memory together; takes about a tenth
    /// of a second.
    pub fn read_bandwidth(&self, stream: &ReadStream) -> f64 {
        stream.bytes_per_second(self.runtime.texts.engine().workers())
    }

    /// The memory that the session took.
    pub fn plan(&self) -> &Plan {
        self.runtime.texts.engine().plan()
    }

    /// The tokens of the text.
    pub fn tokens(&self) -> &[u32] {
        self.runtime.texts.tokens(0)
    }

    /// Tokens that the text can still take.
    pub fn room(&self) -> usize {
        self.runtime.texts.room(0)
    }

    /// Makes room: keeps the first tokens, up to `sinks`, and the last ones, together half of the
    /// context, and computes these anew. Returns how many were dropped; see
    /// [`crate::Overflow::Slide`].
    pub fn slide(&mut self, sinks: usize) -> Result<usize> {
        self.runtime.texts.slide(0, sinks)
    }

    /// Forgets everything from `position` on. Panics when the text is not that long.
    pub fn rewind(&mut self, position: usize) {
        self.text().rewind(position).expect("a session is rewound to what it has");
    }

    /// Forgets the whole text.
    pub fn reset(&mut self) {
        self.rewind(0);
    }

    /// Appends tokens and computes the logits behind the last.
    ///
    /// `PromptTooLong` when they do not fit, `TokenOutOfRange`, `BadArgument` when there are none;
    /// the session is unchanged then.
    pub fn prefill(&mut self, tokens: &[u32]) -> Result<()> {
        self.prefill_with(tokens, &mut |_| Ok(()))
    }

    /// [`Session::prefill`] that asks before every pass whether to go on; otherwise `Interrupted`.
    pub fn prefill_while(
        &mut self,
        tokens: &[u32],
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<()> {
        self.prefill_with(tokens, &mut |_| {
            ensure!(goes_on(), Code::Interrupted, "interrupted while reading the prompt");
            Ok(())
        })
    }

    /// [`Session::prefill`] that tells before every pass how many tokens are done. When `goes_on`
    /// fails, so does this; the tokens that were taken until then stay.
    pub fn prefill_with(
        &mut self,
        tokens: &[u32],
        goes_on: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        self.text().prefill(tokens, goes_on)
    }

    /// Logits behind the last token, `[vocabulary]`; computed now where no pass has. `BadArgument`
    /// for an empty text.
    pub fn logits(&mut self) -> Result<&[f32]> {
        self.runtime.texts.logits(0)
    }

    /// The most probable next tokens, best first: writes as many as there are to the front of
    /// `out`. `BadArgument` for an empty text.
    pub fn top(&mut self, out: &mut [Candidate]) -> Result<usize> {
        self.text().top(out)
    }

    /// Appends tokens and hands out the logits behind each: `(index in tokens, [vocabulary])`.
    ///
    /// Faster with more [`SessionOptions::logit_rows`]. Errors as [`Session::prefill`].
    pub fn score(&mut self, tokens: &[u32], each: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        self.text().score(tokens, each)
    }

    /// What the model makes of a text: the hidden states of its tokens behind the final norm,
    /// pooled and scaled to a length of 1, `[hidden]`. The text of the session becomes these
    /// tokens.
    ///
    /// `BadArgument` for no tokens, `PromptTooLong`, `TokenOutOfRange`.
    pub fn embed(&mut self, tokens: &[u32], pooling: Pooling) -> Result<Vec<f32>> {
        let mut out = vec![0.0; self.model().config().hidden as usize];
        self.text().embed(tokens, pooling, &mut out)?;
        Ok(out)
    }

    /// Appends tokens and hands the inputs of every matrix to `observer`: for calibration.
    pub fn observe(&mut self, tokens: &[u32], observer: Observer<'_>) -> Result<()> {
        self.text().observe(tokens, observer)
    }

    /// Appends one token and computes the logits behind it. `ContextFull` when there is no room.
    pub fn push(&mut self, token: u32) -> Result<()> {
        self.push_for(token, None)
    }

    /// [`Session::push`] that computes only those logits that a [`Sampler::screen`] asks for.
    /// [`Session::sample`] with that sampler chooses the token that all logits would give.
    pub fn push_for(&mut self, token: u32, screen: Option<Screen>) -> Result<()> {
        self.text().push(token, screen)
    }

    /// Chooses a token from the logits, which uses them up; the token is not appended.
    /// `BadArgument` for an empty text.
    pub fn sample(&mut self, sampler: &mut Sampler<'_>) -> Result<u32> {
        self.text().sample(sampler)
    }

    /// Appends a prompt and generates until something stops it; see [`GenerateOptions`].
    ///
    /// `on_piece` gets every token as it is chosen, with the text that became certain, and can
    /// stop. A full context stops with [`crate::StopReason::ContextFull`], which keeps the session
    /// usable. Without a prompt the reply goes on with the text as it is. The tokens of the reply
    /// are the text's afterwards, all but one that ended it or for which there was no room.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        options: &GenerateOptions<'_>,
        on_piece: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>,
    ) -> Result<Generation> {
        generate::generate(self, prompt, options, on_piece)
    }

    /// Bytes of the text's state, see [`Session::save`].
    pub fn state_bytes(&mut self) -> usize {
        self.text().state_bytes()
    }

    /// Writes the text with its keys and values to the front of `out` and returns how many bytes
    /// that took. `draws` comes back from [`Session::restore`], for a sampler that goes on.
    /// `BufferTooSmall` when `out` is; then nothing is written.
    pub fn save(&mut self, draws: u64, out: &mut [u8]) -> Result<usize> {
        self.text().save(draws, out)
    }

    /// Replaces the text by a saved one and returns its `draws`. `StateMismatch` for a state of
    /// another model, context or cache type, `UnknownVersion`, `Truncated`, `Corrupt`; the text is
    /// unchanged then.
    pub fn restore(&mut self, state: &[u8]) -> Result<u64> {
        self.text().restore(state)
    }

    /// Replaces the text by the first `count` tokens of another session's, whose model and cache
    /// type must be the same (`StateMismatch`). `BadArgument` when that text is shorter,
    /// `ContextFull` when this context is.
    pub fn fork(&mut self, source: &mut Session, count: usize) -> Result<()> {
        self.text().copy_from(&mut source.text(), count)
    }

    pub(crate) fn text(&mut self) -> Text<'_> {
        self.runtime.texts.text(0)
    }

    pub(crate) fn runtime(&mut self) -> &mut Runtime {
        &mut self.runtime
    }
}
