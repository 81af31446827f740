//! The words inside of a template's tags.

use kinglet_quant::{Code, Result, fail};

/// A word inside of a tag.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// A name or a keyword.
    Name(&'a str),
    /// A text, its escapes as they are written.
    Text(&'a str),
    /// A number.
    Number(usize),
    /// An operator, a bracket or the end of a tag, whose sign belongs to it.
    Sign(&'a str),
    /// The end of the source.
    End,
}

impl<'a> Token<'a> {
    /// What messages call it.
    pub fn text(self) -> &'a str {
        match self {
            Self::Name(text) | Self::Text(text) | Self::Sign(text) => text,
            Self::Number(_) => "a number",
            Self::End => "nothing",
        }
    }
}

/// Signs, those first that others begin with.
const SIGNS: [&str; 24] = [
    "-%}", "+%}", "+}}", "-}}", "%}", "}}", "==", "!=", "<=", ">=", "<", ">", "+", "~", "=", "(",
    ")", "[", "]", ".", ",", ":", "|", "-",
];

/// Cuts the source into tokens from some place on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lexer<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(source: &'a str, at: usize) -> Self {
        Self { source, at }
    }

    /// Behind the last token.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The next token, which stays the next one.
    pub fn peek(&self) -> Result<Token<'a>> {
        let mut copy = *self;
        copy.next()
    }

    pub fn next(&mut self) -> Result<Token<'a>> {
        let rest = self.source[self.at..].trim_ascii_start();
        let start = self.source.len() - rest.len();
        let Some(first) = rest.chars().next() else {
            return Ok(Token::End);
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let length =
            |is_part: fn(char) -> bool| rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
        let (token, bytes) = if first == '\'' || first == '"' {
            let text = quoted(&rest[1..], first as u8)?;
            (Token::Text(text), text.len() + 2)
        } else if first.is_ascii_digit() {
            let digits = length(|c| c.is_ascii_digit());
            let Ok(number) = rest[..digits].parse() else {
                fail!(Code::BadSource, "a number of the chat template is too large");
            };
            (Token::Number(number), digits)
        } else if is_name(first) {
            let bytes = length(|c| c.is_ascii_alphanumeric() || c == '_');
            (Token::Name(&rest[..bytes]), bytes)
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (Token::Sign(sign), sign.len())
        } else {
            fail!(Code::BadSource, "the chat template has {first:?} inside of a tag");
        };
        self.at = start + bytes;
        Ok(token)
    }
}

/// The text up to the closing quote, which a backslash takes its meaning.
fn quoted(rest: &str, quote: u8) -> Result<&str> {
    let mut is_escaped = false;
    for (at, &byte) in rest.as_bytes().iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            byte if byte == quote => return Ok(&rest[..at]),
            _ => {}
        }
    }
    fail!(Code::BadSource, "a text of the chat template does not end")
}
