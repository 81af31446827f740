//! The `kinglet` command. It is a library so that tests can reach what no process shows them.

mod args;
mod bench;
mod cache;
mod chat;
mod commands;
mod digest;
mod doctor;
mod editor;
mod errors;
mod fetch;
mod grammar;
#[cfg(feature = "pull")]
mod hub;
mod input;
mod interrupt;
mod likelihood;
mod manifest;
#[cfg_attr(windows, path = "mapped/windows.rs")]
mod mapped;
mod matrix;
mod models;
mod names;
mod out;
mod panics;
mod place;
mod planned;
mod progress;
mod replies;
mod reply;
mod report;
mod saved;
mod secret_key;
#[cfg(feature = "serve")]
mod serve;
mod settings;
mod system;
mod units;
#[cfg(feature = "pull")]
mod wheel;

use args::{Cli, Command};
use clap::Parser;
use kinglet::Result;
use std::process::ExitCode;

#[cfg(all(feature = "check", feature = "serve"))]
pub use serve::check;

/// The whole command: reads the arguments of the process, does what they say, and returns its exit
/// code.
pub fn main() -> ExitCode {
    let cli = Cli::parse_from(bench::flags::spelled_out(std::env::args_os()));
    out::set_quiet(cli.quiet);
    mapped::explain_lost_files();
    match panics::caught(|| dispatch(&cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out::failure(&error);
            ExitCode::from(errors::exit_code(&error))
        }
    }
}

fn dispatch(command: &Command) -> Result<()> {
    match command {
        Command::Pull(args) => commands::pull::run(args),
        Command::Convert(args) => commands::convert::run(args),
        Command::Inspect(args) => commands::inspect::run(args),
        Command::Run(args) => commands::run::run(args),
        Command::Chat(args) => commands::chat::run(args),
        Command::CompileSchema(args) => commands::compile_schema::run(args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => commands::serve::run(args),
        Command::Sign(args) => commands::sign::run(args),
        Command::Tokenize(args) => commands::tokenize::run(args),
        Command::Embed(args) => commands::embed::run(args),
        Command::Eval(args) => commands::eval::run(args),
        Command::Plan(args) => commands::plan::run(args),
        Command::Bench(args) => commands::bench::run(args),
        Command::Report(args) => commands::report::run(args),
        Command::Doctor(args) => commands::doctor::run(args),
        Command::Boards(args) => commands::boards::run(args),
        Command::Completions(args) => commands::completions::run(args),
        Command::Man(args) => commands::man::run(args),
    }
}
