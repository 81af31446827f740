//! From templates as `transformers` takes them to those that the engine does.
//!
//! The engine lacks two things: the tag `generation`, which marks what an assistant wrote, and `%`
//! between a text and its values.

use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;

/// The filter that stands for `%`.
pub(super) const PERCENT: &str = "__percent";

/// The template with line breaks as Jinja has them, and with what the engine lacks in other words.
pub(super) fn translated(source: &str, syntax: &SyntaxConfig) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let tokens: Result<Vec<_>, _> = tokenize(&source, false, syntax.clone()).collect();
    // The compiler says better what is wrong.
    let Ok(tokens) = tokens else { return source };
    let tokens: Vec<Placed<'_>> = tokens
        .into_iter()
        .map(|(token, span)| Placed {
            token,
            start: span.start_offset as usize,
            end: span.end_offset as usize,
        })
        .collect();
    let mut edits = Vec::new();
    for at in 0..tokens.len() {
        match tokens[at].token {
            Token::Ident(tag) if at > 0 && matches!(tokens[at - 1].token, Token::BlockStart) => {
                edits.extend(tag_edit(tag, &tokens[at]));
            }
            Token::Mod => edits.extend(percent_edits(&tokens, at).into_iter().flatten()),
            _ => {}
        }
    }
    // Of two at one place, the one that ends something was found first.
    edits.sort_by_key(|edit: &Edit| edit.start);
    let mut out = String::with_capacity(source.len() + 64);
    let mut copied = 0;
    for Edit { start, end, text } in edits {
        out.push_str(&source[copied..start]);
        out.push_str(&text);
        copied = end;
    }
    out + &source[copied..]
}

/// A token with its bytes in the source.
struct Placed<'s> {
    token: Token<'s>,
    start: usize,
    end: usize,
}

/// Bytes to replace.
struct Edit {
    start: usize,
    end: usize,
    text: String,
}

/// What marks an assistant's words becomes a block that keeps its variables to itself, as that tag
/// does.
fn tag_edit(tag: &str, placed: &Placed<'_>) -> Option<Edit> {
    let text = match tag {
        "generation" => "with",
        "endgeneration" => "endwith",
        _ => return None,
    };
    Some(Edit { start: placed.start, end: placed.end, text: text.to_owned() })
}

/// `a % b` becomes a filter of `a`, unless operators in front show that `a` is a number.
fn percent_edits(tokens: &[Placed<'_>], at: usize) -> Option<[Edit; 2]> {
    let first = operand_start(tokens, at)?;
    let is_number = first.checked_sub(1).is_some_and(|before| {
        use Token::{Div, FloorDiv, Minus, Mod, Mul, Pow};
        matches!(tokens[before].token, Minus | Mul | Div | FloorDiv | Mod | Pow)
    });
    if is_number {
        return None;
    }
    let last = operand_end(tokens, at)?;
    let open = Edit { start: tokens[at].start, end: tokens[at].end, text: format!("|{PERCENT}(") };
    let close = Edit { start: tokens[last].end, end: tokens[last].end, text: ")".to_owned() };
    Some([open, close])
}

/// The first token of the operand in front of the operator at `at`.
fn operand_start(tokens: &[Placed<'_>], at: usize) -> Option<usize> {
    let mut first = at.checked_sub(1)?;
    loop {
        if is_close(&tokens[first].token) {
            first = opening(tokens, first)?;
        }
        let before = first.checked_sub(1)?;
        let is_group = is_open(&tokens[first].token);
        match &tokens[before].token {
            Token::Dot | Token::Pipe => first = before.checked_sub(1)?,
            token if is_group && is_operand(token) => first = before,
            _ => return Some(first),
        }
    }
}

/// The last token of the operand behind the operator at `at`.
fn operand_end(tokens: &[Placed<'_>], at: usize) -> Option<usize> {
    let mut last = at + 1;
    while matches!(tokens.get(last)?.token, Token::Minus | Token::Plus) {
        last += 1;
    }
    loop {
        if is_open(&tokens[last].token) {
            last = closing(tokens, last)?;
        }
        match tokens.get(last + 1)?.token {
            Token::Dot | Token::Pipe | Token::Pow => last += 2,
            Token::ParenOpen | Token::BracketOpen => last += 1,
            _ => return Some(last),
        }
        tokens.get(last)?;
    }
}

fn is_open(token: &Token<'_>) -> bool {
    matches!(token, Token::ParenOpen | Token::BracketOpen | Token::BraceOpen)
}

fn is_close(token: &Token<'_>) -> bool {
    matches!(token, Token::ParenClose | Token::BracketClose | Token::BraceClose)
}

/// Whether a group behind this token is a call of it or an index into it.
fn is_operand(token: &Token<'_>) -> bool {
    match token {
        Token::Ident(word) => !KEYWORDS.contains(word),
        Token::Str(_) | Token::String(_) => true,
        token => is_close(token),
    }
}

/// Words that stand between operands.
const KEYWORDS: [&str; 8] = ["if", "else", "elif", "and", "or", "not", "in", "is"];

/// The token that opens what the one at `close` closes.
fn opening(tokens: &[Placed<'_>], close: usize) -> Option<usize> {
    let mut depth = 0;
    (0..=close).rev().find(|&index| {
        depth += i32::from(is_close(&tokens[index].token));
        depth -= i32::from(is_open(&tokens[index].token));
        depth == 0
    })
}

/// The token that closes what the one at `open` opens.
fn closing(tokens: &[Placed<'_>], open: usize) -> Option<usize> {
    let mut depth = 0;
    (open..tokens.len()).find(|&index| {
        depth += i32::from(is_open(&tokens[index].token));
        depth -= i32::from(is_close(&tokens[index].token));
        depth == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_takes_the_operands_that_python_gives_it() {
        for (source, wanted) in [
            ("{{ '%s' % x }}", "{{ '%s' |__percent( x) }}"),
            ("{{ a.b['%'](c) % (d, e) }}", "{{ a.b['%'](c) |__percent( (d, e)) }}"),
            ("{{ (a + b) % -c.d|f(1) + 2 }}", "{{ (a + b) |__percent( -c.d|f(1)) + 2 }}"),
            (
                "{% if a % 2 == 0 and b%c[1]%}",
                "{% if a |__percent( 2) == 0 and b|__percent(c[1])%}",
            ),
            ("{{ a if (b) % c else d }}", "{{ a if (b) |__percent( c) else d }}"),
            ("{{ a * b % c }}{{ -a % b }}", "{{ a * b % c }}{{ -a % b }}"),
            ("{{ f(a % b) % c }}", "{{ f(a |__percent( b)) |__percent( c) }}"),
            (
                "a % b {# c % d #}{% raw %}{{ a % b }}{% endraw %}",
                "a % b {# c % d #}{% raw %}{{ a % b }}{% endraw %}",
            ),
        ] {
            assert_eq!(translated(source, &SyntaxConfig::default()), wanted);
        }
    }

    #[test]
    fn tags_and_line_breaks_are_translated() {
        let source = "a\r\nb\rc{%- generation -%}{{ '{% generation %}' }}{% endgeneration%}";
        let wanted = "a\nb\nc{%- with -%}{{ '{% generation %}' }}{% endwith%}";
        assert_eq!(translated(source, &SyntaxConfig::default()), wanted);
        assert_eq!(translated("{% broken", &SyntaxConfig::default()), "{% broken");
    }
}
