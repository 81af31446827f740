//! The flags of what is known about boards and machines.

use crate::args::{SessionArgs, TrustArgs, TypeArg};
use clap::{Args, Subcommand, ValueHint};

/// Arguments of `kinglet plan`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --board, the plan is for this machine. With it, speeds are predicted from the board's
profile and from the bytes and multiply-adds of a token; they were not measured.

Examples:
  kinglet plan smollm2-135m.kinglet --ctx 2048 --kv int8
  kinglet plan smollm2-1.7b --type q4 --json
  kinglet plan smollm2-135m.kinglet --board pi-zero-2w --memory-budget 256MB
  kinglet plan 135m.kinglet 360m.kinglet --all-boards")]
pub struct PlanArgs {
    /// Models: .kinglet files, Hugging Face folders, .gguf files, known names, or owner/name
    #[arg(value_name = "MODEL", value_hint = ValueHint::AnyPath, required = true)]
    pub models: Vec<String>,
    /// Number format when a model is converted on the way [default: q8]
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<TypeArg>,
    /// What models must be signed with
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Plan for this board: a name that `kinglet boards` lists, or the path of a profile
    #[arg(long, value_name = "BOARD", conflicts_with = "all_boards")]
    pub board: Option<String>,
    /// Compare all models on all boards
    #[arg(long)]
    pub all_boards: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Print the limit of memory for a service of systemd, as kinglet@.service takes it
    #[arg(long, conflicts_with_all = ["json", "all_boards", "board"])]
    pub systemd: bool,
    /// Texts that go on in one pass, each with a cache of its own; at most 8
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub texts: u32,
    /// Session
    #[command(flatten)]
    pub session: SessionArgs,
}

/// Arguments of `kinglet boards`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Facts marked with * have no source that was checked.

Examples:
  kinglet boards
  kinglet boards show pi-5
  kinglet boards show ./mine.toml --json"
)]
pub struct BoardsArgs {
    /// What to do
    #[command(subcommand)]
    pub command: Option<BoardsCommand>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// What to do with boards.
#[derive(Debug, Subcommand)]
pub enum BoardsCommand {
    /// Show everything that is known about a board, with its source
    Show {
        /// A name that `kinglet boards` lists, the path of a profile, or `here`
        board: String,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `kinglet doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
With a model, a session is planned for it. Where there is a CUDA device, the model is tried on it
and on the processor, as `run` does before it takes the faster one.

Examples:
  kinglet doctor
  kinglet doctor smollm2-135m.q4.kinglet
  kinglet doctor smollm2-360m --type q4 --json")]
pub struct DoctorArgs {
    /// A .kinglet file, a Hugging Face folder, a .gguf file, a known name, or owner/name
    #[arg(value_hint = ValueHint::AnyPath)]
    pub model: Option<String>,
    /// Number format when MODEL is converted on the way [default: q8]
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<TypeArg>,
    /// What models must be signed with
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Session
    #[command(flatten)]
    pub session: SessionArgs,
}
