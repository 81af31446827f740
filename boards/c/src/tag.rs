//! What tells a handle from other memory, from a closed handle, and from those that were in the
//! same memory before it.

use crate::abi::KINGLET_ALIGNMENT;
use core::sync::atomic::{AtomicUsize, Ordering};

/// The low bits of a tag and of a pointer to a handle, which addresses of handles do not need.
const GENERATION: usize = KINGLET_ALIGNMENT - 1;
/// Generations are no multiples of this, except for the first one: most pointers to something else
/// are, and need not be followed.
const STEP: usize = 8;

/// What memory with a tag is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Kind {
    Closed = 0x6b63_6c00,
    Model = 0x6b6d_6f00,
    SessionHandle = 0x6b73_6500,
}

/// Marks memory that holds a handle: its own address and a constant of its kind, so that neither
/// foreign memory nor a copied handle passes for one, and in the low bits its generation. Memory
/// that held a handle gives the next one another generation, which pointers to it have as well.
pub(crate) struct Tag(AtomicUsize);

impl Tag {
    /// Belongs to no handle.
    pub fn none() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// From now on the handle at the tag's place is one.
    pub fn set(&self, kind: Kind, generation: usize) {
        self.0.store(self.word(kind, generation), Ordering::Release);
    }

    /// From now on the handle of this generation is closed; whether it was open.
    pub fn close(&self, kind: Kind, generation: usize) -> bool {
        let [open, closed] = [kind, Kind::Closed].map(|kind| self.word(kind, generation));
        self.0.compare_exchange(open, closed, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Whether there is a handle of this kind and generation.
    pub fn is(&self, kind: Kind, generation: usize) -> bool {
        self.0.load(Ordering::Acquire) == self.word(kind, generation)
    }

    /// The generation of the next handle in this memory, which may hold anything.
    pub fn next_generation(&self) -> usize {
        let word = self.0.load(Ordering::Acquire);
        let last = word & GENERATION;
        let kinds = [Kind::Closed, Kind::Model, Kind::SessionHandle];
        if !kinds.into_iter().any(|kind| word == self.word(kind, last)) {
            return 0;
        }
        let next = (last + 1) & GENERATION;
        if next.is_multiple_of(STEP) && next > 0 { next + 1 } else { next }
    }

    fn word(&self, kind: Kind, generation: usize) -> usize {
        (core::ptr::from_ref(self).addr() ^ kind as usize) | generation
    }
}

/// The pointer that is handed out for a handle at this place.
pub(crate) fn mark<H>(place: *mut H, generation: usize) -> *mut H {
    place.wrapping_byte_add(generation)
}

/// Where the handle of a pointer is, and its generation; nothing for a pointer that was never
/// handed out.
pub(crate) fn place<H>(pointer: *const H) -> Option<(*const H, usize)> {
    let generation = pointer.addr() & GENERATION;
    let place = pointer.wrapping_byte_sub(generation);
    let is_possible = generation == 0 || !generation.is_multiple_of(STEP);
    (is_possible && !place.is_null()).then_some((place, generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(64))]
    struct Memory(Tag);

    #[test]
    fn memory_tells_57_handles_apart() {
        let memory = Memory(Tag::none());
        let tag = &memory.0;
        let mut generations = Vec::new();
        loop {
            let generation = tag.next_generation();
            if generations.contains(&generation) {
                break;
            }
            tag.set(Kind::SessionHandle, generation);
            assert!(generations.iter().all(|&other| !tag.is(Kind::SessionHandle, other)));
            assert!(tag.is(Kind::SessionHandle, generation) && !tag.is(Kind::Model, generation));
            assert!(
                !tag.close(Kind::Model, generation) && tag.close(Kind::SessionHandle, generation)
            );
            assert!(
                !tag.is(Kind::SessionHandle, generation)
                    && !tag.close(Kind::SessionHandle, generation)
            );
            generations.push(generation);
        }
        assert_eq!((generations.len(), generations[0], tag.next_generation()), (57, 0, 0));
    }

    #[test]
    fn other_memory_and_copies_are_no_handles() {
        let memory = Memory(Tag::none());
        memory.0.set(Kind::Model, 3);
        let copy = Memory(Tag(AtomicUsize::new(memory.0.0.load(Ordering::Relaxed))));
        assert!(memory.0.is(Kind::Model, 3));
        assert!(!copy.0.is(Kind::Model, 3) && copy.0.next_generation() == 0);
        assert!(!memory.0.is(Kind::Model, 0) && !memory.0.is(Kind::Model, 4));
        for word in [0, usize::MAX, 0xA5A5_A5A5, GENERATION] {
            memory.0.0.store(word, Ordering::Relaxed);
            assert_eq!(memory.0.next_generation(), 0);
            assert!((0..64).all(|generation| !memory.0.is(Kind::Model, generation)));
        }
    }

    /// A handle that is abandoned, not closed, does not pass for the next one in its memory.
    #[test]
    fn memory_of_an_open_handle_goes_on_too() {
        let memory = Memory(Tag::none());
        memory.0.set(Kind::Model, 7);
        assert_eq!(memory.0.next_generation(), 9);
    }

    #[test]
    fn pointers_carry_the_generation() {
        let mut memory = Memory(Tag::none());
        let start = &raw mut memory;
        for generation in (0..64usize).filter(|g| *g == 0 || g % 8 != 0) {
            let pointer = mark(start, generation);
            assert_eq!(place(pointer.cast_const()), Some((start.cast_const(), generation)));
        }
        for offset in [8, 16, 24, 56] {
            assert_eq!(place(start.wrapping_byte_add(offset).cast_const()), None);
        }
        for address in 0..64 {
            assert_eq!(place(core::ptr::without_provenance::<Memory>(address)), None);
        }
    }
}
