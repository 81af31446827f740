//! A table of functions that a model can call, as `kinglet compile-schema --tools` writes it: what
//! the model is told of them, how it writes calls, and what its replies can be.
//!
//! The table may lie anywhere in memory, such as in flash. All numbers are little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | [`MAGIC`] |
//! | 4 | [`VERSION`] |
//! | 4 | [`CAN_BE_EMPTY`], or zero |
//! | 4 | bytes of the texts |
//! | so many | the texts in UTF-8, with [`SEPARATOR`] between them |
//! | up to 3 | zeros, up to a multiple of 4 |
//! | the rest | a table of replies: see [`crate::automaton`] |
//!
//! The texts are those of [`Functions`] and of [`Dialect`], in the order of their fields. Where a
//! reply has one call at most, the text between two calls is empty.

use crate::automaton::{self, Automaton};
use crate::calls::Dialect;
use kinglet_quant::frame::Functions;
pub use kinglet_quant::frame::SEPARATOR;
use kinglet_quant::{Code, Error, Result, ensure, fail};

/// The first bytes of every table of functions.
pub const MAGIC: [u8; 8] = *b"KTOOLS\n\0";
/// The version that this reader knows.
pub const VERSION: u32 = 1;
/// A reply may open and close calls without one.
pub const CAN_BE_EMPTY: u32 = 1;

/// A checked table.
#[derive(Clone, Copy, Debug)]
pub struct Tools<'a> {
    /// How conversations tell of the functions, and what they return.
    pub functions: Functions<'a>,
    /// How replies call them.
    pub dialect: Dialect<'a>,
    /// What replies can be.
    pub replies: Automaton<'a>,
}

impl<'a> Tools<'a> {
    /// Checks a whole table. `NotKinglet`, `UnknownVersion`, `Truncated` or `Corrupt`.
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        let Some(rest) = bytes.strip_prefix(&MAGIC) else {
            fail!(
                Code::NotKinglet,
                "the table of functions is none of kinglet compile-schema --tools: give what that \
                 has written"
            );
        };
        let (words, _) = rest.as_chunks::<4>();
        let Some(&[version, flags, length]) = words.first_chunk() else {
            return Err(truncated());
        };
        let [version, flags, length] = [version, flags, length].map(u32::from_le_bytes);
        ensure!(
            version == VERSION,
            Code::UnknownVersion,
            "the table of functions has version {version}, this Kinglet reads {VERSION}: compile \
             it again"
        );
        let rest = &rest[12..];
        let length = length as usize;
        let Some((texts, rest)) = rest.split_at_checked(length) else {
            return Err(truncated());
        };
        let Some((padding, replies)) = rest.split_at_checked(length.wrapping_neg() % 4) else {
            return Err(truncated());
        };
        let is_clean = flags & !CAN_BE_EMPTY == 0 && padding.iter().all(|&byte| byte == 0);
        let texts = core::str::from_utf8(texts).ok().filter(|_| is_clean).and_then(fields);
        let Some((functions, dialect)) = texts else {
            fail!(Code::Corrupt, "the table of functions contradicts itself: compile it again");
        };
        let dialect = Dialect { can_be_empty: flags == CAN_BE_EMPTY, ..dialect };
        Ok(Self { functions, dialect, replies: Automaton::open(replies)? })
    }
}

/// What replies can be, by a table of functions or of a schema. The errors of both.
pub fn replies(table: &[u8]) -> Result<Automaton<'_>> {
    match table.starts_with(&MAGIC) {
        true => Ok(Tools::open(table)?.replies),
        false => Automaton::open(table),
    }
}

/// Whether bytes are meant to be a table of functions or of a schema.
pub fn is_table(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC) || bytes.starts_with(&automaton::MAGIC)
}

