//! A reply that walks an automaton.

use crate::automaton::{Automaton, State};
use crate::constraint::{Constraint, keep};
use crate::tokenizer::Tokenizer;
use kinglet_quant::{Code, File, Result, Vocab, fail};

/// Bytes that are looked at to find tokens that must come.
const FORCED_BYTES: usize = 64;

/// The constraint of a table: replies are texts that its automaton accepts. It allocates nothing,
/// and panics for a token outside the vocabulary.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    automaton: Automaton<'a>,
    vocab: Vocab<'a>,
    /// Tokens that end the model's text.
    ends: &'a [u32],
    state: State,
    /// Tokens that must come next, the last of them first.
    forced: heapless::Vec<u32, FORCED_BYTES>,
}

impl<'a> Walk<'a> {
    /// The beginning of a reply of a model.
    pub fn new(automaton: Automaton<'a>, model: &File<'a>) -> Self {
        Self {
            automaton,
            vocab: model.vocab(),
            ends: model.config().eos_tokens(),
            state: State::START,
            forced: heapless::Vec::new(),
        }
    }

    /// Whether a token is a part of texts.
    fn is_text(&self, token: u32) -> bool {
        let is_end = self.ends.contains(&token);
        !is_end && !self.vocab.text(token).is_empty() && !self.vocab.is_control(token)
    }

    /// Where a token leads, if all of its bytes fit.
    fn next(&self, token: u32) -> Option<State> {
        let next = self.automaton.walk(self.state, self.vocab.text(token))?;
        self.is_text(token).then_some(next)
    }

    fn fits(&self, token: u32) -> bool {
        match self.ends.contains(&token) {
            true => self.automaton.accepts(self.state),
            false => self.next(token).is_some(),
        }
    }

    /// Finds tokens that must come, as the tokenizer splits the bytes that must. A word at their
    /// end is left out where more can follow, which may make other tokens of it.
    fn find_forced(&mut self) -> Result<()> {
        let mut bytes = heapless::Vec::<u8, FORCED_BYTES>::new();
        let mut state = self.state;
        while let Some((byte, next)) = self.automaton.forced(state) {
            if bytes.push(byte).is_err() {
                break;
            }
            state = next;
        }
        let text = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid()).as_bytes();
        let tokenizer = Tokenizer::new(self.vocab);
        let mut tokens = [0; FORCED_BYTES];
        let is_whole = text.len() == bytes.len() && self.automaton.is_last(state);
        let count = tokenizer.encode_settled(text, is_whole, &mut tokens)?;
        // A vocabulary may have no token for a byte, which the tokenizer then leaves out.
        let mut rest = text;
        for &token in &tokens[..count] {
            let spelled = rest.strip_prefix(self.vocab.text(token));
            let Some(behind) = spelled.filter(|_| self.is_text(token)) else { break };
            rest = behind;
            self.forced.extend([token]);
        }
        self.forced.reverse();
        Ok(())
    }
}

impl Constraint for Walk<'_> {
    fn filter(&mut self, tokens: &mut [u32]) -> Result<usize> {
        Ok(keep(tokens, |token| self.fits(token)))
    }

    fn advance(&mut self, token: u32) -> Result<()> {
        let Some(next) = self.next(token) else {
            fail!(Code::BadGrammar, "token {token} does not fit the table");
        };
        self.state = next;
        if self.forced.pop() != Some(token) {
            self.forced.clear();
        }
        Ok(())
    }

    fn forced(&mut self) -> Result<Option<u32>> {
        if self.forced.is_empty() {
            self.find_forced()?;
        }
        Ok(self.forced.last().copied())
    }

    fn is_complete(&mut self) -> Result<bool> {
        Ok(self.automaton.is_last(self.state))
    }
}
