//! From texts to replies: the one loop that chooses tokens, and what ends it.
//!
//! Every reply goes on as far as the engine has logits for its text; then one pass takes the last
//! token of each. Behind that token the pass takes guesses, whose logits are what single passes
//! would give, to the bit: as long as the tokens chosen are those guessed, the next row of logits
//! is the next token's. Every token is drawn once, so a text is the same with guesses and without,
//! alone and beside others.

use crate::chances::Chances;
use crate::constraint::Constraint;
use crate::draft::{Draft, Drafter};
use crate::engine::Engine;
use crate::piece::{Cut, Piece, PieceStream};
use crate::plan::MAX_TEXTS;
use crate::sample::Sampler;
use crate::texts::{Texts, Turn};
use core::ops::ControlFlow;
use kinglet_quant::{Code, File, Result, ensure};

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// As many tokens as asked for.
    MaxTokens,
    /// The model ended its text. The token that says so is not appended.
    EndOfText,
    /// The reply is complete: its constraint lets nothing follow.
    Complete,
    /// A stop string appeared. Its tokens stay in the text.
    StopString,
    /// The context is full; rewinding makes room. There was none for the reply's last token.
    ContextFull,
    /// The callback that gets the pieces said so, or somebody else who was asked.
    Cancelled,
    /// Its time was over.
    Deadline,
}

impl StopReason {
    /// The name in machine-readable output.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::EndOfText => "end_of_text",
            Self::Complete => "complete",
            Self::StopString => "stop_string",
            Self::ContextFull => "context_full",
            Self::Cancelled => "cancelled",
            Self::Deadline => "deadline",
        }
    }
}

/// What happens when the context is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The reply ends.
    #[default]
    Stop,
    /// The text slides on: see [`Texts::slide`].
    Slide {
        /// Tokens at the text's beginning that stay.
        sinks: usize,
    },
}

impl Overflow {
    /// Slides on with as many first tokens as the paper that found them takes: see
    /// [`Texts::slide`].
    pub const SLIDE: Self = Self::Slide { sinks: 4 };
}

/// What a reply may do.
#[derive(Clone, Copy, Debug)]
pub struct ReplyOptions<'r> {
    /// Tokens at most.
    pub max_tokens: usize,
    /// Texts that end the reply, see [`crate::stop::StopMatcher::new`]; they are not part of it.
    pub stop: &'r [&'r str],
    /// Goes on behind tokens that end the model's text.
    pub ignore_eos: bool,
    /// Guesses tokens from the text so far, where there are rows of logits to check them and
    /// weights are quantized.
    pub speculation: bool,
    /// Computes every logit of every token, instead of those alone that can be chosen.
    pub exact_head: bool,
    /// What happens when the context is full.
    pub overflow: Overflow,
}

/// What a reply took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tokens chosen, without one that ended the model's text.
    pub tokens: usize,
    /// Passes through the model.
    pub steps: usize,
    /// Tokens that were guessed.
    pub drafted: usize,
    /// Guesses that came true; each saved a pass.
    pub accepted: usize,
    /// Tokens that a constraint forced; each saved a pass.
    pub forced: usize,
    /// How often the text slid on.
    pub slides: usize,
}

/// A reply in the making: the text that it goes on with, and how.
pub struct Reply<'r> {
    text: usize,
    sampler: Sampler<'r>,
    options: ReplyOptions<'r>,
    pieces: PieceStream<'r>,
    /// What it may be, if that is not everything.
    constraint: Option<&'r mut dyn Constraint>,
    /// Where the probabilities of its tokens are computed, if they are wanted.
    chances: Option<Chances<'r>>,
    drafter: Option<Drafter>,
    /// Tokens of the last draft, and those of them that came.
    draft: (usize, usize),
    /// Whether the last token was guessed.
    is_guess: bool,
    /// Whether there was no room for the last token.
    is_full: bool,
    /// Whether the caller has been asked about the next token.
    is_asked: bool,
    counts: Counts,
    stop_reason: Option<StopReason>,
}

/// Asks, before each token of a reply of this number, what ends it.
pub type Control<'c> = &'c mut dyn FnMut(usize) -> Result<Option<StopReason>>;

