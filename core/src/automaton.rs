//! A table of texts: a deterministic automaton over bytes, as `kinglet compile-schema` writes it.
//!
//! The table knows no model, so one serves all of them. It may lie anywhere in memory, such as in
//! flash. All numbers are little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | [`MAGIC`] |
//! | 4 | [`VERSION`] |
//! | 4 | states: 1 to [`MAX_STATES`]; a text begins in the first |
//! | 4 | transitions |
//! | 4 | words of 4 bytes behind the transitions: zero, but in a table of [`crate::tools`] |
//! | 4 for each state | where its transitions end, and [`ACCEPTS`] where a text may end |
//! | 4 for each transition | first byte, last byte, and in 2 bytes the state they lead to |
//!
//! The transitions of a state begin where those of the state before it end.
//! They are in the order of their bytes and do not overlap. A byte without a transition does not
//! fit. A state in which no text may end has one at least.

use kinglet_quant::{Code, Result, ensure, fail};

/// The first bytes of every table.
pub const MAGIC: [u8; 8] = *b"KSCHEMA\n";
/// The version that this reader knows.
pub const VERSION: u32 = 1;
/// States that a table can have.
pub const MAX_STATES: usize = 65_535;
/// In the end of a state's transitions: a text may end in the state.
pub const ACCEPTS: u32 = 1 << 31;

/// A checked table.
#[derive(Clone, Copy, Debug)]
pub struct Automaton<'a> {
    ends: &'a [[u8; 4]],
    transitions: &'a [[u8; 4]],
}

/// Where a text is in an automaton.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(u16);

impl State {
    /// The state of a text without a byte.
    pub const START: Self = Self(0);
}

impl<'a> Automaton<'a> {
    /// Checks a whole table, in time in proportion to its length. `NotKinglet`, `UnknownVersion`,
    /// `Truncated` or `Corrupt`.
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        let Some(rest) = bytes.strip_prefix(&MAGIC) else {
            fail!(
                Code::NotKinglet,
                "the table is none of kinglet compile-schema: give what that has written"
            );
        };
        let words = rest.as_chunks::<4>().0;
        let Some((&[version, states, transitions, behind], words)) = words.split_first_chunk()
        else {
            return Err(truncated());
        };
        let version = u32::from_le_bytes(version);
        ensure!(
            version == VERSION,
            Code::UnknownVersion,
            "the table has version {version}, this Kinglet reads {VERSION}: compile it again"
        );
        let (states, transitions) = (number(states), number(transitions));
        if !(1..=MAX_STATES).contains(&states) {
            return Err(corrupt());
        }
        let Some((ends, rest)) = words.split_at_checked(states) else {
            return Err(truncated());
        };
        let Some(transitions) = rest.get(..transitions) else {
            return Err(truncated());
        };
        ensure!(
            rest.len() - transitions.len() == number(behind) && bytes.len().is_multiple_of(4),
            Code::Corrupt,
            "the table has another length: give exactly its bytes"
        );
        let automaton = Self { ends, transitions };
        if !automaton.is_sound() {
            return Err(corrupt());
        }
        Ok(automaton)
    }

    /// Whether the array is cut into states, whose transitions keep their order and lead to states.
    fn is_sound(&self) -> bool {
        let mut start = 0;
        for state in 0..self.ends.len() {
            let end = self.end(state);
            let Some(transitions) = self.transitions.get(start..end) else {
                return false;
            };
            let are_ordered = transitions.is_sorted_by(|left, right| left[1] < right[0]);
            let lead_somewhere = |&[first, last, low, high]: &[u8; 4]| {
                first <= last && usize::from(u16::from_le_bytes([low, high])) < self.ends.len()
            };
            let goes_on = !transitions.is_empty() || self.accepts(State(state as u16));
            if !are_ordered || !transitions.iter().all(lead_somewhere) || !goes_on {
                return false;
            }
            start = end;
        }
        start == self.transitions.len()
    }

    /// The end of a state's transitions.
    fn end(&self, state: usize) -> usize {
        (u32::from_le_bytes(self.ends[state]) & !ACCEPTS) as usize
    }

    fn transitions(&self, state: State) -> &'a [[u8; 4]] {
        let state = usize::from(state.0);
        let start = state.checked_sub(1).map_or(0, |before| self.end(before));
        &self.transitions[start..self.end(state)]
    }

    /// Whether a text may end in a state.
    pub fn accepts(&self, state: State) -> bool {
        u32::from_le_bytes(self.ends[usize::from(state.0)]) & ACCEPTS != 0
    }

    /// Whether nothing can follow in a state.
    pub fn is_last(&self, state: State) -> bool {
        self.transitions(state).is_empty()
    }

    /// Where a byte leads, if it fits.
    pub fn next(&self, state: State, byte: u8) -> Option<State> {
        let mut transitions = self.transitions(state).iter();
        let &[first, _, low, high] = transitions.find(|&&[_, last, ..]| byte <= last)?;
        (first <= byte).then(|| State(u16::from_le_bytes([low, high])))
    }

    /// Where bytes lead, if all of them fit.
    pub fn walk(&self, state: State, bytes: &[u8]) -> Option<State> {
        bytes.iter().try_fold(state, |state, &byte| self.next(state, byte))
    }

    /// The byte that must come in a state, and where it leads.
    pub fn forced(&self, state: State) -> Option<(u8, State)> {
        match self.transitions(state) {
            &[[first, last, low, high]] if first == last && !self.accepts(state) => {
                Some((first, State(u16::from_le_bytes([low, high]))))
            }
            _ => None,
        }
    }

    /// States of the table.
    pub fn states(&self) -> usize {
        self.ends.len()
    }
}

fn number(bytes: [u8; 4]) -> usize {
    u32::from_le_bytes(bytes) as usize
}

#[cold]
fn corrupt() -> kinglet_quant::Error {
    kinglet_quant::Error::new(
        Code::Corrupt,
        format_args!("the table contradicts itself: compile it again"),
    )
}

#[cold]
fn truncated() -> kinglet_quant::Error {
    kinglet_quant::Error::new(
        Code::Truncated,
        format_args!("the table ends too early: give all of its bytes, or compile it again"),
    )
}

#[cfg(test)]
mod tests;
