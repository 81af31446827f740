//! Texts that the user gives: as an argument, in a file, or on standard input.

use crate::args::TextArgs;
use crate::{errors, out};
use kinglet::{Code, Error, Result};
use std::fs;
use std::io::{self, IsTerminal, Read};

/// The text given by `-p`, by `-f`, or else on standard input. Need not be valid UTF-8.
pub fn read(text: &TextArgs) -> Result<Vec<u8>> {
    match (&text.prompt, &text.file) {
        (Some(text), _) => Ok(text.as_str().into()),
        (None, Some(file)) => fs::read(file).map_err(|cause| errors::unreadable(file, &cause)),
        (None, None) => read_stdin(),
    }
}

fn read_stdin() -> Result<Vec<u8>> {
    if io::stdin().is_terminal() {
        out::note("reading the text from the terminal; Ctrl-D ends it");
    }
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text).map_err(|cause| {
        Error::new(Code::Unreadable, format_args!("cannot read standard input: {cause}"))
    })?;
    Ok(text)
}
