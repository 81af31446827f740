//! One test of `kinglet bench`.

use crate::report::fields::{Fields, MOST, MOST_BYTES, MOST_TOKENS};
use crate::report::power::{CELSIUS, MOST_WATTS, Power};
use kinglet::Result;
use kinglet_machine::roofline::{Unit, Width, Work};

/// What a test measured, as far as a page shows it.
#[derive(Debug)]
pub struct Test {
    /// The file that it is from.
    pub file: String,
    /// The processor.
    pub processor: String,
    /// The processor, or the GPU where that computed.
    pub machine: String,
    /// The model's file, without folder and ending.
    pub model: String,
    /// Number format of the weights.
    pub kind: String,
    /// Bytes of the model's file.
    pub file_bytes: f64,
    /// Tokens that one step of prefill takes at most.
    pub batch: f64,
    /// Threads.
    pub threads: f64,
    /// Number format of the cache.
    pub kv: String,
    /// Tokens of the prompt.
    pub prompt: f64,
    /// Tokens that were generated.
    pub generated: f64,
    /// Tokens in the context before.
    pub depth: f64,
    /// Texts in one pass.
    pub texts: f64,
    /// Tokens per second, and the standard deviation of the repeats.
    pub speed: f64,
    /// See `speed`.
    pub deviation: f64,
    /// Bytes that a generated token reads.
    pub bytes_per_token: Option<f64>,
    /// Read bandwidth of memory, measured beside the test.
    pub read_bytes_per_second: Option<f64>,
    /// Multiply-adds of a token in all layers, and in the head.
    pub multiply_adds: [f64; 2],
    /// Layers.
    pub layers: f64,
    /// What computed.
    pub tier: String,
    /// Whether the board slowed itself down, and why.
    pub throttled: Option<bool>,
    /// See `throttled`.
    pub throttle_flags: Option<String>,
    /// Energy.
    pub power: Option<Power>,
    /// How a long test went on.
    pub curve: Vec<Point>,
}

/// A part of a long test.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Seconds from the start of the test to the end of this part.
    pub seconds: f64,
    /// Speed in this part.
    pub speed: f64,
    /// Mean power.
    pub watts: Option<f64>,
    /// The hottest part of the board then.
    pub celsius: Option<f64>,
    /// The fastest processor then, in MHz.
    pub megahertz: Option<f64>,
}

/// What a test does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Reading a prompt.
    Prefill,
    /// Generating.
    Decode,
    /// A prompt and an answer in turn.
    Both,
}

impl Test {
    /// Reads a document of `file`. `BadArgument` for one that makes no sense.
    pub fn read(file: &str, fields: &Fields<'_>) -> Result<Self> {
        let tokens = |name| fields.number(name, MOST_TOKENS);
        let gpu = fields.optional_text("gpu_info")?.filter(|gpu| !gpu.is_empty());
        let processor = fields.text("cpu_info")?;
        let machine = gpu.unwrap_or_else(|| processor.clone());
        let kind = fields.text("model_type")?;
        let adds = |name| fields.number(name, MOST);
        let test = Self {
            file: file.to_owned(),
            processor,
            machine: if machine.is_empty() { "unnamed processor".into() } else { machine },
            model: stem(&fields.text("model_filename")?),
            kind: kind.split(' ').next_back().unwrap_or_default().to_owned(),
            file_bytes: fields.number("model_size", MOST_BYTES)?,
            batch: tokens("n_batch")?,
            threads: tokens("n_threads")?,
            kv: fields.text("type_k")?,
            prompt: tokens("n_prompt")?,
            generated: tokens("n_gen")?,
            depth: tokens("n_depth")?,
            texts: tokens("texts")?,
            speed: fields.number("avg_ts", MOST)?,
            deviation: fields.number("stddev_ts", MOST)?,
            bytes_per_token: fields.optional_number("bytes_per_token", MOST_BYTES)?,
            read_bytes_per_second: fields.optional_number("read_bytes_per_second", MOST)?,
            multiply_adds: [adds("layer_multiply_adds")?, adds("head_multiply_adds")?],
            layers: tokens("n_layers")?,
            tier: fields.text("tier")?,
            throttled: fields.optional_flag("throttled")?,
            throttle_flags: fields.optional_text("throttle_flags")?,
            power: fields.object("power")?.map(|power| Power::read(&power)).transpose()?,
            curve: fields.objects("curve")?.iter().map(Point::read).collect::<Result<_>>()?,
        };
        for (name, number) in [
            ("avg_ts", test.speed),
            ("n_batch", test.batch),
            ("n_prompt + n_gen", test.prompt + test.generated),
            ("model_size", test.file_bytes),
            ("layer_multiply_adds", test.multiply_adds[0]),
        ] {
            fields.ensure_above_0(name, number)?;
        }
        Ok(test)
    }

    /// What it does.
    pub fn task(&self) -> Task {
        match (self.prompt > 0.0, self.generated > 0.0) {
            (true, true) => Task::Both,
            (true, false) => Task::Prefill,
            _ => Task::Decode,
        }
    }

    /// Its name as bench prints it, without the depth: `pp512`, `tg128` or `pp512+tg128`.
    pub fn name(&self) -> String {
        let Self { prompt, generated, .. } = self;
        match self.task() {
            Task::Prefill => format!("pp{prompt}"),
            Task::Decode => format!("tg{generated}"),
            Task::Both => format!("pp{prompt}+tg{generated}"),
        }
    }

    /// The same, and whether it went on for long.
    pub fn title(&self) -> String {
        self.name() + if self.is_long() { ", long" } else { "" }
    }

    /// Whether it went on for long, to show how speed changes.
    pub fn is_long(&self) -> bool {
        !self.curve.is_empty()
    }

    /// What computed.
    pub fn unit(&self) -> Unit {
        if self.tier == "cuda" { Unit::Gpu } else { Unit::Processor }
    }

    /// How its weights are stored.
    pub fn width(&self) -> Width {
        match self.kind.as_str() {
            "f32" | "bf16" => Width::Floats,
            "q8" | "q8p" => Width::Bits8,
            _ => Width::Below8,
        }
    }

    /// What it asks of a board.
    pub fn work(&self) -> Work {
        Work {
            decode_bytes: self.bytes_per_token.unwrap_or(self.file_bytes),
            layers: self.layers,
            layer_multiply_adds: self.multiply_adds[0],
            head_multiply_adds: self.multiply_adds[1],
            width: self.width(),
        }
    }
}

impl Point {
    fn read(fields: &Fields<'_>) -> Result<Self> {
        Ok(Self {
            seconds: fields.number("seconds", MOST_TOKENS)?,
            speed: fields.number("tokens_per_second", MOST)?,
            watts: fields.optional_number("watts", MOST_WATTS)?,
            celsius: fields.between("celsius", CELSIUS[0], CELSIUS[1])?,
            megahertz: fields.optional_number("megahertz", MOST_TOKENS)?,
        })
    }
}

impl Task {
    /// What a legend calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Prefill => "reading a prompt",
            Self::Decode => "generating",
            Self::Both => "reading and generating in turn",
        }
    }
}

/// The name of a model's file, without folder and ending.
pub fn stem(path: &str) -> String {
    let name = path.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or(path);
    name.strip_suffix(".kinglet").unwrap_or(name).to_owned()
}
