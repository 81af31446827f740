//! Why a grammar is refused, in the words of those who write grammars.

use kinglet_quant::{Code, Error};
use std::borrow::Cow;

/// A failure with `what`, such as "the schema", for a reason that llguidance tells.
pub fn refusal(what: &str, reason: &str) -> Error {
    let reason = in_plain_words(reason);
    Error::new(Code::BadGrammar, format_args!("{what} cannot be used: {reason}"))
}

fn in_plain_words(reason: &str) -> Cow<'_, str> {
    let behind = |mark: &str| reason.split_once(mark).map(|(_, rest)| rest.trim());
    if let Some(keywords) = behind("Unimplemented keys: [") {
        let keywords = keywords.split(']').next().unwrap_or_default().replace('"', "");
        return format!("Kinglet does not know how to keep {keywords}").into();
    }
    if reason.contains("oneOf constraints are not supported") {
        return "Kinglet does not know how to keep oneOf: write anyOf where no two of its parts \
                can hold at once"
            .into();
    }
    if let Some(named) = behind("Only absolute $ref's (#/...) are supported") {
        let named = named.split_once("ref ").map_or("", |(_, named)| named);
        return format!(
            "$ref can name a part of the same schema, as #/$defs/part does, and this one names \
             {named}"
        )
        .into();
    }
    if let Some(format) = behind("Unknown format: ") {
        return format!("Kinglet does not know the format {}", first_line(format)).into();
    }
    if let Some(cause) = behind("Unsatisfiable schema: ") {
        return format!("nothing fits it: {}", first_line(cause)).into();
    }
    if reason.contains("too many states") {
        return "it needs too much memory: lower its repetitions, such as maxLength".into();
    }
    if reason.contains("regex parse error") {
        // What is wrong with an expression stands behind a picture of the place.
        let errors = reason.lines().rev().find_map(|line| line.trim().strip_prefix("error: "));
        return errors.unwrap_or("an expression in it is wrong").into();
    }
    first_line(reason).into()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("no reason is known").trim()
}
