//! The tokenizer of a GGUF file.

use super::gguf::{Gguf, Value};
use crate::config::NO_TOKEN;
use crate::vocab_build::{TokenizerTables, is_llama3};
use crate::{Code, Result, ensure, fail};

/// The token that begins texts where a file with a vocabulary of sentencepiece does not say, as
/// llama.cpp has it.
const PIECES_BEGIN: u32 = 1;

/// The tables of a file's tokenizer.
pub(super) fn read(gguf: &Gguf) -> Result<TokenizerTables> {
    let name = gguf.file().name();
    let model = gguf.text("tokenizer.ggml.model").unwrap_or("missing");
    let is_pieces = model == "llama";
    ensure!(
        model == "gpt2" || is_pieces,
        Code::UnsupportedTokenizer,
        "the tokenizer of {name} is of the kind {model}: only byte-level BPE (gpt2) and \
         sentencepiece's BPE (llama) are supported"
    );
    let key = "tokenizer.ggml.add_eos_token";
    ensure!(
        !gguf.flag(key),
        Code::UnsupportedTokenizer,
        "{name} sets {key}, so that llama.cpp ends every text with a token, which Kinglet does \
         not: if the model was trained without, run `gguf-set-metadata {name} {key} ''`"
    );
    let mut tables = if is_pieces { pieces(gguf)? } else { bytes(gguf)? };
    if let Some(token) = begin(gguf, is_pieces, tables.len() as u32)? {
        tables.begin_with(token);
    }
    Ok(tables)
}

/// The token that is put before every text, by the rules of llama.cpp.
fn begin(gguf: &Gguf, is_pieces: bool, tokens: u32) -> Result<Option<u32>> {
    let by_default = is_pieces || gguf.text("tokenizer.ggml.pre").is_some_and(is_llama3);
    let is_put = match gguf.get("tokenizer.ggml.add_bos_token") {
        Some(Value::Bool(is_put)) => *is_put,
        _ => by_default,
    };
    if !is_put {
        return Ok(None);
    }
    let key = "tokenizer.ggml.bos_token_id";
    let token = match gguf.get(key) {
        None if is_pieces => PIECES_BEGIN,
        _ => gguf.token(key, tokens),
    };
    ensure!(
        token != NO_TOKEN && token < tokens,
        Code::UnsupportedTokenizer,
        "{} begins every text with a token, but does not say which one ({key}): add it with \
         `gguf-set-metadata`",
        gguf.file().name()
    );
    Ok(Some(token))
}

fn bytes(gguf: &Gguf) -> Result<TokenizerTables> {
    let Some(pre) = gguf.text("tokenizer.ggml.pre") else {
        fail!(
            Code::UnsupportedTokenizer,
            "{} does not say how words are split (tokenizer.ggml.pre): convert the model again \
             with a newer llama.cpp, or add it with `gguf-new-metadata --pre-tokenizer smollm`",
            gguf.file().name()
        );
    };
    let (tokens, merges) =
        (texts(gguf, "tokenizer.ggml.tokens")?, texts(gguf, "tokenizer.ggml.merges")?);
    TokenizerTables::from_gguf(tokens, merges, token_types(gguf)?, pre)
}

fn pieces(gguf: &Gguf) -> Result<TokenizerTables> {
    let tokens = texts(gguf, "tokenizer.ggml.tokens")?;
    let key = "tokenizer.ggml.scores";
    let Some(Value::Floats(scores)) = gguf.get(key) else { return lacks(gguf, key) };
    let prefix = gguf.get("tokenizer.ggml.add_space_prefix");
    let has_prefix = prefix != Some(&Value::Bool(false));
    TokenizerTables::from_gguf_pieces(tokens, scores, token_types(gguf)?, has_prefix)
}

fn texts<'g>(gguf: &'g Gguf, key: &str) -> Result<&'g [String]> {
    match gguf.get(key) {
        Some(Value::Texts(texts)) => Ok(texts),
        _ => lacks(gguf, key),
    }
}

fn token_types(gguf: &Gguf) -> Result<&[i32]> {
    let key = "tokenizer.ggml.token_type";
    match gguf.get(key) {
        Some(Value::Integers(types)) => Ok(types),
        _ => lacks(gguf, key),
    }
}

fn lacks<T>(gguf: &Gguf, key: &str) -> Result<T> {
    fail!(Code::UnsupportedTokenizer, "{} lacks the list {key}", gguf.file().name())
}
