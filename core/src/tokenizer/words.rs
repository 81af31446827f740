//! Splits text into the words that merging does not cross.
//!
//! Two steps of the `tokenizers` library, both optional: every digit is a piece of its own; then
//! each piece is cut by GPT-2's expression, here written as code:
//! `'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
//!
//! Or a text is cut by the expression of Llama 3, which has the parts
//! `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}`, then
//! `| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`. Or before each space that follows
//! something else, which sentencepiece never merges across.

use crate::unicode::Class;
use kinglet_quant::Vocab;
use kinglet_quant::vocab::{
    FLAG_GPT2_SPLIT, FLAG_LLAMA3_SPLIT, FLAG_SINGLE_DIGITS, FLAG_SPACE_SPLIT, SPACE_MARK,
};

/// Endings that are words of their own.
const CONTRACTIONS: [&[u8]; 7] = [b"'s", b"'d", b"'m", b"'t", b"'ll", b"'ve", b"'re"];

/// Digits that Llama 3 has in a word at most.
const NUMBERS: usize = 3;

/// The words of a text, which together are the text.
pub(super) struct Words<'t> {
    rest: &'t [u8],
    single_digits: bool,
    split: Split,
}

/// Where words end.
#[derive(Clone, Copy, PartialEq)]
enum Split {
    /// At the end of the text.
    Never,
    Gpt2,
    Llama3,
    Spaces,
}

impl<'t> Words<'t> {
    /// Splits as the tokenizer's flags say.
    pub(super) fn new(text: &'t [u8], vocab: &Vocab<'_>) -> Self {
        let split = match () {
            () if vocab.has(FLAG_GPT2_SPLIT) => Split::Gpt2,
            () if vocab.has(FLAG_LLAMA3_SPLIT) => Split::Llama3,
            () if vocab.has(FLAG_SPACE_SPLIT) => Split::Spaces,
            () => Split::Never,
        };
        Self { rest: text, single_digits: vocab.has(FLAG_SINGLE_DIGITS), split }
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

    /// The end of the characters from `at` on that are of a class.
    #[inline(never)]
    fn run_of(&self, at: usize, class: Class) -> usize {
        self.run(at, |character| Class::of(character) == class)
    }

    /// Bytes of the next word.
    fn word_bytes(&self) -> Option<usize> {
        let (first, first_bytes) = first_char(self.rest)?;
        if self.is_digit(first) {
            return Some(first_bytes);
        }
        match self.split {
            Split::Never => return Some(self.run(0, |_| true)),
            Split::Spaces => {
                let is_space = |character| matches!(character, ' ' | SPACE_MARK);
                let spaces = self.run(0, is_space);
                return Some(self.run(spaces, |character| !is_space(character)));
            }
            Split::Llama3 => return Some(self.llama3_bytes(first, first_bytes)),
            Split::Gpt2 => {}
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
            _ => self.run_of(start, class),
        })
    }

    /// Bytes of the next word as Llama 3 has it, which begins with a character.
    #[cold]
    fn llama3_bytes(&self, first: char, first_bytes: usize) -> usize {
        if let Some(ending) = self.contraction_bytes() {
            return ending;
        }
        let is_break = |character| matches!(character, '\r' | '\n');
        let class = Class::of(first);
        let next = self.peek(first_bytes).map(|(next, _)| Class::of(next));
        if class == Class::Number {
            let mut end = first_bytes;
            for _ in 1..NUMBERS {
                match self.peek(end) {
                    Some((next, length)) if Class::of(next) == Class::Number => end += length,
                    _ => break,
                }
            }
            return end;
        }
        if class == Class::Letter || (next == Some(Class::Letter) && !is_break(first)) {
            return self.run_of(first_bytes, Class::Letter);
        }
        if class == Class::Other || (next == Some(Class::Other) && first == ' ') {
            return self.run(self.run_of(first_bytes, Class::Other), is_break);
        }
        // Spaces up to their last line break, if they have one.
        let spaces = &self.rest[..self.run_of(0, Class::Space)];
        match spaces.iter().rposition(|&byte| is_break(char::from(byte))) {
            Some(last) => last + 1,
            None => self.space_bytes(),
        }
    }

    /// Bytes of a contraction in small or capital letters.
    fn contraction_bytes(&self) -> Option<usize> {
        let second = self.rest.strip_prefix(b"'")?;
        // The long s is another spelling of s, whatever the case.
        if second.starts_with("ſ".as_bytes()) {
            return Some(1 + 'ſ'.len_utf8());
        }
        let is_ending = |ending: &&&[u8]| {
            self.rest.get(..ending.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(ending))
        };
        CONTRACTIONS.iter().find(is_ending).map(|ending| ending.len())
    }

    /// Bytes of the spaces that make the next word: all of them at the end of a piece, otherwise
    /// all but the last, unless there is only one.
    #[inline(never)]
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
