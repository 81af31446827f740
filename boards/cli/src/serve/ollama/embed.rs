//! `POST /api/embed`, and `POST /api/embeddings` of older clients.

use super::form::nanoseconds;
use super::model;
use crate::serve::answer::Prepared;
use crate::serve::app::App;
use crate::serve::embedding::{self, Envelope};
use crate::serve::failure::{Failure, Outcome};
use crate::serve::fields::{self, Fields};
use serde_json::json;
use std::time::Instant;

/// Understands a request for several embeddings.
pub fn prepare(app: &App, body: &[u8]) -> Outcome<Prepared> {
    let body = fields::parse(body)?;
    let fields = Fields::of(&body, "the body")?;
    let envelope = Several { model: model(&fields, app)?.to_owned(), asked: Instant::now() };
    embedding::check_dimensions(&fields, app)?;
    let input = fields.get("input").ok_or_else(|| Failure::request("input is missing"))?;
    let mut inputs = embedding::inputs(input, &app.model)?;
    if fields.flag("truncate")? == Some(true) {
        inputs.iter_mut().for_each(|tokens| tokens.truncate(app.context));
    }
    embedding::prepare(app, inputs, embedding::pooling(&fields)?, Box::new(envelope))
}

/// Understands a request for one.
pub fn prepare_one(app: &App, body: &[u8]) -> Outcome<Prepared> {
    let body = fields::parse(body)?;
    let fields = Fields::of(&body, "the body")?;
    model(&fields, app)?;
    fields.text("prompt")?;
    let prompt = fields.get("prompt").ok_or_else(|| Failure::request("prompt is missing"))?;
    let inputs = embedding::inputs(prompt, &app.model)?;
    embedding::prepare(app, inputs, embedding::pooling(&fields)?, Box::new(One))
}

struct Several {
    model: String,
    asked: Instant,
}

impl Envelope for Several {
    fn begin(&self) -> String {
        format!(r#"{{"model":{},"embeddings":["#, json!(self.model))
    }

    fn entry(&self, _index: usize, embedding: &[f32]) -> String {
        json!(embedding).to_string()
    }

    fn end(&self, tokens: usize) -> String {
        let total = nanoseconds(self.asked.elapsed());
        format!(r#"],"total_duration":{total},"load_duration":0,"prompt_eval_count":{tokens}}}"#)
    }
}

struct One;

impl Envelope for One {
    fn begin(&self) -> String {
        r#"{"embedding":"#.into()
    }

    fn entry(&self, _index: usize, embedding: &[f32]) -> String {
        json!(embedding).to_string()
    }

    fn end(&self, _tokens: usize) -> String {
        "}".into()
    }
}
