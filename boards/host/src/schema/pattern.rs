//! The keyword `pattern`: an expression of JavaScript that matches somewhere in a string.

use super::quote;
use regex_syntax::hir::{Hir, HirKind, Look, Repetition};

/// White space as JavaScript has it, inside of brackets.
const SPACES: &str =
    r"\t\n\x0B\f\r \u{A0}\u{1680}\u{2000}-\u{200A}\u{2028}\u{2029}\u{202F}\u{205F}\u{3000}\u{FEFF}";

/// The strings that a pattern fits, as JSON writes them without their quotation marks. The reason,
/// behind "its pattern", for one that cannot be kept.
pub fn strings(pattern: &str) -> Result<Hir, String> {
    let parsed = regex_syntax::parse(&in_rust(pattern)?);
    let hir = parsed.map_err(|error| match error {
        regex_syntax::Error::Parse(error) => format!("cannot be read: {}", error.kind()),
        regex_syntax::Error::Translate(error) => format!("cannot be read: {}", error.kind()),
        _ => "cannot be read".to_owned(),
    })?;
    unanchored(&hir)
}

/// The pattern in the notation of Rust's `regex`, as far as they differ. What neither has is left
/// to its parser.
fn in_rust(pattern: &str) -> Result<String, String> {
    let mut rust = String::new();
    let mut in_brackets = false;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match (c, in_brackets) {
            ('\\', _) => match chars.next() {
                Some('d') => rust.push_str("[0-9]"),
                Some('D') => rust.push_str("[^0-9]"),
                Some('w') => rust.push_str("[0-9A-Za-z_]"),
                Some('W') => rust.push_str("[^0-9A-Za-z_]"),
                Some('s') => rust.push_str(&format!("[{SPACES}]")),
                Some('S') => rust.push_str(&format!("[^{SPACES}]")),
                Some('/') => rust.push('/'),
                escaped => rust.extend(['\\'].into_iter().chain(escaped)),
            },
            ('.', false) => rust.push_str(r"[^\n\r\u{2028}\u{2029}]"),
            // Rust has classes and operators inside of classes, and reads these two otherwise.
            ('-', true) if chars.as_str().starts_with('-') => {
                return Err("has -- in brackets: write \\- for the sign".to_owned());
            }
            ('[', false) if chars.as_str().trim_start_matches('^').starts_with(']') => {
                return Err("has [] or [^] in it: write \\] for the bracket".to_owned());
            }
            ('[' | '&' | '~', true) => rust.extend(['\\', c]),
            _ => {
                in_brackets = c == '[' || in_brackets && c != ']';
                rust.push(c);
            }
        }
    }
    Ok(rust)
}

/// Texts that an expression matches somewhere, where its anchors allow.
fn unanchored(hir: &Hir) -> Result<Hir, String> {
    match hir.kind() {
        HirKind::Alternation(ways) => {
            let ways: Result<_, _> = ways.iter().map(unanchored).collect();
            Ok(Hir::alternation(ways?))
        }
        HirKind::Capture(capture) => unanchored(&capture.sub),
        HirKind::Concat(parts) => around(parts),
        _ => around(std::slice::from_ref(hir)),
    }
}

/// Texts that parts match one behind the other: from the beginning to the end where there are
/// anchors, else with any text around them.
fn around(parts: &[Hir]) -> Result<Hir, String> {
    let is = |part: Option<&Hir>, look| part.is_some_and(|p| *p.kind() == HirKind::Look(look));
    let begins = is(parts.first(), Look::Start);
    let parts = &parts[usize::from(begins)..];
    let ends = is(parts.last(), Look::End);
    let parts = &parts[..parts.len() - usize::from(ends)];
    let has_anchors = parts.iter().any(|part| !part.properties().look_set().is_empty());
    match (parts, has_anchors) {
        // An alternative in brackets may have anchors of its own.
        ([only], true) if !begins && !ends => match only.kind() {
            HirKind::Capture(capture) => return unanchored(&capture.sub),
            HirKind::Alternation(_) => return unanchored(only),
            _ => {}
        },
        (_, true) => {}
        (_, false) => {
            let anything = || {
                let sub = Box::new(quote::any());
                Hir::repetition(Repetition { min: 0, max: None, greedy: true, sub })
            };
            let mut all = Vec::new();
            all.extend((!begins).then(anything));
            all.extend(parts.iter().map(quote::expression));
            all.extend((!ends).then(anything));
            return Ok(Hir::concat(all));
        }
    }
    Err("has ^, $ or \\b inside: they can only be at its ends".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn javascript_becomes_rust() {
        for (pattern, rust) in [
            (r"^\d+\.\w$", r"^[0-9]+\.[0-9A-Za-z_]$"),
            (r"[\d.]a\/b", r"[[0-9].]a/b"),
            (r"[a[&&~]", r"[a\[\&\&\~]"),
            (r"a.\u00e9[^.]", "a[^\\n\\r\\u{2028}\\u{2029}]\\u00e9[^.]"),
        ] {
            assert_eq!(in_rust(pattern).unwrap(), rust);
        }
        for pattern in ["[+--]", "[--/]", "[^]]", "a[]"] {
            in_rust(pattern).expect_err(pattern);
        }
    }

    #[test]
    fn anchors_are_kept_at_the_ends_only() {
        for pattern in ["^a$", "a", "^(a|b)", "(^a|b$)", "^a|^b", "^(?:)$", "^", "$", ""] {
            strings(pattern).unwrap_or_else(|reason| panic!("{pattern}: {reason}"));
        }
        for pattern in ["a^b", r"\bword", "(^a)b", "(a$)+", "^^a"] {
            assert!(strings(pattern).unwrap_err().contains("at its ends"), "{pattern}");
        }
        for pattern in ["(", "(?=a)b", r"(a)\1", "a{2"] {
            assert!(strings(pattern).unwrap_err().contains("cannot be read"), "{pattern}");
        }
    }
}
