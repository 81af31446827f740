//! Templates in Jinja, whose text does not say who wrote what.
//!
//! Control tokens that are spelled out in messages go into the template between two marks, and what
//! comes out between marks is text. The marks are characters that occur nowhere else.

use kinglet_core::tokenizer::{Span, Specials, Tokenizer};
use kinglet_quant::template::MARKS;
use kinglet_quant::{Code, Error, Result};

/// The text of a conversation, and where control tokens may be found in it. `write` renders the
/// template, whose source is given, with every one of the conversation's `texts` changed by the
/// function that it gets.
pub(crate) fn render(
    source: &str,
    tokenizer: &Tokenizer<'_>,
    texts: &[&str],
    write: impl FnOnce(&dyn Fn(&str) -> String) -> Result<String>,
) -> Result<(String, Vec<Span>)> {
    let vocab = tokenizer.vocab();
    let controls = vocab.specials().iter().filter(|special| special.control == 1);
    let controls: Vec<&[u8]> = controls.map(|special| vocab.text(special.token)).collect();
    let marks = marks(source, texts)?;
    let text = write(&|text| guard(text, &controls, marks))?;
    Ok(take_out(&text, marks))
}

/// Two characters that neither the template nor the texts have.
fn marks(source: &str, texts: &[&str]) -> Result<[char; 2]> {
    let is_free =
        |mark: &char| !source.contains(*mark) && texts.iter().all(|text| !text.contains(*mark));
    let mut free = MARKS.filter(is_free);
    free.next().zip(free.next()).map(<[char; 2]>::from).ok_or_else(|| {
        Error::new(
            Code::BadArgument,
            format_args!("the conversation uses all characters of Unicode's private area"),
        )
    })
}

/// A text with marks around the control tokens in it.
fn guard(text: &str, controls: &[&[u8]], [open, close]: [char; 2]) -> String {
    let mut guarded = String::with_capacity(text.len());
    // Behind the last control token so far, while its end is not marked.
    let mut end = None;
    for (at, character) in text.char_indices() {
        if end.is_some_and(|end| end <= at) {
            guarded.push(close);
            end = None;
        }
        let here = &text.as_bytes()[at..];
        let found = controls.iter().filter(|control| here.starts_with(control));
        if let Some(length) = found.map(|control| control.len()).max() {
            if end.is_none() {
                guarded.push(open);
            }
            end = end.max(Some(at + length));
        }
        guarded.push(character);
    }
    if end.is_some() {
        guarded.push(close);
    }
    guarded
}

/// A text without marks, and where they were.
fn take_out(text: &str, [open, close]: [char; 2]) -> (String, Vec<Span>) {
    let mut clean = String::with_capacity(text.len());
    let (mut spans, mut specials) = (Vec::new(), Specials::Parse);
    for part in text.split_inclusive([open, close]) {
        clean.push_str(part.trim_end_matches([open, close]));
        spans.push(Span { end: clean.len(), specials });
        specials = if part.ends_with(open) { Specials::AsText } else { Specials::Parse };
    }
    (clean, spans)
}
