//! An automaton that is in one state at a time.

use super::nfa::{Id, Nfa, Node};
use kinglet_quant::{Code, Result, ensure};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// States before equal ones are merged.
const MAX_STATES: usize = 400_000;
/// States of the other automaton that all of them stand for, 4 bytes each.
const MAX_MEMBERS: usize = 20_000_000;

/// A state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Whether a text may end here.
    pub accepts: bool,
    /// First byte, last byte, and the state that they lead to, in the order of the bytes.
    pub transitions: Vec<(u8, u8, u32)>,
}

/// The automaton; a text begins in the first state, and each can lead to one that accepts. Without
/// a state it accepts nothing.
#[derive(Clone, Debug)]
pub struct Dfa {
    /// The states.
    pub states: Vec<State>,
}

/// The states of an [`Nfa`] that a text can be in, numbered as they are found.
struct Subsets<'n> {
    nfa: &'n Nfa,
    numbers: HashMap<Vec<Id>, u32>,
    found: Vec<Vec<Id>>,
    members: usize,
    /// When each node was last visited.
    visits: Vec<u32>,
    visit: u32,
}

impl Subsets<'_> {
    /// The number of the set of all states that these are at once.
    fn number(&mut self, mut open: Vec<Id>) -> Result<u32> {
        self.visit += 1;
        let mut subset = Vec::new();
        while let Some(id) = open.pop() {
            if std::mem::replace(&mut self.visits[id as usize], self.visit) == self.visit {
                continue;
            }
            match self.nfa.node(id) {
                Node::Split(ways) => open.extend(ways),
                _ => subset.push(id),
            }
        }
        subset.sort_unstable();
        let number = self.found.len() as u32;
        match self.numbers.entry(subset) {
            Entry::Occupied(entry) => Ok(*entry.get()),
            Entry::Vacant(entry) => {
                self.members += entry.key().len();
                ensure!(
                    self.found.len() < MAX_STATES && self.members <= MAX_MEMBERS,
                    Code::BadGrammar,
                    "the schema takes too many states: lower its repetitions, such as maxLength \
                     and maxItems, or --depth, or simplify its patterns"
                );
                self.found.push(entry.key().clone());
                entry.insert(number);
                Ok(number)
            }
        }
    }

    /// The state of a set.
    fn state(&mut self, number: usize) -> Result<State> {
        let subset = std::mem::take(&mut self.found[number]);
        let mut state = State::default();
        let mut edges = Vec::new();
        for &id in &subset {
            match *self.nfa.node(id) {
                Node::Bytes { first, last, next } => edges.push((first, last, next)),
                Node::Accept => state.accepts = true,
                Node::Split(_) => unreachable!("sets have none"),
            }
        }
        // Where what can be read changes.
        let mut borders: Vec<u16> = edges
            .iter()
            .flat_map(|&(first, last, _)| [u16::from(first), u16::from(last) + 1])
            .collect();
        borders.sort_unstable();
        borders.dedup();
        for pair in borders.windows(2) {
            let (first, last) = (pair[0] as u8, (pair[1] - 1) as u8);
            let fitting = edges.iter().filter(|edge| edge.0 <= first && last <= edge.1);
            let next: Vec<Id> = fitting.map(|edge| edge.2).collect();
            if next.is_empty() {
                continue;
            }
            let next = self.number(next)?;
            push_joined(&mut state.transitions, (first, last, next));
        }
        Ok(state)
    }
}

/// Adds a transition, or makes the last one longer.
pub fn push_joined(transitions: &mut Vec<(u8, u8, u32)>, transition: (u8, u8, u32)) {
    let (first, last, next) = transition;
    match transitions.last_mut() {
        Some(before) if before.2 == next && u16::from(before.1) + 1 == u16::from(first) => {
            before.1 = last;
        }
        _ => transitions.push(transition),
    }
}

impl Dfa {
    /// The automaton that accepts the same texts. `BadGrammar` for one that takes too much.
    pub fn of(nfa: &Nfa, start: Id) -> Result<Self> {
        let mut subsets = Subsets {
            nfa,
            numbers: HashMap::new(),
            found: Vec::new(),
            members: 0,
            visits: vec![0; nfa.len()],
            visit: 0,
        };
        subsets.number(vec![start])?;
        let mut states = Vec::new();
        while states.len() < subsets.found.len() {
            states.push(subsets.state(states.len())?);
        }
        Ok(Self { states }.trimmed())
    }

    /// Without states that lead to no end.
    fn trimmed(self) -> Self {
        let mut before = vec![Vec::new(); self.states.len()];
        for (number, state) in self.states.iter().enumerate() {
            state.transitions.iter().for_each(|&(_, _, next)| before[next as usize].push(number));
        }
        let mut lives = vec![false; self.states.len()];
        let is_end = |number: &usize| self.states[*number].accepts;
        let mut open: Vec<usize> = (0..self.states.len()).filter(is_end).collect();
        while let Some(number) = open.pop() {
            if !std::mem::replace(&mut lives[number], true) {
                open.extend(&before[number]);
            }
        }
        self.renumbered(|number| lives[number as usize].then_some(number))
    }

    /// The states that can be reached from the first one, in the order of their distance, where
    /// `place` tells which state is taken for another, and which are left out.
    pub fn renumbered(&self, place: impl Fn(u32) -> Option<u32>) -> Self {
        let Some(start) = self.states.first().and_then(|_| place(0)) else {
            return Self { states: Vec::new() };
        };
        let mut numbers = HashMap::from([(start, 0)]);
        let mut order = vec![start];
        let mut states = Vec::new();
        while let Some(&old) = order.get(states.len()) {
            let State { accepts, transitions } = &self.states[old as usize];
            let mut joined = Vec::new();
            for &(first, last, next) in transitions {
                let Some(next) = place(next) else { continue };
                let next = *numbers.entry(next).or_insert_with(|| {
                    order.push(next);
                    order.len() as u32 - 1
                });
                push_joined(&mut joined, (first, last, next));
            }
            states.push(State { accepts: *accepts, transitions: joined });
        }
        Self { states }
    }
}
