//! The flags of a session.

use crate::args::KvArg;
use crate::units;
use clap::Args;
use kinglet::Cpus;

/// How to set a session up.
#[derive(Debug, Args)]
#[command(next_help_heading = "Session")]
pub struct SessionArgs {
    /// Positions of the context [default: 2048 or the model's own if smaller; eval: 512, or what
    /// the longest of its questions takes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub ctx: Option<u32>,
    /// Number format of the key-value cache [default: int8, which costs some exactness and takes
    /// half the memory of f16; f16 for models whose weights are not quantized]
    #[arg(long, value_name = "TYPE")]
    pub kv: Option<KvArg>,
    /// Threads, the calling one included [default: one per processor of --cpus, at most
    /// 8 and what control groups give; at most 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub threads: Option<u32>,
    /// Processors to run on, such as 0-3,6 [default: those of the highest capacity]
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<Cpus>,
    /// Bind every thread to a processor of its own; two processes that do so share processors
    #[arg(long)]
    pub pin: bool,
    /// Tokens that one step of prefill takes at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: Option<u32>,
    /// What to compute with, such as scalar, avx2 or cuda [default: the fastest this machine has]
    #[arg(long, value_name = "NAME")]
    pub tier: Option<String>,
    /// Memory
    #[command(flatten)]
    pub memory: MemoryArgs,
}

/// How much memory a process may take.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Memory")]
pub struct MemoryArgs {
    /// What the whole process may take, such as 112MB or 1.5GiB: the context becomes what fits
    #[arg(long, value_name = "BYTES", value_parser = units::parse_bytes)]
    pub memory_budget: Option<u64>,
    /// Keep file and session in memory, where the system allows it
    #[arg(long)]
    pub mlock: bool,
    /// Run a model that is larger than the memory left, reading it from disk again and again
    #[arg(long)]
    pub allow_paging: bool,
}
