//! `POST /api/chat`.

use super::form::{Line, Place};
use super::{messages, model, options};
use crate::serve::answer::Prepared;
use crate::serve::app::App;
use crate::serve::ask::{Ask, Calls, Prompt};
use crate::serve::failure::Outcome;
use crate::serve::fields::{self, Fields};

/// Understands a request.
pub fn prepare(app: &App, body: &[u8]) -> Outcome<Prepared> {
    let body = fields::parse(body)?;
    let fields = Fields::of(&body, "the body")?;
    let form = Line::new(model(&fields, app)?, Place::Message);
    options::refuse_thinking(&fields, app)?;
    let turns = messages::read(fields.list("messages")?.unwrap_or_default())?;
    // Ollama knows no `tool_choice`; small models seldom call unless they must.
    let calls = Calls::read(&fields)?;
    let manner = options::manner(&fields, app)?;
    let shape = options::shape(&fields)?;
    let delivery = options::delivery(&fields)?;
    if turns.is_empty() {
        return Ok(Prepared::ready(form.loaded(), delivery));
    }
    let ask = Ask { prompt: Prompt::Turns(turns), calls, shape, manner, replies: 1, delivery };
    ask.prepare(app, Box::new(form))
}
