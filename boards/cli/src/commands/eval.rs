//! `kinglet eval`: perplexity, and the distance to a reference model.

use super::choices;
use crate::args::EvalArgs;
use crate::progress::{Meter, Unit};
use crate::{input, interrupt, models, out, settings};
use kinglet::score::Score;
use kinglet::{Code, KvType, Model, Overflow, Result, Session, SessionOptions, Specials, Work};
use kinglet_quant::{ensure, fail};
use serde::Serialize;
use std::path::Path;

const DEFAULT_CONTEXT: usize = 512;
/// Positions whose logits are in memory at a time.
const LOGIT_ROWS: usize = 32;

/// The document of `--json`.
#[derive(Serialize)]
struct Document {
    perplexity: f64,
    /// KL(reference ‖ model) in nats, its mean and its 99th percentile over positions.
    mean_kl: Option<f64>,
    kl_99: Option<f64>,
    top1_agreement: Option<f64>,
    reference_perplexity: Option<f64>,
    /// Positions scored.
    tokens: u64,
    chunks: usize,
    context: usize,
}

/// A model and the session that scores with it.
struct Judge {
    session: Session,
    score: Score,
}

/// Scores a text, or answers questions.
pub fn run(args: &EvalArgs) -> Result<()> {
    match (&args.choices, &args.text) {
        (Some(questions), _) => choices::run(args, questions),
        (None, Some(text)) => score(args, text),
        (None, None) => unreachable!("one of the two is required"),
    }
}

fn score(args: &EvalArgs, path: &Path) -> Result<()> {
    let text = input::file(path)?;
    if let Err(cause) = str::from_utf8(&text) {
        out::note(format_args!(
            "{} is not UTF-8 from its byte {} on: its bytes are taken as they are, which no model \
             was trained on",
            path.display(),
            cause.valid_up_to()
        ));
    }
    let mut options = settings::session_options(&args.session)?;
    let context = options.context.unwrap_or(DEFAULT_CONTEXT);
    options.context = Some(context);
    options.logit_rows = LOGIT_ROWS.min(options.batch);
    ensure!(context >= 4, Code::BadArgument, "a context of {context} is too short: take 4 or more");
    interrupt::install();
    let model = models::open(&args.model)?;
    let trust = args.model.trust.of_any_model();
    let open = |name: &String| models::open_named(name, None, &trust);
    let reference = args.reference.as_ref().map(open).transpose()?;
    if let Some(reference) = &reference {
        check_same_vocabulary(&model, reference)?;
    }
    let tokens = model.tokenize_as(&text, Specials::Parse)?;
    let most = tokens.len() / context;
    ensure!(
        most > 0,
        Code::BadArgument,
        "the text has {} tokens: take a longer one, or a --ctx of at most that",
        tokens.len()
    );
    let chunks = args.chunks.map_or(most, |n| most.min(n as usize));
    options.work = Work { prompt_tokens: chunks * context, new_tokens: 0 };
    let mut options = settings::fitted(&model, &options, &args.session.memory)?;
    let mut judge = Judge::new(&model, &options)?;
    // `--kv` is for the model that is evaluated, not for the reference.
    options.kv = Some(KvType::F16);
    let mut reference = reference.map(|model| Judge::new(&model, &options)).transpose()?;
    let mut meter = Meter::new("chunks", Unit::Pieces, 0, chunks as u64);
    if let Overflow::Slide { sinks } = args.ctx_overflow.into() {
        let tokens = &tokens[..chunks * context];
        judge.score_stream(tokens, options.logit_rows, sinks, &mut |done| {
            meter.set((done / context) as u64);
        })?;
        meter.finish();
        return report(args, &judge.score, None, chunks, context);
    }
    for (done, chunk) in tokens.chunks_exact(context).take(chunks).enumerate() {
        judge.score_chunk(reference.as_mut(), chunk, options.logit_rows)?;
        meter.set(done as u64 + 1);
    }
    meter.finish();
    report(args, &judge.score, reference.map(|r| r.score.perplexity()), chunks, context)
}

