//! From command-line flags to the library's options.

use crate::args::{SamplingArgs, SessionArgs};
use kinglet::{Backend, Code, Config, Cpus, Result, Root, Sampling, SessionOptions};
use kinglet_quant::ensure;

/// The session that the flags ask for.
pub fn session_options(args: &SessionArgs) -> Result<SessionOptions> {
    let default = SessionOptions::default();
    Ok(SessionOptions {
        context: args.ctx.map(|n| n as usize),
        kv: args.kv.into(),
        threads: args.threads.map(|n| n as usize),
        batch: args.batch.map_or(default.batch, |n| n as usize),
        backend: args.tier.as_deref().map(Backend::from_name).transpose()?,
        cpus: Some(cpus(args.cpus.as_ref())),
        pin_threads: true,
        memory_budget_bytes: args.memory_budget.map(bytes),
        lock_memory: args.mlock,
        ..default
    })
}

/// As many bytes as this machine can address at most.
fn bytes(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The processors that the flag names, else the fastest. Call it before the first session is
/// made: a session binds its caller to one processor, and a later call would find only that one.
pub fn cpus(flag: Option<&Cpus>) -> Cpus {
    flag.cloned().unwrap_or_else(|| Cpus::fastest(&Root::here()))
}

/// The way of choosing tokens that the flags ask for. `TokenOutOfRange` for a bias of a token that
/// the model does not have.
pub fn sampling<'a>(args: &'a SamplingArgs, config: &Config) -> Result<Sampling<'a>> {
    for (token, _) in &args.logit_bias {
        ensure!(
            *token < config.vocab_size,
            Code::TokenOutOfRange,
            "--logit-bias names token {token}: the model has {} tokens",
            config.vocab_size
        );
    }
    Ok(Sampling {
        logit_bias: &args.logit_bias,
        repetition_penalty: args.repeat_penalty,
        temperature: args.temp,
        top_k: args.top_k as usize,
        top_p: args.top_p,
        min_p: args.min_p,
        seed: args.seed,
        ..Sampling::default()
    })
}
