//! The command line as data: every command, flag and help text.

mod adapter;
mod bench;
mod boards;
mod embed;
mod formats;
mod grammar;
mod report;
mod run;
mod sampling;
mod schema;
#[cfg(feature = "serve")]
mod serve;
mod session;
mod sign;
mod text;
mod tools;
mod trust;

use crate::units;
use clap::{Args, Parser, Subcommand, ValueHint};
use std::path::PathBuf;
use std::time::Duration;

pub use adapter::AdapterArg;
pub use bench::BenchArgs;
pub use boards::{BoardsArgs, BoardsCommand, DoctorArgs, PlanArgs};
pub use embed::EmbedArgs;
pub use formats::{Format, KvArg, OverflowArg, TypeArg};
pub use grammar::GrammarArgs;
pub use report::ReportArgs;
pub use run::RunArgs;
pub use sampling::SamplingArgs;
pub use schema::CompileSchemaArgs;
#[cfg(feature = "serve")]
pub use serve::ServeArgs;
pub use session::{MemoryArgs, SessionArgs};
pub use sign::SignArgs;
pub use text::TextArgs;
pub use tools::ToolArgs;
pub use trust::TrustArgs;

const AFTER_HELP: &str = "\
MODEL is a .kinglet file, a Hugging Face folder, a .gguf file, a known name such as
smollm2-135m-instruct, or an owner/name of the Hugging Face hub. What is not a .kinglet file
is fetched and converted once, into $KINGLET_HOME (else kinglet in $XDG_CACHE_HOME or
~/.cache; on macOS in ~/Library/Caches, on Windows in %LOCALAPPDATA%).

Examples:
  kinglet run smollm2-135m-instruct -p \"def print_hello_world():\"
  kinglet chat smollm2-360m-instruct --type q4
  kinglet convert ./SmolLM2-1.7B -o smollm2-1.7b.q4.kinglet --type q4
  kinglet plan smollm2-1.7b --type q4 --ctx 4096 --kv int8

Exit codes: 0 success, 1 a file, the network or the machine failed, 2 the request makes no
sense, 130 interrupted.";

/// Runs SmolLM language models on small computers.
#[derive(Debug, Parser)]
#[command(name = "kinglet", version, max_term_width = 100, after_help = AFTER_HELP)]
#[command(propagate_version = true, disable_help_subcommand = true, arg_required_else_help = true)]
pub struct Cli {
    /// Print neither progress nor statistics, nor the table of a conversion
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fetch a model into the cache
    Pull(PullArgs),
    /// Convert a checkpoint into a .kinglet file
    Convert(ConvertArgs),
    /// Show what a .kinglet file holds
    Inspect(InspectArgs),
    /// Sign a .kinglet file, so that boards can tell it from others
    Sign(SignArgs),
    /// Continue a text
    Run(RunArgs),
    /// Talk with an instruction-tuned model
    Chat(ChatArgs),
    /// Compile a JSON schema into a table, for replies on boards without an operating system
    CompileSchema(CompileSchemaArgs),
    /// Answer other programs over HTTP, by the protocols of OpenAI and Ollama
    #[cfg(feature = "serve")]
    Serve(ServeArgs),
    /// Show the tokens of a text
    Tokenize(TokenizeArgs),
    /// Turn texts into vectors that can be compared
    Embed(EmbedArgs),
    /// Measure perplexity, and the distance to a reference model
    Eval(EvalArgs),
    /// Show the memory that a model needs and the speed to expect, on this or another board
    Plan(PlanArgs),
    /// Measure speed, with llama-bench's flags and fields
    Bench(BenchArgs),
    /// Write a page with pictures of what bench and plan have written
    Report(ReportArgs),
    /// Show what this machine has, and what a model runs on
    Doctor(DoctorArgs),
    /// List the boards that Kinglet knows, or show one
    Boards(BoardsArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Write the manual pages into a folder, for packages
    #[command(hide = true)]
    Man(ManArgs),
}

/// Which model.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// A .kinglet file, a Hugging Face folder, a .gguf file, a known name, or owner/name
    #[arg(value_hint = ValueHint::AnyPath)]
    pub model: String,
    /// Number format when MODEL is converted on the way [default: q8]
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<TypeArg>,
    /// What it must be signed with
    #[command(flatten)]
    pub trust: TrustArgs,
}

