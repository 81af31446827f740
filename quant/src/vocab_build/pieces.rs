//! Vocabularies of sentencepiece: tokens are made of characters, U+2581 stands for a space, and
//! bytes that no token has are tokens such as `<0x0A>`.

use super::{GGUF_USER_DEFINED, Spelling};
use crate::config::NO_TOKEN;
use crate::vocab::{FLAG_CHARACTERS, FLAG_PREFIX, FLAG_SPACE_SPLIT, SPACE_MARK};
use crate::{Code, Result, ensure};
use std::collections::HashMap;

/// GGUF's `tokenizer.ggml.token_type` of an ordinary token.
const GGUF_NORMAL: i32 = 1;

/// How a single byte is spelled.
fn byte_spelling(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}

/// The bytes that a token stands for.
pub(super) fn text(token: &str) -> Vec<u8> {
    let byte = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    let byte = byte.filter(|digits| digits.len() == 2);
    match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
        Some(byte) => vec![byte],
        None => token.replace(SPACE_MARK, " ").into_bytes(),
    }
}

/// The token of each byte: its character where there is one, else the byte itself.
pub(super) fn byte_tokens(ids: &HashMap<String, u32>) -> [u32; 256] {
    std::array::from_fn(|byte| {
        let byte = byte as u8;
        let character = match char::from(byte) {
            ' ' => ids.get(SPACE_MARK.encode_utf8(&mut [0; 4]) as &str),
            character if character.is_ascii() => {
                ids.get(character.encode_utf8(&mut [0; 4]) as &str)
            }
            _ => None,
        };
        character.or_else(|| ids.get(&byte_spelling(byte))).copied().unwrap_or(NO_TOKEN)
    })
}

/// The tokens that are one character of several bytes.
pub(super) fn characters(ids: &HashMap<String, u32>) -> Vec<u32> {
    let is_one = |text: &str| {
        let mut characters = text.chars();
        let first = characters.next();
        characters.next().is_none()
            && first.is_some_and(|first| !first.is_ascii() && first != SPACE_MARK)
    };
    ids.iter().filter(|(text, _)| is_one(text)).map(|(_, &token)| token).collect()
}

/// The `FLAG_…` bits that follow from the tokens. `UnsupportedTokenizer` where a text could have a
/// byte that no token stands for, or no space.
pub(super) fn flags(ids: &HashMap<String, u32>) -> Result<u32> {
    let has = |text: &str| ids.contains_key(text);
    ensure!(
        (0..=u8::MAX).all(|byte| has(&byte_spelling(byte)))
            && has(SPACE_MARK.encode_utf8(&mut [0; 4])),
        Code::UnsupportedTokenizer,
        "the tokenizer has no token for each byte (<0x00> to <0xFF>) and for a space, and would \
         put an unknown token in its place, which is not supported"
    );
    // Where no token goes on behind a space, merging does not cross it, and texts can be cut there.
    let crosses = |text: &String| {
        let behind = text.trim_start_matches(SPACE_MARK);
        behind.contains(SPACE_MARK)
    };
    let splits = !ids.keys().any(crosses);
    Ok(FLAG_CHARACTERS | if splits { FLAG_SPACE_SPLIT } else { 0 })
}

/// Adds what a GGUF file says beside the tokens: the merges of each token by its score.
pub(super) fn read_gguf(
    spelling: &mut Spelling,
    scores: &[f32],
    token_types: &[i32],
    has_prefix: bool,
) -> Result<()> {
    let tokens = &spelling.tokens;
    ensure!(
        scores.len() == tokens.len() && scores.iter().all(|score| !score.is_nan()),
        Code::BadSource,
        "the GGUF file has {} tokens but {} scores: fetch it again",
        tokens.len(),
        scores.len()
    );
    spelling.flags = flags(&spelling.ids)? | if has_prefix { FLAG_PREFIX } else { 0 };
    let mut ranks: Vec<f32> = scores.to_vec();
    ranks.sort_by(|a, b| b.total_cmp(a));
    ranks.dedup();
    for (id, token) in tokens.iter().enumerate() {
        // Control tokens are never made of text, whatever it spells.
        if !matches!(token_types[id], GGUF_NORMAL | GGUF_USER_DEFINED) {
            continue;
        }
        let rank = ranks.partition_point(|rank| rank.total_cmp(&scores[id]).is_gt()) as u32;
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if spelling.ids.contains_key(left) && spelling.ids.contains_key(right) {
                spelling.merges.push((rank, left.to_owned(), right.to_owned()));
            }
        }
    }
    Ok(())
}
