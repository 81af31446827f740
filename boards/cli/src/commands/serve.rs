//! `kinglet serve`: answers the programs of others over HTTP.

use crate::args::{MemoryArgs, ServeArgs};
use crate::serve::{self, Place, RESERVED_BYTES};
use crate::units::Bytes;
use crate::{input, interrupt, models, settings};
use kinglet::{Code, Model, Result, SessionOptions};
use kinglet_quant::file::TextKey;
use kinglet_quant::{ensure, fail};
use std::path::Path;

/// Characters that a key has at least.
const KEY_CHARACTERS: usize = 16;

/// Serves until it is told to stop.
pub fn run(args: &ServeArgs) -> Result<()> {
    let key = args.api_key_file.as_deref().map(key).transpose()?;
    ensure!(
        key.is_some() || args.listen.ip().is_loopback(),
        Code::BadArgument,
        "others can reach {}: give the key that they must send with --api-key-file, or listen on \
         127.0.0.1",
        args.listen
    );
    let options = settings::session_options(&args.session)?;
    interrupt::install();
    let model = models::open(&args.model)?;
    let options = SessionOptions { texts: args.slots as usize, ..options };
    // The server itself takes its part of the budget.
    let memory = args.session.memory;
    let budget = memory.memory_budget;
    ensure!(
        budget.is_none_or(|bytes| bytes > RESERVED_BYTES),
        Code::BudgetTooSmall,
        "the server itself takes {} of its budget: raise --memory-budget",
        Bytes(RESERVED_BYTES)
    );
    let budget = budget.map(|bytes| bytes - RESERVED_BYTES);
    let memory = MemoryArgs { memory_budget: budget, ..memory };
    let options = settings::fitted(&model, &options, &memory)?;
    let name = name(&model, &args.model.model);
    serve::run(&model, options, Place { address: args.listen, key, name })
}

/// What the model is called.
fn name(model: &Model, argument: &str) -> String {
    let own = model.file().text(TextKey::Name).filter(|name| !name.is_empty());
    let named = || Path::new(argument).file_stem().unwrap_or_default().to_string_lossy();
    own.map_or_else(|| named().into_owned(), str::to_owned)
}

/// Reads a key.
fn key(path: &Path) -> Result<Vec<u8>> {
    let bytes = input::file(path)?;
    let key = bytes.trim_ascii();
    let is_key = key.len() >= KEY_CHARACTERS && key.iter().all(u8::is_ascii_graphic);
    if !is_key {
        fail!(
            Code::BadArgument,
            "{} holds no key: write one line of {KEY_CHARACTERS} characters at least, without \
             blanks, such as `openssl rand -hex 32` makes",
            path.display()
        );
    }
    Ok(key.to_vec())
}
