//! From command-line flags to the library's options.

use crate::args::{MemoryArgs, SamplingArgs, SessionArgs};
use crate::units::Bytes;
use crate::{out, system};
use kinglet::{Backend, Code, Config, Cpus, Model, Result, Root, Sampling, SessionOptions};
use kinglet_quant::ensure;

/// The session that the flags ask for.
pub fn session_options(args: &SessionArgs) -> Result<SessionOptions> {
    let default = SessionOptions::default();
    Ok(SessionOptions {
        context: args.ctx.map(|n| n as usize),
        kv: args.kv.map(Into::into),
        threads: args.threads.map(|n| n as usize),
        batch: args.batch.map_or(default.batch, |n| n as usize),
        backend: args.tier.as_deref().map(Backend::from_name).transpose()?,
        cpus: Some(cpus(args.cpus.as_ref())),
        pin_threads: args.pin,
        memory_budget_bytes: args.memory.memory_budget.map(bytes),
        lock_memory: args.memory.mlock,
        ..default
    })
}

/// The options with what the memory allows: what fits into a budget, else `Resource` for a process
/// that is larger than what this machine has left, unless paging is allowed.
pub fn fitted(
    model: &Model,
    options: &SessionOptions,
    memory: &MemoryArgs,
) -> Result<SessionOptions> {
    let Some(budget) = memory.memory_budget.map(bytes) else {
        if !memory.allow_paging {
            check_memory(model, options)?;
        }
        return Ok(SessionOptions { lock_memory: memory.mlock, ..options.clone() });
    };
    let fitted = model.fit(options, budget)?;
    if options.context.is_none() {
        let context = fitted.context.expect("a budget chooses a context");
        out::note(format_args!("context {context} is what fits into {}", Bytes(budget as u64)));
    }
    // What was fitted must not be fitted again, since the process has grown meanwhile.
    Ok(SessionOptions { memory_budget_bytes: None, lock_memory: memory.mlock, ..fitted })
}

/// `Resource` when model and session need more than this machine has left.
fn check_memory(model: &Model, options: &SessionOptions) -> Result<()> {
    let Some(usable) = system::available_bytes() else { return Ok(()) };
    let footprint = model.footprint(options)?;
    let needed = (footprint.total_bytes() - footprint.program_bytes) as u64;
    ensure!(
        needed <= usable,
        Code::Resource,
        "file and session need {}, this machine has {} left: lower --ctx, take a smaller model or \
         type, or --allow-paging to read it from disk again and again",
        Bytes(needed),
        Bytes(usable)
    );
    Ok(())
}

/// As many bytes as this machine can address at most.
fn bytes(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The processors that the flag names, else the fastest.
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
        presence_penalty: args.presence_penalty,
        frequency_penalty: args.frequency_penalty,
        penalizes_prompt: args.penalize_prompt,
        temperature: args.temp,
        top_k: args.top_k as usize,
        top_p: args.top_p,
        min_p: args.min_p,
        seed: args.seed,
        ..Sampling::default()
    })
}
