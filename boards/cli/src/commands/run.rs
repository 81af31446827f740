//! `kinglet run`: continues a text.

use crate::args::RunArgs;
use crate::likelihood::Chosen;
use crate::reply::{self, Reply};
use crate::{grammar, input, interrupt, models, out, replies, saved, settings, system};
use kinglet::{Code, GenerateOptions, Model, Result, Session, SessionOptions, Specials, Work};
use kinglet_machine::Cooler;
use kinglet_quant::{ensure, fail};
use serde::Serialize;
use std::io::{IsTerminal, stdout};

/// The document of `--json`.
#[derive(Serialize)]
struct Document<'a> {
    text: &'a str,
    tokens: &'a [u32],
    prompt_tokens: usize,
    prefill_tps: f64,
    decode_tps: f64,
    drafted_tokens: usize,
    accepted_tokens: usize,
    /// From the start of the prompt, the model being loaded, to the first token.
    ttft_ms: f64,
    peak_rss_bytes: u64,
    stop_reason: &'static str,
    decode_gbps: f64,
    plan_bytes: usize,
    file_bytes: usize,
    threads: usize,
    tier: &'static str,
    /// Tokens of the prompt that a loaded state had already.
    loaded_tokens: usize,
    logprobs: Option<&'a [Chosen]>,
}

/// Generates, and streams the text or prints one document.
pub fn run(args: &RunArgs) -> Result<()> {
    let prompt = input::read(&args.text)?;
    ensure!(!prompt.is_empty(), Code::BadArgument, "the prompt is empty: give a text to continue");
    let options = settings::session_options(&args.session)?;
    interrupt::install();
    let model = models::open(&args.model)?;
    let specials = if args.no_specials { Specials::AsText } else { Specials::Parse };
    let echoed = prompt;
    let prompt = model.tokenize_as(&echoed, specials)?;
    let work = Work { prompt_tokens: prompt.len(), new_tokens: args.max_tokens as usize };
    let options = SessionOptions { work, ..options };
    let options = settings::fitted(&model, &options, &args.session.memory)?;
    let session_options = options;
    let grammar = grammar::read(&args.grammar, &model)?;
    let stop: Vec<&str> = args.sampling.stop.iter().map(String::as_str).collect();
    let options = GenerateOptions {
        max_tokens: args.max_tokens as usize,
        sampling: settings::sampling(&args.sampling, model.config())?,
        stop: &stop,
        exact_head: args.sampling.exact_head,
        ignore_eos: args.ignore_eos,
        speculation: !args.sampling.no_speculation,
        overflow: args.ctx_overflow.into(),
        candidates: args.logprobs.map(|count| count as usize),
        grammar: grammar.as_deref(),
        deadline: args.deadline,
        ..GenerateOptions::default()
    };
    if args.replies > 1 {
        return replies::run(args, &model, &session_options, &prompt, &options);
    }
    let mut session = model.session(&session_options)?;
    let loaded = args.load_state.as_deref();
    let loaded = loaded.map_or(Ok(0), |path| saved::load(&mut session, path, &prompt))?;
    let streams = !args.json;
    let cool = args.cool.map(|limit| Cooler::new(system::root(), f64::from(limit)));
    let mut cooler = cool.transpose()?;
    if streams && stdout().is_terminal() && !args.no_echo {
        out::prompt(&echoed)?;
    }
    let mut on_text = |piece: &str| if streams { out::foreign_text(piece) } else { Ok(()) };
    let mut pause = || match &mut cooler {
        Some(cooler) => cooler.pause(&mut || !interrupt::requested()),
        None => Ok(()),
    };
    let reply =
        reply::generate(&mut session, &prompt[loaded..], &options, &mut on_text, &mut pause)?;
    if args.json {
        print_document(&reply, loaded, &model, &session)?;
    } else if stdout().is_terminal() && !reply.text.ends_with('\n') {
        out::text("\n")?;
    }
    reply.note_cost(&model, &session);
    if let Some(path) = &args.save_state {
        saved::save(&mut session, path)?;
    }
    if interrupt::requested() {
        fail!(Code::Interrupted, "interrupted: the text is incomplete");
    }
    Ok(())
}

fn print_document(reply: &Reply, loaded: usize, model: &Model, session: &Session) -> Result<()> {
    out::json(&Document {
        text: &reply.text,
        tokens: &reply.tokens,
        prompt_tokens: reply.prompt_tokens,
        prefill_tps: reply.prefill_tps(),
        decode_tps: reply.generation.decode_tps(),
        drafted_tokens: reply.generation.drafted,
        accepted_tokens: reply.generation.accepted,
        ttft_ms: reply.ttft_ms(),
        peak_rss_bytes: system::peak_rss_bytes(),
        stop_reason: reply.generation.stop_reason.name(),
        decode_gbps: reply.decode_gbps(model),
        plan_bytes: session.plan().total_bytes(),
        file_bytes: model.file_bytes(),
        threads: session.threads(),
        tier: session.backend().name(),
        loaded_tokens: loaded,
        logprobs: (!reply.likelihoods.is_empty()).then_some(&reply.likelihoods[..]),
    })
}
