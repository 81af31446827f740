//! Answers what `tests/schemas/check.py` asks about JSON schemas.
//!
//! `schemas MODEL` reads a JSON object on each line, `{"schema", "instances", "replies"}`: a
//! schema, texts of JSON, and how many replies to make. It writes one for each, `{"refused",
//! "fits", "replies"}`: why the schema is refused, whether each text is one that a reply could be,
//! and the replies with the reasons why they ended.

use kinglet::grammar::{Constraint, Grammar};
use kinglet::guide::{Guide, Guides};
use kinglet::{GenerateOptions, Model, Sampling, Session, SessionOptions, Specials};
use serde_json::{Value, json};
use std::io::{BufRead, stdin};
use std::ops::ControlFlow;

/// What a reply may take.
const MAX_TOKENS: usize = 256;
/// What replies are asked for with.
const PROMPT: &str = "Here is an example as JSON:\n";

fn main() {
    let path = std::env::args_os().nth(1).expect("usage: schemas MODEL");
    let model = Model::open(path).unwrap();
    let guides = Guides::new(&model).unwrap();
    let options = SessionOptions { context: Some(512), ..SessionOptions::default() };
    let mut session = model.session(&options).unwrap();
    for line in stdin().lock().lines() {
        let question: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let answer = match guides.json_schema(&question["schema"].to_string()) {
            Err(error) => json!({"refused": error.message()}),
            Ok(guide) => {
                let instances = question["instances"].as_array().unwrap();
                let fits =
                    instances.iter().map(|text| fits(&model, &guide, text.as_str().unwrap()));
                let count = question["replies"].as_u64().unwrap();
                let replies = (0..count).map(|seed| reply(&mut session, &guide, seed));
                json!({"fits": fits.collect::<Value>(), "replies": replies.collect::<Value>()})
            }
        };
        println!("{answer}");
    }
}

/// Whether a text is one that a reply could be.
fn fits(model: &Model, guide: &Guide, text: &str) -> bool {
    let tokens = model.tokenize_as(text.as_bytes(), Specials::AsText).unwrap();
    let mut constraint = guide.begin().unwrap();
    let mut takes = |token: u32| -> kinglet::Result<bool> {
        let takes = !constraint.is_complete()? && constraint.filter(&mut [token])? == 1;
        if takes {
            constraint.advance(token)?;
        }
        Ok(takes)
    };
    let is_taken = tokens.iter().all(|&token| takes(token).unwrap());
    is_taken && can_end(model, &mut *constraint)
}

fn can_end(model: &Model, constraint: &mut dyn Constraint) -> bool {
    let mut ends = model.config().eos_tokens().to_vec();
    constraint.is_complete().unwrap() || constraint.filter(&mut ends).unwrap() > 0
}

/// A reply, drawn with this seed.
fn reply(session: &mut Session, guide: &Guide, seed: u64) -> Value {
    session.reset();
    let prompt = session.model().tokenize(PROMPT).unwrap();
    let options = GenerateOptions {
        max_tokens: MAX_TOKENS,
        sampling: Sampling { temperature: 1.0, seed, ..Sampling::default() },
        grammar: Some(guide),
        ..GenerateOptions::default()
    };
    let mut text = String::new();
    let made = session.generate(&prompt, &options, &mut |piece| {
        text.push_str(piece.text);
        ControlFlow::Continue(())
    });
    match made {
        Ok(made) => json!({"text": text, "ended_by": made.stop_reason.name()}),
        Err(error) => json!({"text": text, "ended_by": error.message()}),
    }
}
