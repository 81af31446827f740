//! Characters as a JSON string writes them.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Repetition};

/// Characters that have an escape of a letter, with that letter.
const ESCAPES: [(char, char); 8] = [
    ('"', '"'),
    ('\\', '\\'),
    ('/', '/'),
    ('\u{8}', 'b'),
    ('\u{C}', 'f'),
    ('\n', 'n'),
    ('\r', 'r'),
    ('\t', 't'),
];

/// Characters that may not stand for themselves.
const NEVER_PLAIN: [(char, char); 3] = [('\0', '\u{1F}'), ('"', '"'), ('\\', '\\')];

fn class_of(ranges: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(ranges.iter().map(|&(first, last)| ClassUnicodeRange::new(first, last)))
}

/// Any character.
pub fn any() -> Hir {
    class(&class_of(&[('\0', char::MAX)]))
}

/// A character of a class: itself, the escape of a letter, or `\u00XX` for control characters.
pub fn class(class: &ClassUnicode) -> Hir {
    let mut plain = class.clone();
    plain.difference(&class_of(&NEVER_PLAIN));
    let has = |c: char| {
        let mut own = class_of(&[(c, c)]);
        own.intersect(class);
        !own.ranges().is_empty()
    };
    let mut ways = vec![Hir::class(Class::Unicode(plain))];
    let letters = ESCAPES.into_iter().filter(|(c, _)| has(*c)).map(|(_, letter)| letter);
    ways.push(behind("\\", letters));
    for (high, start) in [('0', '\0'), ('1', '\u{10}')] {
        let lows = (0..16).filter(|&low| has(char::from(start as u8 + low)));
        let digits = lows.filter_map(|low| char::from_digit(low.into(), 16));
        let digits = digits.flat_map(|digit| [digit, digit.to_ascii_uppercase()]);
        ways.push(behind(&format!("\\u00{high}"), digits));
    }
    Hir::alternation(ways)
}

/// One of some characters behind a text.
fn behind(text: &str, characters: impl Iterator<Item = char>) -> Hir {
    let characters: Vec<(char, char)> = characters.map(|c| (c, c)).collect();
    Hir::concat(vec![
        Hir::literal(text.as_bytes()),
        Hir::class(Class::Unicode(class_of(&characters))),
    ])
}

/// The texts of an expression without anchors, as a string writes them.
pub fn expression(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Look(_) => unreachable!("the anchors are gone"),
        HirKind::Literal(text) => {
            let text = str::from_utf8(&text.0).expect("expressions match UTF-8");
            Hir::concat(text.chars().map(|c| class(&class_of(&[(c, c)]))).collect())
        }
        HirKind::Class(Class::Unicode(own)) => class(own),
        HirKind::Class(Class::Bytes(own)) => {
            class(&own.to_unicode_class().expect("expressions match UTF-8"))
        }
        HirKind::Repetition(repetition) => Hir::repetition(Repetition {
            sub: Box::new(expression(&repetition.sub)),
            ..repetition.clone()
        }),
        HirKind::Capture(capture) => expression(&capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(expression).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(expression).collect()),
    }
}
