//! The formats of numbers and documents that the command line names.

use clap::ValueEnum;
use kinglet::{KvType, Overflow};
use kinglet_quant::arrange::Preset;

/// Number format of converted weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TypeArg {
    /// 16 bits per weight, as trained
    Bf16,
    /// 8 bits per weight, near-lossless
    Q8,
    /// 5 bits
    Q5,
    /// 4 bits, the best for most boards
    Q4,
    /// 3 bits
    Q3,
    /// 4 bits for the vocabulary too: the smallest file
    Q4s,
}

impl From<TypeArg> for Preset {
    fn from(arg: TypeArg) -> Self {
        match arg {
            TypeArg::Bf16 => Self::Bf16,
            TypeArg::Q8 => Self::Q8,
            TypeArg::Q5 => Self::Q5,
            TypeArg::Q4 => Self::Q4,
            TypeArg::Q3 => Self::Q3,
            TypeArg::Q4s => Self::Q4s,
        }
    }
}

/// Number format of the key-value cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KvArg {
    /// 16-bit floats
    F16,
    /// Bytes with a scale per head and token: half the memory
    #[value(alias = "q8_0")]
    Int8,
}

impl From<KvArg> for KvType {
    fn from(arg: KvArg) -> Self {
        match arg {
            KvArg::F16 => Self::F16,
            KvArg::Int8 => Self::Int8,
        }
    }
}

/// What happens when the context is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OverflowArg {
    /// The reply ends
    Stop,
    /// The text goes on with its first 4 tokens and its last ones, half of the context
    Slide,
}

impl From<OverflowArg> for Overflow {
    fn from(arg: OverflowArg) -> Self {
        match arg {
            OverflowArg::Stop => Self::Stop,
            OverflowArg::Slide => Self::SLIDE,
        }
    }
}

/// Format of a document that programs or people read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Comma-separated values
    Csv,
    /// One JSON array
    Json,
    /// A JSON object on every line
    Jsonl,
    /// A Markdown table
    Md,
    /// Statements that fill a table of SQLite
    Sql,
}
