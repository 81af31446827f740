//! `kinglet compile-schema`: a JSON schema, or functions, as a table for firmware.

use crate::args::CompileSchemaArgs;
use crate::{errors, grammar, input, models, out};
use kinglet::table::Table;
use kinglet::tools::{Toolbox, Tools};
use kinglet::{Code, Error, Model, Result, schema};
use kinglet_quant::ensure;
use std::fs;

/// Compiles, writes the table, and prints its size.
pub fn run(args: &CompileSchemaArgs) -> Result<()> {
    let path = args.schema.as_ref().or(args.tools.as_ref()).expect("one of them is required");
    let text = grammar::text(path, input::file(path)?)?;
    let model = args.model.as_ref();
    let model = model.map(|name| models::open_named(name, None, &args.trust)).transpose()?;
    let table = match args.tools {
        Some(_) => {
            Tools::from_json(&text).and_then(|tools| tools_table(tools, model.as_ref(), args))
        }
        None => schema::compile(&text, args.depth),
    };
    let table = table.map_err(|error| {
        let message = format_args!("{}: {}", path.display(), error.message());
        Error::new(error.code(), message)
    })?;
    let is_schema = fs::canonicalize(&args.output)
        .is_ok_and(|output| fs::canonicalize(path).is_ok_and(|path| path == output));
    ensure!(
        !is_schema,
        Code::BadArgument,
        "{} is what is compiled and would be replaced by the table: choose another -o",
        path.display()
    );
    fs::write(&args.output, &table).map_err(|cause| errors::unwritable(&args.output, &cause))?;
    let states = Table::states(&table)?;
    out::text(&format!("{states} states, {} bytes\n", table.len()))
}

/// The table of functions, for models with the template of one, or for all whose template knows
/// none.
fn tools_table(tools: Tools, model: Option<&Model>, args: &CompileSchemaArgs) -> Result<Vec<u8>> {
    let choice = grammar::choice(&args.tool_choice);
    match model {
        Some(model) => Toolbox::new(model, tools)?.table(model, choice, args.depth),
        None => tools.table(choice, args.depth),
    }
}
