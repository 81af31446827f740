//! The flags of `kinglet compile-schema`.

use super::TrustArgs;
use clap::{Args, ValueHint};
use std::path::PathBuf;

/// Arguments of `kinglet compile-schema`.
#[derive(Debug, Args)]
#[command(after_help = "\
The table serves every model. `kinglet run` and `kinglet chat` take it with --json-schema, and
firmware hands it to kinglet_session_generate, which then allocates nothing. It keeps type,
properties, required, items, prefixItems, minItems, maxItems, enum, const, anyOf, oneOf (where
types or constants tell its branches apart), minLength, maxLength, pattern, format (date, time,
date-time, uuid, email), bounds of integers, and $ref within the schema. Properties come in the
schema's order and no others are written. What it cannot keep is refused by name and place.

With --tools the table is of functions that a model can call: what the model is told of them, and
the replies that may call them. kinglet_tools_tokens and kinglet_tools_calls take it, too. It serves
every model whose template knows no functions; for a template that does, name a model with --model.

Examples:
  kinglet compile-schema order.schema.json -o order.kschema
  kinglet run model.kinglet -f mail.txt --json-schema order.kschema
  kinglet compile-schema tree.schema.json -o tree.kschema --depth 2
  kinglet compile-schema --tools functions.json -o functions.ktools
  kinglet compile-schema --tools functions.json --model mine.kinglet -o functions.ktools")]
pub struct CompileSchemaArgs {
    /// A JSON schema
    #[arg(value_name = "SCHEMA", value_hint = ValueHint::FilePath)]
    #[arg(required_unless_present = "tools", conflicts_with = "tools")]
    pub schema: Option<PathBuf>,
    /// Functions in place of a schema, as a JSON list of the OpenAI protocol's tools
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub tools: Option<PathBuf>,
    /// A model that the table is for, whose template may know functions in a way of its own
    #[arg(long, value_name = "MODEL", value_hint = ValueHint::AnyPath, requires = "tools")]
    pub model: Option<String>,
    /// Whether a reply calls: auto where it likes, required, or the name of the function to call
    #[arg(long, value_name = "CHOICE", default_value = "auto", requires = "tools")]
    pub tool_choice: String,
    /// The table to write; an existing file is replaced
    #[arg(short, long, value_name = "TABLE", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// Levels of what refers to itself; at the last one, the branch that does so is left out
    #[arg(long, value_name = "N", default_value_t = kinglet::schema::DEFAULT_DEPTH)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(kinglet::schema::MAX_DEPTH)))]
    pub depth: u32,
    /// What the model must be signed with
    #[command(flatten)]
    pub trust: TrustArgs,
}
