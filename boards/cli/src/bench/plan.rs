//! The tests that the flags ask for: every combination.

use crate::args::BenchArgs;
use crate::bench::list::{Pair, numbers};
use crate::{settings, system};
use kinglet::{Backend, Code, Cpus, KvType, Result, SessionOptions, Work};
use kinglet_quant::ensure;
use std::fmt;

/// One test: what is timed, and in which session.
#[derive(Clone, Debug)]
pub struct Test {
    /// The model as the user named it.
    pub model: String,
    /// Tokens of the prompt; 0 when only generation is timed.
    pub prompt: usize,
    /// Tokens generated; 0 when only the prompt is timed.
    pub generated: usize,
    /// Texts that go on in one pass; with several, each generates as many tokens.
    pub texts: usize,
    /// Tokens in the context before the clock starts.
    pub depth: usize,
    /// Tokens of one step of prefill.
    pub batch: usize,
    /// How keys and values are stored.
    pub kv: KvType,
    /// Threads.
    pub threads: usize,
    /// Processors that the threads run on.
    pub cpus: Cpus,
    /// Whether every thread has a processor of its own.
    pub pin: bool,
    /// What to run on; `None` for the best of this machine.
    pub backend: Option<Backend>,
}

impl Test {
    /// The session in which the test runs.
    pub fn session_options(&self) -> SessionOptions {
        SessionOptions {
            texts: self.texts,
            context: Some((self.depth + self.prompt + self.generated).max(1)),
            kv: Some(self.kv),
            threads: Some(self.threads),
            batch: self.batch,
            backend: self.backend,
            work: Work { prompt_tokens: self.prompt, new_tokens: self.generated },
            cpus: Some(self.cpus.clone()),
            pin_threads: self.pin,
            ..SessionOptions::default()
        }
    }
}

/// The test's name in tables: `pp512`, `tg128 @ d2048`, `pp512+tg128`, `tg128 x4` for four texts.
impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.prompt, self.generated) {
            (prompt, 0) => write!(f, "pp{prompt}")?,
            (0, generated) => write!(f, "tg{generated}")?,
            (prompt, generated) => write!(f, "pp{prompt}+tg{generated}")?,
        }
        if self.depth > 0 {
            write!(f, " @ d{}", self.depth)?;
        }
        if self.texts > 1 {
            write!(f, " x{}", self.texts)?;
        }
        Ok(())
    }
}

/// Every combination of what the flags list, in the order in which llama-bench runs them.
///
/// `BadArgument` when nothing is left to test, for a tier that does not exist, and for values
/// that would be stored otherwise than keys.
pub fn tests(args: &BenchArgs) -> Result<Vec<Test>> {
    ensure!(
        args.cache_type_v.is_empty() || args.cache_type_v == args.kv,
        Code::BadArgument,
        "values are stored as keys are: leave --cache-type-v out, or let it name the same as --kv"
    );
    let mut tests = Vec::new();
    let names: Vec<&String> = args.models.iter().chain(&args.model).collect();
    let cpus = settings::cpus(args.cpus.as_ref());
    let (backends, threads) = (backends(args)?, threads(args, &cpus));
    for name in names {
        for &backend in &backends {
            for batch in numbers(&args.batch_size) {
                for &kv in &args.kv {
                    for &threads in &threads {
                        let (model, kv, cpus) = (name.clone(), kv.into(), cpus.clone());
                        let (prompt, generated, texts, depth) = (0, 0, 1, 0);
                        let test = Test {
                            model,
                            prompt,
                            generated,
                            texts,
                            depth,
                            batch,
                            kv,
                            threads,
                            cpus,
                            pin: args.pin,
                            backend,
                        };
                        tests.extend(variants(args, &test));
                    }
                }
            }
        }
    }
    ensure!(!tests.is_empty(), Code::BadArgument, "nothing to test: give -p, -n or -pg a number");
    Ok(tests)
}

/// The test at every depth with every number of texts, and everything that is timed there. A prompt
/// is one text's.
fn variants(args: &BenchArgs, test: &Test) -> Vec<Test> {
    let mut tests = Vec::new();
    for depth in numbers(&args.n_depth) {
        for texts in numbers(&args.texts) {
            for Pair { prompt, generated } in runs(args) {
                if texts == 1 || generated > 0 {
                    tests.push(Test { prompt, generated, texts, depth, ..test.clone() });
                }
            }
        }
    }
    tests
}

/// What is timed: prompts, then generations, then both together.
fn runs(args: &BenchArgs) -> Vec<Pair> {
    let prompts = numbers(&args.n_prompt).into_iter().map(|prompt| Pair { prompt, generated: 0 });
    let generations =
        numbers(&args.n_gen).into_iter().map(|generated| Pair { prompt: 0, generated });
    let all = prompts.chain(generations).chain(args.pg.iter().copied());
    all.filter(|pair| pair.prompt + pair.generated > 0).collect()
}

fn backends(args: &BenchArgs) -> Result<Vec<Option<Backend>>> {
    if args.tier.is_empty() {
        return Ok(vec![None]);
    }
    args.tier.iter().map(|name| Backend::from_name(name).map(Some)).collect()
}

fn threads(args: &BenchArgs, cpus: &Cpus) -> Vec<usize> {
    let threads = numbers(&args.threads);
    if threads.is_empty() { vec![cpus.default_threads(&system::root())] } else { threads }
}