/// Gets every piece of the reply of this number and says whether to go on.
pub type OnReplyPiece<'p> = &'p mut dyn FnMut(usize, Piece<'_>) -> ControlFlow<()>;

impl<'r> Reply<'r> {
    /// A reply that goes on with a text of this number. `BadArgument` for wrong stop strings.
    pub fn new(
        model: &File<'r>,
        text: usize,
        sampler: Sampler<'r>,
        options: ReplyOptions<'_>,
    ) -> Result<Self> {
        let ReplyOptions { max_tokens, ignore_eos, speculation, exact_head, overflow, .. } =
            options;
        Ok(Self {
            text,
            sampler,
            options: ReplyOptions {
                max_tokens,
                // The stream of pieces has its own copy.
                stop: &[],
                ignore_eos,
                speculation,
                exact_head,
                overflow,
            },
            pieces: PieceStream::new(model, options.stop)?,
            constraint: None,
            chances: None,
            drafter: None,
            draft: (0, 0),
            is_guess: false,
            is_full: false,
            is_asked: false,
            counts: Counts::default(),
            stop_reason: None,
        })
    }

    /// Tells for each token how probable it was, and which were the most probable ones: see
    /// [`Piece::candidates`]. Every logit of every token is computed then.
    pub fn with_chances(self, chances: Chances<'r>) -> Self {
        Self { chances: Some(chances), ..self }
    }

    /// Lets the reply have only what a constraint allows, which is at its beginning. What the
    /// sampler's filters leave is what the constraint chooses from, and where that has nothing that
    /// fits, the filters look at all that fits.
    ///
    /// `BadArgument` with [`ReplyOptions::ignore_eos`], since the constraint says where to end.
    pub fn with_constraint(self, constraint: &'r mut dyn Constraint) -> Result<Self> {
        ensure!(
            !self.options.ignore_eos,
            Code::BadArgument,
            "a reply with a constraint ends where that says: do not ignore the end of the text"
        );
        Ok(Self { constraint: Some(constraint), ..self })
    }

    /// What it took until now.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Why it ended; `None` before it has, and when it failed.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.stop_reason
    }

    /// Random numbers taken so far, see [`Sampler::draws`].
    pub fn draws(&self) -> u64 {
        self.sampler.draws()
    }

    /// Why there is no next token.
    fn reason_to_end(
        &mut self,
        control: &mut dyn FnMut() -> Result<Option<StopReason>>,
    ) -> Result<Option<StopReason>> {
        if self.counts.tokens == self.options.max_tokens {
            return Ok(Some(StopReason::MaxTokens));
        }
        if self.is_full {
            return Ok(Some(StopReason::ContextFull));
        }
        if let Some(constraint) = &mut self.constraint
            && constraint.is_complete()?
        {
            return Ok(Some(StopReason::Complete));
        }
        if self.is_asked {
            return Ok(None);
        }
        self.is_asked = true;
        control()
    }

    /// Chooses the next token from the logits that are there.
    fn next<E: Engine>(
        &mut self,
        texts: &mut Texts<'_, E>,
        on_piece: crate::piece::OnPiece<'_>,
    ) -> Result<Option<StopReason>> {
        let copy = self.chances.as_mut().map(Chances::logits);
        let constraint = self.constraint.as_deref_mut();
        let token = texts.sample(self.text, &mut self.sampler, constraint, copy)?;
        // Only now has the guess saved a pass.
        self.draft.1 += usize::from(self.is_guess);
        self.counts.accepted += usize::from(self.is_guess);
        self.is_guess = false;
        if !self.options.ignore_eos && self.pieces.is_end(token) {
            return Ok(Some(StopReason::EndOfText));
        }
        self.take(texts, token, on_piece)
    }

    /// The token that must come next, if the constraint knows one. With probabilities each token
    /// gets logits of its own.
    fn forced<E: Engine>(&mut self, texts: &Texts<'_, E>) -> Result<Option<u32>> {
        let Some(constraint) = self.constraint.as_mut().filter(|_| self.chances.is_none()) else {
            return Ok(None);
        };
        let forced = constraint.forced()?;
        forced.iter().try_for_each(|&token| texts.check_token(token))?;
        Ok(forced)
    }

    /// Appends a token and hands it on.
    fn take<E: Engine>(
        &mut self,
        texts: &mut Texts<'_, E>,
        token: u32,
        on_piece: crate::piece::OnPiece<'_>,
    ) -> Result<Option<StopReason>> {
        self.is_asked = false;
        if let Some(constraint) = &mut self.constraint {
            constraint.advance(token)?;
        }
        self.make_room(texts)?;
        if !self.is_full {
            self.is_guess = texts.append(self.text, token);
        }
        self.counts.tokens += 1;
        let candidates = self.chances.as_mut().map_or(&[][..], |chances| chances.of(token));
        Ok(self.pieces.push(token, candidates, on_piece).map(|cut| match cut {
            Cut::StopString => StopReason::StopString,
            Cut::Callback => StopReason::Cancelled,
        }))
    }

    /// Lets the text slide on if it is full and may; notes whether it is full.
    fn make_room<E: Engine>(&mut self, texts: &mut Texts<'_, E>) -> Result<()> {
        let is_full = |texts: &Texts<'_, E>| texts.room(self.text) == 0;
        if let (true, Overflow::Slide { sinks }) = (is_full(texts), self.options.overflow) {
            let dropped = texts.slide(self.text, sinks)?;
            self.sampler.drop_tokens(dropped);
            self.counts.slides += 1;
        }
        self.is_full = is_full(texts);
        Ok(())
    }

    /// `BadArgument` for a text that is not there or is empty.
    pub fn check<E: Engine>(&self, texts: &Texts<'_, E>) -> Result<()> {
        let count = texts.plan().limits().texts;
        ensure!(
            self.text < count,
            Code::BadArgument,
            "a reply to text {}: there are {count} texts",
            self.text
        );
        ensure!(
            !texts.tokens(self.text).is_empty(),
            Code::BadArgument,
            "the session is empty: give it a prompt first"
        );
        Ok(())
    }

    /// Tells a reply that it begins behind what its text has now.
    pub fn begin<E: Engine>(&mut self, texts: &Texts<'_, E>) {
        self.sampler.begin_reply(texts.tokens(self.text).len());
    }

    /// Goes on as far as the engine has logits. `control` is asked before each token what ends the
    /// reply, `on_piece` gets every piece.
    pub fn go_on<E: Engine>(
        &mut self,
        texts: &mut Texts<'_, E>,
        control: &mut dyn FnMut() -> Result<Option<StopReason>>,
        on_piece: crate::piece::OnPiece<'_>,
    ) -> Result<()> {
        while self.stop_reason.is_none() {
            self.stop_reason = self.reason_to_end(control)?;
            if self.stop_reason.is_some() {
                self.pieces.finish(on_piece);
            } else if let Some(token) = self.forced(texts)? {
                self.counts.forced += 1;
                self.stop_reason = self.take(texts, token, on_piece)?;
            } else if texts.has_logits(self.text) {
                self.stop_reason = self.next(texts, on_piece)?;
                if self.stop_reason == Some(StopReason::EndOfText) {
                    self.pieces.finish(on_piece);
                }
            } else {
                break;
            }
        }
        Ok(())
    }

    /// Its part in the next pass, which has this many rows of logits for it.
    fn turn<E: Engine>(&mut self, texts: &Texts<'_, E>, rows: usize) -> Turn {
        // Tokens that were forced go along instead of guesses.
        let is_possible = self.options.speculation
            && texts.plan().is_batch_exact()
            && texts.waiting(self.text) <= 1;
        let most = if is_possible { rows - 1 } else { 0 };
        let left = self.options.max_tokens - self.counts.tokens - 1;
        let drafter =
            self.drafter.get_or_insert_with(|| Drafter::new(texts.engine().further_token_cost()));
        drafter.settle(self.draft.0, self.draft.1);
        self.is_guess = false;
        let draft = match texts.tokens(self.text).split_last() {
            Some((&last, before)) => {
                drafter.draft(before, last, most.min(left).min(texts.room(self.text)))
            }
            None => Draft::new(),
        };
        self.draft = (draft.len(), 0);
        self.counts.steps += 1;
        self.counts.drafted += draft.len();
        let is_exact = self.options.exact_head || self.chances.is_some();
        let screen = self.sampler.screen().filter(|_| !is_exact);
        Turn { text: self.text, draft, screen }
    }
}

