//! The arguments of `kinglet run`.

use crate::args::{GrammarArgs, ModelArgs, OverflowArg, SamplingArgs, SessionArgs, TextArgs};
use crate::units;
use clap::{Args, ValueHint};
use std::path::PathBuf;
use std::time::Duration;

/// Arguments of `kinglet run`.
#[derive(Debug, Args)]
#[command(after_help = "\
The prompt is continued as it stands, without a chat template; `kinglet chat` applies the
model's own. Without -p and -f the prompt is read from standard input.

Examples:
  kinglet run smollm2-135m-instruct -p \"def print_hello_world():\"
  kinglet run model.kinglet -f prompt.txt -n 64 --temp 0 --json
  git diff | kinglet run smollm2-360m --no-specials --stop END
  kinglet run model.kinglet -p \"Once\" --temp 0.8 --replies 4 --json --logprobs 3
  kinglet run model.kinglet -p \"A cat is \" --regex \"(small|large), (tame|wild)\"
  kinglet run model.kinglet -f mail.txt --json-schema order.schema.json > order.json
  kinglet run model.kinglet -f manual.txt -n 1 --save-state manual.state
  cat manual.txt question.txt | kinglet run model.kinglet --load-state manual.state")]
pub struct RunArgs {
    /// Which model
    #[command(flatten)]
    pub model: ModelArgs,
    /// Its text
    #[command(flatten)]
    pub text: TextArgs,
    /// Read special tokens such as <|im_start|> in the prompt as plain text: for text of others
    #[arg(long)]
    pub no_specials: bool,
    /// Tokens to generate at most; -1 for as many as fit
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 256)]
    #[arg(value_parser = units::parse_tokens, allow_hyphen_values = true)]
    pub max_tokens: u32,
    /// Time for prompt and reply, such as 10s: then the reply ends as it is
    #[arg(long, value_name = "TIME", value_parser = units::parse_deadline)]
    pub deadline: Option<Duration>,
    /// Go on after the model's end-of-text token
    #[arg(long)]
    pub ignore_eos: bool,
    /// Rest between tokens so that the board stays under this temperature
    #[arg(long, value_name = "CELSIUS", value_parser = units::parse_positive)]
    pub cool: Option<f32>,
    /// What happens when the context is full
    #[arg(long, value_name = "WAY", default_value = "stop")]
    pub ctx_overflow: OverflowArg,
    /// Replies to the prompt, made in one pass with seeds that follow one another; at most 8
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=8))]
    pub replies: u32,
    /// Tell with each token how probable it was, and the K most probable ones; needs --json
    #[arg(long, value_name = "K", requires = "json")]
    #[arg(value_parser = clap::value_parser!(u32).range(..=100))]
    pub logprobs: Option<u32>,
    /// Read a text that was saved: what the prompt has in common with it is not computed again
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(conflicts_with = "replies")]
    pub load_state: Option<PathBuf>,
    /// Save prompt and reply with their keys and values, for --load-state
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(conflicts_with = "replies")]
    pub save_state: Option<PathBuf>,
    /// Print the continuation alone; else a terminal shows the prompt in front of it
    #[arg(long)]
    pub no_echo: bool,
    /// Print one JSON document instead of streaming the text
    #[arg(long)]
    pub json: bool,
    /// Shape of the reply
    #[command(flatten)]
    pub grammar: GrammarArgs,
    /// Sampling
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Session
    #[command(flatten)]
    pub session: SessionArgs,
}
