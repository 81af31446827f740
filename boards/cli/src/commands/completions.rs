//! `kinglet completions`: a script that lets a shell complete the command line.

use crate::args::{Cli, CompletionsArgs};
use crate::out;
use clap::CommandFactory;
use kinglet_quant::Result;

/// Prints the script.
pub fn run(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kinglet", &mut script);
    out::text(&String::from_utf8(script).expect("completion scripts are text"))
}
