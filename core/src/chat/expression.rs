//! Expressions of templates: texts, messages, `==`, `!=`, `and`, `or`, `not`, `+`, `~`, `x if y
//! else z`, attributes, items, slices of messages, the filters `trim` and `length`, the tests
//! `defined`, `undefined`, `none` and `string`, `strip()` and `raise_exception()`.

use super::lexer::{Lexer, Token};
use super::{Chat, Variables, unknown};
use core::ops::Range;
use kinglet_quant::{Code, Result, ensure, fail};

/// Texts that `+` may join.
const MAX_PARTS: usize = 16;
/// Brackets that may lie in each other, which bounds the stack: each takes 14 KB of it, and
/// published templates have no more than two.
const MAX_DEPTH: usize = 8;

/// A piece of text, from the conversation or as the template writes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    text: &'a str,
    /// Whether backslashes in it are escapes.
    is_escaped: bool,
}

impl Part<'_> {
    fn chars(&self) -> impl Iterator<Item = char> {
        let (mut chars, is_escaped) = (self.text.chars(), self.is_escaped);
        let mut kept = None;
        core::iter::from_fn(move || {
            if let Some(kept) = kept.take() {
                return Some(kept);
            }
            let first = chars.next()?;
            if first != '\\' || !is_escaped {
                return Some(first);
            }
            match chars.next() {
                Some('n') => Some('\n'),
                Some('t') => Some('\t'),
                Some('r') => Some('\r'),
                Some(same @ ('\\' | '\'' | '"')) => Some(same),
                // Python keeps the backslash of what is no escape.
                other => {
                    kept = other;
                    Some(first)
                }
            }
        })
    }
}

/// Texts, one behind the other.
pub(super) type Parts<'a> = heapless::Vec<Part<'a>, MAX_PARTS>;

/// What an expression can be.
#[expect(clippy::large_enum_variant, reason = "there is no heap for the large one")]
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Undefined,
    None,
    Bool(bool),
    Number(usize),
    Text(Parts<'a>),
    /// Some messages of the conversation.
    Messages(Range<usize>),
    /// One message.
    Message(usize),
    /// The place in a loop: rounds before, and rounds altogether.
    Loop(usize, usize),
}

impl<'a> Value<'a> {
    fn text(text: &'a str, is_escaped: bool) -> Self {
        let mut parts = Parts::new();
        let is_first = parts.push(Part { text, is_escaped }).is_ok();
        debug_assert!(is_first);
        Self::Text(parts)
    }

    /// What `if` makes of it.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Undefined | Self::None => false,
            Self::Bool(value) => *value,
            Self::Number(number) => *number != 0,
            Self::Text(parts) => parts.iter().any(|part| !part.text.is_empty()),
            Self::Messages(range) => !range.is_empty(),
            Self::Message(_) | Self::Loop(..) => true,
        }
    }

    /// Hands on its text. Lists and messages have none worth showing.
    pub fn emit(&self, emit: &mut dyn FnMut(&str)) {
        match self {
            Self::Text(parts) => {
                for part in parts {
                    if part.is_escaped {
                        part.chars().for_each(|c| emit(c.encode_utf8(&mut [0; 4])));
                    } else if !part.text.is_empty() {
                        emit(part.text);
                    }
                }
            }
            Self::Bool(true) => emit("True"),
            Self::Bool(false) => emit("False"),
            Self::None => emit("None"),
            Self::Number(number) => {
                let mut text = heapless::String::<20>::new();
                let fits = core::fmt::write(&mut text, format_args!("{number}"));
                debug_assert!(fits.is_ok());
                emit(&text);
            }
            Self::Undefined | Self::Messages(_) | Self::Message(_) | Self::Loop(..) => {}
        }
    }

    fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => {
                a.iter().flat_map(Part::chars).eq(b.iter().flat_map(Part::chars))
            }
            (Self::Number(a), Self::Number(b)) => a == b,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::None, Self::None) | (Self::Undefined, Self::Undefined) => true,
            _ => false,
        }
    }

    /// Without white space at both ends.
    fn trimmed(self) -> Result<Self> {
        match self {
            Self::Text(parts) if parts.len() == 1 && !parts[0].is_escaped => {
                Ok(Self::text(parts[0].text.trim(), false))
            }
            _ => Err(unknown("trim of anything but a message's text")),
        }
    }

    fn joined(self, other: Self) -> Result<Self> {
        let (Self::Text(mut parts), Self::Text(more)) = (self, other) else {
            return Err(unknown("+ with anything but texts"));
        };
        ensure!(
            parts.extend_from_slice(&more).is_ok(),
            Code::BadSource,
            "the chat template joins more than {MAX_PARTS} texts"
        );
        Ok(Self::Text(parts))
    }
}

