//! Grammars for a model's tokens: JSON schemas, regular expressions, and Lark's notation.
//!
//! llguidance (Moskal et al., <https://github.com/guidance-ai/llguidance>) parses what a reply has
//! so far and says which tokens can follow. It allocates, unlike the rest of generation.

mod bounds;
mod refusal;

use crate::grammar::{Constraint, Grammar, keep};
use crate::{Model, schema};
use kinglet_core::tokenizer::Specials;
use kinglet_quant::{Error, Result};
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{
    INVALID_TOKEN, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenizerEnv,
};
use llguidance::{Matcher, ParserFactory};
use refusal::refusal;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// What a grammar may take, so that it stays below 8 MB and starts within 50 ms: states of about a
/// kilobyte, symbols, and steps of compiling, of which a processor of 2024 does 50,000 in a
/// millisecond. What needs more is refused.
const MAX_STATES: usize = 4_000;
const MAX_SYMBOLS: usize = 50_000;
const MAX_COMPILE_STEPS: u64 = 500_000;

/// How JSON is written: as most of it is, on one line. So what is between values is forced.
pub(crate) const JSON_STYLE: &str =
    r#"{"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "}"#;

/// Compiles grammars for the tokens of a model.
pub struct Guides {
    factory: ParserFactory,
    ends: Arc<[u32]>,
}

/// A compiled grammar: see [`crate::GenerateOptions::grammar`].
#[derive(Clone)]
pub struct Guide {
    matcher: Matcher,
    ends: Arc<[u32]>,
}

impl Guides {
    /// Reads the vocabulary, which takes tens of milliseconds and, for 49,152 tokens, 6 MB as long
    /// as this or one of its guides lives. `BadGrammar` for a vocabulary that cannot be read so.
    pub fn new(model: &Model) -> Result<Self> {
        let tokens: TokEnv = Arc::new(Tokens::new(model));
        let mut factory = ParserFactory::new(&tokens, InferenceCapabilities::default(), &[])
            .map_err(|cause| refusal("the vocabulary", &cause.to_string()))?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits {
            max_lexer_states: MAX_STATES,
            max_grammar_size: MAX_SYMBOLS,
            initial_lexer_fuel: MAX_COMPILE_STEPS,
            precompute_large_lexemes: false,
            verbose_errors: false,
            ..ParserLimits::default()
        };
        Ok(Self { factory, ends: model.config().eos_tokens().into() })
    }

    /// Replies that are JSON of a schema, with properties in the schema's order, on one line with a
    /// space behind each comma and colon.
    ///
    /// `BadGrammar` for a schema that is wrong, that nothing fits, or that uses keywords which are
    /// not supported; the message names them.
    pub fn json_schema(&self, schema: &str) -> Result<Guide> {
        bounds::check_text(schema)?;
        let mut schema = schema::parse(schema)?;
        bounds::check_schema(&schema)?;
        if let serde_json::Value::Object(keywords) = &mut schema {
            let style = serde_json::from_str(JSON_STYLE).expect("a constant");
            keywords.entry("x-guidance").or_insert(style);
        }
        self.compile("the schema", TopLevelGrammar::from_json_schema(schema))
    }

    /// Replies that a regular expression matches as a whole, in the syntax of Rust's `regex`.
    /// `BadGrammar` as from [`Guides::json_schema`].
    pub fn regex(&self, regex: &str) -> Result<Guide> {
        bounds::check_text(regex)?;
        bounds::check_regex(regex)?;
        self.compile("the regular expression", TopLevelGrammar::from_regex(regex))
    }

    /// Replies that a context-free grammar derives from `start`, in llguidance's variant of Lark's
    /// notation. `BadGrammar` as from [`Guides::json_schema`].
    pub fn lark(&self, grammar: &str) -> Result<Guide> {
        bounds::check_text(grammar)?;
        bounds::check_lark(grammar)?;
        self.compile("the grammar", TopLevelGrammar::from_lark(grammar.to_owned()))
    }

    fn compile(&self, what: &str, grammar: TopLevelGrammar) -> Result<Guide> {
        let matcher = Matcher::new(self.factory.create_parser(grammar));
        match matcher.get_error() {
            Some(cause) => Err(refusal(what, &cause)),
            None => Ok(Guide { matcher, ends: self.ends.clone() }),
        }
    }
}

