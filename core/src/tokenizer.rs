//! Text to tokens and back: byte-level BPE exactly as the `tokenizers` library computes it.
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
use kinglet_quant::{Code, Result, Vocab, ensure};
use merge::Merger;
use spans::Spans;
use words::Words;

/// Bytes that must be known behind a word to be sure of its end: an apostrophe is a word of its own
/// or begins one, which the second letter behind it decides.
const SETTLING_BYTES: usize = 2;

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
    pub const fn max_tokens(text_bytes: usize) -> usize {
        text_bytes.saturating_mul(char::REPLACEMENT_CHARACTER.len_utf8())
    }

    /// The tables.
    pub fn vocab(&self) -> &Vocab<'a> {
        &self.vocab
    }

    /// Writes the tokens of a text to the front of `out` and returns their number.
    ///
    /// Broken UTF-8 is read as `String::from_utf8_lossy` reads it. Bytes that no token stands for
    /// are left out. Words are merged inside `out`, which therefore needs room for the tokens so
    /// far plus an entry for each byte of the next word: `text.len()` entries are always enough for
    /// valid UTF-8, [`Self::max_tokens`] for any bytes. Otherwise `PromptTooLong`.
    ///
    /// Takes time in proportion to the text, except that a single word of more than 4 KiB (a run of
    /// letters or of spaces) takes time in proportion to the square of its length.
    pub fn encode(&self, text: &[u8], specials: Specials, out: &mut [u32]) -> Result<usize> {
        self.encode_spans(text, &mut iter::once(Span { end: text.len(), specials }), out)
    }

    /// [`Self::encode`] of a text that several have written.
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
        let mut merger = Merger::new(self.vocab);
        let mut out = Output { tokens: out, len: 0 };
        let mut spans = Spans::new(spans);
        let mut start = 0;
        while let Some(found) = self.find_special(text, start, &mut spans) {
            self.encode_words(&text[start..found.start], &mut merger, &mut out)?;
            out.push(found.token)?;
            start = found.end;
        }
        self.encode_words(&text[start..], &mut merger, &mut out)?;
        Ok(out.len)
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
        let mut end = 0;
        for word in Words::new(text, &self.vocab) {
            end += word.len();
            if end + settling > text.len() {
                break;
            }
            self.encode_word(word, &mut merger, &mut out)?;
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

    /// Appends the tokens of a text without special tokens.
    fn encode_words(
        &self,
        text: &[u8],
        merger: &mut Merger<'_>,
        out: &mut Output<'_>,
    ) -> Result<()> {
        Words::new(text, &self.vocab).try_for_each(|word| self.encode_word(word, merger, out))
    }

    /// Appends the tokens of a word.
    fn encode_word(
        &self,
        word: &[u8],
        merger: &mut Merger<'_>,
        out: &mut Output<'_>,
    ) -> Result<()> {
        let start = out.len;
        for chunk in word.utf8_chunks() {
            self.push_bytes(chunk.valid().as_bytes(), out)?;
            if !chunk.invalid().is_empty() {
                self.push_bytes("\u{FFFD}".as_bytes(), out)?;
            }
        }
        out.len = start + merger.merge(&mut out.tokens[start..out.len]);
        Ok(())
    }

    /// Appends the token of each byte that has one.
    fn push_bytes(&self, bytes: &[u8], out: &mut Output<'_>) -> Result<()> {
        bytes
            .iter()
            .filter_map(|&byte| self.vocab.byte_token(byte))
            .try_for_each(|token| out.push(token))
    }
}