/// Takes the texts apart.
fn fields(texts: &str) -> Option<(Functions<'_>, Dialect<'_>)> {
    let mut fields = texts.split(SEPARATOR);
    let functions = Functions {
        default_system: fields.next()?,
        joint: fields.next()?,
        told: fields.next()?,
        results: [fields.next()?, fields.next()?, fields.next()?],
    };
    let dialect = Dialect {
        open: fields.next()?,
        before_name: fields.next()?,
        between: fields.next()?,
        after: fields.next()?,
        separator: Some(fields.next()?).filter(|separator| !separator.is_empty()),
        close: fields.next()?,
        can_be_empty: false,
    };
    fields.next().is_none().then_some((functions, dialect))
}

#[cold]
fn truncated() -> Error {
    Error::new(
        Code::Truncated,
        format_args!(
            "the table of functions ends too early: give all of its bytes, or compile it again"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::automaton::State;
    use std::string::String;
    use std::vec::Vec;

    const TEXTS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "é"];

    /// A table of these texts and of the reply `x`.
    fn table(texts: &[&str]) -> Vec<u8> {
        let texts: String = texts.join(&String::from(SEPARATOR));
        let mut bytes = MAGIC.to_vec();
        for word in [VERSION, CAN_BE_EMPTY, texts.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(texts.bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(automaton::MAGIC);
        for word in [automaton::VERSION, 2, 1, 0, 1, 1 | automaton::ACCEPTS] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(b"xx\x01\0");
        bytes
    }

    fn code(bytes: &[u8]) -> Option<Code> {
        Tools::open(bytes).err().map(|error| error.code())
    }

    #[test]
    fn texts_have_their_places() {
        let table = table(&TEXTS);
        let Tools { functions, dialect, replies } = Tools::open(&table).unwrap();
        assert_eq!((functions.default_system, functions.joint, functions.told), ("a", "b", "c"));
        assert_eq!(functions.results, ["d", "e", "f"]);
        let Dialect { open, before_name, between, after, separator, close, can_be_empty } = dialect;
        assert_eq!([open, before_name, between, after, close], ["g", "h", "i", "j", "é"]);
        assert!(separator == Some("k") && can_be_empty);
        assert!(replies.walk(State::START, b"x").is_some_and(|state| replies.accepts(state)));
        let replies = super::replies(&table).unwrap();
        assert_eq!(replies.states(), 2);
    }

    #[test]
    fn an_empty_separator_is_none() {
        let mut texts = TEXTS;
        texts[10] = "";
        assert_eq!(Tools::open(&table(&texts)).unwrap().dialect.separator, None);
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let right = table(&TEXTS);
        let automaton = right.len() - 36;
        for length in 0..right.len() {
            let is_named = (MAGIC.len()..automaton).contains(&length)
                || length >= automaton + automaton::MAGIC.len();
            let expected = if is_named { Code::Truncated } else { Code::NotKinglet };
            assert_eq!(code(&right[..length]), Some(expected), "{length} bytes");
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = right.clone();
            bytes[at] = byte;
            code(&bytes)
        };
        assert_eq!(with(0, b'k'), Some(Code::NotKinglet));
        assert_eq!(with(8, 2), Some(Code::UnknownVersion));
        assert_eq!(with(12, 2), Some(Code::Corrupt), "a flag that there is not");
        assert_eq!(with(16, 255), Some(Code::Truncated), "more texts than bytes");
        assert_eq!(with(20, 255), Some(Code::Corrupt), "texts that are no UTF-8");
        assert_eq!(with(21, b' '), Some(Code::Corrupt), "eleven texts");
        assert_eq!(with(20, SEPARATOR as u8), Some(Code::Corrupt), "thirteen texts");
        assert_eq!(with(right.len() - 4, b'y'), Some(Code::Corrupt), "a transition from y to x");
        let longer = [&right[..], &[0; 4]].concat();
        assert_eq!(code(&longer), Some(Code::Corrupt));
        let shorter = table(&TEXTS[..11]);
        assert_eq!(code(&shorter), Some(Code::Corrupt));
    }

    /// A table may lie at any address.
    #[test]
    fn tables_need_no_alignment() {
        let table = table(&TEXTS);
        let mut memory = [&[0; 4][..], &table].concat();
        for shift in 0..4 {
            memory[shift..][..table.len()].copy_from_slice(&table);
            assert_eq!(code(&memory[shift..][..table.len()]), None);
        }
    }
}
