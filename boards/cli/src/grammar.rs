//! What a reply may be, as the command line says it.

use crate::args::{GrammarArgs, ToolArgs};
use crate::errors;
use kinglet::guide::{Guide, Guides};
use kinglet::tools::{Choice, Toolbox, Tools};
use kinglet::{Code, Model, Result};
use kinglet_quant::fail;
use std::fs;
use std::path::Path;

/// The grammar that the flags ask for, if they ask for one.
pub fn read(args: &GrammarArgs, model: &Model) -> Result<Option<Guide>> {
    let guides = || Guides::new(model);
    Ok(match (&args.json_schema, &args.regex, &args.grammar) {
        (Some(path), ..) => Some(guides()?.json_schema(&text(path)?)?),
        (_, Some(regex), _) => Some(guides()?.regex(regex)?),
        (.., Some(path)) => Some(guides()?.lark(&text(path)?)?),
        (None, None, None) => None,
    })
}

/// The functions that the flags name, and the grammar of replies that may call them.
pub fn tools(args: &ToolArgs, model: &Model) -> Result<Option<(Toolbox, Guide)>> {
    let Some(path) = &args.tools else {
        return Ok(None);
    };
    let toolbox = Toolbox::new(model, Tools::from_json(&text(path)?)?)?;
    let choice = match args.tool_choice.as_str() {
        "auto" => Choice::Auto,
        "required" => Choice::Required,
        name => Choice::Named(name),
    };
    let guide = toolbox.guide(&Guides::new(model)?, choice)?;
    Ok(Some((toolbox, guide)))
}

fn text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|cause| errors::unreadable(path, &cause))?;
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
