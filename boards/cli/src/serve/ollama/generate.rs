//! `POST /api/generate`.

use super::form::{Line, Place};
use super::{model, options, refuse_images};
use crate::serve::answer::Prepared;
use crate::serve::app::App;
use crate::serve::ask::{Ask, Prompt, lacks_template};
use crate::serve::failure::{Failure, Outcome};
use crate::serve::fields::{self, Fields};
use kinglet::tools::Turn;

/// Understands a request.
pub fn prepare(app: &App, body: &[u8]) -> Outcome<Prepared> {
    let body = fields::parse(body)?;
    let fields = Fields::of(&body, "the body")?;
    let form = Line::new(model(&fields, app)?, Place::Response);
    refuse(&fields)?;
    options::refuse_thinking(&fields, app)?;
    let prompt = prompt(&fields, app)?;
    let manner = options::manner(&fields, app)?;
    let shape = options::shape(&fields)?;
    let delivery = options::delivery(&fields)?;
    let Some(prompt) = prompt else {
        return Ok(Prepared::ready(form.loaded(), delivery));
    };
    let ask = Ask { prompt, calls: None, shape, manner, replies: 1, delivery };
    ask.prepare(app, Box::new(form))
}

/// Refuses what is not there.
fn refuse(fields: &Fields<'_>) -> Outcome<()> {
    refuse_images(fields)?;
    for (name, instead) in [
        ("suffix", "the model writes at the end of a text alone"),
        ("template", "the model's own is used: send text that is ready for it with raw"),
    ] {
        if fields.text(name)?.is_some_and(|text| !text.is_empty()) {
            return Err(Failure::request(format!("{name} is not supported: {instead}")));
        }
    }
    match fields.list("context")? {
        None | Some([]) => Ok(()),
        Some(_) => Err(Failure::request(
            "context is not supported: send the conversation to /api/chat, which computes again \
             only what is new",
        )),
    }
}

/// What the reply is to; nothing for a request that only asks that the model be there.
fn prompt(fields: &Fields<'_>, app: &App) -> Outcome<Option<Prompt>> {
    let text = fields.text("prompt")?.filter(|text| !text.is_empty());
    let system = fields.text("system")?.filter(|text| !text.is_empty());
    let is_raw = fields.flag("raw")?.unwrap_or(false) || lacks_template(app);
    let Some(text) = text else { return Ok(None) };
    match (is_raw, system) {
        (true, None) => Ok(Some(Prompt::Text(text.to_owned()))),
        (true, Some(_)) => Err(Failure::request(
            "system needs a chat template: with raw, and with a model that has none, write it into \
             the prompt",
        )),
        (false, system) => {
            let system = system.map(|text| Turn::System(text.to_owned()));
            let turns = system.into_iter().chain([Turn::User(text.to_owned())]);
            Ok(Some(Prompt::Turns(turns.collect())))
        }
    }
}
