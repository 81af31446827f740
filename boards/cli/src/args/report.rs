//! The flags of `kinglet report`.

use clap::{Args, ValueHint};
use std::path::PathBuf;

/// Arguments of `kinglet report`.
#[derive(Debug, Args)]
#[command(after_help = "\
The page shows throughput against context, the roofline, power and temperature over time, the
energy of a token, and memory, each with a table of its data. It is one file that needs no
network. Where data is missing, the page says which command would measure it.

Examples:
  kinglet bench model.kinglet -d 0,512,1024 -o json > bench.json
  kinglet plan model.kinglet --json > plan.json
  kinglet report bench.json plan.json -o report.html
  kinglet report pi.json --board pi-5 -o pi.html")]
pub struct ReportArgs {
    /// Files that `kinglet bench -o json`, `kinglet bench -o jsonl` or `kinglet plan --json` wrote
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath, required = true)]
    pub files: Vec<PathBuf>,
    /// The page to write; an existing file is replaced
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// Draw the limits and predictions of this board: a name that `kinglet boards` lists, or the
    /// path of a profile [default: this machine, where it is a board and the tests ran on it]
    #[arg(long, value_name = "BOARD")]
    pub board: Option<String>,
}
