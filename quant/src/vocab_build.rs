//! Builds the `VOCAB` section from a checkpoint's tokenizer: `tokenizer.json` or GGUF metadata.
//!
//! Byte-level BPE, and BPE of characters as sentencepiece has it. Anything that would make Kinglet
//! split text differently from the checkpoint's own tokenizer is refused, so that a model never
//! silently gets other tokens than it was trained on.

mod json;
mod pieces;
mod steps;
#[cfg(test)]
mod tests;

use crate::config::NO_TOKEN;
use crate::vocab::{FLAG_BEGIN, FLAG_GPT2_SPLIT, FLAG_SINGLE_DIGITS, Header, MAX_TOKEN_BYTES};
use crate::vocab::{FLAG_LLAMA3_SPLIT, FLAG_WHOLE_WORDS, Merge, Special};
use crate::{Code, Error, Result, ensure, fail};
use bytemuck::Zeroable;
use std::collections::HashMap;

/// Token ids above this are taken for a broken file rather than for a request for memory.
const MAX_TOKENS: u32 = 1 << 24;

/// GGUF's `tokenizer.ggml.token_type`: 2 unknown, 3 control, 4 user-defined, 5 unused.
const GGUF_UNKNOWN: i32 = 2;
const GGUF_CONTROL: i32 = 3;
const GGUF_USER_DEFINED: i32 = 4;
const GGUF_UNUSED: i32 = 5;

/// A tokenizer's tables, ready to be written as the `VOCAB` section.
#[derive(Clone, Debug)]
pub struct TokenizerTables {
    texts: Vec<Vec<u8>>,
    byte_tokens: [u32; 256],
    /// By left token, then right token.
    merges: Vec<(u32, Merge)>,
    /// By token.
    specials: Vec<Special>,
    /// Tokens that are found by the text of a whole word or character, by this text.
    whole: Vec<u32>,
    begin: u32,
    flags: u32,
}

/// How a tokenizer spells the bytes of its tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Alphabet {
    /// GPT-2's printable form of bytes.
    Printable,
    /// Characters, with U+2581 for spaces and `<0x0A>` for single bytes: sentencepiece.
    Pieces,
}

/// A tokenizer as its source spells it.
struct Spelling {
    alphabet: Alphabet,
    /// By token; empty where the ids have a hole.
    tokens: Vec<String>,
    /// The tokens that merging can reach.
    ids: HashMap<String, u32>,
    /// Token, literal content, whether it is a control token.
    added: Vec<(u32, String, bool)>,
    /// Rank, left and right token of each merge.
    merges: Vec<(u32, String, String)>,
    /// The token that is put before every text.
    begin: Option<u32>,
    /// Whether a word that is a token is this token, whatever merging makes of it.
    has_whole_words: bool,
    flags: u32,
}

impl TokenizerTables {
    /// Reads a Hugging Face `tokenizer.json`. `BadSource` or `UnsupportedTokenizer`.
    pub fn from_tokenizer_json(json: &str) -> Result<Self> {
        Self::build(json::parse(json)?)
    }

    /// Reads byte-level BPE from GGUF's `tokenizer.ggml.tokens`, `.merges`, `.token_type` and
    /// `.pre`. `BadSource` or `UnsupportedTokenizer`.
    pub fn from_gguf(
        tokens: &[String],
        merges: &[String],
        token_types: &[i32],
        pre: &str,
    ) -> Result<Self> {
        let flags = match pre {
            "smollm" => FLAG_SINGLE_DIGITS | FLAG_GPT2_SPLIT,
            "gpt-2" | "gpt2" => FLAG_GPT2_SPLIT,
            _ if is_llama3(pre) => FLAG_LLAMA3_SPLIT,
            _ => fail!(
                Code::UnsupportedTokenizer,
                "the GGUF file splits words as {pre:?}: only \"smollm\", \"gpt-2\" and \
                 \"llama-bpe\" are supported"
            ),
        };
        let merges = (0..).zip(merges).map(|(rank, merge)| {
            let (left, right) = split_merge(merge)?;
            Ok((rank, left, right))
        });
        let merges = merges.collect::<Result<_>>()?;
        let mut spelling = Self::gguf_tokens(tokens, token_types, Alphabet::Printable, flags)?;
        spelling.has_whole_words = is_llama3(pre);
        Self::build(Spelling { merges, ..spelling })
    }

