//! The keywords of strings.

use super::refusal::refusal;
use super::shape::Shape;
use super::value::Keywords;
use super::{format, number, pattern, quote, value};
use kinglet_quant::Result;
use regex_syntax::hir::{Hir, Repetition};

/// The strings that the keywords allow, with their quotation marks.
pub fn read(keywords: &Keywords, place: &str) -> Result<Shape> {
    let content = content(keywords, place)?;
    Ok(Shape::between("\"", Shape::Regex(content), "\""))
}

fn content(keywords: &Keywords, place: &str) -> Result<Hir> {
    let min = value::count(keywords, "minLength", place)?;
    let max = value::count(keywords, "maxLength", place)?;
    let is_sized = min.is_some() || max.is_some();
    match (keywords.get("pattern"), keywords.get("format")) {
        (Some(_), Some(_)) => Err(refusal(place, "pattern and format exclude each other")),
        (Some(_), None) | (None, Some(_)) if is_sized => Err(refusal(
            place,
            "a table keeps either a form or a length: write the length into the pattern",
        )),
        (Some(pattern), None) => {
            let text = pattern.as_str().ok_or_else(|| refusal(place, "pattern is a string"))?;
            let strings = pattern::strings(text);
            strings.map_err(|reason| refusal(place, format_args!("its pattern {reason}")))
        }
        (None, Some(name)) => match format::FORMATS.iter().find(|format| name == format.0) {
            Some((_, expression)) => Ok(quote::expression(&number::expression(expression))),
            None => {
                let names = format::FORMATS.map(|format| format.0).join(", ");
                let reason = format_args!("a table keeps the formats {names}; not {name}");
                Err(refusal(place, reason))
            }
        },
        (None, None) => {
            let min = min.unwrap_or(0);
            if max.is_some_and(|max| max < min) {
                return Err(refusal(place, "minLength is above maxLength"));
            }
            let sub = Box::new(quote::any());
            let (min, max) = (min as u32, max.map(|max| max as u32));
            Ok(Hir::repetition(Repetition { min, max, greedy: true, sub }))
        }
    }
}
