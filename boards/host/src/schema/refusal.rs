//! Why a schema is refused.

use kinglet_quant::{Code, Error};
use std::fmt;

/// What is wrong at a place of the schema.
pub fn refusal(place: &str, reason: impl fmt::Display) -> Error {
    Error::new(Code::BadGrammar, format_args!("the schema at {place} cannot be used: {reason}"))
}
