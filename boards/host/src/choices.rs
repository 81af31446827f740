//! How likely a model finds each of several continuations: the score of multiple-choice tests.

use crate::score::log_likelihood;
use crate::{Session, Specials};
use kinglet_quant::{Code, Result, ensure};

/// Where a context ends for the tokenizer: blanks at its end belong to what follows, because tokens
/// begin with them.
fn split(context: &str) -> (&str, &str) {
    context.split_at(context.trim_end().len())
}

/// The logarithm of the probability of each choice after the context, as `lm-eval` counts it: the
/// sum over the tokens by which the context with the choice is longer than the context alone.
///
/// An empty context is a text's beginning, which the model's end-of-text token stands for. Contexts
/// that are too long for the session lose their beginning. `BadArgument` for an empty choice, and
/// for one that does not fit.
pub fn log_likelihoods(
    session: &mut Session,
    context: &str,
    choices: &[String],
) -> Result<Vec<f64>> {
    let (context, blanks) = split(context);
    let model = session.model().clone();
    let begin = model.config().eos_tokens().first().copied().unwrap_or(0);
    let mut prefix = model.tokenize_as(context.as_bytes(), Specials::Parse)?;
    if prefix.is_empty() {
        prefix.push(begin);
    }
    let room = session.plan().limits().context;
    let score = |choice: &String| {
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
        let first = prefix.len();
        ensure!(
            tokens.len() - first < room,
            Code::BadArgument,
            "a choice has {} tokens, the session's context {room}: raise --ctx",
            tokens.len() - first
        );
        // The last token is not read, only predicted.
        let cut = (tokens.len() - 1).saturating_sub(room);
        sum(session, &tokens[cut..], first - cut)
    };
    choices.iter().map(score).collect()
}

/// The log likelihood of the tokens from `first` on. What the session holds of the tokens before is
/// not read again.
fn sum(session: &mut Session, tokens: &[u32], first: usize) -> Result<f64> {
    let known = session.tokens().iter().zip(&tokens[..first - 1]).take_while(|(a, b)| a == b);
    let known = known.count();
    session.rewind(known);
    if known < first - 1 {
        session.prefill(&tokens[known..first - 1])?;
    }
    let mut sum = 0.0;
    session.score(&tokens[first - 1..tokens.len() - 1], &mut |i, logits| {
        sum += log_likelihood(logits, tokens[first + i]);
    })?;
    Ok(sum)
}
