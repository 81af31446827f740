//! `kinglet eval --choices`: multiple-choice questions.

use crate::args::EvalArgs;
use crate::progress::{Meter, Unit};
use crate::{input, interrupt, models, out, settings};
use kinglet::choices::{self, log_likelihoods_of_all};
use kinglet::{Code, Error, MAX_TEXTS, Model, Result, SessionOptions, Work};
use kinglet_quant::{ensure, fail};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::time::Instant;

/// Tokens of a pass, from the fastest to the smallest; all can have logits.
const PASSES: [usize; 4] = [64, 32, 16, 8];

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
    /// The share of questions where the likeliest choice is the answer: `acc` of lm-eval.
    accuracy: f64,
    /// The same with log likelihoods divided by the choices' bytes.
    normalized_accuracy: f64,
    /// The same with log likelihoods divided by the choices' characters, a blank in front not
    /// counted: `acc_norm` of lm-eval, which puts that blank between context and choice.
    accuracy_per_character: f64,
    /// Standard errors of the three, none for a single question.
    accuracy_stderr: Option<f64>,
    normalized_accuracy_stderr: Option<f64>,
    accuracy_per_character_stderr: Option<f64>,
    questions_per_second: f64,
    /// Questions that were answered at a time.
    texts: usize,
    context: usize,
    /// Of every choice of every question.
    log_likelihoods: Vec<Vec<f64>>,
}

/// Answers the questions of a file.
pub fn run(args: &EvalArgs, path: &Path) -> Result<()> {
    let questions = read(path)?;
    let mut options = settings::session_options(&args.session)?;
    options.work = Work { prompt_tokens: 1, new_tokens: 0 };
    interrupt::install();
    let model = models::open(&args.model)?;
    let tokens = questions.iter().map(|question| {
        interrupt::check()?;
        choices::Question::new(&model, &question.context, &question.choices)
    });
    let tokens: Vec<choices::Question> = tokens.collect::<Result<_>>()?;
    let mut batch = model.batch(&fitted(args, &model, &options, &tokens)?)?;
    out::note_selection(batch.selection());
    let mut meter = Meter::new("questions", Unit::Pieces, 0, questions.len() as u64);
    let start = Instant::now();
    let found = log_likelihoods_of_all(&mut batch, &tokens, &mut |done| {
        meter.set(done as u64);
        interrupt::check()
    })?;
    let seconds = start.elapsed().as_secs_f64();
    meter.finish();
    let limits = *batch.plan().limits();
    let [plain, by_bytes, by_characters] =
        [|_: &str| 1, str::len, characters].map(|length| accuracy(&questions, &found, length));
    let document = Document {
        questions: questions.len(),
        accuracy: plain.share,
        normalized_accuracy: by_bytes.share,
        accuracy_per_character: by_characters.share,
        accuracy_stderr: plain.standard_error,
        normalized_accuracy_stderr: by_bytes.standard_error,
        accuracy_per_character_stderr: by_characters.standard_error,
        questions_per_second: questions.len() as f64 / seconds,
        texts: limits.texts,
        context: limits.context,
        log_likelihoods: found,
    };
    match args.json {
        true => out::json(&document),
        false => out::text(&format!(
            "{} questions: {plain} right, {by_characters} with likelihoods per character, \
             {by_bytes} per byte\n",
            document.questions
        )),
    }
}

/// The options of a batch: a context for the longest question, and as many texts as are given or
/// else fit. Fewer texts cost less speed than smaller passes.
fn fitted(
    args: &EvalArgs,
    model: &Model,
    options: &SessionOptions,
    questions: &[choices::Question],
) -> Result<SessionOptions> {
    let longest = questions.iter().map(choices::Question::positions).max().unwrap_or(0);
    let context = options.context.unwrap_or(longest.clamp(1, model.config().max_context as usize));
    let numbers = match args.texts {
        Some(texts) => vec![texts as usize],
        None => vec![MAX_TEXTS, 4, 2, 1],
    };
    let fits = |options: &SessionOptions| settings::fitted(model, options, &args.session.memory);
    for most in PASSES {
        let batch = options.batch.min(most);
        for &texts in numbers.iter().filter(|&&texts| texts <= batch) {
            let context = Some(context);
            let wanted =
                SessionOptions { texts, context, batch, logit_rows: batch, ..options.clone() };
            match fits(&wanted) {
                Ok(found) if (found.batch, found.logit_rows) == (batch, batch) => return Ok(found),
                Err(error) if !matches!(error.code(), Code::BudgetTooSmall | Code::Resource) => {
                    return Err(error);
                }
                _ => {}
            }
        }
    }
    // Long contexts lose their beginning then.
    let texts = numbers.last().copied().unwrap_or(1);
    fits(&SessionOptions { texts, ..options.clone() })
}

/// The characters of a choice, but for a blank that separates it from the context.
fn characters(choice: &str) -> usize {
    choice.strip_prefix(' ').unwrap_or(choice).chars().count()
}

/// A share of right answers.
struct Accuracy {
    share: f64,
    /// Of a sample's mean, as lm-eval estimates it.
    standard_error: Option<f64>,
}

impl fmt::Display for Accuracy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}%", self.share * 100.0)?;
        match self.standard_error {
            Some(error) => write!(f, " ±{:.2}", error * 100.0),
            None => Ok(()),
        }
    }
}

/// How many answers have the largest log likelihood, divided by a length.
fn accuracy(questions: &[Question], found: &[Vec<f64>], length: fn(&str) -> usize) -> Accuracy {
    let is_right = |(question, sums): &(&Question, &Vec<f64>)| {
        let sums = sums.iter().zip(&question.choices);
        let scaled: Vec<f64> = sums.map(|(sum, choice)| sum / length(choice) as f64).collect();
        likeliest(&scaled) == question.answer
    };
    let count = questions.len() as f64;
    let share = questions.iter().zip(found).filter(is_right).count() as f64 / count;
    let variance = share * (1.0 - share) / (count - 1.0);
    Accuracy { share, standard_error: (count > 1.0).then(|| variance.sqrt()) }
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
    let Ok(text) = String::from_utf8(input::file(path)?) else {
        fail!(
            Code::BadArgument,
            "{} is not a text in UTF-8: save it in that encoding",
            path.display()
        );
    };
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let questions = lines.map(|(line, number)| {
        let wrong = |what: &dyn fmt::Display| {
            let message = format_args!(
                "{}, line {number}: {what}: write {{\"context\": TEXT, \"choices\": [TEXT, ..], \
                 \"answer\": N}} with N from 0",
                path.display()
            );
            Error::new(Code::BadArgument, message)
        };
        // Some editors begin a file with a byte order mark, also one that others are joined to.
        let line = line.trim_start_matches('\u{FEFF}');
        let question: Question =
            serde_json::from_str(line).map_err(|_| wrong(&"this is no question"))?;
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
