//! Which of a few things are taken, kept in atomics that 32-bit processors have too.

use core::sync::atomic::{AtomicUsize, Ordering};

/// Things that [`Claims`] can tell apart.
pub const MAX_CLAIMS: usize = 64;
/// Things that one word stands for.
const WORD_BITS: usize = usize::BITS as usize;

/// A bit for each of [`MAX_CLAIMS`] things: whether it is taken.
///
/// A thread that takes a thing sees everything that its last owner did before giving it back.
#[derive(Debug, Default)]
pub struct Claims([AtomicUsize; MAX_CLAIMS / WORD_BITS]);

impl Claims {
    /// Nothing is taken.
    pub fn none() -> Self {
        Self::default()
    }

    /// Takes a thing if it is free, and returns whether it was. Panics when there is no such thing.
    pub fn take(&self, thing: usize) -> bool {
        let bit = 1 << (thing % WORD_BITS);
        self.0[thing / WORD_BITS].fetch_or(bit, Ordering::Acquire) & bit == 0
    }

    /// Takes one of the first `count` things that is free.
    pub fn take_any(&self, count: usize) -> Option<usize> {
        let mut word = 0;
        while let Some(bits) = self.0.get(word) {
            let bit = bits.load(Ordering::Relaxed).trailing_ones() as usize;
            let thing = word * WORD_BITS + bit;
            if bit == WORD_BITS {
                word += 1;
            } else if thing >= count {
                break;
            } else if self.take(thing) {
                return Some(thing);
            }
        }
        None
    }

    /// Gives a thing back.
    pub fn give_back(&self, thing: usize) {
        self.0[thing / WORD_BITS].fetch_and(!(1 << (thing % WORD_BITS)), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::{Claims, MAX_CLAIMS};
    use std::vec::Vec;

    #[test]
    fn a_thing_is_taken_once() {
        let claims = Claims::none();
        for thing in 0..MAX_CLAIMS {
            assert!(claims.take(thing));
            assert!(!claims.take(thing));
        }
        assert_eq!(claims.take_any(MAX_CLAIMS), None);
        for thing in [MAX_CLAIMS - 1, 31, 32, 0] {
            claims.give_back(thing);
            assert_eq!(claims.take_any(thing), None);
            assert_eq!(claims.take_any(MAX_CLAIMS), Some(thing));
        }
    }

    #[test]
    fn the_first_free_things_are_taken_in_order() {
        let claims = Claims::none();
        assert!(claims.take(1));
        let taken: Vec<usize> = core::iter::from_fn(|| claims.take_any(40)).collect();
        assert_eq!(taken, (0..40).filter(|&thing| thing != 1).collect::<Vec<_>>());
        assert!(claims.take(40));
    }
}
