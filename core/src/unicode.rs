//! Classes of characters that the GPT-2 word splitter tells apart.

mod tables;

use core::cmp::Ordering;

/// What a character is to the word splitter; each character has one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `\p{L}`
    Letter,
    /// `\p{N}`
    Number,
    /// `\s`
    Space,
    /// None of these.
    Other,
}

impl Class {
    /// The class of a character, in the version of Unicode that the `tokenizers` library has.
    pub fn of(character: char) -> Self {
        match character {
            'a'..='z' | 'A'..='Z' => Self::Letter,
            '0'..='9' => Self::Number,
            ' ' | '\t'..='\r' => Self::Space,
            '\0'..='\x7F' => Self::Other,
            _ if contains(&tables::LETTERS, character) => Self::Letter,
            _ if contains(&tables::NUMBERS, character) => Self::Number,
            _ if contains(&tables::SPACES, character) => Self::Space,
            _ => Self::Other,
        }
    }
}

/// Whether one of the ascending, inclusive ranges holds a character.
fn contains(ranges: &[(char, char)], character: char) -> bool {
    let side = |&(first, last): &(char, char)| match () {
        () if character < first => Ordering::Greater,
        () if character > last => Ordering::Less,
        () => Ordering::Equal,
    };
    ranges.binary_search_by(side).is_ok()
}
