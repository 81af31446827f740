//! The tokenizer as lookup tables: a checked view of the `VOCAB` section.

use crate::config::NO_TOKEN;
use crate::{Code, Config, Result, ensure, fail};
use bytemuck::{Pod, Zeroable};

/// Every digit is a word of its own, before the words are split.
pub const FLAG_SINGLE_DIGITS: u32 = 1;
/// Words are split as GPT-2 does.
pub const FLAG_GPT2_SPLIT: u32 = 2;
/// Words are split as Llama 3 does.
pub const FLAG_LLAMA3_SPLIT: u32 = 4;
/// A word ends where a space follows that is not the word's own.
pub const FLAG_SPACE_SPLIT: u32 = 8;
/// A word that is the text of a token of [`Vocab::whole`] is this token.
pub const FLAG_WHOLE_WORDS: u32 = 16;
/// A character that is the text of a token of [`Vocab::whole`] begins as this token, and U+2581 is
/// a space: sentencepiece.
pub const FLAG_CHARACTERS: u32 = 32;
/// A space is put before a text, and before what follows a special token.
pub const FLAG_PREFIX: u32 = 64;
/// Of these, only the one before a text is put.
pub const FLAG_PREFIX_FIRST: u32 = 128;
/// Of these, none is put before a space.
pub const FLAG_PREFIX_MISSING: u32 = 256;
/// The token [`Header::begin`] is put before a text.
pub const FLAG_BEGIN: u32 = 512;
/// Flags that this reader knows: all up to the last.
const KNOWN_FLAGS: u32 = 2 * FLAG_BEGIN - 1;
/// The character that stands for a space in the vocabularies of sentencepiece.
pub const SPACE_MARK: char = '\u{2581}';
/// Longest token that streaming output must hold.
pub const MAX_TOKEN_BYTES: u32 = 1 << 10;

/// The start of the `VOCAB` section; the arrays follow in the order of [`Vocab`]'s fields.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Header {
    /// Tokens, equal to the model's vocabulary.
    pub tokens: u32,
    /// Merges.
    pub merges: u32,
    /// Special tokens.
    pub specials: u32,
    /// `FLAG_…` bits.
    pub flags: u32,
    /// Bytes of all tokens together.
    pub text_bytes: u32,
    /// Bytes of the longest token.
    pub longest: u32,
    /// Tokens that are found by the text of a whole word or character.
    pub whole: u32,
    /// The token that is put before a text, with [`FLAG_BEGIN`].
    pub begin: u32,
    /// Zero.
    pub reserved: [u32; 8],
}

const _: () = assert!(size_of::<Header>() == 64);

/// One merge of the byte-pair encoding; its left token is given by [`Vocab`]'s index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Merge {
    /// The right token of the pair.
    pub right: u32,
    /// Lower ranks merge first.
    pub rank: u32,
    /// The token that replaces the pair.
    pub token: u32,
}

/// A token that is found in text as a whole, before words are split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Special {
    /// The token.
    pub token: u32,
    /// 1 when it is a control token that replies leave out, 0 when it is ordinary text.
    pub control: u32,
}

/// The tokenizer's tables; every index in them has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Vocab<'a> {
    header: Header,
    byte_tokens: &'a [u32],
    text_ends: &'a [u32],
    merge_ends: &'a [u32],
    merges: &'a [Merge],
    specials: &'a [Special],
    whole: &'a [u32],
    text: &'a [u8],
}

/// Cuts `count` elements off the front of `bytes`.
fn take<'a, T: Pod>(bytes: &mut &'a [u8], count: u32) -> Result<&'a [T]> {
    let length = (count as usize).checked_mul(size_of::<T>());
    let Some((head, rest)) = length.and_then(|length| bytes.split_at_checked(length)) else {
        fail!(
            Code::Truncated,
            "the tokenizer's tables end too early: fetch or convert the file again"
        );
    };
    *bytes = rest;
    // The section starts at a multiple of 64 and every element is made of 4-byte words.
    Ok(bytemuck::cast_slice(head))
}