/// Arguments of `kinglet pull`.
#[derive(Debug, Args)]
#[command(after_help = "\
Honours HF_ENDPOINT and HF_TOKEN. An interrupted download continues where it stopped.

Examples:
  kinglet pull smollm2-135m-instruct
  kinglet pull HuggingFaceTB/SmolLM-360M
  kinglet pull --list")]
pub struct PullArgs {
    /// A known name, or owner/name of the Hugging Face hub
    #[arg(required_unless_present = "list")]
    pub name: Option<String>,
    /// List the known names
    #[arg(long, conflicts_with = "name")]
    pub list: bool,
}

/// Arguments of `kinglet convert`.
#[derive(Debug, Args)]
#[command(after_help = "\
Types below 8 bits are calibrated: channels are re-scaled exactly, and weights are rounded so
that every layer computes nearly the same on a text. This takes minutes, and the command says
how many. A conversion that was stopped continues when the same command runs again.

Examples:
  kinglet convert ./SmolLM2-135M-Instruct -o smollm2-135m.kinglet
  kinglet convert model.Q4_K_M.gguf -o model.q4.kinglet --type q4
  kinglet convert smollm2-135m -o mine.kinglet --type q4 --lora ./style --lora task.gguf=0.5
  kinglet convert smollm2-360m -o 360m.kinglet --type q3 --calibrate mine.txt --mix up=q4")]
pub struct ConvertArgs {
    /// A Hugging Face folder, a .gguf file, a known name, or owner/name
    #[arg(value_name = "SRC", value_hint = ValueHint::AnyPath)]
    pub source: String,
    /// The file to write; an existing one is replaced once the new one is complete
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// Merge a LoRA adapter, a folder as peft writes it or a GGUF file, multiplied by SCALE where
    /// one is given (repeatable)
    #[arg(long, value_name = "DIR[=SCALE]", value_hint = ValueHint::AnyPath)]
    pub lora: Vec<AdapterArg>,
    /// Number format of the weights
    #[arg(long = "type", value_name = "TYPE", default_value = "q8")]
    pub kind: TypeArg,
    /// A text on which to keep the model's outputs, or `none` to round every weight to the nearest
    /// code [default: the model writes a text itself; `none` for bf16 and q8]
    #[arg(long, value_name = "FILE|none", value_hint = ValueHint::FilePath)]
    pub calibrate: Option<PathBuf>,
    /// Store classes of matrices in other formats, such as v=q5,gate=q4g32; alone, show the
    /// classes and their sizes and stop
    #[arg(long, value_name = "CLASS=TYPE,..", num_args = 0..=1, default_missing_value = "")]
    pub mix: Option<String>,
    /// Threads [default: one per fast processor, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Print the table of tensors as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `kinglet inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinglet inspect smollm2-135m.kinglet
  kinglet inspect smollm2-135m.kinglet --verify --json
  kinglet inspect signed.kinglet --require-key fleet.pub")]
pub struct InspectArgs {
    /// Which model
    #[command(flatten)]
    pub model: ModelArgs,
    /// Read the whole file and compare every checksum
    #[arg(long)]
    pub verify: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `kinglet chat`.
#[derive(Debug, Args)]
#[command(after_help = "\
Within the chat: /reset forgets the conversation, /system TEXT sets the system message,
/quit or Ctrl-D ends. Ctrl-C stops a reply. With --tools, calls are printed as the model writes
them, and /result TEXT tells what the function returned, once for each call in their order.

Examples:
  kinglet chat smollm2-135m-instruct
  kinglet chat smollm2-1.7b-instruct --tools functions.json
  echo \"What is the capital of France?\" | kinglet chat smollm2-360m-instruct --temp 0")]
