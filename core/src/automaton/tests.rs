use super::*;
use std::vec::Vec;

/// `a+(b|c..e)?`, where `a` stands for one byte and `c..e` for three.
fn table() -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let words = [VERSION, 3, 4, 0, 1, 4 | ACCEPTS, 4 | ACCEPTS];
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend(b"aa\x01\0aa\x01\0bb\x02\0ce\x02\0");
    bytes
}

fn code(bytes: &[u8]) -> Option<Code> {
    Automaton::open(bytes).err().map(|error| error.code())
}

#[test]
fn texts_are_followed_byte_by_byte() {
    let table = table();
    let automaton = Automaton::open(&table).unwrap();
    let accepts = |text: &[u8]| {
        automaton.walk(State::START, text).is_some_and(|state| automaton.accepts(state))
    };
    for text in ["a", "aaa", "ab", "aac", "ad", "ae"] {
        assert!(accepts(text.as_bytes()), "{text}");
    }
    for text in ["", "b", "abb", "af", "aba", "A", "a\0"] {
        assert!(!accepts(text.as_bytes()), "{text}");
    }
    assert_eq!(automaton.forced(State::START), Some((b'a', State(1))));
    assert_eq!(automaton.forced(State(1)), None);
    assert_eq!(automaton.forced(State(2)), None);
    assert!(automaton.is_last(State(2)) && !automaton.is_last(State(1)));
    assert_eq!(automaton.states(), 3);
}

/// A table may lie at any address.
#[test]
fn tables_need_no_alignment() {
    let mut memory = Vec::from([0; 4]);
    memory.extend(table());
    for shift in 0..4 {
        memory.copy_within(4 - shift.., 4 - shift);
        let table = table();
        memory[shift..][..table.len()].copy_from_slice(&table);
        assert_eq!(code(&memory[shift..][..table.len()]), None);
    }
}

#[test]
fn what_is_wrong_is_told_apart() {
    let right = table();
    for length in 0..right.len() {
        let expected = if length < MAGIC.len() { Code::NotKinglet } else { Code::Truncated };
        assert_eq!(code(&right[..length]), Some(expected), "{length} bytes");
    }
    let longer = [&right[..], &[0; 4]].concat();
    assert_eq!(code(&longer), Some(Code::Corrupt));
    assert_eq!(code(&longer[..right.len() + 1]), Some(Code::Corrupt));
    let with = |at: usize, byte: u8| {
        let mut bytes = right.clone();
        bytes[at] = byte;
        code(&bytes)
    };
    assert_eq!(with(0, b'k'), Some(Code::NotKinglet));
    assert_eq!(with(8, 2), Some(Code::UnknownVersion));
    assert_eq!(with(12, 0), Some(Code::Corrupt), "no states");
    assert_eq!(with(14, 1), Some(Code::Corrupt), "65,539 states");
    assert_eq!(with(20, 1), Some(Code::Corrupt), "the reserved word");
    assert_eq!(with(24, 5), Some(Code::Corrupt), "transitions that are not there");
    assert_eq!(with(24, 0), Some(Code::Corrupt), "a state without an end");
    assert_eq!(with(28, 0), Some(Code::Corrupt), "ends that fall");
    assert_eq!(with(32, 3), Some(Code::Corrupt), "a transition of no state");
    assert_eq!(with(38, 3), Some(Code::Corrupt), "a state that is not there");
    assert_eq!(with(40, b'b'), Some(Code::Corrupt), "bytes from b to a");
    assert_eq!(with(48, b'b'), Some(Code::Corrupt), "two transitions of b");
}

/// Whatever the bytes are, they are refused, or can be walked.
#[test]
fn damaged_tables_are_refused_or_walked() {
    let right = table();
    let mut walked = 0;
    for at in 0..right.len() {
        for byte in 0..=u8::MAX {
            let mut bytes = right.clone();
            bytes[at] = byte;
            let Ok(automaton) = Automaton::open(&bytes) else { continue };
            walked += 1;
            for state in 0..automaton.states() {
                for byte in 0..=u8::MAX {
                    let next = automaton.next(State(state as u16), byte);
                    assert!(next.is_none_or(|next| usize::from(next.0) < automaton.states()));
                }
            }
        }
    }
    assert!(walked > right.len());
}
