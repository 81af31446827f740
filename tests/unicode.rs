//! The character classes agree with the regex engine that the `tokenizers` library uses.
//!
//! `KINGLET_BLESS=1 cargo test -p kinglet-tests --test unicode` writes the tables anew.

use kinglet_core::unicode::Class;
use regex_syntax::hir::{self, HirKind};
use std::fmt::Write;
use std::path::PathBuf;

/// The ranges of a class such as `\p{L}` or `\s`.
fn ranges(class: &str) -> Vec<(char, char)> {
    let parsed = regex_syntax::parse(class).unwrap();
    let HirKind::Class(hir::Class::Unicode(class)) = parsed.kind() else {
        panic!("{class} is not a class of characters");
    };
    class.iter().map(|range| (range.start(), range.end())).collect()
}

fn table(name: &str, class: &str) -> String {
    let ranges = ranges(class);
    let mut table = format!("\n/// `{class}`\n#[rustfmt::skip]\n");
    writeln!(table, "pub(super) static {name}: [(char, char); {}] = [", ranges.len()).unwrap();
    for row in ranges.chunks(3) {
        let row: Vec<String> = row
            .iter()
            .map(|&(first, last)| {
                format!("('\\u{{{:04X}}}', '\\u{{{:04X}}}')", first as u32, last as u32)
            })
            .collect();
        writeln!(table, "    {},", row.join(", ")).unwrap();
    }
    table + "];\n"
}

#[test]
fn tables_are_what_the_generator_writes() {
    let text =
        "//! Inclusive ranges of characters, in ascending order, written by `tests/unicode.rs`.\n"
            .to_owned()
            + &table("LETTERS", r"\p{L}")
            + &table("NUMBERS", r"\p{N}")
            + &table("SPACES", r"\s");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../core/src/unicode/tables.rs");
    if std::env::var_os("KINGLET_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "set KINGLET_BLESS=1 to rewrite");
}

#[test]
fn every_character_has_its_class() {
    let mut expected = vec![Class::Other; char::MAX as usize + 1];
    let classes = [(r"\p{L}", Class::Letter), (r"\p{N}", Class::Number), (r"\s", Class::Space)];
    for (name, class) in classes {
        for (first, last) in ranges(name) {
            for slot in &mut expected[first as usize..=last as usize] {
                assert_eq!(*slot, Class::Other, "{name} shares a character with another class");
                *slot = class;
            }
        }
    }
    for character in '\0'..=char::MAX {
        assert_eq!(Class::of(character), expected[character as usize], "{character:?}");
    }
}
