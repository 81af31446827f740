//! The arguments of `kinglet sign`.

use clap::{Args, ValueHint};
use std::path::PathBuf;

/// Arguments of `kinglet sign`.
#[derive(Debug, Args)]
#[command(after_help = "\
The key is one of minisign without a password: `minisign -G -W -p fleet.pub -s fleet.key` makes a
pair. All checksums of the file are compared first. Boards get fleet.pub, and take only what it has
signed: see --require-key of run, chat, serve and the others.

Examples:
  kinglet sign model.kinglet --key fleet.key --id kitchen --model-version 7
  kinglet sign new.kinglet --key fleet.key --id kitchen --model-version 8 -o signed.kinglet")]
pub struct SignArgs {
    /// A .kinglet file
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// The secret key, a file of minisign
    #[arg(long, value_name = "KEY", value_hint = ValueHint::FilePath)]
    pub key: PathBuf,
    /// Which model this is a version of: 1 to 64 characters of ASCII without blanks
    #[arg(long, value_name = "ID")]
    pub id: String,
    /// Which version it is: a number that only grows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub model_version: u64,
    /// The file to write, once it is complete [default: FILE]
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}