/// Evaluates one expression as it reads it.
pub(super) struct Parser<'p, 'a> {
    lexer: Lexer<'a>,
    chat: &'p Chat<'a>,
    variables: &'p Variables<'a>,
    depth: usize,
    /// Whether the value counts: in branches not taken, nothing is refused.
    is_live: bool,
}

impl<'p, 'a> Parser<'p, 'a> {
    pub fn new(lexer: Lexer<'a>, chat: &'p Chat<'a>, variables: &'p Variables<'a>) -> Self {
        Self { lexer, chat, variables, depth: 0, is_live: true }
    }

    /// The value of the expression, and what follows it.
    pub fn expression(mut self) -> Result<(Value<'a>, Lexer<'a>)> {
        Ok((self.choice()?, self.lexer))
    }

    /// Takes the next token if it is this one.
    fn takes(&mut self, wanted: Token<'_>) -> Result<bool> {
        let is_wanted = self.lexer.peek()? == wanted;
        if is_wanted {
            self.lexer.next()?;
        }
        Ok(is_wanted)
    }

    fn expect(&mut self, sign: &str) -> Result<()> {
        let found = self.lexer.next()?;
        ensure!(
            found == Token::Sign(sign),
            Code::BadSource,
            "the chat template has {} where {sign} belongs",
            found.text()
        );
        Ok(())
    }

