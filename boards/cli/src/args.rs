//! The command line as data: every command, flag and help text.

mod boards;
mod formats;
mod session;

use crate::bench::list::{Pair, Values};
use crate::units;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueHint};
use kinglet::Cpus;
use std::path::PathBuf;

pub use boards::{BoardsArgs, BoardsCommand, DoctorArgs, PlanArgs};
pub use formats::{Format, KvArg, TypeArg};
pub use session::{MemoryArgs, SessionArgs};

const AFTER_HELP: &str = "\
MODEL is a .kinglet file, a Hugging Face folder, a .gguf file, a known name such as
smollm2-135m-instruct, or an owner/name of the Hugging Face hub. What is not a .kinglet file
is fetched and converted once, into $KINGLET_HOME (else $XDG_CACHE_HOME/kinglet, else
~/.cache/kinglet).

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
    /// Print neither progress nor statistics
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
    /// Continue a text
    Run(RunArgs),
    /// Talk with an instruction-tuned model
    Chat(ChatArgs),
    /// Show the tokens of a text
    Tokenize(TokenizeArgs),
    /// Measure perplexity, and the distance to a reference model
    Eval(EvalArgs),
    /// Show the memory that a model needs and the speed to expect, on this or another board
    Plan(PlanArgs),
    /// Measure speed, with llama-bench's flags and fields
    Bench(BenchArgs),
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
}

/// How to choose tokens.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Temperature; 0 always takes the likeliest token
    #[arg(long, value_name = "T", default_value_t = 0.2, value_parser = units::parse_non_negative)]
    pub temp: f32,
    /// Choose among the K likeliest tokens only; 0 for all
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: u32,
    /// Choose among the likeliest tokens that together have probability P
    #[arg(long, value_name = "P", default_value_t = 0.9, value_parser = units::parse_fraction)]
    pub top_p: f32,
    /// Drop tokens less likely than P times the likeliest one
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = units::parse_fraction)]
    pub min_p: f32,
    /// Make tokens that already occurred less likely; 1 changes nothing
    #[arg(long, value_name = "R", default_value_t = 1.0, value_parser = units::parse_positive)]
    pub repeat_penalty: f32,
    /// Add BIAS to the logit of a token (repeatable)
    #[arg(long, value_name = "TOKEN=BIAS", value_parser = units::parse_bias)]
    pub logit_bias: Vec<(u32, f32)>,
    /// Seed of the random choices; the same seed gives the same text
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Compute the logits of all tokens, not only of those that can be chosen; slower
    #[arg(long)]
    pub exact_head: bool,
    /// Stop before this text (repeatable)
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub stop: Vec<String>,
    /// Generate one token at a time; guessing from the text so far changes only the speed
    #[arg(long)]
    pub no_speculation: bool,
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
  kinglet convert smollm2-360m -o 360m.kinglet --type q3 --calibrate mine.txt --mix up=q4")]
pub struct ConvertArgs {
    /// A Hugging Face folder, a .gguf file, a known name, or owner/name
    #[arg(value_name = "SRC", value_hint = ValueHint::AnyPath)]
    pub source: String,
    /// The file to write; an existing one is replaced once the new one is complete
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
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
  kinglet inspect smollm2-135m.kinglet --verify --json")]
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

/// Arguments of `kinglet run`.
#[derive(Debug, Args)]
#[command(after_help = "\
The prompt is continued as it stands, without a chat template; `kinglet chat` applies the
model's own. Without -p and -f the prompt is read from standard input.

Examples:
  kinglet run smollm2-135m-instruct -p \"def print_hello_world():\"
  kinglet run model.kinglet -f prompt.txt -n 64 --temp 0 --json
  git diff | kinglet run smollm2-360m --stop END")]
pub struct RunArgs {
    /// Which model
    #[command(flatten)]
    pub model: ModelArgs,
    /// The text to continue
    #[arg(short, long, value_name = "TEXT", conflicts_with = "file", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Read the prompt from a file
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// Tokens to generate at most
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 256)]
    pub max_tokens: u32,
    /// Go on after the model's end-of-text token
    #[arg(long)]
    pub ignore_eos: bool,
    /// Print one JSON document instead of streaming the text
    #[arg(long)]
    pub json: bool,
    /// Sampling
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Session
    #[command(flatten)]
    pub session: SessionArgs,
}

/// Arguments of `kinglet chat`.
#[derive(Debug, Args)]
#[command(after_help = "\
Within the chat: /reset forgets the conversation, /system TEXT sets the system message,
/quit or Ctrl-D ends. Ctrl-C stops a reply.