    /// Reads sentencepiece's BPE from GGUF's `tokenizer.ggml.tokens`, `.scores` and `.token_type`;
    /// `has_prefix` is `.add_space_prefix`. `BadSource` or `UnsupportedTokenizer`.
    pub fn from_gguf_pieces(
        tokens: &[String],
        scores: &[f32],
        token_types: &[i32],
        has_prefix: bool,
    ) -> Result<Self> {
        let mut spelling = Self::gguf_tokens(tokens, token_types, Alphabet::Pieces, 0)?;
        pieces::read_gguf(&mut spelling, scores, token_types, has_prefix)?;
        Self::build(spelling)
    }

    /// What both kinds of tokenizers have in a GGUF file; without merges.
    fn gguf_tokens(
        tokens: &[String],
        token_types: &[i32],
        alphabet: Alphabet,
        flags: u32,
    ) -> Result<Spelling> {
        ensure!(
            tokens.len() == token_types.len() && tokens.len() < MAX_TOKENS as usize,
            Code::BadSource,
            "the GGUF file has {} tokens but {} token types: fetch it again",
            tokens.len(),
            token_types.len()
        );
        let mut spelling = Spelling {
            alphabet,
            tokens: tokens.to_vec(),
            ids: HashMap::with_capacity(tokens.len()),
            added: Vec::new(),
            merges: Vec::new(),
            begin: None,
            has_whole_words: false,
            flags,
        };
        for (id, (text, &kind)) in (0..).zip(tokens.iter().zip(token_types)) {
            match kind {
                GGUF_UNKNOWN | GGUF_CONTROL => spelling.added.push((id, text.clone(), true)),
                GGUF_USER_DEFINED => spelling.added.push((id, text.clone(), false)),
                GGUF_UNUSED => {
                    spelling.tokens[id as usize].clear();
                    continue;
                }
                _ => {}
            }
            ensure!(
                spelling.ids.insert(text.clone(), id).is_none(),
                Code::BadSource,
                "the GGUF file has the token {text:?} twice: fetch it again"
            );
        }
        Ok(spelling)
    }

    fn build(spelling: Spelling) -> Result<Self> {
        ensure!(
            !spelling.tokens.is_empty(),
            Code::BadSource,
            "the tokenizer has no tokens: fetch it again, or save it again with transformers"
        );
        let bytes_of = byte_alphabet();
        let text = |token: &String| match spelling.alphabet {
            Alphabet::Printable => token_bytes(token, &bytes_of),
            Alphabet::Pieces => pieces::text(token),
        };
        let mut texts: Vec<Vec<u8>> = spelling.tokens.iter().map(text).collect();
        let mut specials = Vec::new();
        for (token, content, control) in &spelling.added {
            let text = &mut texts[*token as usize];
            ensure!(
                text.is_empty()
                    || !spelling.ids.contains_key(content)
                    || text == content.as_bytes(),
                Code::UnsupportedTokenizer,
                "the added token {content:?} is also how the tokenizer spells other bytes, so that \
                 it would mean both: take it out of added_tokens in tokenizer.json"
            );
            *text = content.as_bytes().to_vec();
            specials.push(Special { token: *token, control: u32::from(*control) });
        }
        specials.sort_by_key(|special| special.token);
        let byte_tokens = match spelling.alphabet {
            Alphabet::Printable => byte_tokens(&spelling.ids),
            Alphabet::Pieces => pieces::byte_tokens(&spelling.ids),
        };
        if let Some(text) = texts.iter().find(|text| text.len() > MAX_TOKEN_BYTES as usize) {
            fail!(
                Code::UnsupportedTokenizer,
                "a token of {} bytes: at most {MAX_TOKEN_BYTES} are supported",
                text.len()
            );
        }
        let merges = merges(&spelling)?;
        let (begin, mut flags) = (spelling.begin.unwrap_or(0), spelling.flags);
        let mut whole = match spelling.alphabet {
            Alphabet::Pieces => pieces::characters(&spelling.ids),
            Alphabet::Printable if spelling.has_whole_words => {
                unmerged(&texts, &byte_tokens, &merges, &spelling.ids)
            }
            Alphabet::Printable => Vec::new(),
        };
        // Control tokens are never made of text, whatever it spells.
        whole.retain(|&token| specials.iter().all(|special: &Special| special.token != token));
        whole.sort_by_key(|&token| &texts[token as usize]);
        let has_whole_words = spelling.alphabet == Alphabet::Printable && !whole.is_empty();
        flags |= if has_whole_words { FLAG_WHOLE_WORDS } else { 0 };
        flags |= if spelling.begin.is_some() { FLAG_BEGIN } else { 0 };
        Ok(Self { texts, byte_tokens, merges, specials, whole, begin, flags })
    }

