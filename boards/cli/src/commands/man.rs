//! `kinglet man`: the manual pages, made from what `--help` says.

use crate::args::{Cli, ManArgs};
use crate::errors;
use clap::CommandFactory;
use kinglet_quant::Result;

/// Writes a page for the program and one for each command.
pub fn run(args: &ManArgs) -> Result<()> {
    clap_mangen::generate_to(Cli::command(), &args.folder)
        .map_err(|cause| errors::unwritable(&args.folder, &cause))
}
