//! Whose text lies where: parts of a text in which control tokens are found, and others.

use super::Specials;

/// A part of a text, from the end of the part before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Offset behind its last byte; not before the end of the part before it.
    pub end: usize,
    /// What becomes of control tokens in it.
    pub specials: Specials,
}

/// The span of ascending offsets.
pub(super) struct Spans<'s> {
    rest: &'s mut dyn Iterator<Item = Span>,
    current: Span,
    next: Option<Span>,
}

impl<'s> Spans<'s> {
    pub(super) fn new(rest: &'s mut dyn Iterator<Item = Span>) -> Self {
        let next = rest.next();
        Self { rest, current: Span { end: 0, specials: Specials::AsText }, next }
    }

    /// The span that an offset lies in, with all that follow it and are treated alike. The last
    /// span goes on for ever.
    pub(super) fn at(&mut self, offset: usize) -> Span {
        while let Some(next) = self.next {
            let is_empty = next.end <= self.current.end;
            if !is_empty {
                let is_more = next.specials == self.current.specials;
                if !is_more && offset < self.current.end {
                    break;
                }
                self.current = next;
            }
            self.next = self.rest.next();
        }
        let end = if self.next.is_some() { self.current.end } else { usize::MAX };
        Span { end, ..self.current }
    }
}