    /// The token that is put before every text.
    pub fn begin(&self) -> Option<u32> {
        (self.flags & FLAG_BEGIN != 0).then_some(self.begin)
    }

    /// Makes a token the one that is put before every text.
    pub(crate) fn begin_with(&mut self, token: u32) {
        self.begin = token;
        self.flags |= FLAG_BEGIN;
    }

    /// Tokens in the vocabulary.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The bytes that a token stands for. Panics for a token outside the vocabulary.
    pub fn text(&self, token: u32) -> &[u8] {
        &self.texts[token as usize]
    }

    /// The token with this literal text; a special token is preferred to an ordinary one.
    pub fn token_id(&self, text: &str) -> Option<u32> {
        let is_text = |token: u32| self.texts[token as usize] == text.as_bytes();
        let special = self.specials.iter().map(|special| special.token).find(|&t| is_text(t));
        special.or_else(|| (0..self.len() as u32).find(|&t| is_text(t)))
    }

    /// Adds empty tokens until there are `tokens`, for models with more rows than their tokenizer.
    pub fn pad_to(&mut self, tokens: usize) {
        self.texts.resize(self.len().max(tokens), Vec::new());
    }

    /// The bytes of the `VOCAB` section, as [`crate::Vocab`] reads them.
    pub fn to_section(&self) -> Vec<u8> {
        let text: Vec<u8> = self.texts.concat();
        let longest = self.texts.iter().map(Vec::len).max().unwrap_or(0);
        let header = Header {
            tokens: self.texts.len() as u32,
            merges: self.merges.len() as u32,
            specials: self.specials.len() as u32,
            flags: self.flags,
            text_bytes: text.len() as u32,
            longest: longest as u32,
            whole: self.whole.len() as u32,
            begin: self.begin,
            ..Header::zeroed()
        };
        let merge_counts = self.merges.iter().fold(vec![0; self.len()], |mut counts, (left, _)| {
            counts[*left as usize] += 1;
            counts
        });
        let merges: Vec<Merge> = self.merges.iter().map(|(_, merge)| *merge).collect();
        [
            bytemuck::bytes_of(&header),
            bytemuck::cast_slice(&self.byte_tokens),
            bytemuck::cast_slice(&ends(self.texts.iter().map(Vec::len))),
            bytemuck::cast_slice(&ends(merge_counts)),
            bytemuck::cast_slice(&merges),
            bytemuck::cast_slice(&self.specials),
            bytemuck::cast_slice(&self.whole),
            &text,
        ]
        .concat()
    }
}

/// Where each of several spans laid end to end closes.
fn ends(lengths: impl IntoIterator<Item = usize>) -> Vec<u32> {
    let add = |end: &mut u32, length: usize| {
        *end += length as u32;
        Some(*end)
    };
    lengths.into_iter().scan(0, add).collect()
}

