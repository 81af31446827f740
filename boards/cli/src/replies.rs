//! Several replies to one prompt, made in one pass.

use crate::args::RunArgs;
use crate::likelihood::Chosen;
use crate::reply::check_time;
use crate::{interrupt, out};
use kinglet::{Code, GenerateOptions, Generation, Model, Result, Sampling, SessionOptions};
use kinglet_quant::{ensure, fail};
use serde::Serialize;
use std::ops::ControlFlow;
use std::time::Instant;

/// The document of `--json`.
#[derive(Serialize)]
struct Document {
    replies: Vec<Reply>,
    prompt_tokens: usize,
    prefill_tps: f64,
    /// Of all replies together.
    decode_tps: f64,
    threads: usize,
    tier: &'static str,
}

/// One of the replies.
#[derive(Default, Serialize)]
struct Reply {
    seed: u64,
    text: String,
    tokens: Vec<u32>,
    stop_reason: &'static str,
    logprobs: Option<Vec<Chosen>>,
}

/// Reads the prompt once, and generates.
pub fn run(
    args: &RunArgs,
    model: &Model,
    session: &SessionOptions,
    prompt: &[u32],
    options: &GenerateOptions<'_>,
) -> Result<()> {
    let count = args.replies as usize;
    let mut batch = model.batch(&SessionOptions { texts: count, ..session.clone() })?;
    let start = Instant::now();
    batch.text(0).prefill(prompt, &mut |_| {
        check_time(start, options.deadline)?;
        ensure!(!interrupt::requested(), Code::Interrupted, "interrupted while reading the prompt");
        Ok(())
    })?;
    let prefill = start.elapsed();
    let deadline = options.deadline.map(|deadline| deadline.saturating_sub(prefill));
    let prefill = prefill.as_secs_f64();
    for text in 1..count {
        batch.copy(0, text, prompt.len())?;
    }
    let seed = |number: usize| options.sampling.seed.wrapping_add(number as u64);
    let request = |number| {
        let sampling = Sampling { seed: seed(number), ..options.sampling };
        (number, GenerateOptions { sampling, deadline, ..*options })
    };
    let requests: Vec<(usize, GenerateOptions<'_>)> = (0..count).map(request).collect();
    let mut replies: Vec<Reply> = (0..count)
        .map(|number| Reply {
            seed: seed(number),
            logprobs: options.candidates.map(|_| Vec::new()),
            ..Reply::default()
        })
        .collect();
    let generations = batch.generate(&requests, &mut |number, piece| {
        let reply = &mut replies[number];
        reply.text.push_str(piece.text);
        reply.tokens.extend(piece.token);
        if let Some(logprobs) = &mut reply.logprobs {
            logprobs.extend(Chosen::new(model, piece.candidates));
        }
        if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    for (reply, generation) in replies.iter_mut().zip(&generations) {
        reply.stop_reason = generation.stop_reason.name();
    }
    let document = Document {
        replies,
        prompt_tokens: prompt.len(),
        prefill_tps: prompt.len() as f64 / prefill.max(1e-9),
        decode_tps: generations.iter().map(Generation::decode_tps).sum(),
        threads: batch.threads(),
        tier: batch.backend().name(),
    };
    if args.json {
        out::json(&document)?
    } else {
        document.print()?
    }
    if interrupt::requested() {
        fail!(Code::Interrupted, "interrupted: the texts are incomplete");
    }
    Ok(())
}

impl Document {
    /// The texts, each behind a line with its number.
    fn print(&self) -> Result<()> {
        for (number, reply) in self.replies.iter().enumerate() {
            out::text(&format!("--- reply {}, seed {}\n{}\n", number + 1, reply.seed, reply.text))?;
        }
        out::note(format_args!(
            "prefill {} tokens, {:.1} tokens/s; {} replies, {:.1} tokens/s together",
            self.prompt_tokens,
            self.prefill_tps,
            self.replies.len(),
            self.decode_tps
        ));
        Ok(())
    }
}
