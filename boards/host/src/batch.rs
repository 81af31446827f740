//! A batch: several texts that go on in one pass.

use crate::generate::{self, GenerateOptions, Generation, Piece};
use crate::options::SessionOptions;
use crate::runtime::{Runtime, Texts};
use crate::session::Text;
use crate::{Backend, Model, ReadStream, Selection};
use kinglet_core::Workers;
use kinglet_core::plan::Plan;
use kinglet_quant::Result;
use std::ops::ControlFlow;

/// A model, the memory of several texts and the threads that work on them.
///
/// A pass reads the weights once for all texts, so that two texts take much less time than one
/// after the other. With quantized weights each text is what it would be alone, to the bit.
pub struct Batch {
    runtime: Runtime,
}

impl Batch {
    pub(crate) fn new(model: Model, options: &SessionOptions) -> Result<Self> {
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

    /// Bytes per second that the batch's threads read from memory together; takes about a tenth of
    /// a second.
    pub fn read_bandwidth(&self, stream: &ReadStream) -> f64 {
        stream.bytes_per_second(self.runtime.texts.engine().workers())
    }

    /// The memory that the batch took.
    pub fn plan(&self) -> &Plan {
        self.runtime.texts.plan()
    }

    /// Texts.
    pub fn texts(&self) -> usize {
        self.plan().limits().texts
    }

    /// One of the texts, to give it a prompt, to rewind it, to save it. Panics when there are
    /// fewer.
    pub fn text(&mut self, number: usize) -> Text<'_> {
        self.runtime.texts.text(number)
    }

    /// The tokens of a text. Panics when there are fewer texts.
    pub fn tokens(&self, number: usize) -> &[u32] {
        self.runtime.texts.tokens(number)
    }

    /// Replaces a text by the first `count` tokens of another one, so that several go on from one
    /// prompt. `BadArgument` when that text is shorter or there are fewer texts.
    pub fn copy(&mut self, from: usize, to: usize, count: usize) -> Result<()> {
        self.runtime.texts.copy(from, to, count)
    }

    /// Appends a token to each of several texts and computes the logits behind them, in one pass.
    /// `ContextFull`, `TokenOutOfRange`, `BadArgument` for a text that comes twice; all texts are
    /// unchanged then.
    pub fn push(&mut self, tokens: &[(usize, u32)]) -> Result<()> {
        self.runtime.texts.push(tokens)
    }

    /// Logits behind a text, `[vocabulary]`; computed now where no pass has. `BadArgument` for an
    /// empty text.
    pub fn logits(&mut self, text: usize) -> Result<&[f32]> {
        self.runtime.texts.logits(text)
    }

    /// Goes on with several texts at once, each by its number and with its own options, until
    /// something stops each; the result has their order.
    ///
    /// `on_piece` gets every token with the place of its reply in `replies`, and can stop that
    /// reply. `BadArgument` for an empty text and for a text that comes twice.
    pub fn generate(
        &mut self,
        replies: &[(usize, GenerateOptions<'_>)],
        on_piece: &mut dyn FnMut(usize, Piece<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Generation>> {
        generate::generate_all(&mut self.runtime.texts, replies, on_piece)
    }

    pub(crate) fn texts_mut(&mut self) -> &mut Texts {
        &mut self.runtime.texts
    }
}
