//! Text to tokens and back: BPE of bytes, or of characters as sentencepiece has it, exactly as the
//! `tokenizers` library computes it.
//!
//! Special tokens are cut out first, the rest is split into words (`words`), and the bytes of each
//! word are merged pair by pair (`merge`). [`TextStream`] turns the bytes of tokens back into text.

mod merge;
mod spans;
mod stream;
mod words;

pub use spans::Span;
pub use stream::TextStream;

use core::iter;
use kinglet_quant::vocab::{
    FLAG_CHARACTERS, FLAG_LLAMA3_SPLIT, FLAG_PREFIX, FLAG_PREFIX_FIRST, FLAG_PREFIX_MISSING,
    FLAG_WHOLE_WORDS,
};
use kinglet_quant::{Code, Result, Vocab, ensure};
use merge::Merger;
use spans::Spans;
use words::Words;

/// Bytes that must be known behind a word to be sure of its end: an apostrophe is a word of its own
/// or begins one, which the second letter behind it decides.
const SETTLING_BYTES: usize = 2;

/// What stands for a space in vocabularies of sentencepiece.
const MARK: &[u8] = "\u{2581}".as_bytes();

/// Tokens that a tokenizer puts before a text at most: the one that begins it, and a space.
pub const PUT_BEFORE: usize = 2;

/// How control tokens such as `<|im_end|>` are read when a text spells them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// They become the token: for templates, which are trusted.
    Parse,
    /// They are split like any text: for what users write. Added tokens that are not control tokens
    /// are found all the same, because models are trained on them as on words.
    AsText,
}

/// A tokenizer over the tables of a weight file.
#[derive(Clone, Debug)]
pub struct Tokenizer<'a> {
    vocab: Vocab<'a>,
    /// Whether a special token starts with the byte.
    starts_special: [bool; 256],
}

/// A special token found in a text.
struct Found {
    /// Offset of its first byte.
    start: usize,
    /// Offset behind its last byte.
    end: usize,
    token: u32,
}

/// The caller's token ids, filled from the front.
struct Output<'o> {
    tokens: &'o mut [u32],
    len: usize,
}

impl Output<'_> {
    /// Appends a token. `PromptTooLong` when there is no room.
    #[inline(never)]
    fn push(&mut self, token: u32) -> Result<()> {
        ensure!(
            self.len < self.tokens.len(),
            Code::PromptTooLong,
            "the text does not fit into {} tokens: shorten it or give it more room",
            self.tokens.len()
        );
        self.tokens[self.len] = token;
        self.len += 1;
        Ok(())
    }
}

impl<'a> Tokenizer<'a> {
    /// A tokenizer over checked tables.
    pub fn new(vocab: Vocab<'a>) -> Self {
        let mut starts_special = [false; 256];
        for special in vocab.specials() {
            starts_special[usize::from(vocab.text(special.token)[0])] = true;
        }
        Self { vocab, starts_special }
    }

    /// The most tokens that a text of `text_bytes` bytes can have.
    ///
    /// Valid UTF-8 has at most a token per byte. A broken byte is read as U+FFFD, which has three.
    /// Some tokenizers put a token or a space before a text.
    pub const fn max_tokens(text_bytes: usize) -> usize {
        let of_bytes = text_bytes.saturating_mul(char::REPLACEMENT_CHARACTER.len_utf8());
        of_bytes.saturating_add(PUT_BEFORE)
    }

    /// Tokens that this tokenizer puts before a text beside those of its bytes: up to
    /// [`PUT_BEFORE`].
    pub fn put_before(&self) -> usize {
        usize::from(self.vocab.begin().is_some()) + usize::from(self.vocab.has(FLAG_PREFIX))
    }