/// GPT-2's printable character for each byte: itself where printable, else the next one from
/// U+0100.
///
/// <https://github.com/openai/gpt-2/blob/master/src/encoder.py>, `bytes_to_unicode`.
fn byte_characters() -> [char; 256] {
    let mut next_spare = 0x100;
    std::array::from_fn(|byte| match byte as u8 {
        printable @ (b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) => char::from(printable),
        _ => {
            next_spare += 1;
            char::from_u32(next_spare - 1).expect("a character below U+0200")
        }
    })
}

/// The byte that each of GPT-2's printable characters stands for.
fn byte_alphabet() -> HashMap<char, u8> {
    byte_characters().into_iter().zip(0..=u8::MAX).collect()
}

/// The bytes of a token; one with a character outside the alphabet stands for itself.
fn token_bytes(token: &str, bytes_of: &HashMap<char, u8>) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = token.chars().map(|c| bytes_of.get(&c).copied()).collect();
    bytes.unwrap_or_else(|| token.as_bytes().to_vec())
}

fn byte_tokens(ids: &HashMap<String, u32>) -> [u32; 256] {
    let mut utf8 = [0; 4];
    byte_characters()
        .map(|character| *ids.get(character.encode_utf8(&mut utf8) as &str).unwrap_or(&NO_TOKEN))
}

/// Splits a merge written as two tokens and a space between them.
fn split_merge(merge: &str) -> Result<(String, String)> {
    let parts = merge
        .split_once(' ')
        .filter(|(left, right)| !left.is_empty() && !right.is_empty() && !right.contains(' '));
    let Some((left, right)) = parts else {
        fail!(Code::BadSource, "the tokenizer's merge {merge:?} is not two tokens: fetch it again");
    };
    Ok((left.to_owned(), right.to_owned()))
}

/// Resolves the merges; of two merges of one pair the later counts, as in the `tokenizers` crate.
fn merges(spelling: &Spelling) -> Result<Vec<(u32, Merge)>> {
    let id = |token: &str| {
        spelling.ids.get(token).copied().ok_or_else(|| {
            let sentence = "the tokenizer merges into or from the unknown token";
            Error::new(Code::BadSource, format_args!("{sentence} {token:?}: fetch it again"))
        })
    };
    let mut by_pair = HashMap::with_capacity(spelling.merges.len());
    for (rank, left, right) in &spelling.merges {
        let merge = Merge { right: id(right)?, rank: *rank, token: id(&format!("{left}{right}"))? };
        by_pair.insert((id(left)?, merge.right), merge);
    }
    let mut merges: Vec<_> = by_pair.into_iter().map(|((left, _), merge)| (left, merge)).collect();
    merges.sort_unstable_by_key(|&(left, merge)| (left, merge.right));
    Ok(merges)
}

/// Whether this is a name of llama.cpp for the way that Llama 3 splits words.
pub(crate) fn is_llama3(pre: &str) -> bool {
    matches!(pre, "llama-bpe" | "llama3" | "llama-v3")
}

/// The tokens that merging does not make of their own bytes.
fn unmerged(
    texts: &[Vec<u8>],
    byte_tokens: &[u32; 256],
    merges: &[(u32, Merge)],
    ids: &HashMap<String, u32>,
) -> Vec<u32> {
    let by_pair = merges.iter().map(|&(left, merge)| ((left, merge.right), merge));
    let by_pair: HashMap<(u32, u32), Merge> = by_pair.collect();
    let is_unmerged = |token: &u32| {
        let bytes = texts[*token as usize].iter();
        let mut word: Vec<u32> = bytes.map(|&byte| byte_tokens[usize::from(byte)]).collect();
        loop {
            let pairs = word.windows(2).map(|pair| by_pair.get(&(pair[0], pair[1])));
            let pairs = pairs.enumerate().filter_map(|(at, merge)| Some((merge?.rank, at, merge?)));
            let Some((_, at, merge)) = pairs.min_by_key(|&(rank, at, _)| (rank, at)) else { break };
            word[at] = merge.token;
            word.remove(at + 1);
        }
        word != [*token]
    };
    ids.values().copied().filter(is_unmerged).collect()
}
