//! Texts that the user gives: as an argument, in a file, or on standard input.

use crate::args::TextArgs;
use crate::interrupt::Waiting;
use crate::{errors, out};
use kinglet::{Code, Error, Result};
use kinglet_quant::{ensure, system};
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read};
use std::path::Path;

/// Bytes that are read of a device; one that has more may have no end.
const MAX_DEVICE_BYTES: u64 = 16 << 20;

/// The text given by `-p`, by `-f`, or else on standard input. Need not be valid UTF-8.
pub fn read(text: &TextArgs) -> Result<Vec<u8>> {
    let mut given = match (&text.prompt, &text.file) {
        (Some(text), _) => text.as_str().into(),
        (None, Some(path)) => file(path)?,
        (None, None) => read_stdin()?,
    };
    if text.trim {
        given.truncate(given.trim_ascii_end().len());
    }
    Ok(given)
}

/// The content of a file, a pipe or a device. `Unreadable` for a device without an end.
pub fn file(path: &Path) -> Result<Vec<u8>> {
    let unreadable = |cause: io::Error| errors::unreadable(path, &cause);
    let kind = fs::metadata(path).map_err(unreadable)?.file_type();
    let _waiting = Waiting::begin()?;
    let file = File::open(path).map_err(unreadable)?;
    let most = if system::is_device(kind) { MAX_DEVICE_BYTES } else { u64::MAX };
    let mut content = Vec::new();
    let count = file.take(most).read_to_end(&mut content).map_err(unreadable)?;
    ensure!(
        (count as u64) < most,
        Code::Unreadable,
        "{} is a device, and has no end: name a file",
        path.display()
    );
    Ok(content)
}

fn read_stdin() -> Result<Vec<u8>> {
    if io::stdin().is_terminal() {
        out::note("reading the text from the terminal; Ctrl-D ends it");
    }
    let _waiting = Waiting::begin()?;
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text).map_err(|cause| {
        Error::new(Code::Unreadable, format_args!("cannot read standard input: {cause}"))
    })?;
    Ok(text)
}