    /// The tables.
    pub fn vocab(&self) -> &Vocab<'a> {
        &self.vocab
    }

    /// Writes the tokens of a text to the front of `out` and returns their number.
    ///
    /// The token that some tokenizers put before every text comes first, such as the `<s>` of
    /// sentencepiece; parts of a text, which go on behind others, are encoded as spans.
    ///
    /// Broken UTF-8 is read as `String::from_utf8_lossy` reads it. Bytes that no token stands for
    /// are left out. Words are merged inside `out`, which therefore needs room for the tokens so
    /// far plus an entry for each byte of the next word: `text.len() + PUT_BEFORE` entries are
    /// always enough for valid UTF-8, [`Self::max_tokens`] for any bytes. Otherwise
    /// `PromptTooLong`.
    ///
    /// Takes time in proportion to the text, except that a single word of more than 4 KiB (a run of
    /// letters or of spaces) takes time in proportion to the square of its length.
    pub fn encode(&self, text: &[u8], specials: Specials, out: &mut [u32]) -> Result<usize> {
        let mut out = Output { tokens: out, len: 0 };
        if let Some(begin) = self.vocab.begin() {
            out.push(begin)?;
        }
        let mut spans = iter::once(Span { end: text.len(), specials });
        self.push_spans(text, &mut spans, &mut out)?;
        Ok(out.len)
    }

    /// [`Self::encode`] of a text that several have written, such as a chat template, which writes
    /// the token that begins a text where it wants one.
    ///
    /// A control token is found where all of it lies in neighbouring spans of
    /// [`Specials::Parse`]. Whatever lies between two special tokens is split into words as a
    /// whole, across the borders of spans.
    pub fn encode_spans(
        &self,
        text: &[u8],
        spans: &mut dyn Iterator<Item = Span>,
        out: &mut [u32],
    ) -> Result<usize> {
        let mut out = Output { tokens: out, len: 0 };
        self.push_spans(text, spans, &mut out)?;
        Ok(out.len)
    }

    fn push_spans(
        &self,
        text: &[u8],
        spans: &mut dyn Iterator<Item = Span>,
        out: &mut Output<'_>,
    ) -> Result<()> {
        let mut merger = Merger::new(self.vocab);
        let mut spans = Spans::new(spans);
        let mut start = 0;
        while let Some(found) = self.find_special(text, start, &mut spans) {
            self.encode_words(&text[start..found.start], start == 0, &mut merger, out)?;
            out.push(found.token)?;
            start = found.end;
        }
        self.encode_words(&text[start..], start == 0, &mut merger, out)
    }

    /// Writes the tokens of the beginning of a text, as far as they are settled: whole words that
    /// are the same whatever the text goes on with, or all where it `is_whole`. They end in front
    /// of a special token. In all else as [`Self::encode`] with [`Specials::AsText`].
    pub fn encode_settled(
        &self,
        beginning: &[u8],
        is_whole: bool,
        out: &mut [u32],
    ) -> Result<usize> {
        let mut as_text = iter::once(Span { end: beginning.len(), specials: Specials::AsText });
        let found = self.find_special(beginning, 0, &mut Spans::new(&mut as_text));
        let text = &beginning[..found.as_ref().map_or(beginning.len(), |found| found.start)];
        let settling = if is_whole && found.is_none() { 0 } else { SETTLING_BYTES };
        let mut merger = Merger::new(self.vocab);
        let mut out = Output { tokens: out, len: 0 };
        let settled = self.settled_bytes(text, settling);
        let mut end = 0;
        for word in Words::new(text, &self.vocab) {
            end += word.len();
            if end > settled {
                break;
            }
            self.encode_word(word, false, &mut merger, &mut out)?;
        }
        Ok(out.len)
    }

    /// The bytes that a token stands for; not always whole characters.
    ///
    /// Panics for a token outside the vocabulary.
    pub fn decode(&self, token: u32) -> &'a [u8] {
        self.vocab.text(token)
    }

    /// Finds the leftmost special token from `at` on, and the longest of those that start there.
    fn find_special(&self, text: &[u8], mut at: usize, spans: &mut Spans<'_>) -> Option<Found> {
        loop {
            at += text[at..].iter().position(|&byte| self.starts_special[usize::from(byte)])?;
            let (here, span) = (&text[at..], spans.at(at));
            let is_text = span.specials == Specials::AsText;
            let matches = self.vocab.specials().iter().filter_map(|special| {
                let length = self.vocab.text(special.token).len();
                let is_there = here.starts_with(self.vocab.text(special.token));
                let fits = is_text || special.control == 0 || at + length <= span.end;
                (is_there && fits).then_some((length, special))
            });
            match matches.max_by_key(|(length, _)| *length) {
                None => at += 1,
                Some((length, special)) if is_text && special.control == 1 => {
                    at = (at + length).min(span.end);
                }
                Some((length, special)) => {
                    return Some(Found { start: at, end: at + length, token: special.token });
                }
            }
        }
    }

    /// Where the words end that a text begins with, whatever it goes on with, when words that end
    /// so many bytes before its end do.
    fn settled_bytes(&self, text: &[u8], settling: usize) -> usize {
        let known = text.len().saturating_sub(settling);
        if settling == 0 || !self.vocab.has(FLAG_LLAMA3_SPLIT) {
            return known;
        }
        // Spaces belong together up to the last line break among them, which may still come. Some
        // are of several bytes, as letters are.
        let may_be_space = |byte: &u8| *byte <= b' ' || !byte.is_ascii();
        known.min(text.iter().rposition(|byte| !may_be_space(byte)).map_or(0, |last| last + 1))
    }

    /// Appends the tokens of a text without special tokens, which may be the first of several.
    fn encode_words(
        &self,
        text: &[u8],
        is_first: bool,
        merger: &mut Merger<'_>,
        out: &mut Output<'_>,
    ) -> Result<()> {
        let begins_with_space = text.starts_with(b" ") || text.starts_with(MARK);
        let mut takes_space = self.vocab.has(FLAG_PREFIX)
            && (is_first || !self.vocab.has(FLAG_PREFIX_FIRST))
            && !(begins_with_space && self.vocab.has(FLAG_PREFIX_MISSING));
        Words::new(text, &self.vocab).try_for_each(|word| {
            self.encode_word(word, core::mem::take(&mut takes_space), merger, out)
        })
    }

    /// Appends the tokens of a word, which may take a space before it.
    fn encode_word(
        &self,
        word: &[u8],
        takes_space: bool,
        merger: &mut Merger<'_>,
        out: &mut Output<'_>,
    ) -> Result<()> {
        let start = out.len;
        if self.vocab.has(FLAG_WHOLE_WORDS)
            && let Some(token) = self.vocab.whole(word)
        {
            return out.push(token);
        }
        if takes_space {
            self.push_bytes(b" ", out)?;
        }
        for chunk in word.utf8_chunks() {
            self.push_text(chunk.valid(), out)?;
            if !chunk.invalid().is_empty() {
                self.push_text("\u{FFFD}", out)?;
            }
        }
        out.len = start + merger.merge(&mut out.tokens[start..out.len]);
        Ok(())
    }

    /// Appends the tokens that merging begins with.
    fn push_text(&self, text: &str, out: &mut Output<'_>) -> Result<()> {
        if !self.vocab.has(FLAG_CHARACTERS) {
            return self.push_bytes(text.as_bytes(), out);
        }
        self.push_characters(text.as_bytes(), out)
    }

    /// Appends the tokens of characters, or of their bytes. Few models come here, so that code for
    /// all of them stays small.
    #[cold]
    fn push_characters(&self, mut text: &[u8], out: &mut Output<'_>) -> Result<()> {
        while let Some(first) = text.first() {
            // As many ones as bytes begin the first byte of a character of several.
            let (character, rest) = text.split_at((first.leading_ones() as usize).max(1));
            text = rest;
            let character = if character == MARK { b" " } else { character };
            match self.vocab.whole(character) {
                Some(token) => out.push(token)?,
                None => self.push_bytes(character, out)?,
            }
        }
        Ok(())
    }

    /// Appends the token of each byte that has one.
    #[inline(never)]
    fn push_bytes(&self, bytes: &[u8], out: &mut Output<'_>) -> Result<()> {
        bytes
            .iter()
            .filter_map(|&byte| self.vocab.byte_token(byte))
            .try_for_each(|token| out.push(token))
    }
}
