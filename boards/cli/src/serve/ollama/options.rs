//! The fields `options`, `format`, `stream` and `think`, which chats and texts have in common.

use crate::serve::answer::Delivery;
use crate::serve::app::App;
use crate::serve::ask::Shape;
use crate::serve::failure::{Failure, Outcome};
use crate::serve::fields::Fields;
use crate::serve::framing::Framing;
use crate::serve::job::Manner;
use crate::serve::sampling::{self, TEMPERATURE, TOP_P};
use kinglet::Sampling;
use serde_json::{Value, json};

/// Tokens back to which repetition is penalized at most.
const MAX_WINDOW: u64 = 1 << 16;

/// How a reply is made, but for its guide.
pub fn manner(fields: &Fields<'_>, app: &App) -> Outcome<Manner> {
    let none = json!({});
    let options = fields.object("options")?.unwrap_or(Fields::of(&none, "options")?);
    let max_tokens = count(&options, "num_predict", u64::from(u32::MAX))?;
    let window = count(&options, "repeat_last_n", MAX_WINDOW)?;
    let sampling = Sampling {
        temperature: options.number("temperature", 0.0..=2.0)?.unwrap_or(TEMPERATURE),
        top_k: options.whole("top_k", 0..=u64::from(u32::MAX))?.unwrap_or(0) as usize,
        top_p: options.number("top_p", 0.0..=1.0)?.unwrap_or(TOP_P),
        min_p: options.number("min_p", 0.0..=1.0)?.unwrap_or(0.0),
        repetition_penalty: options.number("repeat_penalty", 0.01..=100.0)?.unwrap_or(1.0),
        repetition_window: match window {
            Some(tokens) => tokens.unwrap_or(app.context),
            None => Sampling::default().repetition_window,
        },
        presence_penalty: options.number("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0),
        frequency_penalty: options.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0),
        seed: sampling::seed(&options)?,
        ..Sampling::default()
    };
    Ok(Manner {
        max_tokens: max_tokens.flatten().unwrap_or(app.context),
        sampling,
        logit_bias: Vec::new(),
        ignore_eos: false,
        stop: sampling::stop(&options)?,
        guide: None,
        candidates: None,
    })
}

/// A number of tokens; `None` in it for a negative one, which sets no limit.
fn count(options: &Fields<'_>, name: &str, most: u64) -> Outcome<Option<Option<usize>>> {
    match options.get(name).and_then(Value::as_i64) {
        Some(-2 | -1) => Ok(Some(None)),
        _ => Ok(options.whole(name, 0..=most)?.map(|count| Some(count as usize))),
    }
}

/// The shape that a reply must have.
pub fn shape(fields: &Fields<'_>) -> Outcome<Option<Shape>> {
    match fields.get("format") {
        None => Ok(None),
        Some(Value::String(format)) if format.is_empty() => Ok(None),
        Some(Value::String(format)) if format == "json" => Ok(Some(Shape::Object)),
        Some(schema @ Value::Object(_)) => Ok(Some(Shape::schema(schema))),
        Some(_) => Err(Failure::request("format must be \"json\" or a JSON schema")),
    }
}

/// A stream, unless one document is wanted.
pub fn delivery(fields: &Fields<'_>) -> Outcome<Delivery> {
    Ok(Delivery::of(fields.flag("stream")?.unwrap_or(true), Framing::Lines))
}

/// Refuses thinking, which the model cannot turn on.
pub fn refuse_thinking(fields: &Fields<'_>, app: &App) -> Outcome<()> {
    match fields.get("think") {
        None | Some(Value::Bool(false)) => Ok(()),
        Some(_) => Err(Failure::request(format!("{:?} does not support thinking", app.name))),
    }
}
