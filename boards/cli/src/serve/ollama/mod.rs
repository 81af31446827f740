//! Ollama's protocol.

pub mod chat;
pub mod embed;
mod form;
pub mod generate;
pub mod info;
mod messages;
mod options;

use super::app::App;
use super::failure::{Failure, Outcome};
use super::fields::Fields;
use hyper::StatusCode;

/// The tag that names have where they have none.
const TAG: &str = ":latest";

/// The model's name with a tag.
fn tagged(app: &App) -> String {
    if app.name.contains(':') { app.name.clone() } else { app.name.clone() + TAG }
}

/// The names that requests can have for the model.
pub fn names(app: &App) -> Vec<String> {
    let mut names = vec![app.name.clone(), tagged(app)];
    names.dedup();
    names
}

/// The model that a request names, as it does. A failure for another one: there is none.
fn model<'v>(fields: &Fields<'v>, app: &App) -> Outcome<&'v str> {
    let named = match fields.text("model")? {
        Some(name) => Some(name),
        None => fields.text("name")?,
    };
    let name = named.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Failure::request("model is required"))?;
    let untagged = |name: &str| name.strip_suffix(TAG).unwrap_or(name).to_lowercase();
    match untagged(name) == untagged(&app.name) {
        true => Ok(name),
        false => Err(Failure::new(StatusCode::NOT_FOUND, format!("model '{name}' not found"))),
    }
}

/// Refuses pictures.
fn refuse_images(fields: &Fields<'_>) -> Outcome<()> {
    match fields.list("images")? {
        None | Some([]) => Ok(()),
        Some(_) => Err(Failure::request("images are given, but the model reads text alone")),
    }
}