/// Goes on with the texts of all replies, which are different ones, until something ends each.
///
/// `BadArgument` for an empty text, and what [`Engine::run`] and `control` return. The replies tell
/// what they did in any case, and their texts have what was chosen.
pub fn generate<E: Engine>(
    texts: &mut Texts<'_, E>,
    replies: &mut [Reply<'_>],
    control: Control<'_>,
    on_piece: OnReplyPiece<'_>,
) -> Result<()> {
    for (i, reply) in replies.iter().enumerate() {
        reply.check(texts)?;
        ensure!(
            replies[..i].iter().all(|other| other.text != reply.text),
            Code::BadArgument,
            "reply {i} is to text {}: give each text one reply at most",
            reply.text
        );
    }
    for reply in replies.iter_mut() {
        reply.is_asked = false;
        if reply.counts == Counts::default() {
            reply.begin(texts);
        }
    }
    let outcome = run(texts, replies, control, on_piece);
    for reply in replies {
        texts.state_mut(reply.text).drop_guesses();
    }
    outcome
}

fn run<E: Engine>(
    texts: &mut Texts<'_, E>,
    replies: &mut [Reply<'_>],
    control: Control<'_>,
    on_piece: OnReplyPiece<'_>,
) -> Result<()> {
    loop {
        for (number, reply) in replies.iter_mut().enumerate() {
            let hand_on = &mut |piece: Piece<'_>| on_piece(number, piece);
            reply.go_on(texts, &mut || control(number), hand_on)?;
        }
        let going_on = replies.iter_mut().filter(|reply| reply.stop_reason.is_none());
        let mut going_on: heapless::Vec<&mut Reply<'_>, MAX_TEXTS> = going_on.collect();
        if going_on.is_empty() {
            return Ok(());
        }
        pass(texts, &mut going_on)?;
    }
}

/// Runs the pass that replies need to go on: at least one reply, none of which has ended, each to a
/// text of its own and begun with [`Reply::begin`].
///
/// With [`Reply::go_on`] in front, this is one step of [`generate`] for callers whose replies come
/// and go. [`Engine::run`] tells what fails.
pub fn pass<E: Engine>(texts: &mut Texts<'_, E>, replies: &mut [&mut Reply<'_>]) -> Result<()> {
    let rows = texts.plan().limits().logit_rows / replies.len();
    let mut turns: heapless::Vec<Turn, MAX_TEXTS> = heapless::Vec::new();
    turns.extend(replies.iter_mut().map(|reply| reply.turn(texts, rows)));
    texts.run_turns(&mut turns)
}
