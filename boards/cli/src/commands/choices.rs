//! `kinglet eval --choices`: multiple-choice questions.

use crate::args::EvalArgs;
use crate::progress::{Meter, Unit};
use crate::{errors, interrupt, models, out, settings};
use kinglet::choices::log_likelihoods;
use kinglet::{Code, Error, Result, Work};
use kinglet_quant::ensure;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// A line of the file.
#[derive(Debug, Deserialize)]
struct Question {
    context: String,
    choices: Vec<String>,
    /// Counted from 0.
    answer: usize,
}

/// The document of `--json`.
#[derive(Debug, Serialize)]
struct Document {
    questions: usize,
    /// The share of questions where the likeliest choice is the answer.
    accuracy: f64,
    /// The same with log likelihoods divided by the choices' bytes.
    normalized_accuracy: f64,
    /// Of every choice of every question.
    log_likelihoods: Vec<Vec<f64>>,
}

/// Answers the questions of a file.
pub fn run(args: &EvalArgs, path: &Path) -> Result<()> {
    let questions = read(path)?;
    let mut options = settings::session_options(&args.session)?;
    options.logit_rows = options.logit_rows.min(options.batch);
    interrupt::install();
    let model = models::open(&args.model)?;
    options.work = Work { prompt_tokens: 1, new_tokens: 0 };
    let options = settings::fitted(&model, &options, &args.session.memory)?;
    let mut session = model.session(&options)?;
    out::note_selection(session.selection());
    let mut meter = Meter::new("questions", Unit::Pieces, 0, questions.len() as u64);
    let mut all = Vec::with_capacity(questions.len());
    let (mut right, mut right_by_bytes) = (0, 0);
    for (done, question) in questions.iter().enumerate() {
        interrupt::check()?;
        let found = log_likelihoods(&mut session, &question.context, &question.choices)?;
        let sizes = question.choices.iter().map(|choice| choice.len() as f64);
        let by_bytes: Vec<f64> = found.iter().zip(sizes).map(|(sum, bytes)| sum / bytes).collect();
        right += usize::from(likeliest(&found) == question.answer);
        right_by_bytes += usize::from(likeliest(&by_bytes) == question.answer);
        all.push(found);
        meter.set(done as u64 + 1);
    }
    meter.finish();
    let share = |right: usize| right as f64 / questions.len() as f64;
    let document = Document {
        questions: questions.len(),
        accuracy: share(right),
        normalized_accuracy: share(right_by_bytes),
        log_likelihoods: all,
    };
    if args.json {
        return out::json(&document);
    }
    out::text(&format!(
        "{} questions: {:.2}% right, {:.2}% with likelihoods per byte\n",
        document.questions,
        document.accuracy * 100.0,
        document.normalized_accuracy * 100.0
    ))
}

/// The first of the largest.
fn likeliest(values: &[f64]) -> usize {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = i;
        }
    }
    best
}

fn read(path: &Path) -> Result<Vec<Question>> {
    let text = fs::read_to_string(path).map_err(|cause| errors::unreadable(path, &cause))?;
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let questions = lines.map(|(line, number)| {
        let wrong = |what: &dyn std::fmt::Display| {
            let message = format_args!(
                "{}, line {number}: {what}: write {{\"context\": TEXT, \"choices\": [TEXT, ..], \
                 \"answer\": N}} with N from 0",
                path.display()
            );
            Error::new(Code::BadArgument, message)
        };
        let question: Question = serde_json::from_str(line).map_err(|cause| wrong(&cause))?;
        match question.answer < question.choices.len() {
            true => Ok(question),
            false => Err(wrong(&"the answer is none of the choices")),
        }
    });
    let questions: Vec<Question> = questions.collect::<Result<_>>()?;
    ensure!(
        !questions.is_empty(),
        Code::BadArgument,
        "{} has no questions: write one on each line",
        path.display()
    );
    Ok(questions)
}
