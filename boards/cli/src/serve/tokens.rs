//! `POST /tokenize` and `POST /detokenize`.

use super::app::App;
use super::completion;
use super::failure::{Failure, Outcome};
use super::fields::{self, Fields};
use kinglet::Specials;
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
    let tokens = completion::tokens(tokens, &app.model)?;
    Ok(json!({"content": completion::text(&app.model, &tokens)}))
}