impl<'a> Vocab<'a> {
    /// Checks the tables in one pass over them. `Corrupt`, `Truncated` or `TokenizerMismatch`.
    pub fn new(mut bytes: &'a [u8], config: &Config) -> Result<Self> {
        let header: Header = take::<Header>(&mut bytes, 1)?[0];
        ensure!(
            header.tokens == config.vocab_size,
            Code::TokenizerMismatch,
            "the tokenizer has {} tokens, the model {}",
            header.tokens,
            config.vocab_size
        );
        ensure!(
            header.flags & !KNOWN_FLAGS == 0,
            Code::UnsupportedTokenizer,
            "the tokenizer splits words in a way that needs a newer Kinglet"
        );
        ensure!(
            header.longest <= MAX_TOKEN_BYTES,
            Code::Corrupt,
            "a token of {} bytes: at most {MAX_TOKEN_BYTES} are supported",
            header.longest
        );
        let byte_tokens = take::<u32>(&mut bytes, 256)?;
        let text_ends = take::<u32>(&mut bytes, header.tokens)?;
        let merge_ends = take::<u32>(&mut bytes, header.tokens)?;
        let merges = take::<Merge>(&mut bytes, header.merges)?;
        let specials = take::<Special>(&mut bytes, header.specials)?;
        let whole = take::<u32>(&mut bytes, header.whole)?;
        let text = take::<u8>(&mut bytes, header.text_bytes)?;
        let vocab =
            Self { header, byte_tokens, text_ends, merge_ends, merges, specials, whole, text };
        vocab.check()?;
        Ok(vocab)
    }

    fn check(&self) -> Result<()> {
        let tokens = self.header.tokens;
        let known = |token: u32| token < tokens;
        ensure!(
            self.byte_tokens.iter().all(|&t| t == NO_TOKEN || known(t)),
            Code::Corrupt,
            "the tokenizer maps a byte to an unknown token"
        );
        ensure!(
            is_ascending(self.text_ends, self.header.text_bytes),
            Code::Corrupt,
            "the tokenizer's token texts overlap"
        );
        ensure!(
            is_ascending(self.merge_ends, self.header.merges),
            Code::Corrupt,
            "the tokenizer's merges are out of order"
        );
        ensure!(
            (0..tokens).all(|t| self.text(t).len() <= self.header.longest as usize),
            Code::Corrupt,
            "a token is longer than the tokenizer says"
        );
        ensure!(
            self.merges.iter().all(|m| known(m.right) && known(m.token)),
            Code::Corrupt,
            "a merge names an unknown token"
        );
        ensure!(
            self.specials.iter().all(|s| known(s.token) && !self.text(s.token).is_empty()),
            Code::Corrupt,
            "a special token is unknown or empty"
        );
        let begin = self.begin().into_iter();
        ensure!(
            self.whole.iter().copied().chain(begin).all(known),
            Code::Corrupt,
            "the tokenizer puts in a token that is unknown"
        );
        Ok(())
    }

    /// Tokens in the vocabulary.
    pub fn len(&self) -> usize {
        self.header.tokens as usize
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the tokenizer has one of the `FLAG_…` bits.
    pub fn has(&self, flag: u32) -> bool {
        self.header.flags & flag != 0
    }

    /// The token that is put before a text.
    pub fn begin(&self) -> Option<u32> {
        self.has(FLAG_BEGIN).then_some(self.header.begin)
    }

    /// The token that a word or a character is as a whole, if it is one of those that are looked
    /// up.
    #[inline(never)]
    pub fn whole(&self, text: &[u8]) -> Option<u32> {
        let found = self.whole.binary_search_by_key(&text, |&token| self.text(token));
        found.ok().map(|at| self.whole[at])
    }

    /// Bytes of the longest token.
    pub fn longest_token_bytes(&self) -> usize {
        self.header.longest as usize
    }

    /// The token that stands for one byte, if there is one.
    pub fn byte_token(&self, byte: u8) -> Option<u32> {
        Some(self.byte_tokens[usize::from(byte)]).filter(|&token| token != NO_TOKEN)
    }

    /// The bytes that a token stands for. Panics for a token outside the vocabulary.
    pub fn text(&self, token: u32) -> &'a [u8] {
        &self.text[span(self.text_ends, token)]
    }

    /// The merge of two neighbouring tokens, if there is one. Panics for an unknown `left`.
    pub fn merge(&self, left: u32, right: u32) -> Option<Merge> {
        let merges = &self.merges[span(self.merge_ends, left)];
        merges.binary_search_by_key(&right, |m| m.right).ok().map(|i| merges[i])
    }

    /// The tokens that are found in text as a whole.
    pub fn specials(&self) -> &'a [Special] {
        self.specials
    }

    /// Whether a token is a control token that replies leave out.
    pub fn is_control(&self, token: u32) -> bool {
        self.specials.iter().any(|s| s.token == token && s.control == 1)
    }
}

/// The range of entry `index` in an array cut by its ends.
fn span(ends: &[u32], index: u32) -> core::ops::Range<usize> {
    let index = index as usize;
    let start = if index == 0 { 0 } else { ends[index - 1] };
    start as usize..ends[index] as usize
}

/// Whether `ends` never falls and closes at `last`.
fn is_ascending(ends: &[u32], last: u32) -> bool {
    ends.is_sorted() && ends.last() == Some(&last)
}
