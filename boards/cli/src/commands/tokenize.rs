//! `kinglet tokenize`: the tokens of a text.

use crate::args::TokenizeArgs;
use crate::{input, interrupt, models, out};
use kinglet::{Result, Specials};
use serde_json::json;
use std::fmt::Write;

/// Prints one token a line with its text, or one document.
pub fn run(args: &TokenizeArgs) -> Result<()> {
    let text = input::read(&args.text)?;
    interrupt::install();
    let model = models::open(&args.model)?;
    let specials = if args.no_specials { Specials::AsText } else { Specials::Parse };
    let tokens = model.tokenize_as(&text, specials)?;
    let tokenizer = model.tokenizer();
    let piece = |&token: &u32| String::from_utf8_lossy(tokenizer.decode(token));
    if args.json {
        let pieces: Vec<_> = tokens.iter().map(piece).collect();
        return out::json(&json!({ "tokens": tokens, "pieces": pieces, "count": tokens.len() }));
    }
    let lines = tokens.iter().fold(String::new(), |mut lines, token| {
        writeln!(lines, "{token:>6} {:?}", piece(token)).expect("strings take everything");
        lines
    });
    out::text(&lines)
}
