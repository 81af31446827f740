//! From chosen tokens to streamed text: decoding, stop strings, and the callback that sees both.

use crate::stop::StopMatcher;
use crate::tokenizer::{TextStream, Tokenizer};
use crate::top::Candidate;
use core::ops::ControlFlow;
use kinglet_quant::{File, Result};

/// A step of the output: a chosen token, text that became certain, or both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Piece<'a> {
    /// The token, once for each.
    pub token: Option<u32>,
    /// Text; empty while a character or a possible stop string is incomplete.
    pub text: &'a str,
    /// The token, then the most probable ones, with the logarithms of their probabilities; empty
    /// without a token, and unless it was asked for.
    pub candidates: &'a [Candidate],
}

/// Gets every [`Piece`] and says whether to go on.
pub type OnPiece<'p> = &'p mut dyn FnMut(Piece<'_>) -> ControlFlow<()>;

/// What cut a reply off behind a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A stop string appeared.
    StopString,
    /// The callback said so.
    Callback,
}

/// Turns the tokens of one reply into pieces.
#[derive(Clone, Debug)]
pub struct PieceStream<'a> {
    tokenizer: Tokenizer<'a>,
    eos: &'a [u32],
    stream: TextStream,
    stops: StopMatcher,
}

impl<'a> PieceStream<'a> {
    /// A reply that ends at `stops`; `BadArgument` as from [`StopMatcher::new`].
    pub fn new(model: &File<'a>, stops: &[&str]) -> Result<Self> {
        Ok(Self {
            tokenizer: Tokenizer::new(model.vocab()),
            eos: model.config().eos_tokens(),
            stream: TextStream::new(),
            stops: StopMatcher::new(stops)?,
        })
    }

    /// Whether a token ends the model's text.
    pub fn is_end(&self, token: u32) -> bool {
        self.eos.contains(&token)
    }

    /// Hands on a token and the text that it makes certain. Control tokens have no text.
    pub fn push(
        &mut self,
        token: u32,
        candidates: &[Candidate],
        on_piece: OnPiece<'_>,
    ) -> Option<Cut> {
        let Self { tokenizer, stream, stops, .. } = self;
        let (mut announced, mut is_stopped, mut is_refused) = (Some(token), false, false);
        let mut hand_on = |text: &str| {
            let token = announced.take();
            let candidates = if token.is_some() { candidates } else { &[] };
            is_refused |= on_piece(Piece { token, text, candidates }).is_break();
        };
        if !tokenizer.vocab().is_control(token) {
            stream.push(tokenizer.decode(token), |text| {
                is_stopped |= stops.push(text, &mut hand_on);
            });
        }
        if announced.is_some() {
            is_refused |= on_piece(Piece { token: announced, text: "", candidates }).is_break();
        }
        match (is_refused, is_stopped) {
            (true, _) => Some(Cut::Callback),
            (false, true) => Some(Cut::StopString),
            (false, false) => None,
        }
    }

    /// Ends a reply that was not cut off: hands on what was held back.
    pub fn finish(&mut self, on_piece: OnPiece<'_>) {
        let Self { stream, stops, .. } = self;
        let mut hand_on = |text: &str| {
            // Nothing is left to stop.
            let _ = on_piece(Piece { token: None, text, candidates: &[] });
        };
        stream.finish(|text| {
            stops.push(text, &mut hand_on);
        });
        stops.finish(&mut hand_on);
    }
}
