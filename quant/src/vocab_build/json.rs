//! Reads `tokenizer.json`, the file of the `tokenizers` library.

use super::steps::{self, kind_of};
use super::{Alphabet, MAX_TOKENS, Spelling, byte_tokens, pieces, split_merge};
use crate::config::NO_TOKEN;
use crate::vocab::{FLAG_GPT2_SPLIT, FLAG_LLAMA3_SPLIT, FLAG_SINGLE_DIGITS};
use crate::{Code, Error, Result, ensure, json};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

/// Ids without a token that a file has at most.
const MAX_HOLES: usize = 1 << 16;

/// The file's name.
const NAME: &str = "tokenizer.json";

/// How Llama 3 splits words.
const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    dropout: Option<f64>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(default)]
    vocab: HashMap<String, u32>,
    #[serde(default)]
    merges: Vec<MergeSpelling>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum MergeSpelling {
    Pair(String, String),
    Line(String),
}

fn unsupported(what: std::fmt::Arguments<'_>) -> Error {
    Error::new(
        Code::UnsupportedTokenizer,
        format_args!(
            "{what} is not supported: only BPE in the manner of GPT-2, Llama 3 and sentencepiece is"
        ),
    )
}

/// Reads the file and refuses everything that Kinglet's tokenizer would do differently.
pub(super) fn parse(text: &str) -> Result<Spelling> {
    let mut root = match json::parse(NAME, text)? {
        Value::Object(root) => root,
        _ => return Err(malformed("the file")),
    };
    let mut part = |key: &str| root.remove(key).filter(|part| !part.is_null());
    let Some(model) = part("model") else { return Err(malformed("model")) };
    // The kind of model comes first, for a clear answer where the rest has another shape.
    if let Some(kind) = model["type"].as_str().filter(|&kind| kind != "BPE") {
        return Err(unsupported(format_args!("a tokenizer of type {kind}")));
    }
    let begin = match part("post_processor").as_ref().map_or(Ok(None), steps::begins) {
        Ok(begin) => begin,
        Err(step) => return Err(unsupported(format_args!("the post-processor {step}"))),
    };
    let normalizer = part("normalizer").unwrap_or_default();
    let pre_tokenizer = part("pre_tokenizer").unwrap_or_default();
    let is_pieces = model["byte_fallback"] == true && !has_byte_level(&pre_tokenizer);
    let alphabet = if is_pieces { Alphabet::Pieces } else { Alphabet::Printable };
    let flags = match alphabet {
        Alphabet::Pieces => steps::prefix(&normalizer, &pre_tokenizer)
            .map_err(|what| unsupported(format_args!("{what}")))?,
        Alphabet::Printable => {
            if let Some(step) =
                Some(&normalizer).filter(|n| !n.is_null()).and_then(steps::normalizes)
            {
                return Err(unsupported(format_args!("the normalizer {step}")));
            }
            split_flags(&pre_tokenizer)?
        }
    };
    let otherwise = match alphabet {
        Alphabet::Pieces => steps::decodes_pieces_otherwise,
        Alphabet::Printable => steps::decodes_otherwise,
    };
    if let Some(step) = part("decoder").as_ref().and_then(otherwise) {
        return Err(unsupported(format_args!("the decoder {step}")));
    }
    let added: Vec<AddedToken> = match part("added_tokens") {
        Some(added) => serde_json::from_value(added).map_err(|_| malformed("added_tokens"))?,
        None => Vec::new(),
    };
    let model: Model = serde_json::from_value(model).map_err(|_| malformed("model"))?;
    check_model(&model, alphabet)?;
    check_added(&added)?;
    // Older files call control tokens normalized, too; transformers finds them as they are spelled.
    let is_normalized =
        |token: &&AddedToken| token.normalized && !token.special && !normalizer.is_null();
    if let (true, Some(token)) = (is_pieces, added.iter().find(is_normalized)) {
        return Err(unsupported(format_args!("the normalized added token {:?}", token.content)));
    }
    let flags = flags | if is_pieces { pieces::flags(&model.vocab)? } else { 0 };
    let merges = (0..).zip(model.merges).map(|(rank, merge)| merge_pair(rank, merge));
    let merges = merges.collect::<Result<_>>()?;
    let tokens = tokens(&model.vocab, &added)?;
    let added = added.into_iter().filter(|token| !token.content.is_empty());
    let added = added.map(|token| (token.id, token.content, token.special)).collect();
    if let Some(begin) = begin.filter(|&begin| begin as usize >= tokens.len()) {
        return Err(unsupported(format_args!("token {begin} before texts, which is not there,")));
    }
    let (ids, has_whole_words) = (model.vocab, model.ignore_merges);
    Ok(Spelling { alphabet, tokens, ids, added, merges, begin, has_whole_words, flags })
}

fn malformed(part: &str) -> Error {
    Error::new(
        Code::BadSource,
        format_args!(
            "{part} in {NAME} is not as the tokenizers library writes it: load the tokenizer with \
             AutoTokenizer of transformers and save it again"
        ),
    )
}

fn merge_pair(rank: u32, merge: MergeSpelling) -> Result<(u32, String, String)> {
    let (left, right) = match merge {
        MergeSpelling::Pair(left, right) => (left, right),
        MergeSpelling::Line(line) => split_merge(&line)?,
    };
    Ok((rank, left, right))
}

fn has_byte_level(pre_tokenizer: &Value) -> bool {
    let mut steps = steps::flat(pre_tokenizer, "pretokenizers").into_iter();
    steps.any(|step| kind_of(step) == "ByteLevel")
}

