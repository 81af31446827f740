//! Functions as a table, for programs that cannot allocate.

use super::told::Told;
use super::toolbox::Writer;
use super::{Choice, Dialect, Function, Toolbox, Tools};
use crate::Model;
use crate::schema::shape::{Items, Shape};
use crate::schema::{self, number};
use kinglet_core::chat::Functions;
use kinglet_core::tools::{CAN_BE_EMPTY, SEPARATOR, WORDS_AT};
use kinglet_quant::{Code, Error, Result, ensure, fail};
use serde_json::{Value, json};

/// Keywords that say what a schema is in place of `type`.
const IN_PLACE_OF_TYPE: [&str; 6] = ["type", "$ref", "anyOf", "oneOf", "enum", "const"];

impl Tools {
    /// A table of the functions by the convention of [`Dialect::TAGS`], as the C library and
    /// firmware take it: what a model is told of them, how it writes calls, and what its replies
    /// can be. One table serves every model whose template knows no functions; for others there is
    /// [`Toolbox::table`]. What refers to itself has up to `depth` levels: see [`schema::compile`].
    ///
    /// `BadArgument` for a name that no function has, `BadGrammar` for parameters that a table
    /// cannot keep, whether or not the function is strict.
    pub fn table(&self, choice: Choice<'_>, depth: u32) -> Result<Vec<u8>> {
        encode(self, &Told::by_convention(self), &Dialect::TAGS, choice, depth)
    }
}

impl Toolbox {
    /// A table of the functions as the model's template tells of them, for models with this
    /// template: see [`Tools::table`]. `BadSource` for a template that knows functions in a way
    /// that no table can keep.
    pub fn table(&self, model: &Model, choice: Choice<'_>, depth: u32) -> Result<Vec<u8>> {
        let Writer::Own(own) = &self.writer else {
            return self.tools.table(choice, depth);
        };
        let (file, tokenizer) = (model.file(), model.tokenizer());
        let frame = file.frame()?;
        let told = frame.and_then(|f| Told::by_template(own, &f, &tokenizer, &self.tools));
        let Some(told) = told else {
            fail!(
                Code::BadSource,
                "the model's chat template tells of functions in a way that no table can keep: use \
                 the command or the Rust library, or compile without the model"
            );
        };
        encode(&self.tools, &told, &own.dialect, choice, depth)
    }
}

/// The table.
fn encode(
    tools: &Tools,
    told: &Told,
    dialect: &Dialect,
    choice: Choice<'_>,
    depth: u32,
) -> Result<Vec<u8>> {
    let mut table = schema::table(&replies(dialect, &tools.called(choice)?, choice, depth)?)?;
    let Functions { default_system, joint, told, results } = told.borrowed();
    let [open_result, joint_result, close_result] = results;
    let texts = [
        if dialect.can_be_empty { CAN_BE_EMPTY } else { "" },
        default_system,
        joint,
        told,
        open_result,
        joint_result,
        close_result,
        &dialect.open,
        &dialect.before_name,
        &dialect.between,
        &dialect.after,
        dialect.separator.as_deref().unwrap_or_default(),
        &dialect.close,
    ];
    ensure!(
        texts.iter().all(|text| !text.contains(SEPARATOR)),
        Code::BadSource,
        "the model's chat template has the character U+001F, which no table can keep"
    );
    let mut texts = texts.join(&SEPARATOR.to_string()).into_bytes();
    texts.resize(texts.len().next_multiple_of(4), 0);
    let words = texts.len() as u32 / 4;
    table[WORDS_AT..][..4].copy_from_slice(&words.to_le_bytes());
    table.extend(texts);
    Ok(table)
}

/// What replies can be.
fn replies(
    dialect: &Dialect,
    functions: &[&Function],
    choice: Choice<'_>,
    depth: u32,
) -> Result<Shape> {
    let Dialect { open, separator, close, can_be_empty, .. } = dialect;
    let calls = functions.iter().map(|function| call(dialect, function, depth));
    let call = Shape::Choice(calls.collect::<Result<_>>()?);
    let calls = match (choice, separator) {
        (Choice::Named(_), _) | (_, None) => call,
        (Choice::Auto | Choice::Required, Some(separator)) => Shape::Items(Items {
            separator: separator.to_string(),
            first: Vec::new(),
            rest: Some(Box::new(call)),
            min: 1,
            max: None,
        }),
    };
    let mut ways = vec![Shape::between(open, calls, close)];
    if choice == Choice::Auto {
        if *can_be_empty {
            ways.push(Shape::text(&format!("{open}{close}")));
        }
        let words = format!("(?s)[^{}].*", dialect.escaped_begin());
        ways.push(Shape::Regex(number::expression(&words)));
    }
    Ok(Shape::Choice(ways))
}

/// A call of a function.
fn call(dialect: &Dialect, function: &Function, depth: u32) -> Result<Shape> {
    let named = |error: Error| {
        let message = format_args!("the function {}: {}", function.name, error.message());
        Error::new(error.code(), message)
    };
    let mut parameters = function.parameters.clone();
    if let Value::Object(keywords) = &mut parameters
        && !IN_PLACE_OF_TYPE.iter().any(|keyword| keywords.contains_key(*keyword))
    {
        keywords.insert("type".into(), json!("object"));
    }
    let arguments = schema::shape(&parameters, depth).map_err(named)?;
    let automaton = schema::automaton(&arguments).map_err(named)?;
    ensure!(
        matches!(automaton.states[0].transitions[..], [(b'{', b'{', _)]),
        Code::BadGrammar,
        "the function {}: its parameters can be something else than an object",
        function.name
    );
    let Dialect { before_name, between, after, .. } = dialect;
    let head = format!("{before_name}{}{between}", function.name);
    Ok(Shape::between(&head, arguments, after))
}
