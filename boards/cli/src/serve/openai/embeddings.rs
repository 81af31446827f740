//! `POST /v1/embeddings`.

use crate::serve::answer::Prepared;
use crate::serve::app::App;
use crate::serve::embedding::{self, Envelope};
use crate::serve::failure::{Failure, Outcome};
use crate::serve::fields::{self, Fields};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Understands a request.
pub fn prepare(app: &App, body: &[u8]) -> Outcome<Prepared> {
    let body = fields::parse(body)?;
    let fields = Fields::of(&body, "the body")?;
    let input = fields.get("input").ok_or_else(|| Failure::request("input is missing"))?;
    let is_base64 = match fields.text("encoding_format")? {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(Failure::request("encoding_format must be float or base64")),
    };
    embedding::check_dimensions(&fields, app)?;
    let envelope = List { is_base64, model: app.name.clone() };
    let inputs = embedding::inputs(input, &app.model)?;
    embedding::prepare(app, inputs, embedding::pooling(&fields)?, Box::new(envelope))
}

/// The protocol's list of embeddings.
struct List {
    is_base64: bool,
    model: String,
}

impl Envelope for List {
    fn begin(&self) -> String {
        r#"{"object":"list","data":["#.into()
    }

    fn entry(&self, index: usize, embedding: &[f32]) -> String {
        let vector: Value = match self.is_base64 {
            true => STANDARD.encode(bytes(embedding)).into(),
            false => embedding.into(),
        };
        json!({"object": "embedding", "index": index, "embedding": vector}).to_string()
    }

    fn end(&self, tokens: usize) -> String {
        let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
        format!(r#"],"model":{},"usage":{usage}}}"#, json!(self.model))
    }
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}
