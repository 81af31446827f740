//! The flags of how tokens are chosen.

use crate::units;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;

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
    /// Make tokens that occurred in the reply less likely, as the OpenAI protocol defines it
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    #[arg(value_parser = units::parse_number)]
    pub presence_penalty: f32,
    /// Make them less likely with each time that they occurred
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    #[arg(value_parser = units::parse_number)]
    pub frequency_penalty: f32,
    /// Count for these two what the prompt has, too
    #[arg(long)]
    pub penalize_prompt: bool,
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
