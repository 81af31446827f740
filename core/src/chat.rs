//! Chat templates: a conversation becomes text as the model's own template says.
//!
//! Templates are written in Jinja. This renders the part of it that templates of SmolLM's kind are
//! made of, straight from the source and without memory of its own: text, `{{ … }}`, `for` over
//! messages, `if`, `set`, comments, trimmed blocks as in `transformers`, and the expressions of
//! `expression.rs`. What it does not know is an error, never a guess; whole Jinja engines are
//! larger than the rest of Kinglet.

mod expression;
mod lexer;

use expression::{Parser, Value};
use kinglet_quant::{Code, Error, Result, ensure, fail};
use lexer::{Lexer, Token};

/// Blocks that may lie in each other, which bounds the stack.
const MAX_DEPTH: usize = 16;
/// Loops that may lie in each other, which bounds the time.
const MAX_LOOPS: usize = 2;
/// Variables that `set` and `for` may make at once.
const MAX_VARIABLES: usize = 8;

/// One turn of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `system`, `user` or `assistant`.
    pub role: &'a str,
    /// What was said.
    pub content: &'a str,
}

/// What a template is rendered with.
#[derive(Clone, Copy)]
pub struct Chat<'a> {
    /// Turns of the conversation.
    pub count: usize,
    /// The turn of a number below `count`.
    pub message: &'a dyn Fn(usize) -> Message<'a>,
    /// Whether the text ends with the beginning of the assistant's next reply.
    pub is_reply_next: bool,
    /// The text of the model's token for the begin of a text.
    pub bos: &'a str,
    /// The text of the model's first token for the end of a text.
    pub eos: &'a str,
}

/// Hands the text of a conversation on in pieces.
///
/// `BadSource` for a template that uses what this does not know, `BadArgument` with the template's
/// words when it refuses the conversation.
pub fn render<'a>(source: &'a str, chat: &Chat<'a>, emit: &mut dyn FnMut(&str)) -> Result<()> {
    // As Jinja does: the last line break belongs to the file.
    let source = source.strip_suffix('\n').unwrap_or(source);
    let mut renderer =
        Renderer { source, chat: *chat, emit, variables: heapless::Vec::new(), loops: 0 };
    let end = renderer.block(Place::start(), true, 0)?;
    ensure!(
        end.keyword.is_empty(),
        Code::BadSource,
        "the chat template has a stray {}",
        end.keyword
    );
    Ok(())
}

/// The values of names while a template is rendered.
type Variables<'a> = heapless::Vec<(&'a str, Value<'a>), MAX_VARIABLES>;

/// Where in the source the next text begins, and what the tag before it asks for.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    trim: Trim,
}

/// What is taken off the start of a text.
#[derive(Clone, Copy, PartialEq)]
enum Trim {
    /// Nothing; the text starts in the middle of a line.
    Nothing,
    /// Nothing; the text starts a line.
    LineStart,
    /// A line break: the tag was a block.
    LineBreak,
    /// All white space: the tag ends with a minus sign.
    White,
}

impl Place {
    fn start() -> Self {
        Self { at: 0, trim: Trim::LineStart }
    }
}

/// The tag that ends a block: its keyword, `""` at the end of the source, and where it goes on.
#[derive(Clone, Copy)]
struct End<'a> {
    keyword: &'a str,
    /// Behind the keyword.
    at: usize,
}

struct Renderer<'a, 'e> {
    source: &'a str,
    chat: Chat<'a>,
    emit: &'e mut dyn FnMut(&str),
    variables: Variables<'a>,
    loops: usize,
}