fn report(
    args: &EvalArgs,
    score: &Score,
    reference_perplexity: Option<f64>,
    chunks: usize,
    context: usize,
) -> Result<()> {
    let document = Document {
        perplexity: score.perplexity(),
        mean_kl: score.mean_divergence(),
        kl_99: score.divergence_quantile(0.99),
        top1_agreement: score.agreement(),
        reference_perplexity,
        tokens: score.positions(),
        chunks,
        context,
    };
    if args.json {
        return out::json(&document);
    }
    let mut text = format!(
        "perplexity {:.4} over {} tokens, {chunks} chunks of {context}\n",
        document.perplexity, document.tokens
    );
    if let (Some(mean), Some(high), Some(agreement), Some(reference)) =
        (document.mean_kl, document.kl_99, document.top1_agreement, reference_perplexity)
    {
        text += &format!(
            "reference perplexity {reference:.4}; KL divergence mean {mean:.6}, 99% {high:.6}; \
             same likeliest token {:.2}%\n",
            agreement * 100.0
        );
    }
    out::text(&text)
}

fn check_same_vocabulary(model: &Model, reference: &Model) -> Result<()> {
    let (a, b) = (model.file().vocab(), reference.file().vocab());
    let count = model.config().vocab_size;
    let same = count == reference.config().vocab_size
        && (0..count).all(|token| a.text(token) == b.text(token));
    if !same {
        fail!(
            Code::TokenizerMismatch,
            "the models have different vocabularies: compare files of one model family"
        );
    }
    Ok(())
}

impl Judge {
    fn new(model: &Model, options: &SessionOptions) -> Result<Self> {
        let session = model.session(options)?;
        out::note_selection(session.selection());
        Ok(Self { session, score: Score::default() })
    }

    /// Scores the second half of a chunk: the tokens from `context / 2 + 1` on, each
    /// predicted from all before it.
    fn score_chunk(
        &mut self,
        mut reference: Option<&mut Self>,
        chunk: &[u32],
        rows: usize,
    ) -> Result<()> {
        let first = chunk.len() / 2;
        for judge in [Some(&mut *self), reference.as_deref_mut()].into_iter().flatten() {
            judge.session.reset();
            judge.session.prefill_while(&chunk[..first], &mut || !interrupt::requested())?;
        }
        let (inputs, targets) = (&chunk[first..chunk.len() - 1], &chunk[first + 1..]);
        let mut expected = Vec::new();
        for (inputs, targets) in inputs.chunks(rows).zip(targets.chunks(rows)) {
            interrupt::check()?;
            expected.clear();
            if let Some(reference) = reference.as_deref_mut() {
                reference.score_tokens(inputs, targets, &mut |_, _, logits| {
                    expected.extend_from_slice(logits);
                })?;
            }
            self.score_tokens(inputs, targets, &mut |score, index, logits| {
                if let Some(expected) = expected.chunks_exact(logits.len()).nth(index) {
                    score.compare(logits, expected);
                }
            })?;
        }
        Ok(())
    }

    /// Scores every token but the first, each predicted from what the context has of those before.
    fn score_stream(
        &mut self,
        tokens: &[u32],
        rows: usize,
        sinks: usize,
        on_progress: &mut dyn FnMut(usize),
    ) -> Result<()> {
        let last = tokens.len() - 1;
        let mut done = 0;
        while done < last {
            interrupt::check()?;
            if self.session.room() == 0 {
                self.session.slide(sinks)?;
            }
            let count = rows.min(self.session.room()).min(last - done);
            let (inputs, targets) = (&tokens[done..][..count], &tokens[done + 1..][..count]);
            self.score_tokens(inputs, targets, &mut |_, _, _| {})?;
            done += count;
            on_progress(done);
        }
        Ok(())
    }

    /// Scores tokens, and hands on the logits behind each.
    fn score_tokens(
        &mut self,
        inputs: &[u32],
        targets: &[u32],
        each: &mut dyn FnMut(&mut Score, usize, &[f32]),
    ) -> Result<()> {
        let Self { session, score } = self;
        session.score(inputs, &mut |index, logits| {
            score.add(logits, targets[index]);
            each(score, index, logits);
        })
    }
}