impl fmt::Debug for Guides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guides").finish_non_exhaustive()
    }
}

impl fmt::Debug for Guide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guide").finish_non_exhaustive()
    }
}

impl Grammar for Guide {
    fn begin(&self) -> Result<Box<dyn Constraint + '_>> {
        Ok(Box::new(Guided {
            matcher: self.matcher.deep_clone(),
            ends: &self.ends,
            mask: None,
            forced: None,
        }))
    }
}

/// A reply that follows a grammar.
struct Guided<'g> {
    matcher: Matcher,
    ends: &'g [u32],
    /// The tokens that can come next, once many were asked about.
    mask: Option<SimpleVob>,
    /// The tokens that must come next, once they were asked for.
    forced: Option<VecDeque<u32>>,
}

/// A failure behind the first token: mostly a grammar that takes too much.
fn failure(cause: impl fmt::Display) -> Error {
    refusal("the grammar", &cause.to_string())
}

impl Constraint for Guided<'_> {
    fn filter(&mut self, tokens: &mut [u32]) -> Result<usize> {
        if let (&mut [token], None) = (&mut *tokens, &self.mask) {
            let fits = match self.ends.contains(&token) {
                true => self.matcher.is_accepting().map_err(failure)?,
                false => self.matcher.validate_tokens(&[token]).map_err(failure)? == 1,
            };
            return Ok(usize::from(fits));
        }
        let mask = match &mut self.mask {
            Some(mask) => mask,
            none => none.insert(self.matcher.compute_mask_or_eos().map_err(failure)?),
        };
        Ok(keep(tokens, |token| mask.is_allowed(token)))
    }

    fn advance(&mut self, token: u32) -> Result<()> {
        self.mask = None;
        let was_forced = self.forced.as_mut().and_then(VecDeque::pop_front) == Some(token);
        // What is forced behind a forced token is known; at its end there may be more.
        if !was_forced || self.forced.as_ref().is_some_and(VecDeque::is_empty) {
            self.forced = None;
        }
        self.matcher.consume_token(token).map_err(failure)
    }

    fn forced(&mut self) -> Result<Option<u32>> {
        let matcher = &mut self.matcher;
        let forced = self.forced.get_or_insert_with(|| matcher.compute_ff_tokens().into());
        Ok(forced.front().copied())
    }

    fn is_complete(&mut self) -> Result<bool> {
        match self.matcher.get_error() {
            Some(cause) => Err(failure(cause)),
            None => Ok(self.matcher.is_stopped()),
        }
    }
}

/// A model's vocabulary as llguidance sees it.
struct Tokens {
    model: Model,
    trie: TokTrie,
}

impl Tokens {
    fn new(model: &Model) -> Self {
        let (config, vocab) = (model.config(), model.file().vocab());
        let ends = config.eos_tokens();
        let words: Vec<Vec<u8>> = (0..config.vocab_size)
            .map(|token| match vocab.is_control(token) {
                // Behind this mark no text of a grammar matches.
                true => [&[TokTrie::SPECIAL_TOKEN_MARKER], vocab.text(token)].concat(),
                false => vocab.text(token).to_vec(),
            })
            .collect();
        let end = ends.first().copied().unwrap_or(INVALID_TOKEN);
        let trie = TokTrie::from(&TokRxInfo::new(config.vocab_size, end), &words);
        let trie = if ends.is_empty() { trie } else { trie.with_eos_tokens(ends) };
        Self { model: model.clone(), trie }
    }
}

impl TokenizerEnv for Tokens {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<u32> {
        let vocab = self.model.file().vocab();
        let mut tokens = Vec::new();
        for chunk in text.utf8_chunks() {
            let valid = self.model.tokenize_as(chunk.valid().as_bytes(), Specials::AsText);
            tokens.extend(valid.expect("a buffer that any text fits into"));
            // What a grammar forces can end within a character.
            tokens.extend(chunk.invalid().iter().filter_map(|&byte| vocab.byte_token(byte)));
        }
        tokens
    }
}