    /// `a if b else c`.
    fn choice(&mut self) -> Result<Value<'a>> {
        self.depth += 1;
        ensure!(self.depth < MAX_DEPTH, Code::BadSource, "the chat template nests too deeply");
        let value = self.any()?;
        let value = if self.takes(Token::Name("if"))? {
            let is_first = self.any()?.is_true();
            let other =
                if self.takes(Token::Name("else"))? { self.choice()? } else { Value::Undefined };
            if is_first { value } else { other }
        } else {
            value
        };
        self.depth -= 1;
        Ok(value)
    }

    /// `a or b`.
    fn any(&mut self) -> Result<Value<'a>> {
        let mut value = self.all()?;
        while self.takes(Token::Name("or"))? {
            let is_decided = value.is_true();
            let other = self.ignored_if(is_decided, Self::all)?;
            value = if is_decided { value } else { other };
        }
        Ok(value)
    }

    /// `a and b`.
    fn all(&mut self) -> Result<Value<'a>> {
        let mut value = self.negation()?;
        while self.takes(Token::Name("and"))? {
            let is_decided = !value.is_true();
            let other = self.ignored_if(is_decided, Self::negation)?;
            value = if is_decided { value } else { other };
        }
        Ok(value)
    }

    /// Reads an operand whose value does not count if `is_ignored`.
    fn ignored_if(
        &mut self,
        is_ignored: bool,
        read: fn(&mut Self) -> Result<Value<'a>>,
    ) -> Result<Value<'a>> {
        let was_live = self.is_live;
        self.is_live &= !is_ignored;
        let value = read(self);
        self.is_live = was_live;
        value
    }

    /// `not a`.
    fn negation(&mut self) -> Result<Value<'a>> {
        let mut is_negated = None;
        while self.takes(Token::Name("not"))? {
            is_negated = Some(!is_negated.unwrap_or(false));
        }
        let value = self.comparison()?;
        Ok(match is_negated {
            None => value,
            Some(is_negated) => Value::Bool(value.is_true() != is_negated),
        })
    }

    /// `a == b`, `a != b`, `a is test`.
    fn comparison(&mut self) -> Result<Value<'a>> {
        let value = self.sum()?;
        match self.lexer.peek()? {
            Token::Sign(sign @ ("==" | "!=")) => {
                self.lexer.next()?;
                let is_equal = value.equals(&self.sum()?);
                Ok(Value::Bool(is_equal == (sign == "==")))
            }
            Token::Name("is") => {
                self.lexer.next()?;
                let is_negated = self.takes(Token::Name("not"))?;
                let test = self.lexer.next()?;
                let holds = match test.text() {
                    "defined" => !matches!(value, Value::Undefined),
                    "undefined" => matches!(value, Value::Undefined),
                    "none" => matches!(value, Value::None),
                    "string" => matches!(value, Value::Text(_)),
                    other => return Err(unknown(other)),
                };
                Ok(Value::Bool(holds != is_negated))
            }
            Token::Sign(sign @ ("<" | ">" | "<=" | ">=")) => Err(unknown(sign)),
            Token::Name("in") => Err(unknown("in")),
            _ => Ok(value),
        }
    }

    /// `a + b`, `a ~ b`.
    fn sum(&mut self) -> Result<Value<'a>> {
        let mut value = self.operand()?;
        while matches!(self.lexer.peek()?, Token::Sign("+" | "~")) {
            self.lexer.next()?;
            value = value.joined(self.operand()?)?;
        }
        Ok(value)
    }

    /// A value with its attributes, items, methods and filters.
    fn operand(&mut self) -> Result<Value<'a>> {
        let mut value = self.atom()?;
        loop {
            value = match self.lexer.peek()? {
                Token::Sign(".") => {
                    self.lexer.next()?;
                    let name = self.lexer.next()?.text();
                    if name == "strip" {
                        self.expect("(")?;
                        self.expect(")")?;
                        value.trimmed()?
                    } else {
                        self.attribute(&value, name)?
                    }
                }
                Token::Sign("[") => {
                    self.lexer.next()?;
                    self.item(&value)?
                }
                Token::Sign("|") => {
                    self.lexer.next()?;
                    match (self.lexer.next()?.text(), value) {
                        ("trim", value) => value.trimmed()?,
                        ("length" | "count", Value::Messages(range)) => Value::Number(range.len()),
                        (other, _) => return Err(unknown(other)),
                    }
                }
                _ => return Ok(value),
            };
        }
    }

    fn atom(&mut self) -> Result<Value<'a>> {
        Ok(match self.lexer.next()? {
            Token::Text(text) => Value::text(text, true),
            Token::Number(number) => Value::Number(number),
            Token::Sign("(") => {
                let value = self.choice()?;
                self.expect(")")?;
                value
            }
            Token::Name(name) => self.named(name)?,
            other => fail!(
                Code::BadSource,
                "the chat template has {} where a value belongs",
                other.text()
            ),
        })
    }

    fn named(&mut self, name: &'a str) -> Result<Value<'a>> {
        if self.lexer.peek()? == Token::Sign("(") {
            return self.call(name);
        }
        let variable = self.variables.iter().rev().find(|(known, _)| *known == name);
        Ok(match (variable, name) {
            (Some((_, value)), _) => value.clone(),
            (None, "messages") => Value::Messages(0..self.chat.count),
            (None, "add_generation_prompt") => Value::Bool(self.chat.is_reply_next),
            (None, "bos_token") => Value::text(self.chat.bos, false),
            (None, "eos_token") => Value::text(self.chat.eos, false),
            (None, "true" | "True") => Value::Bool(true),
            (None, "false" | "False") => Value::Bool(false),
            (None, "none" | "None") => Value::None,
            _ => Value::Undefined,
        })
    }

    fn call(&mut self, name: &str) -> Result<Value<'a>> {
        if name != "raise_exception" {
            return Err(unknown(name));
        }
        self.expect("(")?;
        let reason = self.choice()?;
        self.expect(")")?;
        if self.is_live {
            let mut text = heapless::String::<256>::new();
            // What does not fit is cut.
            reason.emit(&mut |part| _ = text.push_str(part));
            fail!(Code::BadArgument, "the chat template refuses the conversation: {text}");
        }
        Ok(Value::Undefined)
    }

    fn attribute(&self, value: &Value<'a>, name: &str) -> Result<Value<'a>> {
        Ok(match (value, name) {
            (Value::Message(index), "role") => Value::text((self.chat.message)(*index).role, false),
            (Value::Message(index), "content") => {
                Value::text((self.chat.message)(*index).content, false)
            }
            (Value::Message(_) | Value::Undefined, _) => Value::Undefined,
            (Value::Loop(before, _), "index0") => Value::Number(*before),
            (Value::Loop(before, _), "index") => Value::Number(before + 1),
            (Value::Loop(_, rounds), "length") => Value::Number(*rounds),
            (Value::Loop(before, _), "first") => Value::Bool(*before == 0),
            (Value::Loop(before, rounds), "last") => Value::Bool(before + 1 == *rounds),
            _ => return Err(unknown(name)),
        })
    }

    /// `messages[0]`, `messages[-1]`, `messages[1:]`, `message['role']`; the bracket is open.
    fn item(&mut self, value: &Value<'a>) -> Result<Value<'a>> {
        let is_negative = self.takes(Token::Sign("-"))?;
        let index = self.choice()?;
        let is_slice = self.takes(Token::Sign(":"))?;
        self.expect("]")?;
        match (value, index) {
            (Value::Messages(range), Value::Number(index)) if is_slice && !is_negative => {
                let start = range.start.saturating_add(index).min(range.end);
                Ok(Value::Messages(start..range.end))
            }
            (Value::Messages(range), Value::Number(index)) if !is_slice => {
                let place = match is_negative {
                    true => range.end.checked_sub(index).filter(|_| index > 0),
                    false => range.start.checked_add(index),
                };
                let place = place.filter(|place| range.contains(place));
                Ok(place.map_or(Value::Undefined, Value::Message))
            }
            (Value::Undefined, _) => Ok(Value::Undefined),
            (value, Value::Text(name)) if name.len() == 1 && !is_slice && !is_negative => {
                self.attribute(value, name[0].text)
            }
            _ => Err(unknown("[] with anything but numbers and names")),
        }
    }
}
