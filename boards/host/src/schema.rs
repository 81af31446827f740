//! Tables of what a reply may be, compiled from a subset of JSON Schema.
//!
//! A schema becomes a deterministic automaton over bytes, which `kinglet_core` walks without
//! allocating: see [`kinglet_core::automaton`] for its layout. JSON is written on one line with a
//! space behind each comma and colon, properties in the schema's order. Properties that are not
//! required may be missing, and others than those of the schema are never written.
//!
//! What is kept: `type` (also a list), `properties`, `required`, `additionalProperties` (only
//! `false`), `items`, `prefixItems`, `minItems`, `maxItems`, `enum`, `const`, `anyOf`, `oneOf`
//! where types or constants tell its branches apart, `minLength`, `maxLength`, `pattern`, `format`
//! (date, time, date-time, uuid, email), and bounds of integers. A `$ref` within the schema is
//! followed; a schema that refers to itself has as many levels as asked for. Numbers have at most
//! 15 digits in front of the point and behind it, and two of an exponent; integers at most 15. Any
//! other keyword is refused by its name.

mod dfa;
mod disjoint;
mod format;
mod keywords;
mod minimize;
mod nfa;
pub(crate) mod number;
mod pattern;
mod quote;
mod refusal;
pub(crate) mod shape;
mod strings;
pub(crate) mod value;

use dfa::Dfa;
use keywords::Reader;
use kinglet_core::automaton::{ACCEPTS, MAGIC, MAX_STATES, VERSION};
use kinglet_quant::{Code, Result, ensure, fail};
use nfa::Nfa;
use serde_json::Value;
use shape::Shape;

/// Levels of a schema that refers to itself, where nothing else is asked for.
pub const DEFAULT_DEPTH: u32 = 4;
/// The most levels that can be asked for.
pub const MAX_DEPTH: u32 = 64;
/// Bytes of a table at most.
pub const MAX_TABLE_BYTES: usize = 256_000;

/// The table of a JSON schema. What refers to itself has up to `depth` levels, from 1, which is
/// without itself inside, to [`MAX_DEPTH`].
///
/// `BadGrammar` for a schema that is wrong, uses keywords that a table cannot keep, has no value
/// up to that depth, or needs a larger table than 65,535 states and 256,000 bytes; the message says
/// what and where. `BadArgument` for another depth.
pub fn compile(schema: &str, depth: u32) -> Result<Vec<u8>> {
    table(&shape(&parse(schema)?, depth)?)
}

/// The texts of a schema: see [`compile`].
pub(crate) fn shape(schema: &Value, depth: u32) -> Result<Shape> {
    ensure!(
        (1..=MAX_DEPTH).contains(&depth),
        Code::BadArgument,
        "a depth of {depth}: it is a number from 1 to {MAX_DEPTH}"
    );
    let shape = Reader::new(schema, depth as usize).read(schema, "#")?;
    let Some(shape) = shape else {
        fail!(
            Code::BadGrammar,
            "nothing fits the schema with a depth of {depth}: what refers to itself needs another \
             way, such as anyOf with null, or a greater depth"
        );
    };
    Ok(shape)
}

/// The automaton of a shape. `BadGrammar` for one that takes too much, or that nothing fits.
pub(crate) fn automaton(shape: &Shape) -> Result<Dfa> {
    let (nfa, start) = Nfa::of(shape)?;
    let dfa = minimize::minimize(&Dfa::of(&nfa, start)?);
    ensure!(
        !dfa.states.is_empty(),
        Code::BadGrammar,
        "nothing fits the schema: one of its patterns matches no text"
    );
    Ok(dfa)
}

/// The table of a shape. `BadGrammar` as from [`automaton`].
pub(crate) fn table(shape: &Shape) -> Result<Vec<u8>> {
    encode(&automaton(shape)?)
}

/// The JSON of a schema's text. `BadGrammar` with the place of what is wrong.
pub(crate) fn parse(schema: &str) -> Result<Value> {
    match serde_json::from_str(schema) {
        Ok(schema) => Ok(schema),
        Err(cause) => fail!(
            Code::BadGrammar,
            "the schema is not JSON: something is wrong at line {}, column {}",
            cause.line(),
            cause.column()
        ),
    }
}

/// The table of an automaton.
fn encode(dfa: &Dfa) -> Result<Vec<u8>> {
    let states = dfa.states.len();
    let transitions: usize = dfa.states.iter().map(|state| state.transitions.len()).sum();
    let bytes = MAGIC.len() + 4 * (4 + states + transitions);
    ensure!(
        states <= MAX_STATES && bytes <= MAX_TABLE_BYTES,
        Code::BadGrammar,
        "the table would have {states} states and {bytes} bytes, of {MAX_STATES} and \
         {MAX_TABLE_BYTES} at most: lower repetitions such as maxLength and maxItems, or --depth"
    );
    let mut table = MAGIC.to_vec();
    for word in [VERSION, states as u32, transitions as u32, 0] {
        table.extend(word.to_le_bytes());
    }
    let mut end = 0;
    for state in &dfa.states {
        end += state.transitions.len() as u32;
        table.extend((end | if state.accepts { ACCEPTS } else { 0 }).to_le_bytes());
    }
    for &(first, last, next) in dfa.states.iter().flat_map(|state| &state.transitions) {
        table.extend([first, last]);
        table.extend((next as u16).to_le_bytes());
    }
    Ok(table)
}
