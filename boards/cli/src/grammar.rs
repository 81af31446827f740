//! What a reply may be, as the command line says it.

use crate::args::{GrammarArgs, ToolArgs};
use crate::input;
use kinglet::grammar::Grammar;
use kinglet::guide::{Guide, Guides};
use kinglet::table::Table;
use kinglet::tools::{Choice, Toolbox, Tools};
use kinglet::{Code, Model, Result};
use kinglet_quant::fail;
use std::path::Path;

/// The grammar that the flags ask for, if they ask for one.
pub fn read(args: &GrammarArgs, model: &Model) -> Result<Option<Box<dyn Grammar>>> {
    let guides = || Guides::new(model);
    let boxed = |guide: Guide| -> Option<Box<dyn Grammar>> { Some(Box::new(guide)) };
    Ok(match (&args.json_schema, &args.regex, &args.grammar) {
        (Some(path), ..) => {
            let bytes = input::file(path)?;
            match Table::is_one(&bytes) {
                true => Some(Box::new(Table::new(model, &bytes)?)),
                false => boxed(guides()?.json_schema(&text(path, bytes)?)?),
            }
        }
        (_, Some(regex), _) => boxed(guides()?.regex(regex)?),
        (.., Some(path)) => boxed(guides()?.lark(&text(path, input::file(path)?)?)?),
        (None, None, None) => None,
    })
}

/// The functions that the flags name, and the grammar of replies that may call them.
pub fn tools(args: &ToolArgs, model: &Model) -> Result<Option<(Toolbox, Guide)>> {
    let Some(path) = &args.tools else {
        return Ok(None);
    };
    let toolbox = Toolbox::new(model, Tools::from_json(&text(path, input::file(path)?)?)?)?;
    let guide = toolbox.guide(&Guides::new(model)?, choice(&args.tool_choice))?;
    Ok(Some((toolbox, guide)))
}

/// Whether replies call, as the flag says it.
pub fn choice(flag: &str) -> Choice<'_> {
    match flag {
        "auto" => Choice::Auto,
        "required" => Choice::Required,
        name => Choice::Named(name),
    }
}

/// The content of a file as text.
pub fn text(path: &Path, bytes: Vec<u8>) -> Result<String> {
    match String::from_utf8(bytes) {
        // Editors of some systems put a mark in front.
        Ok(text) => Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
        Err(_) => fail!(
            Code::BadGrammar,
            "{} is not a text in UTF-8: save it in that encoding",
            path.display()
        ),
    }
}
