//! What a grammar may ask for, before it is compiled.
//!
//! llguidance bounds its states and steps, but not the bytes that a grammar forces, each of which
//! takes some hundred bytes of memory: one expression such as `a{100000000}` would take them all.

use kinglet_quant::{Code, Result, ensure};
use serde_json::Value;

/// Bytes of a grammar's text.
const MAX_TEXT_BYTES: usize = 16 << 10;
/// Bytes that one expression matches at least.
const MAX_LEAST_BYTES: usize = 8 << 10;

/// `BadGrammar` for a text that is too long.
pub fn check_text(text: &str) -> Result<()> {
    ensure!(
        text.len() <= MAX_TEXT_BYTES,
        Code::BadGrammar,
        "the grammar has {} bytes, at most {MAX_TEXT_BYTES} are supported: shorten it",
        text.len()
    );
    Ok(())
}

/// `BadGrammar` for an expression that only long texts match. One that cannot be parsed is left to
/// whoever compiles it.
pub fn check_regex(regex: &str) -> Result<()> {
    let Ok(hir) = regex_syntax::ParserBuilder::new().utf8(false).build().parse(regex) else {
        return Ok(());
    };
    check_repetition(hir.properties().minimum_len().unwrap_or(0))
}

fn check_repetition(least_bytes: usize) -> Result<()> {
    ensure!(
        least_bytes <= MAX_LEAST_BYTES,
        Code::BadGrammar,
        "a repetition matches {least_bytes} bytes at least, {MAX_LEAST_BYTES} are supported: \
         repeat less"
    );
    Ok(())
}

/// [`check_regex`] of every pattern in a schema.
pub fn check_schema(schema: &Value) -> Result<()> {
    match schema {
        Value::Array(parts) => parts.iter().try_for_each(check_schema),
        Value::Object(keywords) => keywords.iter().try_for_each(|(keyword, value)| {
            match (keyword.as_str(), value) {
                ("pattern", Value::String(pattern)) => check_regex(pattern)?,
                ("patternProperties", Value::Object(patterns)) => {
                    patterns.keys().try_for_each(|pattern| check_regex(pattern))?;
                }
                _ => {}
            }
            check_schema(value)
        }),
        _ => Ok(()),
    }
}

/// [`check_regex`] of every expression between slashes in a grammar of Lark's notation, and the
/// same for what its `~` repeat: they may repeat each other.
pub fn check_lark(grammar: &str) -> Result<()> {
    let mut rest = grammar;
    let mut repeated = 1_usize;
    while let Some(at) = rest.find(['"', '/', '~', '#']) {
        let mark = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        match mark {
            b'~' => {
                let digits = rest.trim_start();
                let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
                let count = digits[..end].parse().unwrap_or(usize::MAX * usize::from(end > 0));
                repeated = repeated.saturating_mul(count.max(1));
                check_repetition(repeated)?;
            }
            b'#' => rest = &rest[rest.find('\n').unwrap_or(rest.len())..],
            b'/' if rest.starts_with('/') => rest = &rest[rest.find('\n').unwrap_or(rest.len())..],
            quote => {
                let end = closing(rest, quote);
                if quote == b'/' {
                    check_regex(&rest[..end])?;
                }
                rest = rest.get(end + 1..).unwrap_or_default();
            }
        }
    }
    Ok(())
}

/// Where a quoted text ends: at a mark without a backslash in front of it.
fn closing(text: &str, mark: u8) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().position(|byte| {
        let is_end = byte == mark && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_too_often_is_refused() {
        for regex in
            ["a{8192}", "(ab){4096}", "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "a*", "a("]
        {
            check_regex(regex).unwrap();
        }
        for regex in ["a{8193}", "(a{100}b){100}", "((a{50}){50}){50}", "\\p{L}{9000}"] {
            assert_eq!(check_regex(regex).unwrap_err().code(), Code::BadGrammar, "{regex}");
        }
        let inner = serde_json::json!({"anyOf": [{"items": {"pattern": "x{9999}"}}]});
        assert_eq!(check_schema(&inner).unwrap_err().code(), Code::BadGrammar);
        let keys = serde_json::json!({"patternProperties": {"^x{9999}$": true}});
        assert_eq!(check_schema(&keys).unwrap_err().code(), Code::BadGrammar);
        check_schema(&serde_json::json!({"pattern": "x{9}", "const": "x{9999}"})).unwrap();
    }

    #[test]
    fn expressions_and_repetitions_of_a_grammar_are_found() {
        for grammar in [
            "start: \"a~9999\" B // c~9999 /x{9999}/\nB: /\\/{9}/~80..9000 # ~9999",
            "start: A~ 90\nA: \"\\\"~9999\"~91",
            "start: \"never closed ~9999",
        ] {
            check_lark(grammar).unwrap_or_else(|error| panic!("{grammar}: {error}"));
        }
        for grammar in [
            "start: /x{9999}/",
            "start: \"//\" /\\/{9999}/",
            "start: A~91\nA: \"a\" ~ 92",
            "start: \"a\"~99999999999999999999",
            "start: \"a\"~100..200 \"b\"~100",
        ] {
            assert_eq!(check_lark(grammar).unwrap_err().code(), Code::BadGrammar, "{grammar}");
        }
    }
}
