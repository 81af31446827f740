//! Reads `tokenizer.json`, the file of the `tokenizers` library.

use super::steps::{self, kind_of};
use super::{MAX_TOKENS, Spelling, byte_tokens, split_merge};
use crate::config::NO_TOKEN;
use crate::vocab::{FLAG_GPT2_SPLIT, FLAG_SINGLE_DIGITS};
use crate::{Code, Error, Result, ensure, json};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

/// Ids without a token that a file has at most.
const MAX_HOLES: usize = 1 << 16;

/// The file's name.
const NAME: &str = "tokenizer.json";

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
        format_args!("{what} is not supported: only byte-level BPE in the manner of GPT-2 is"),
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
    if let Some(step) = part("normalizer").as_ref().and_then(steps::normalizes) {
        return Err(unsupported(format_args!("the normalizer {step}")));
    }
    if let Some(step) = part("post_processor").as_ref().and_then(steps::adds) {
        return Err(unsupported(format_args!("the post-processor {step}")));
    }
    if let Some(step) = part("decoder").as_ref().and_then(steps::decodes_otherwise) {
        return Err(unsupported(format_args!("the decoder {step}")));
    }
    let flags = split_flags(part("pre_tokenizer").as_ref())?;
    let added: Vec<AddedToken> = match part("added_tokens") {
        Some(added) => serde_json::from_value(added).map_err(|_| malformed("added_tokens"))?,
        None => Vec::new(),
    };
    let model: Model = serde_json::from_value(model).map_err(|_| malformed("model"))?;
    check_model(&model)?;
    check_added(&added)?;
    let merges = model.merges.into_iter().map(merge_pair).collect::<Result<_>>()?;
    let tokens = tokens(&model.vocab, &added)?;
    let added = added.into_iter().filter(|token| !token.content.is_empty());
    let added = added.map(|token| (token.id, token.content, token.special)).collect();
    Ok(Spelling { tokens, ids: model.vocab, added, merges, flags })
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

fn merge_pair(merge: MergeSpelling) -> Result<(String, String)> {
    match merge {
        MergeSpelling::Pair(left, right) => Ok((left, right)),
        MergeSpelling::Line(line) => split_merge(&line),
    }
}

fn check_model(model: &Model) -> Result<()> {
    let is_set = |affix: &Option<String>| affix.as_ref().is_some_and(|affix| !affix.is_empty());
    let has_all_bytes = !byte_tokens(&model.vocab).contains(&NO_TOKEN);
    let refused = [
        (model.kind.is_none() && model.merges.is_empty(), "a tokenizer without merges"),
        (model.dropout.is_some_and(|dropout| dropout != 0.0), "BPE dropout"),
        (model.unk_token.is_some() && !has_all_bytes, "an unknown token in place of missing bytes"),
        (is_set(&model.continuing_subword_prefix), "a prefix of continuing subwords"),
        (is_set(&model.end_of_word_suffix), "a suffix of words"),
        (model.byte_fallback && !has_all_bytes, "byte fallback"),
        (model.ignore_merges, "whole words before merges (ignore_merges)"),
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
fn split_flags(pre_tokenizer: Option<&Value>) -> Result<u32> {
    let Some(root) = pre_tokenizer else {
        return Err(unsupported(format_args!("a tokenizer without pre-tokenizer")));
    };
    let all = steps::flat(root, "pretokenizers");
    let (digits, byte_level) = match all[..] {
        [byte_level] => (0, byte_level),
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
    Ok(digits | if uses_regex { FLAG_GPT2_SPLIT } else { 0 })
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
