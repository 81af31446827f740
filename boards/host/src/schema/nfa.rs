//! A shape as an automaton that may be in several states at once.
//!
//! It is built from its end: each part is given the state that it leads to, so that parts which go
//! on in the same way share their states.

use super::shape::{Items, Member, Shape};
use kinglet_quant::{Code, Result, ensure};
use regex_syntax::hir::{Class, Hir, HirKind};
use regex_syntax::utf8::Utf8Sequences;
use std::collections::HashMap;

/// States that the automaton may have, of some 80 bytes each.
const MAX_NODES: usize = 500_000;

/// The number of a state.
pub type Id = u32;

/// A state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// Takes a byte from the first to the last.
    Bytes {
        /// The first byte.
        first: u8,
        /// The last byte.
        last: u8,
        /// Where it leads.
        next: Id,
    },
    /// Is all of these at once.
    Split(Vec<Id>),
    /// The text may end.
    Accept,
}

/// The automaton.
#[derive(Debug)]
pub struct Nfa {
    nodes: Vec<Node>,
    known: HashMap<Node, Id>,
}

impl Nfa {
    /// The automaton of a shape, and the state that it begins in. `BadGrammar` for one that takes
    /// too much.
    pub fn of(shape: &Shape) -> Result<(Self, Id)> {
        let mut nfa = Self { nodes: Vec::new(), known: HashMap::new() };
        let accept = nfa.add(Node::Accept)?;
        let start = nfa.shape(shape, accept)?;
        Ok((nfa, start))
    }

    /// A state.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    /// States.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    fn push(&mut self, node: Node) -> Result<Id> {
        ensure!(
            self.nodes.len() < MAX_NODES,
            Code::BadGrammar,
            "the schema takes too much to compile: lower its repetitions, such as maxLength and \
             maxItems, or --depth"
        );
        self.nodes.push(node);
        Ok(self.nodes.len() as Id - 1)
    }

    /// Equal states are one.
    fn add(&mut self, node: Node) -> Result<Id> {
        if let Some(&id) = self.known.get(&node) {
            return Ok(id);
        }
        let id = self.push(node.clone())?;
        self.known.insert(node, id);
        Ok(id)
    }

    fn split(&mut self, ways: Vec<Id>) -> Result<Id> {
        match ways[..] {
            [way] => Ok(way),
            _ => self.add(Node::Split(ways)),
        }
    }

    fn text(&mut self, text: &[u8], next: Id) -> Result<Id> {
        text.iter()
            .rev()
            .try_fold(next, |next, &byte| self.add(Node::Bytes { first: byte, last: byte, next }))
    }

    fn shape(&mut self, shape: &Shape, next: Id) -> Result<Id> {
        match shape {
            Shape::Regex(hir) => self.regex(hir, next),
            Shape::Sequence(parts) => {
                parts.iter().rev().try_fold(next, |next, part| self.shape(part, next))
            }
            Shape::Choice(shapes) => {
                let ways = shapes.iter().map(|shape| self.shape(shape, next));
                let ways = ways.collect::<Result<_>>()?;
                self.split(ways)
            }
            Shape::Members(members) => self.members(members, next),
            Shape::Items(items) => self.items(items, next),
        }
    }

    /// Two states for the place in front of each member: without a member before it, and with one,
    /// which is where a comma comes.
    fn members(&mut self, members: &[Member], next: Id) -> Result<Id> {
        let (mut without, mut with) = (next, next);
        for member in members.iter().rev() {
            let here = self.shape(&member.shape, with)?;
            let behind_comma = self.text(b", ", here)?;
            (without, with) = match member.is_required {
                true => (here, behind_comma),
                false => (self.split(vec![here, without])?, self.split(vec![behind_comma, with])?),
            };
        }
        Ok(without)
    }

    fn items(&mut self, items: &Items, next: Id) -> Result<Id> {
        let Items { separator, first, rest, min, max } = items;
        let separator = separator.as_bytes();
        let (count, mut after) = match (max, rest) {
            (None, Some(rest)) => {
                let again = self.push(Node::Split(Vec::new()))?;
                let item = self.shape(rest, again)?;
                let behind_separator = self.text(separator, item)?;
                self.nodes[again as usize] = Node::Split(vec![behind_separator, next]);
                (first.len().max(*min).max(1), again)
            }
            (None, None) => (first.len(), next),
            (Some(max), Some(_)) => (*max, next),
            (Some(max), None) => (first.len().min(*max), next),
        };
        for number in (0..count).rev() {
            let shape = first.get(number).or(rest.as_deref()).expect("as many as there are");
            let item = self.shape(shape, after)?;
            let item = if number > 0 { self.text(separator, item)? } else { item };
            after = if number < *min { item } else { self.split(vec![item, next])? };
        }
        Ok(after)
    }

    fn regex(&mut self, hir: &Hir, next: Id) -> Result<Id> {
        match hir.kind() {
            HirKind::Empty => Ok(next),
            HirKind::Literal(literal) => self.text(&literal.0, next),
            HirKind::Class(class) => self.class(class, next),
            HirKind::Look(_) => unreachable!("shapes have no anchors"),
            HirKind::Capture(capture) => self.regex(&capture.sub, next),
            HirKind::Concat(parts) => {
                parts.iter().rev().try_fold(next, |next, part| self.regex(part, next))
            }
            HirKind::Alternation(parts) => {
                let ways = parts.iter().map(|part| self.regex(part, next));
                let ways = ways.collect::<Result<_>>()?;
                self.split(ways)
            }
            HirKind::Repetition(repetition) => {
                let (min, sub) = (repetition.min, &repetition.sub);
                let mut after = next;
                match repetition.max {
                    Some(max) => {
                        for _ in min..max {
                            let once = self.regex(sub, after)?;
                            after = self.split(vec![once, next])?;
                        }
                    }
                    None => {
                        after = self.push(Node::Split(Vec::new()))?;
                        let again = self.regex(sub, after)?;
                        self.nodes[after as usize] = Node::Split(vec![again, next]);
                    }
                }
                (0..min).try_fold(after, |after, _| self.regex(sub, after))
            }
        }
    }

    fn class(&mut self, class: &Class, next: Id) -> Result<Id> {
        let mut ways = Vec::new();
        match class {
            Class::Bytes(class) => {
                for range in class.ranges() {
                    let (first, last) = (range.start(), range.end());
                    ways.push(self.add(Node::Bytes { first, last, next })?);
                }
            }
            Class::Unicode(class) => {
                let ranges = class.ranges().iter();
                for sequence in ranges.flat_map(|r| Utf8Sequences::new(r.start(), r.end())) {
                    let way = sequence.as_slice().iter().rev().try_fold(next, |next, range| {
                        self.add(Node::Bytes { first: range.start, last: range.end, next })
                    })?;
                    ways.push(way);
                }
            }
        }
        self.split(ways)
    }
}
