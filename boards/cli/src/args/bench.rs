//! The arguments of `kinglet bench`.

use super::{Format, KvArg, MemoryArgs, TrustArgs, TypeArg};
use crate::bench::list::{Pair, Values};
use crate::units;
use clap::{Args, ValueHint};
use kinglet::Cpus;
use kinglet_machine::power::Request;
use std::time::Duration;

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
  texts                     texts that went on in one pass
  n_layers                  layers of the model
  layer_multiply_adds       of a token in all layers; head_multiply_adds of the head
  watts                     mean power of the test, with what the idle board draws
  joules_per_token          energy of the test by its tokens
  tokens_per_joule          its inverse; tokens/s per watt is the same number
  throttled                 whether the board slowed itself down; throttle_flags says why
  rested_ns                 time without work that --cool took
  power, curve              JSON only: the whole record of --power, and the points of --sustain

With --power, a test is run again and again until reading and writing have each lasted
--power-seconds, and speed and energy come from the same runs. SENSOR is one of:
  auto             the first that is there, in this order
  rapl             energy counters of an x86 processor's packages
  ina3221          Jetson: the module's input, else the sum of its rails; ina3221:RAIL for one
  ina238           Jetson Thor: the board's input
  pmic             Raspberry Pi 5: the board's input, estimated from the rails
  hwmon:NAME       a chip in /sys/class/hwmon such as ina226, or its place such as 1-0040
  command:COMMAND  anything that prints watts

Examples:
  kinglet bench smollm2-135m.q4.kinglet -p 256 -n 128 -t 1,2
  kinglet bench a.kinglet b.kinglet -p 0 -n 64 -d 128,512,2048 -r 3 -o json
  kinglet bench model.kinglet --tier avx2 -pg 256,64 -o csv > results.csv
  kinglet bench model.kinglet -p 256 -n 128 --power auto -o json > energy.json
  kinglet bench model.kinglet -p 0 -n 128 --sustain 10m --cool 75")]
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
    /// What models must be signed with
    #[command(flatten)]
    pub trust: TrustArgs,
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
    /// Threads, the calling one included [default: one per processor of --cpus, at most
    /// 8 and what control groups give; at most 64]
    #[arg(short = 't', long, value_name = "N")]
    pub threads: Vec<Values>,
    /// Processors to run on, such as 0-3,6 [default: those of the highest capacity]
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<Cpus>,
    /// Bind every thread to a processor of its own; two processes that do so share processors
    #[arg(long)]
    pub pin: bool,
    /// Number format of the key-value cache, for every model alike (also -ctk)
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
    /// Measure energy with this sensor, beside the speed
    #[arg(long, value_name = "SENSOR", help_heading = "Energy")]
    pub power: Option<Request>,
    /// Seconds that reading and writing last at least when energy is measured
    #[arg(long, value_name = "N", default_value_t = 60, help_heading = "Energy")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=86400), requires = "power")]
    pub power_seconds: u32,
    /// Go on for this long, such as 10m, and record how speed, power and temperature change
    #[arg(long, value_name = "TIME", help_heading = "Energy")]
    #[arg(value_parser = units::parse_time)]
    pub sustain: Option<Duration>,
    /// Rest between tokens so that the board stays under this temperature
    #[arg(long, value_name = "CELSIUS", help_heading = "Energy")]
    #[arg(value_parser = units::parse_positive)]
    pub cool: Option<f32>,
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