Examples:
  kinglet chat smollm2-135m-instruct
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
    pub max_tokens: Option<u32>,
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
    /// The text
    #[arg(short, long, value_name = "TEXT", conflicts_with = "file", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Read the text from a file
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
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
likeliest choice, once by its whole likelihood and once by that per byte.

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
    /// Chunks to score at most [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub chunks: Option<u32>,
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

/// Arguments of `kinglet bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
Flags that take N take lists and ranges, and may be repeated: 1,2 or 16-64+16 or 1-8*2. Every
combination is a test. -pg, -ctk, -ctv and -oe are read as llama-bench reads them.

A test of a prompt (ppN) feeds random tokens and computes the logits after the last one. A test
of generation (tgN) runs N steps of the model, one token at a time. Each step includes choosing
the likeliest token, which llama-bench leaves out, and decoding its text. Filling the context up
to a depth is not timed. Before the timed runs of a test, one run loads the model anew and
measures the time from opening the file to the first token.

Fields are those of llama-bench, with its neutral values where they mean nothing here, and:
  load_ns                   opening the file and making the session
  ttft_ns                   from opening the file to the first token after N tokens (tgN: 1)
  read_bytes_per_second     read bandwidth of memory on as many threads, beside each run
  bytes_per_token           weights and, at the mean depth, keys and values that a step reads
  wall_share                bytes_per_token × avg_ts / read_bytes_per_second
  multiply_adds_per_second  of the matrix products of a prompt; attention is left out
  peak_rss_bytes            resident memory, the mapped file included
  p50_ns, p99_ns            latency of one generated token
  tier                      what computed: kernels of the processor, or cuda

Examples:
  kinglet bench smollm2-135m.q4.kinglet -p 256 -n 128 -t 1,2
  kinglet bench a.kinglet b.kinglet -p 0 -n 64 -d 128,512,2048 -r 3 -o json
  kinglet bench model.kinglet --tier avx2 -pg 256,64 -o csv > results.csv")]
pub struct BenchArgs {
    /// Models: .kinglet files, Hugging Face folders, .gguf files, known names, or owner/name
    #[arg(value_name = "MODEL", value_hint = ValueHint::AnyPath, required_unless_present = "model")]
    pub models: Vec<String>,
    /// A further model, as llama-bench takes it
    #[arg(short, long, value_name = "MODEL", value_delimiter = ',')]
    pub model: Vec<String>,
    /// Number format when a model is converted on the way [default: q8]
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<TypeArg>,
    /// Tokens of a prompt; 0 leaves this test out
    #[arg(short = 'p', long, value_name = "N", default_value = "512")]
    pub n_prompt: Vec<Values>,
    /// Tokens to generate; 0 leaves this test out
    #[arg(short = 'n', long, value_name = "N", default_value = "128")]
    pub n_gen: Vec<Values>,
    /// A prompt and the tokens to generate after it, timed together (also -pg)
    #[arg(long, value_name = "PP,TG")]
    pub pg: Vec<Pair>,
    /// Tokens in the context before a test starts
    #[arg(short = 'd', long, visible_alias = "depth", value_name = "N", default_value = "0")]
    pub n_depth: Vec<Values>,
    /// Tokens that one step of prefill takes at most
    #[arg(short = 'b', long, visible_alias = "batch", value_name = "N", default_value = "64")]
    pub batch_size: Vec<Values>,
    /// Texts that go on in one pass when tokens are generated
    #[arg(long, value_name = "N", default_value = "1")]
    pub texts: Vec<Values>,
    /// Threads, the calling one included [default: one per processor of --cpus, at most 8]
    #[arg(short = 't', long, value_name = "N")]
    pub threads: Vec<Values>,
    /// Processors to run on, such as 0-3,6 [default: those of the highest capacity]
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<Cpus>,
    /// Number format of the key-value cache (also -ctk)
    #[arg(long, visible_alias = "cache-type-k", value_name = "TYPE", value_delimiter = ',')]
    #[arg(default_value = "int8")]
    pub kv: Vec<KvArg>,
    /// Must be the same as --kv, since values are stored as keys are (also -ctv)
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    pub cache_type_v: Vec<KvArg>,
    /// What to compute with, such as scalar, avx2 or cuda [default: the fastest for each test]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub tier: Vec<String>,
    /// Timed runs of every test
    #[arg(short, long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub repetitions: u32,
    /// Time the first run already; the time to the first token is then not measured
    #[arg(long)]
    pub no_warmup: bool,
    /// Memory
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// What to print on standard output
    #[arg(short, long, value_name = "FORMAT", default_value = "md")]
    pub output: Format,
    /// What to print on standard error besides (also -oe)
    #[arg(long, value_name = "FORMAT")]
    pub output_err: Option<Format>,
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