impl<'a> Renderer<'a, '_> {
    /// Renders from `place` to the tag that ends the block; only looks for it unless `is_live`.
    fn block(&mut self, mut place: Place, is_live: bool, depth: usize) -> Result<End<'a>> {
        ensure!(depth < MAX_DEPTH, Code::BadSource, "the chat template nests too deeply");
        loop {
            let Some(tag) = self.text(place, is_live) else {
                return Ok(End { keyword: "", at: self.source.len() });
            };
            let kind = self.source.as_bytes()[tag + 1];
            // A sign in front steers white space only.
            let inside = tag + 2 + usize::from(self.source[tag + 2..].starts_with(['-', '+']));
            place = match kind {
                b'#' => self.comment(inside)?,
                b'{' if is_live => {
                    let (value, lexer) = self.value(inside)?;
                    value.emit(self.emit);
                    self.close(lexer, "}}")?
                }
                b'{' => self.skip(inside, "}}")?,
                _ => {
                    let mut lexer = Lexer::new(self.source, inside);
                    let Token::Name(keyword) = lexer.next()? else {
                        fail!(Code::BadSource, "the chat template has a block without a keyword");
                    };
                    match keyword {
                        "if" => self.branches(lexer.at(), is_live, depth)?,
                        "for" => self.repeat(lexer, is_live, depth)?,
                        "set" if is_live => self.set(lexer)?,
                        "set" => self.skip(lexer.at(), "%}")?,
                        "elif" | "else" | "endif" | "endfor" => {
                            return Ok(End { keyword, at: lexer.at() });
                        }
                        _ => return Err(unknown(keyword)),
                    }
                }
            };
        }
    }

    /// Emits the text up to the next tag and returns where that starts.
    fn text(&mut self, place: Place, is_live: bool) -> Option<usize> {
        let rest = &self.source[place.at..];
        let is_tag = |pair: &[u8]| pair[0] == b'{' && matches!(pair[1], b'{' | b'%' | b'#');
        let length = rest.as_bytes().windows(2).position(is_tag);
        let mut text = &rest[..length.unwrap_or(rest.len())];
        let mut starts_line = place.trim == Trim::LineStart;
        match place.trim {
            Trim::White => text = text.trim_start(),
            Trim::LineBreak => {
                let trimmed = text.strip_prefix("\r\n").or(text.strip_prefix('\n'));
                starts_line = trimmed.is_some();
                text = trimmed.unwrap_or(text);
            }
            Trim::Nothing | Trim::LineStart => {}
        }
        if let Some(length) = length {
            let tag = &rest[length + 1..];
            if tag[1..].starts_with('-') {
                text = text.trim_end();
            } else if !tag.starts_with('{') && !tag[1..].starts_with('+') {
                text = without_indent(text, starts_line);
            }
        }
        if is_live && !text.is_empty() {
            (self.emit)(text);
        }
        length.map(|length| place.at + length)
    }

    fn comment(&self, at: usize) -> Result<Place> {
        let Some(length) = self.source[at..].find("#}") else {
            fail!(Code::BadSource, "a comment of the chat template does not end");
        };
        let is_trimmed = self.source[..at + length].ends_with('-') && length > 0;
        let trim = if is_trimmed { Trim::White } else { Trim::LineBreak };
        Ok(Place { at: at + length + 2, trim })
    }

    /// The value of the expression at `at`, and what follows it.
    fn value(&self, at: usize) -> Result<(Value<'a>, Lexer<'a>)> {
        let lexer = Lexer::new(self.source, at);
        Parser::new(lexer, &self.chat, &self.variables).expression()
    }

    /// Checks that a tag ends here.
    fn close(&self, mut lexer: Lexer<'a>, end: &str) -> Result<Place> {
        let token = lexer.next()?;
        let (Token::Sign(sign), is_block) = (token, end == "%}") else {
            fail!(Code::BadSource, "a tag of the chat template goes on with {}", token.text());
        };
        let trim = match sign.strip_suffix(end) {
            Some("-") => Trim::White,
            Some("") if is_block => Trim::LineBreak,
            Some(_) => Trim::Nothing,
            None => fail!(Code::BadSource, "a tag of the chat template goes on with {sign}"),
        };
        Ok(Place { at: lexer.at(), trim })
    }

    /// The end of a tag whose content does not count.
    fn skip(&self, at: usize, end: &str) -> Result<Place> {
        let mut lexer = Lexer::new(self.source, at);
        loop {
            let before = lexer;
            match lexer.next()? {
                Token::Sign(sign) if sign.ends_with(end) => {
                    return self.close(before, end);
                }
                Token::End => fail!(Code::BadSource, "a tag of the chat template does not end"),
                _ => {}
            }
        }
    }

    /// `set name = expression`.
    fn set(&mut self, mut lexer: Lexer<'a>) -> Result<Place> {
        let (Token::Name(name), Token::Sign("=")) = (lexer.next()?, lexer.next()?) else {
            return Err(unknown("set without a plain name"));
        };
        let (value, lexer) = self.value(lexer.at())?;
        self.define(name, value)?;
        self.close(lexer, "%}")
    }

    fn define(&mut self, name: &'a str, value: Value<'a>) -> Result<()> {
        let known = self.variables.iter_mut().rev().find(|(known, _)| *known == name);
        match known {
            Some((_, known)) => *known = value,
            None => ensure!(
                self.variables.push((name, value)).is_ok(),
                Code::BadSource,
                "the chat template has more than {MAX_VARIABLES} variables"
            ),
        }
        Ok(())
    }

    /// `if`, `elif` and `else` up to `endif`; `at` is behind the first keyword.
    fn branches(&mut self, at: usize, is_live: bool, depth: usize) -> Result<Place> {
        let (mut end, mut is_open) = (End { keyword: "if", at }, is_live);
        loop {
            let (place, is_taken) = match end.keyword {
                "if" | "elif" if is_open => {
                    let (value, lexer) = self.value(end.at)?;
                    (self.close(lexer, "%}")?, value.is_true())
                }
                "if" | "elif" => (self.skip(end.at, "%}")?, false),
                "else" => (self.skip(end.at, "%}")?, is_open),
                "endif" => return self.skip(end.at, "%}"),
                keyword => fail!(Code::BadSource, "an if of the chat template meets {keyword:?}"),
            };
            is_open &= !is_taken;
            end = self.block(place, is_taken, depth + 1)?;
        }
    }

    /// `for name in messages` up to `endfor`; the lexer is behind the keyword.
    fn repeat(&mut self, mut lexer: Lexer<'a>, is_live: bool, depth: usize) -> Result<Place> {
        if !is_live {
            let place = self.skip(lexer.at(), "%}")?;
            return self.repeat_once(place, false, depth);
        }
        let (Token::Name(name), Token::Name("in")) = (lexer.next()?, lexer.next()?) else {
            return Err(unknown("for over anything but messages"));
        };
        let (value, lexer) = self.value(lexer.at())?;
        let Value::Messages(range) = value else {
            return Err(unknown("for over anything but messages"));
        };
        let place = self.close(lexer, "%}")?;
        ensure!(self.loops < MAX_LOOPS, Code::BadSource, "the chat template nests its loops");
        if range.is_empty() {
            return self.repeat_once(place, false, depth);
        }
        self.loops += 1;
        let (outer, mut behind) = (self.variables.clone(), place);
        for index in range.clone() {
            self.define(name, Value::Message(index))?;
            self.define("loop", Value::Loop(index - range.start, range.len()))?;
            behind = self.repeat_once(place, true, depth)?;
            // What a loop sets is gone behind it, as in Jinja.
            self.variables.clone_from(&outer);
        }
        self.loops -= 1;
        Ok(behind)
    }

    fn repeat_once(&mut self, place: Place, is_live: bool, depth: usize) -> Result<Place> {
        let end = self.block(place, is_live, depth + 1)?;
        let keyword = end.keyword;
        ensure!(
            keyword == "endfor",
            Code::BadSource,
            "a loop of the chat template meets {keyword}"
        );
        self.skip(end.at, "%}")
    }
}

/// A text in front of a block, without white space in front of it on the block's own line.
fn without_indent(text: &str, starts_line: bool) -> &str {
    let trimmed = text.trim_end_matches([' ', '\t']);
    let is_line_start = trimmed.ends_with('\n') || trimmed.is_empty() && starts_line;
    if is_line_start { trimmed } else { text }
}

fn unknown(what: &str) -> Error {
    let message = format_args!("the chat template uses {what}, which Kinglet does not know");
    Error::new(Code::BadSource, message)
}
