//! A table of functions that a model can call, as `kinglet compile-schema --tools` writes it: what
//! the model is told of them, how it writes calls, and what its replies can be.
//!
//! It is a table of what replies can be, see [`crate::automaton`], with texts behind its
//! transitions that no walk needs: in UTF-8, with [`SEPARATOR`] between them, and zeros up to a
//! multiple of 4 bytes. The first one is [`CAN_BE_EMPTY`] where a reply may open and close calls
//! without one, else empty. The others are those of [`Functions`] and of [`Dialect`], in the order
//! of their fields. Where a reply has one call at most, the text between two calls is empty.

use crate::automaton::Automaton;
use crate::calls::Dialect;
use kinglet_quant::frame::Functions;
pub use kinglet_quant::frame::SEPARATOR;
use kinglet_quant::{Code, Result, ensure, fail};

/// A reply may open and close calls without one.
pub const CAN_BE_EMPTY: &str = "e";
/// Where a table says how many words lie behind its transitions.
pub const WORDS_AT: usize = 20;

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
    /// Checks a whole table. `NotKinglet` for one of a schema, and what [`Automaton::open`]
    /// returns.
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        let replies = Automaton::open(bytes)?;
        let words = bytes[WORDS_AT..].first_chunk().expect("tables have a header");
        let texts = &bytes[bytes.len() - 4 * u32::from_le_bytes(*words) as usize..];
        ensure!(
            !texts.is_empty(),
            Code::NotKinglet,
            "the table is of a schema and has no functions: make it with kinglet compile-schema \
             --tools"
        );
        let texts = core::str::from_utf8(texts).ok().map(|texts| texts.trim_end_matches('\0'));
        let Some((functions, dialect)) = texts.and_then(fields) else {
            fail!(Code::Corrupt, "the table of functions contradicts itself: compile it again");
        };
        Ok(Self { functions, dialect, replies })
    }
}

/// Takes the texts apart.
fn fields(texts: &str) -> Option<(Functions<'_>, Dialect<'_>)> {
    let mut fields = texts.split(SEPARATOR);
    let rule = fields.next()?;
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
        can_be_empty: rule == CAN_BE_EMPTY,
    };
    let is_whole = fields.next().is_none() && (dialect.can_be_empty || rule.is_empty());
    is_whole.then_some((functions, dialect))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::automaton::{ACCEPTS, MAGIC, State, VERSION};
    use std::string::String;
    use std::vec::Vec;

    const TEXTS: [&str; 13] = ["e", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "é"];
    /// Bytes in front of the texts.
    const AUTOMATON: usize = 36;

    /// A table of these texts and of the reply `x`.
    fn table(texts: &[&str]) -> Vec<u8> {
        let mut texts = texts.join(&String::from(SEPARATOR)).into_bytes();
        texts.resize(texts.len().next_multiple_of(4), 0);
        let mut bytes = MAGIC.to_vec();
        for word in [VERSION, 2, 1, texts.len() as u32 / 4, 1, 1 | ACCEPTS] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(b"xx\x01\0");
        bytes.extend(texts);
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
        // What walks replies alone takes the same table.
        assert_eq!(Automaton::open(&table).unwrap().states(), 2);
    }

    #[test]
    fn an_empty_separator_is_none() {
        let mut texts = TEXTS;
        (texts[0], texts[11]) = ("", "");
        let table = table(&texts);
        let Dialect { separator, can_be_empty, .. } = Tools::open(&table).unwrap().dialect;
        assert_eq!((separator, can_be_empty), (None, false));
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let right = table(&TEXTS);
        for length in 0..right.len() {
            let expected = match length {
                ..8 => Code::NotKinglet,
                8..AUTOMATON => Code::Truncated,
                _ => Code::Corrupt,
            };
            assert_eq!(code(&right[..length]), Some(expected), "{length} bytes");
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = right.clone();
            bytes[at] = byte;
            code(&bytes)
        };
        assert_eq!(with(0, b'k'), Some(Code::NotKinglet));
        assert_eq!(with(8, 2), Some(Code::UnknownVersion));
        assert_eq!(with(WORDS_AT, 255), Some(Code::Corrupt), "more texts than bytes");
        assert_eq!(with(AUTOMATON - 4, b'y'), Some(Code::Corrupt), "a transition from y to x");
        assert_eq!(with(AUTOMATON, 255), Some(Code::Corrupt), "texts that are no UTF-8");
        assert_eq!(with(AUTOMATON, b'f'), Some(Code::Corrupt), "a rule that there is not");
        assert_eq!(with(AUTOMATON + 1, b' '), Some(Code::Corrupt), "twelve texts");
        assert_eq!(with(AUTOMATON + 2, SEPARATOR as u8), Some(Code::Corrupt), "fourteen texts");
        let longer = [&right[..], &[0; 4]].concat();
        assert_eq!(code(&longer), Some(Code::Corrupt));
        assert_eq!(code(&table(&TEXTS[..12])), Some(Code::Corrupt));
        let mut of_schema = right[..AUTOMATON].to_vec();
        of_schema[WORDS_AT] = 0;
        assert_eq!(code(&of_schema), Some(Code::NotKinglet));
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
