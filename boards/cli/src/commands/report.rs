//! `kinglet report`: a page with pictures of what `bench` has measured and `plan` has planned.

use crate::args::ReportArgs;
use crate::report::{Documents, page};
use crate::{errors, out, system};
use kinglet::{Code, Result};
use kinglet_machine::{Board, Profile};
use kinglet_quant::ensure;
use std::fs;

/// Reads every file, then writes the page.
pub fn run(args: &ReportArgs) -> Result<()> {
    let board = args.board.as_ref().map(|board| Profile::named(board)).transpose()?;
    let mut documents = Documents::default();
    for file in &args.files {
        documents.add(file)?;
        let is_output = fs::canonicalize(&args.output)
            .is_ok_and(|output| fs::canonicalize(file).is_ok_and(|file| file == output));
        ensure!(
            !is_output,
            Code::BadArgument,
            "{} is read and would be replaced by the page: choose another -o",
            file.display()
        );
    }
    let board = board.or_else(|| here(&documents));
    let page = page(&documents, board.as_ref());
    fs::write(&args.output, page).map_err(|cause| errors::unwritable(&args.output, &cause))?;
    out::note(format_args!("wrote {}", args.output.display()));
    Ok(())
}

/// This machine, where it is a board and all tests ran on such a processor.
fn here(documents: &Documents) -> Option<Profile> {
    let board = Board::detect(&system::root()).filter(|board| !board.is_generic)?;
    let name = system::cpu_name();
    documents.tests.iter().all(|test| test.processor == name).then_some(board.profile)
}
