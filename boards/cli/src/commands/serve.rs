//! `kinglet serve`: answers the programs of others over HTTP.

use crate::args::{MemoryArgs, ServeArgs};
use crate::serve::{self, ANSWER_BYTES, BUDGETED_ANSWER_BYTES, RESERVED_BYTES, STORE_BYTES};
use crate::serve::{Door, Place, StoreOptions};
use crate::units::Bytes;
use crate::{input, interrupt, models, settings};
use kinglet::{Code, Model, Result, SessionOptions};
use kinglet_quant::file::TextKey;
use kinglet_quant::{ensure, fail};
use std::path::Path;

/// Characters that a key has at least.
const KEY_CHARACTERS: usize = 16;

/// Rows of logits for each text: more than one let it guess tokens beside others, too.
const ROWS_PER_TEXT: usize = 4;

/// Serves until it is told to stop.
pub fn run(args: &ServeArgs) -> Result<()> {
    // First of all: it must find the files that systemd has opened, and no others.
    let door = Door::find(args.listen, args.api_key_file.is_some())?;
    let key = args.api_key_file.as_deref().map(key).transpose()?;
    let options = settings::session_options(&args.session)?;
    interrupt::install();
    let model = models::open(&args.model)?;
    let texts = args.slots as usize;
    let logit_rows = options.logit_rows.max(ROWS_PER_TEXT * texts).min(options.batch);
    let options = SessionOptions { texts, logit_rows, ..options };
    // The server itself and a text on its way to or from the store take their parts of the budget.
    let memory = args.session.memory;
    let reserved = RESERVED_BYTES + args.prefix_store.as_ref().map_or(0, |_| STORE_BYTES);
    let budget = memory.memory_budget;
    ensure!(
        budget.is_none_or(|bytes| bytes > reserved),
        Code::BudgetTooSmall,
        "the server itself takes {} of its budget: raise --memory-budget",
        Bytes(reserved)
    );
    let store = args.prefix_store.as_ref().map(|path| StoreOptions {
        path: path.clone(),
        limit_bytes: args.prefix_store_bytes,
        most_bytes: budget.map_or(u64::MAX, |_| STORE_BYTES),
    });
    let answer_bytes = budget.map_or(ANSWER_BYTES, |_| BUDGETED_ANSWER_BYTES);
    let budget = budget.map(|bytes| bytes - reserved);
    let memory = MemoryArgs { memory_budget: budget, ..memory };
    let options = settings::fitted(&model, &options, &memory)?;
    let name = name(&model, &args.model.model);
    let (sensor, exit_idle) = (args.power.clone(), args.exit_idle);
    let place = Place { door, key, name, store, answer_bytes, sensor, exit_idle };
    serve::run(&model, options, place)
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
