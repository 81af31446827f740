//! What kernels take, and what compiling them takes.

use kinglet::{KvType, Model, Type};
use kinglet_backends::{Checker, Cuda, CudaEngine, LaunchTime, Program, Ptx};
use kinglet_core::engine::{Chunk, Logits};
use kinglet_core::plan::{Limits, Plan};
use kinglet_core::screen::Screen;
use std::time::{Duration, Instant};

/// Turns off what the driver keeps of compiled kernels.
pub const NO_CACHE: (&str, &str) = ("CUDA_CACHE_DISABLE", "1");

/// A kernel that does nothing.
const EMPTY: &str = ".version 6.5\n.target sm_72\n.address_size 64\n\
                     .visible .entry empty()\n{\nret;\n}\n";

/// Tokens of the pass that stands for reading.
const READ: usize = 64;
/// Tokens of the pass that stands for guesses, which are checked together.
const GUESSED: usize = 4;

/// How long the driver takes for the kernels, which nothing has compiled before.
pub fn compiling(cuda: Cuda, ptx: Ptx) -> Duration {
    assert_eq!(std::env::var(NO_CACHE.0).as_deref(), Ok(NO_CACHE.1), "the driver may not compile");
    // The device is opened and the compiler loaded before.
    let _opened = Program::new(cuda, EMPTY).unwrap();
    let start = Instant::now();
    let _checker = Checker::new(cuda, ptx).unwrap();
    start.elapsed()
}

/// The launches of a pass.
pub struct Pass {
    /// What the pass stands for.
    pub name: String,
    /// What each launch takes.
    pub launches: Vec<LaunchTime>,
}

/// In the middle of a context: a token, guesses, and the end of a prompt. Of each, only the
/// likeliest next tokens are asked.
pub fn passes(cuda: Cuda, ptx: Ptx, model: &Model) -> Vec<Pass> {
    let context = (model.config().max_context as usize).min(2048);
    let tokens = READ.min(context / 2);
    let (texts, workers, kv) = (1, 1, KvType::Int8);
    let limits = Limits { texts, context, batch: tokens, logit_rows: GUESSED, workers, kv };
    let plan = Plan::new(&model.file(), &limits).unwrap().without_engine();
    let mut engine = CudaEngine::with_kernels(cuda, ptx, model.file(), plan).unwrap();
    let is_planes = model.file().head().kind() == Type::Q8Planes;
    let screen = Some(Screen { reach: 0.0, top: 1 }).filter(|_| is_planes);
    let vocab = model.config().vocab_size;
    let prompt: Vec<u32> = (0..tokens as u32).map(|i| (i * 7 + 30) % vocab).collect();
    let first = context / 2;
    let passes = [(1, Logits::Last), (GUESSED, Logits::All), (tokens, Logits::Last)];
    let timed = passes.map(|(count, logits)| {
        let chunk = Chunk { text: 0, first, tokens: &prompt[..count], logits, screen };
        let launches = engine.times(&[chunk]).unwrap();
        let what = if count == 1 { "a token".to_owned() } else { format!("{count} tokens") };
        Pass { name: format!("{what} at {first}"), launches }
    });
    timed.into()
}

impl Pass {
    /// All launches, in nanoseconds.
    pub fn total_ns(&self) -> u64 {
        self.launches.iter().map(|time| time.launches as u64 * time.launch_ns).sum()
    }
}