pub struct ChatArgs {
    /// Which model
    #[command(flatten)]
    pub model: ModelArgs,
    /// System message [default: the template's own]
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Tokens of one reply at most [default: as many as fit]
    #[arg(short = 'n', long = "tokens", value_name = "N")]
    #[arg(value_parser = units::parse_tokens, allow_hyphen_values = true)]
    pub max_tokens: Option<u32>,
    /// Time for the prompt and one reply, such as 10s: then the reply ends as it is
    #[arg(long, value_name = "TIME", value_parser = units::parse_deadline)]
    pub deadline: Option<Duration>,
    /// What happens when the context is full
    #[arg(long, value_name = "WAY", default_value = "stop")]
    pub ctx_overflow: OverflowArg,
    /// Shape of the reply
    #[command(flatten)]
    pub grammar: GrammarArgs,
    /// Functions
    #[command(flatten)]
    pub tools: ToolArgs,
    /// Sampling
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Session
    #[command(flatten)]
    pub session: SessionArgs,
}

/// Arguments of `kinglet tokenize`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without -p and -f the text is read from standard input.

Examples:
  kinglet tokenize smollm2-135m -p \"Hello world\"
  kinglet tokenize smollm2-135m -p \"<|im_start|>user\" --json")]
pub struct TokenizeArgs {
    /// Which model
    #[command(flatten)]
    pub model: ModelArgs,
    /// Its text
    #[command(flatten)]
    pub text: TextArgs,
    /// Read special tokens such as <|im_start|> as plain text
    #[arg(long)]
    pub no_specials: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `kinglet eval`.
#[derive(Debug, Args)]
#[command(after_help = "\
The text is cut into chunks of --ctx tokens; each starts from an empty context, and its second
half is scored, as llama.cpp's perplexity tool does. Questions are lines of
{\"context\": TEXT, \"choices\": [TEXT, ..], \"answer\": N}, N from 0; they are answered by the
likeliest choice: by its whole likelihood (acc of lm-eval), by that per character (acc_norm; a
blank in front of a choice does not count) and by that per byte. Each has its standard error.

Examples:
  kinglet eval model.q8.kinglet --text wiki.txt --ctx 512 --chunks 24
  kinglet eval model.q4.kinglet --text wiki.txt --reference model.bf16.kinglet --json
  kinglet eval model.q4.kinglet --choices hellaswag.jsonl")]
pub struct EvalArgs {
    /// Which model
    #[command(flatten)]
    pub model: ModelArgs,
    /// The text to score, UTF-8
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(required_unless_present = "choices")]
    pub text: Option<PathBuf>,
    /// Multiple-choice questions to answer instead, one JSON object a line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(conflicts_with_all = ["text", "chunks", "reference"])]
    pub choices: Option<PathBuf>,
    /// Questions that are answered in one pass, each with a cache of its own [default: 8, or what
    /// fits into memory]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8))]
    #[arg(conflicts_with = "text")]
    pub texts: Option<u32>,
    /// Chunks to score at most [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub chunks: Option<u32>,
    /// Score the text as one that never ends, going on as `run --ctx-overflow slide` does
    #[arg(long, value_name = "WAY", default_value = "stop")]
    #[arg(conflicts_with_all = ["choices", "reference"])]
    pub ctx_overflow: OverflowArg,
    /// Model to compare with, its cache in f16: adds KL divergence and agreement
    #[arg(long, value_name = "OTHER", value_hint = ValueHint::AnyPath)]
    pub reference: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Session
    #[command(flatten)]
    pub session: SessionArgs,
}

/// Arguments of `kinglet completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinglet completions bash > ~/.local/share/bash-completion/completions/kinglet
  kinglet completions zsh > ~/.zfunc/_kinglet
  kinglet completions fish > ~/.config/fish/completions/kinglet.fish")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Arguments of `kinglet man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// A folder that exists
    #[arg(value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
}
