//! The seam: what runs whole passes over a model, and what a pass is.
//!
//! An engine has the weights, the key-value caches and everything that a pass computes in, wherever
//! that memory is. [`crate::Texts`] has the texts: their tokens, and how far each of them is in its
//! cache. Between the two go tokens, rows of logits and, for states, blocks of a cache; what an
//! engine lends is in memory of the processor's and good until its next call.
//!
//! [`crate::Cpu`] is the engine over [`crate::Kernels`]. Another one is a type with these methods:
//! `tests/engine.rs` has a small one, which computes on copies as a device would.

use crate::plan::Plan;
use crate::screen::Screen;
use kinglet_quant::{Code, Result, fail};

/// For which tokens of a chunk logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logits {
    /// None: more of the prompt follows.
    None,
    /// The last one.
    Last,
    /// Each.
    All,
}

impl Logits {
    /// Rows of logits for a chunk of as many tokens.
    pub fn rows(self, tokens: usize) -> usize {
        match self {
            Self::None => 0,
            Self::Last => 1,
            Self::All => tokens,
        }
    }
}

/// Tokens of one text that a pass takes, one behind the other.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'p> {
    /// The text, below [`crate::Limits::texts`].
    pub text: usize,
    /// Position of the first token: the text's cache has this many tokens already.
    pub first: usize,
    /// At least one.
    pub tokens: &'p [u32],
    /// For which of them logits are wanted.
    pub logits: Logits,
    /// Which logits of a row are wanted, where the head is a matrix in two planes; `None` for all.
    pub screen: Option<Screen>,
}

/// Rows of logits that a pass computes.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogitRows {
    /// How many.
    pub count: usize,
    /// Whether each has only the logits that its screen wants.
    pub are_screened: bool,
}

impl LogitRows {
    /// Those of a pass: screened when every chunk that has some is.
    pub fn of(pass: &[Chunk<'_>]) -> Self {
        let mut with_logits = pass.iter().filter(|chunk| chunk.logits != Logits::None);
        let are_screened = with_logits.all(|chunk| chunk.screen.is_some());
        let count = pass.iter().map(|chunk| chunk.logits.rows(chunk.tokens.len())).sum();
        Self { count, are_screened: are_screened && count > 0 }
    }
}

/// One token of a chunk.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The text.
    pub text: usize,
    /// Where in the text.
    pub position: usize,
    /// The token.
    pub token: u32,
}

impl<'p> Chunk<'p> {
    /// The chunk's tokens that get logits, as a chunk.
    pub fn with_logits(self) -> Self {
        let skipped = self.tokens.len() - self.logits.rows(self.tokens.len());
        Self { first: self.first + skipped, tokens: &self.tokens[skipped..], ..self }
    }

    /// The chunk's tokens, in order.
    pub fn places(self) -> impl Iterator<Item = Place> + Clone + use<'p> {
        let Self { text, first, tokens, .. } = self;
        (first..).zip(tokens).map(move |(position, &token)| Place { text, position, token })
    }
}

/// Where the inputs of matrices can be observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// Inputs of q, k and v `[hidden]`.
    Attention,
    /// Inputs of o `[heads × head_dim]`.
    Output,
    /// Inputs of gate and up `[hidden]`.
    FeedForward,
    /// Inputs of down `[ffn]`.
    Down,
    /// Inputs of the head `[hidden]`; its layer is [`kinglet_quant::tensor::NO_LAYER`].
    Head,
}

/// Gets the inputs of the matrices of every layer, `[tokens][width of the site]`: for calibration.
pub type Observer<'o> = &'o mut dyn FnMut(Site, u16, &[f32]);

/// Gets hidden states behind the final norm, those of one token or several, `[tokens][hidden]`.
pub type OnStates<'s> = &'s mut dyn FnMut(&[f32]);

/// The first positions of a cache's block, as [`crate::kv::KvLayout::prefix`] cuts them: keys,
/// values, scales of keys, scales of values.
pub type BlockPrefix<'b> = [&'b [u8]; 4];

/// A backend that runs whole passes.
///
/// Passes that do not fit [`Engine::plan`] never come: [`crate::Texts`] has checked them. A failure
/// is one of the engine's own, such as a device that is gone; the texts survive it.
pub trait Engine {
    /// What the engine can do, and the memory that it does it in.
    fn plan(&self) -> &Plan;

    /// What each further token of a pass of 2 to 8 tokens costs, in hundredths of a pass of one.
    fn further_token_cost(&self) -> u8;

    /// Takes a pass: appends keys and values of every token to its text's cache, and computes the
    /// logits that are wanted. Texts come in ascending order, each once at most. Rows of logits are
    /// counted through the chunks, from 0; they stay until the next pass, whatever else is asked of
    /// the engine meanwhile.
    fn run(&mut self, pass: &[Chunk<'_>]) -> Result<()>;

    /// Computes the last pass's rows of logits once more: all logits, or those that `screen` wants.
    fn repeat_head(&mut self, screen: Option<Screen>) -> Result<()>;

    /// One row of the last pass's logits, `[vocabulary]`, which the caller may change. Where some
    /// were left out, only those of [`Engine::survivors`] mean anything.
    fn logits(&mut self, row: usize) -> Result<&mut [f32]>;

    /// Writes the tokens whose logits in a row are exact to the front of `tokens`, `[vocabulary]`,
    /// ascending, and returns their number; `None` when all are.
    fn survivors(&mut self, row: usize, tokens: &mut [u32]) -> Result<Option<usize>>;

    /// The first `positions` of one of a text's blocks, which lie `[layers][kv_heads]`.
    fn read_block(
        &mut self,
        text: usize,
        block: usize,
        positions: usize,
    ) -> Result<BlockPrefix<'_>>;

    /// Replaces the first `positions` of one of a text's blocks.
    fn write_block(
        &mut self,
        text: usize,
        block: usize,
        positions: usize,
        prefix: BlockPrefix<'_>,
    ) -> Result<()>;

    /// Replaces the first `positions` of a text's cache by those of another text.
    fn copy_text(&mut self, from: usize, to: usize, positions: usize) -> Result<()>;

    /// [`Engine::run`] of one chunk without logits, which hands the inputs of every matrix to
    /// `observer`. `BadArgument` from engines whose memory the processor does not see.
    fn observe(&mut self, chunk: &Chunk<'_>, observer: Observer<'_>) -> Result<()> {
        let _ = (chunk, observer);
        fail!(
            Code::BadArgument,
            "this needs the inputs of every matrix, which only the processor's tiers give: choose \
             one of them"
        )
    }

    /// [`Engine::run`] of one chunk without logits, which hands the hidden states of its tokens to
    /// `on_states`, in order, some of them at a time: for embeddings. What can be observed needs
    /// nothing of its own for it.
    fn hidden_states(&mut self, chunk: &Chunk<'_>, on_states: OnStates<'_>) -> Result<()> {
        self.observe(chunk, &mut |site, _, values| {
            if site == Site::Head {
                on_states(values);
            }
        })
    }
}
