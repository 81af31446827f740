//! How likely a model finds each of several continuations: the score of multiple-choice tests.
//!
//! Passes are filled with tokens of as many questions as a batch has texts. What choices of a
//! question have in common, at least its context, is computed once: a text goes back to where the
//! next choice leaves the one before.

use crate::score::log_sum_exp;
use crate::{Batch, Model, Session, Specials, runtime};
use kinglet_core::engine::{Chunk, Logits};
use kinglet_core::plan::Limits;
use kinglet_quant::{Code, Result, ensure};

/// Where a context ends for the tokenizer: blanks at its end belong to what follows, because tokens
/// begin with them. Blanks are those of Python, as in `lm-eval`.
fn split(context: &str) -> (&str, &str) {
    let is_blank = |c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c);
    context.split_at(context.trim_end_matches(is_blank).len())
}

/// A question as tokens.
#[derive(Clone, Debug)]
pub struct Question {
    /// The context with each choice.
    choices: Vec<Vec<u32>>,
    /// Tokens of the context.
    context: usize,
}

impl Question {
    /// Cuts texts into tokens as `lm-eval` does: those of a choice are the ones by which the
    /// context with the choice is longer than the context alone.
    ///
    /// An empty context is a text's beginning, which the model's end-of-text token stands for.
    /// `BadArgument` for an empty choice.
    pub fn new(model: &Model, context: &str, choices: &[String]) -> Result<Self> {
        let (context, blanks) = split(context);
        let begin = model.config().eos_tokens().first().copied().unwrap_or(0);
        let mut prefix = model.tokenize_as(context.as_bytes(), Specials::Parse)?;
        if prefix.is_empty() {
            prefix.push(begin);
        }
        let with_choice = |choice: &String| {
            let text = [context, blanks, choice].concat();
            let mut tokens = model.tokenize_as(text.as_bytes(), Specials::Parse)?;
            if context.is_empty() {
                tokens.insert(0, begin);
            }
            ensure!(
                tokens.len() > prefix.len(),
                Code::BadArgument,
                "a choice adds nothing to its context: every choice needs some text"
            );
            Ok(tokens)
        };
        let choices = choices.iter().map(with_choice).collect::<Result<_>>()?;
        Ok(Self { choices, context: prefix.len() })
    }

    /// Positions of a cache that holds each choice with all of its context.
    pub fn positions(&self) -> usize {
        // The last token is not read, only predicted.
        self.choices.iter().map(|tokens| tokens.len() - 1).max().unwrap_or(0)
    }

    /// `BadArgument` for a choice that does not fit `room` positions with a token before it.
    fn check(&self, room: usize) -> Result<()> {
        for tokens in &self.choices {
            let own = tokens.len() - self.context;
            ensure!(
                own <= room,
                Code::BadArgument,
                "a choice has {own} tokens, the session's context {room}: raise --ctx"
            );
        }
        Ok(())
    }
}

/// The logarithm of the probability of each choice after the context, the sum over its tokens: see
/// [`Question::new`]. What the session holds of the context is not read again.
///
/// Contexts that are too long for the session lose their beginning. `BadArgument` for an empty
/// choice, and for one that does not fit.
pub fn log_likelihoods(
    session: &mut Session,
    context: &str,
    choices: &[String],
) -> Result<Vec<f64>> {
    let question = Question::new(session.model(), context, choices)?;
    let mut all = score(&mut session.runtime().texts, &[question], &mut |_| Ok(()))?;
    Ok(all.pop().expect("one question was asked"))
}

/// [`log_likelihoods`] of many questions, as many at a time as the batch has texts. With quantized
/// weights each is what it is alone, to the bit.
///
/// `goes_on` gets the number of questions done before every pass; when it fails, so does this.
/// Faster with a batch of 64 tokens, as many [`crate::SessionOptions::logit_rows`], and all texts.
pub fn log_likelihoods_of_all(
    batch: &mut Batch,
    questions: &[Question],
    goes_on: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<Vec<f64>>> {
    score(batch.texts_mut(), questions, goes_on)
}

/// A choice behind its context, as far as it is scored.
struct Path<'q> {
    tokens: &'q [u32],
    /// The first token that is not predicted yet.
    next: usize,
    log_likelihood: f64,
}

