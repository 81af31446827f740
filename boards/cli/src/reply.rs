//! One generation, streamed, with what it cost.

use crate::likelihood::Chosen;
use crate::units::Bytes;
use crate::{interrupt, out, system};
use kinglet::{Code, GenerateOptions, Generation, Model, Result, Session};
use kinglet_quant::ensure;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// What the model said, and how fast.
pub struct Reply {
    /// The text.
    pub text: String,
    /// The tokens behind it.
    pub tokens: Vec<u32>,
    /// Tokens of the prompt that were new to the session.
    pub prompt_tokens: usize,
    /// Time for the prompt.
    pub prefill: Duration,
    /// The generation behind the prompt.
    pub generation: Generation,
    /// How probable each token was; empty unless the options ask for it.
    pub likelihoods: Vec<Chosen>,
}

/// Appends a prompt and generates. `on_text` gets the text as it comes, and `pause` is called after
/// each part of the work; Ctrl-C ends it early, which [`interrupt::requested`] tells.
pub fn generate(
    session: &mut Session,
    prompt: &[u32],
    options: &GenerateOptions<'_>,
    on_text: &mut dyn FnMut(&str) -> Result<()>,
    pause: &mut dyn FnMut() -> Result<()>,
) -> Result<Reply> {
    let start = Instant::now();
    // The session may have the whole prompt already.
    if !prompt.is_empty() {
        session.prefill_with(prompt, &mut |_| {
            pause()?;
            check_time(start, options.deadline)?;
            let message = "interrupted while reading the prompt";
            ensure!(!interrupt::requested(), Code::Interrupted, "{message}");
            Ok(())
        })?;
    }
    let prefill = start.elapsed();
    let options = &GenerateOptions {
        deadline: options.deadline.map(|deadline| deadline.saturating_sub(prefill)),
        ..*options
    };
    let (mut text, mut tokens, mut failure) = (String::new(), Vec::new(), None);
    let (model, mut likelihoods) = (session.model().clone(), Vec::new());
    let generation = session.generate(&[], options, &mut |piece| {
        tokens.extend(piece.token);
        text.push_str(piece.text);
        likelihoods.extend(Chosen::new(&model, piece.candidates));
        failure = on_text(piece.text).and_then(|()| pause()).err();
        if failure.is_some() || interrupt::requested() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    match failure {
        Some(error) => Err(error),
        None => {
            let prompt_tokens = prompt.len();
            Ok(Reply { text, tokens, prompt_tokens, prefill, generation, likelihoods })
        }
    }
}

/// `DeadlinePassed` for a prompt that takes longer than that.
pub fn check_time(start: Instant, deadline: Option<Duration>) -> Result<()> {
    ensure!(
        deadline.is_none_or(|deadline| start.elapsed() < deadline),
        Code::DeadlinePassed,
        "the deadline passed while reading the prompt: raise --deadline or shorten the prompt"
    );
    Ok(())
}

impl Reply {
    /// Prompt tokens per second.
    pub fn prefill_tps(&self) -> f64 {
        self.prompt_tokens as f64 / self.prefill.as_secs_f64().max(1e-9)
    }

    /// Milliseconds from the start of the prompt to the first token.
    pub fn ttft_ms(&self) -> f64 {
        (self.prefill + self.generation.first_token).as_secs_f64() * 1e3
    }

    /// Weights that decoding read, in 10⁹ bytes per second.
    pub fn decode_gbps(&self, model: &Model) -> f64 {
        self.generation.decode_steps_ps() * model.read_bytes_per_token() as f64 / 1e9
    }

    /// Prints the cost to standard error, in one line.
    pub fn note_cost_briefly(&self) {
        let slides = match self.generation.slides {
            0 => String::new(),
            1 => "; the context was full once: it goes on with its beginning and its end".into(),
            times => format!("; the context was full {times} times"),
        };
        out::note(format_args!(
            "prefill {} tokens; decode {} tokens, {:.1} tokens/s; first token after {:.1} ms; \
             ended by {}{slides}",
            self.prompt_tokens,
            self.tokens.len(),
            self.generation.decode_tps(),
            self.ttft_ms(),
            self.generation.stop_reason.name()
        ));
    }

    /// Prints the cost to standard error.
    pub fn note_cost(&self, model: &Model, session: &Session) {
        out::note(format_args!(
            "prefill {} tokens, {:.1} tokens/s; first token after {:.1} ms",
            self.prompt_tokens,
            self.prefill_tps(),
            self.ttft_ms()
        ));
        out::note(format_args!(
            "decode {} tokens, {:.1} tokens/s, {:.2} GB/s; ended by {}",
            self.tokens.len(),
            self.generation.decode_tps(),
            self.decode_gbps(model),
            self.generation.stop_reason.name()
        ));
        if self.generation.slides > 0 {
            out::note(format_args!(
                "the context was full {} times: the text went on with its beginning and its end",
                self.generation.slides
            ));
        }
        if self.generation.accepted > 0 {
            out::note(format_args!(
                "speculation {} of {} guessed tokens were right and saved a step each",
                self.generation.accepted, self.generation.drafted
            ));
        }
        // Only Linux tells the peak.
        let peak = match system::peak_rss_bytes() {
            0 => String::new(),
            bytes => format!(" peak {}", Bytes(bytes)),
        };
        out::note(format_args!(
            "memory{peak}: file {}, session {}; {} threads",
            Bytes(model.file_bytes() as u64),
            Bytes(session.plan().total_bytes() as u64),
            session.threads(),
        ));
        out::note(format_args!("tier {}", session.selection()));
    }
}
