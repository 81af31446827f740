//! How a reply is made, from the fields that OpenAI's endpoints have in common.

use super::failure::{Failure, Outcome};
use super::fields::Fields;
use super::job::Manner;
use kinglet::{MAX_STOP_BYTES, MAX_STOP_STRINGS, MAX_TEXTS, Sampling};
use serde_json::Value;

/// The temperature that `kinglet run` and `kinglet chat` take as well.
pub const TEMPERATURE: f32 = 0.2;
/// Their share of the most probable tokens.
pub const TOP_P: f32 = 0.9;

/// Tokens of a reply at most, by the first of these fields that is given.
pub fn max_tokens(fields: &Fields<'_>, names: &[&str]) -> Outcome<Option<usize>> {
    let read = |name: &&str| fields.whole(name, 0..=u64::from(u32::MAX));
    let counts = names.iter().map(read).collect::<Outcome<Vec<_>>>()?;
    Ok(counts.into_iter().flatten().next().map(|count| count as usize))
}

/// Reads the fields. A reply has `max_tokens` tokens at most.
pub fn manner(fields: &Fields<'_>, vocabulary: u32, max_tokens: usize) -> Outcome<Manner> {
    let sampling = Sampling {
        temperature: fields.number("temperature", 0.0..=2.0)?.unwrap_or(TEMPERATURE),
        top_p: fields.number("top_p", 0.0..=1.0)?.unwrap_or(TOP_P),
        presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0),
        frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0),
        seed: seed(fields)?,
        ..Sampling::default()
    };
    Ok(Manner {
        max_tokens,
        sampling,
        logit_bias: bias(fields, vocabulary)?,
        ignore_eos: false,
        stop: stop(fields)?,
        guide: None,
        candidates: None,
    })
}

/// How many replies are wanted to each prompt.
pub fn replies(fields: &Fields<'_>) -> Outcome<usize> {
    Ok(fields.whole("n", 1..=MAX_TEXTS as u64)?.unwrap_or(1) as usize)
}

/// Without one, every request gets another. Clients send negative ones, too.
pub fn seed(fields: &Fields<'_>) -> Outcome<u64> {
    let Some(seed) = fields.get("seed") else { return Ok(fastrand::u64(..)) };
    let seed_of = |seed: &Value| seed.as_u64().or_else(|| seed.as_i64().map(i64::cast_unsigned));
    seed_of(seed).ok_or_else(|| Failure::request("seed must be a whole number of 64 bits"))
}

/// Texts that end a reply.
pub fn stop(fields: &Fields<'_>) -> Outcome<Vec<String>> {
    let texts = match fields.get("stop") {
        None => Vec::new(),
        Some(Value::Array(texts)) => texts.iter().map(Value::as_str).collect(),
        Some(text) => vec![text.as_str()],
    };
    let is_usable =
        |text: &Option<&str>| text.is_some_and(|t| (1..=MAX_STOP_BYTES).contains(&t.len()));
    if texts.len() > MAX_STOP_STRINGS || !texts.iter().all(is_usable) {
        return Err(Failure::request(format!(
            "stop must be a text or up to {MAX_STOP_STRINGS} texts of 1 to {MAX_STOP_BYTES} bytes"
        )));
    }
    Ok(texts.into_iter().flatten().map(str::to_owned).collect())
}

fn bias(fields: &Fields<'_>, vocabulary: u32) -> Outcome<Vec<(u32, f32)>> {
    let Some(entries) = fields.object("logit_bias")? else { return Ok(Vec::new()) };
    let entry = |(token, bias): (&str, &Value)| {
        let token = token.parse().ok().filter(|&token: &u32| token < vocabulary);
        let bias = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias));
        token.zip(bias.map(|bias| bias as f32)).ok_or_else(|| {
            Failure::request(format!(
                "logit_bias must have tokens below {vocabulary} and numbers from -100 to 100"
            ))
        })
    };
    entries.entries().map(entry).collect()
}