impl<'q> Path<'q> {
    /// A choice whose first `context` tokens are given, of which the last ones count where there
    /// are more tokens than room.
    fn new(tokens: &'q [u32], context: usize, room: usize) -> Self {
        let cut = (tokens.len() - 1).saturating_sub(room);
        Self { tokens: &tokens[cut..], next: context - cut, log_likelihood: 0.0 }
    }

    fn is_done(&self) -> bool {
        self.next == self.tokens.len()
    }
}

/// A question that a text works on.
struct Task<'q> {
    /// Its place among all.
    number: usize,
    paths: Vec<Path<'q>>,
    /// The path of the pass.
    path: usize,
}

impl<'q> Task<'q> {
    fn new(number: usize, question: &'q Question, room: usize) -> Self {
        let path = |tokens: &'q Vec<u32>| Path::new(tokens, question.context, room);
        Self { number, paths: question.choices.iter().map(path).collect(), path: 0 }
    }

    fn is_done(&self) -> bool {
        self.paths.iter().all(Path::is_done)
    }

    /// What is to be read next, behind what the text has in common with it: no more than `tokens`,
    /// of which `rows` may have logits. `None` where that is nothing.
    fn chunk(&mut self, text: usize, has: &[u32], tokens: usize, rows: usize) -> Option<Chunk<'q>> {
        let in_common =
            |path: &Path<'_>| path.tokens.iter().zip(has).take_while(|(a, b)| a == b).count();
        let waiting = self.paths.iter().enumerate().filter(|(_, path)| !path.is_done());
        let (index, path) = waiting.max_by_key(|(_, path)| in_common(path))?;
        // The first token that needs logits.
        let wanted = path.next - 1;
        let first = in_common(path).min(wanted);
        self.path = index;
        // A chunk has logits behind all of its tokens, the last or none.
        let (end, logits) = if first == wanted {
            ((first + tokens.min(rows)).min(path.tokens.len() - 1), Logits::All)
        } else if wanted < first + tokens && rows > 0 {
            (wanted + 1, Logits::Last)
        } else {
            (wanted.min(first + tokens), Logits::None)
        };
        let tokens = &path.tokens[first..end];
        (!tokens.is_empty()).then_some(Chunk { text, first, tokens, logits, screen: None })
    }

    /// Takes the logits behind the token at `position` of the pass's path: all choices count that
    /// are the same until there.
    fn score(&mut self, position: usize, logits: &[f32]) {
        let norm = log_sum_exp(logits);
        let read = &self.paths[self.path].tokens[..=position];
        for path in &mut self.paths {
            if path.next == position + 1 && path.tokens.starts_with(read) && !path.is_done() {
                let token = path.tokens[path.next];
                path.log_likelihood += f64::from(logits[token as usize]) - norm;
                path.next += 1;
            }
        }
    }
}

/// Scores all questions; each text works on one at a time.
fn score(
    texts: &mut runtime::Texts,
    questions: &[Question],
    goes_on: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<Vec<f64>>> {
    let Limits { texts: count, context: room, batch, logit_rows, .. } = *texts.plan().limits();
    questions.iter().try_for_each(|question| question.check(room))?;
    let mut found = vec![Vec::new(); questions.len()];
    let mut waiting = questions.iter().enumerate();
    let mut tasks: Vec<Option<Task<'_>>> = (0..count).map(|_| None).collect();
    let mut done = 0;
    while done < questions.len() {
        goes_on(done)?;
        let (mut pass, mut tokens, mut rows) = (Vec::with_capacity(count), batch, logit_rows);
        for (text, task) in tasks.iter_mut().enumerate() {
            if task.is_none() {
                *task = waiting.next().map(|(number, q)| Task::new(number, q, room));
            }
            let Some(task) = task else { continue };
            if let Some(chunk) = task.chunk(text, texts.tokens(text), tokens, rows) {
                tokens -= chunk.tokens.len();
                rows -= chunk.logits.rows(chunk.tokens.len());
                pass.push(chunk);
            }
        }
        texts.run_pass(&pass, &mut |index, token, logits| {
            let Chunk { text, first, .. } = pass[index];
            tasks[text].as_mut().expect("it has a chunk").score(first + token, logits);
        })?;
        for slot in &mut tasks {
            if let Some(task) = slot.take_if(|task| task.is_done()) {
                found[task.number] = task.paths.iter().map(|path| path.log_likelihood).collect();
                done += 1;
            }
        }
    }
    Ok(found)
}
