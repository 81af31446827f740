//! Splits text into the words that merging does not cross.
//!
//! Two steps of the `tokenizers` library, both optional: every digit is a piece of its own; then
//! each piece is cut by GPT-2's expression, here written as code:
//! `'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

use crate::unicode::Class;
use kinglet_quant::Vocab;

/// Endings that are words of their own.
const CONTRACTIONS: [&[u8]; 7] = [b"'s", b"'d", b"'m", b"'t", b"'ll", b"'ve", b"'re"];

/// The words of a text, which together are the text.
pub(super) struct Words<'t> {
    rest: &'t [u8],
    single_digits: bool,
    gpt2_split: bool,
}

impl<'t> Words<'t> {
    /// Splits as the tokenizer's flags say.
    pub(super) fn new(text: &'t [u8], vocab: &Vocab<'_>) -> Self {
        Self { rest: text, single_digits: vocab.single_digits(), gpt2_split: vocab.gpt2_split() }
    }

    /// The character at `at` and its length; none at the end of the piece.
    fn peek(&self, at: usize) -> Option<(char, usize)> {
        let (character, length) = first_char(&self.rest[at..])?;
        (!self.is_digit(character)).then_some((character, length))
    }

    fn is_digit(&self, character: char) -> bool {
        self.single_digits && character.is_numeric()
    }

    /// The end of the characters from `at` on that pass a test.
    fn run(&self, mut at: usize, is_part: impl Fn(char) -> bool) -> usize {
        while let Some((character, length)) = self.peek(at)
            && is_part(character)
        {
            at += length;
        }
        at
    }

    /// Bytes of the next word.
    fn word_bytes(&self) -> Option<usize> {
        let (first, first_bytes) = first_char(self.rest)?;
        if self.is_digit(first) {
            return Some(first_bytes);
        }
        if !self.gpt2_split {
            return Some(self.run(0, |_| true));
        }
        if let Some(ending) = CONTRACTIONS.iter().find(|ending| self.rest.starts_with(ending)) {
            return Some(ending.len());
        }
        // A word may begin with one space, U+0020 only.
        let next = self.peek(first_bytes).map(|(next, _)| Class::of(next));
        let (start, class) = match next {
            Some(class) if first == ' ' && class != Class::Space => (first_bytes, class),
            _ => (0, Class::of(first)),
        };
        Some(match class {
            Class::Space => self.space_bytes(),
            _ => self.run(start, |character| Class::of(character) == class),
        })
    }

    /// Bytes of the spaces that make the next word: all of them at the end of a piece, otherwise
    /// all but the last, unless there is only one.
    fn space_bytes(&self) -> usize {
        let mut last = 0;
        let mut end = 0;
        while let Some((character, length)) = self.peek(end) {
            if Class::of(character) != Class::Space {
                return if last == 0 { end } else { last };
            }
            last = end;
            end += length;
        }
        end
    }
}

impl<'t> Iterator for Words<'t> {
    type Item = &'t [u8];

    fn next(&mut self) -> Option<&'t [u8]> {
        let (word, rest) = self.rest.split_at(self.word_bytes()?);
        self.rest = rest;
        Some(word)
    }
}

/// The first character and its bytes; U+FFFD for broken bytes, as `String::from_utf8_lossy` has it.
fn first_char(bytes: &[u8]) -> Option<(char, usize)> {
    let first = *bytes.first()?;
    if first.is_ascii() {
        return Some((char::from(first), 1));
    }
    let window = &bytes[..bytes.len().min(4)];
    let chunk = window.utf8_chunks().next()?;
    Some(match chunk.valid().chars().next() {
        Some(character) => (character, character.len_utf8()),
        None => (char::REPLACEMENT_CHARACTER, chunk.invalid().len()),
    })
}