fn check_model(model: &Model, alphabet: Alphabet) -> Result<()> {
    let is_set = |affix: &Option<String>| affix.as_ref().is_some_and(|affix| !affix.is_empty());
    let is_pieces = alphabet == Alphabet::Pieces;
    let has_all_bytes = is_pieces || !byte_tokens(&model.vocab).contains(&NO_TOKEN);
    let refused = [
        (model.kind.is_none() && model.merges.is_empty(), "a tokenizer without merges"),
        (model.dropout.is_some_and(|dropout| dropout != 0.0), "BPE dropout"),
        (model.unk_token.is_some() && !has_all_bytes, "an unknown token in place of missing bytes"),
        (is_set(&model.continuing_subword_prefix), "a prefix of continuing subwords"),
        (is_set(&model.end_of_word_suffix), "a suffix of words"),
        (model.byte_fallback && !has_all_bytes, "byte fallback"),
        (model.ignore_merges && is_pieces, "whole texts before merges (ignore_merges)"),
    ];
    match refused.iter().find(|(is_refused, _)| *is_refused) {
        Some((_, what)) => Err(unsupported(format_args!("{what}"))),
        None => Ok(()),
    }
}

fn check_added(added: &[AddedToken]) -> Result<()> {
    for token in added {
        let content = &token.content;
        if token.single_word || token.lstrip || token.rstrip {
            return Err(unsupported(format_args!(
                "the added token {content:?} that depends on the text around it"
            )));
        }
        // Broken UTF-8 reads as U+FFFD, so such a token would also have to match broken bytes.
        if content.contains(char::REPLACEMENT_CHARACTER) {
            return Err(unsupported(format_args!("the added token {content:?}")));
        }
        // The library looks for tokens marked `normalized` in what the others leave over. Without a
        // normalizer that is the same as looking for all at once, unless two can share text.
        let rivals = added.iter().filter(|other| other.normalized != token.normalized);
        if let Some(other) = rivals.into_iter().find(|other| may_overlap(content, &other.content)) {
            return Err(unsupported(format_args!(
                "the pair of added tokens {content:?} and {:?}, of which one is normalized,",
                other.content
            )));
        }
    }
    Ok(())
}

/// Whether occurrences of both strings can share bytes, with `b` starting inside `a`.
fn may_overlap(a: &str, b: &str) -> bool {
    a.char_indices().any(|(at, _)| a[at..].starts_with(b) || b.starts_with(&a[at..]))
}

/// The `FLAG_…` bits for a pre-tokenizer.
fn split_flags(root: &Value) -> Result<u32> {
    if root.is_null() {
        return Err(unsupported(format_args!("a tokenizer without pre-tokenizer")));
    }
    let all = steps::flat(root, "pretokenizers");
    let (first, byte_level) = match all[..] {
        [byte_level] => (0, byte_level),
        [split, byte_level] if is_llama3_split(split) => (FLAG_LLAMA3_SPLIT, byte_level),
        [digits, byte_level]
            if kind_of(digits) == "Digits" && digits["individual_digits"] == true =>
        {
            (FLAG_SINGLE_DIGITS, byte_level)
        }
        _ => {
            let names: Vec<&str> = all.into_iter().map(kind_of).collect();
            return Err(unsupported(format_args!("the pre-tokenizer [{}]", names.join(", "))));
        }
    };
    if kind_of(byte_level) != "ByteLevel" {
        return Err(unsupported(format_args!("the pre-tokenizer {}", kind_of(byte_level))));
    }
    if byte_level["add_prefix_space"] != false {
        return Err(unsupported(format_args!("a space put before the text (add_prefix_space)")));
    }
    let uses_regex = byte_level["use_regex"].as_bool().unwrap_or(true);
    if uses_regex && first == FLAG_LLAMA3_SPLIT {
        return Err(unsupported(format_args!("words that are split twice")));
    }
    Ok(first | if uses_regex { FLAG_GPT2_SPLIT } else { 0 })
}

fn is_llama3_split(step: &Value) -> bool {
    kind_of(step) == "Split"
        && step["pattern"]["Regex"] == LLAMA3
        && step["behavior"] == "Isolated"
        && step["invert"] == false
}

/// The tokens by id. `BadSource` when an id is taken twice.
fn tokens(vocab: &HashMap<String, u32>, added: &[AddedToken]) -> Result<Vec<String>> {
    let added = added.iter().map(|token| (&token.content, &token.id));
    let entries = || vocab.iter().chain(added.clone());
    let last = entries().map(|(_, &id)| id).max();
    let count = last.map_or(0, |last| last.saturating_add(1));
    // Each id takes memory, whether there is a token for it or not.
    ensure!(
        count < MAX_TOKENS && count as usize <= entries().count() + MAX_HOLES,
        Code::BadSource,
        "{NAME} has {} tokens and one of id {}: fetch it again",
        entries().count(),
        count - 1
    );
    let mut tokens: Vec<Option<&String>> = vec![None; count as usize];
    for (token, &id) in entries() {
        let taken = tokens[id as usize].replace(token).is_some_and(|other| other != token);
        let moved = vocab.get(token).is_some_and(|&other| other != id);
        ensure!(
            !taken && !moved,
            Code::BadSource,
            "tokenizer.json gives token {token:?} or its id {id} twice: fetch it again"
        );
    }
    Ok(tokens.into_iter().map(|token| token.cloned().unwrap_or_default()).collect())
}
