//! Tokens in requests, and `POST /tokenize` and `POST /detokenize`.

use super::app::App;
use super::failure::{Failure, Outcome};
use super::fields::{self, Fields};
use kinglet::{Model, Specials};
use serde_json::{Value, json};

/// The tokens of a text.
pub fn tokenize(app: &App, body: &[u8]) -> Outcome<Value> {
    let body = fields::parse(body)?;
    let fields = Fields::of(&body, "the body")?;
    let text = fields.text("content")?.ok_or_else(|| Failure::request("content is missing"))?;
    let specials = match fields.flag("parse_special")?.unwrap_or(true) {
        true => Specials::Parse,
        false => Specials::AsText,
    };
    Ok(json!({"tokens": app.model.tokenize_as(text.as_bytes(), specials)?}))
}

/// The text of tokens.
pub fn detokenize(app: &App, body: &[u8]) -> Outcome<Value> {
    let body = fields::parse(body)?;
    let fields = Fields::of(&body, "the body")?;
    let tokens = fields.get("tokens").ok_or_else(|| Failure::request("tokens is missing"))?;
    let tokens = read(tokens, &app.model)?;
    let tokens = tokens.ok_or_else(|| Failure::request("tokens must be a list"))?;
    Ok(json!({"content": text(&app.model, &tokens)}))
}

/// Reads a list of tokens; nothing where it is no list.
pub fn read(list: &Value, model: &Model) -> Outcome<Option<Vec<u32>>> {
    let vocabulary = model.config().vocab_size;
    let token = |value: &Value| {
        let token = value.as_u64().and_then(|token| u32::try_from(token).ok());
        token.filter(|&token| token < vocabulary).ok_or_else(|| {
            Failure::request(format!("a token must be a whole number below {vocabulary}"))
        })
    };
    list.as_array().map(|list| list.iter().map(token).collect()).transpose()
}

/// The text of tokens, with U+FFFD for what is none.
pub fn text(model: &Model, tokens: &[u32]) -> String {
    let tokenizer = model.tokenizer();
    let bytes = tokens.iter().flat_map(|&token| tokenizer.decode(token));
    String::from_utf8_lossy(&bytes.copied().collect::<Vec<u8>>()).into_owned()
}
