//! Accesses to the same place that nothing puts in an order.

use std::collections::HashMap;

/// Who used a place last, and when.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    /// The warp or the block.
    who: u32,
    /// Its time; 0 for never.
    time: u32,
    /// Whether it expected others at the same time.
    is_strong: bool,
    /// The line of the instruction.
    line: u32,
    /// The bytes of the word, a bit for each.
    bytes: u8,
}

/// An access of a lane.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    /// The warp of the block.
    pub warp: u32,
    /// The block of the grid.
    pub block: u32,
    /// The first byte.
    pub address: u64,
    /// How many.
    pub bytes: u64,
    /// Whether it writes.
    pub is_write: bool,
    /// Whether it expects others at the same time: atomic, volatile, relaxed.
    pub is_strong: bool,
    /// The line of the instruction.
    pub line: u32,
}

impl Use {
    /// The words, each with a bit for every byte of it that is used.
    fn words(self) -> impl Iterator<Item = (u64, u8)> {
        let end = self.address + self.bytes;
        (self.address / 4..end.div_ceil(4)).map(move |word| {
            let (first, last) = (self.address.max(4 * word), end.min(4 * word + 4));
            let count = last - first;
            (word, ((1u8 << count) - 1) << (first - 4 * word))
        })
    }

    fn verb(self) -> &'static str {
        if self.is_write { "writes" } else { "reads" }
    }
}

/// Several warps.
const MANY: u32 = u32::MAX;

/// Shared memory of a block between two barriers.
#[derive(Debug)]
pub struct SharedRaces {
    /// Of every word the last write and the last reads.
    words: Vec<[Mark; 2]>,
    /// Barriers so far, from 1.
    time: u32,
}

impl SharedRaces {
    /// Memory of so many bytes that nobody has used.
    pub fn new(bytes: usize) -> Self {
        Self { words: vec![[Mark::default(); 2]; bytes.div_ceil(4)], time: 1 }
    }

    /// All warps have met at a barrier.
    pub fn barrier(&mut self) {
        self.time += 1;
    }

    /// What is wrong with an access, if anything is.
    pub fn check(&mut self, access: Use) -> Option<String> {
        let Use { warp, is_write, is_strong, line, .. } = access;
        let now = self.time;
        for (word, bytes) in access.words() {
            let [write, read] = &mut self.words[word as usize];
            let races = |mark: &Mark| {
                mark.time == now && mark.who != warp && !(mark.is_strong && is_strong)
            };
            let other = match (races(write), is_write && races(read)) {
                (true, _) => Some((*write, "wrote")),
                (_, true) => Some((*read, "read")),
                _ => None,
            };
            if let Some((mark, did)) = other {
                return Some(format!(
                    "race: {} byte {} of shared memory, which another warp {did} on line {} with \
                     no barrier between",
                    access.verb(),
                    4 * word,
                    mark.line
                ));
            }
            let mark = Mark { who: warp, time: now, is_strong, line, bytes };
            if is_write {
                *write = mark;
            } else if read.time == now && read.who != warp {
                *read = Mark { who: MANY, is_strong: is_strong && read.is_strong, ..mark };
            } else {
                *read = mark;
            }
        }
        None
    }
}

/// Until when a block has seen what others did.
type Seen = HashMap<u32, u32>;

fn join(into: &mut Seen, from: &Seen) {
    for (block, time) in from {
        let known = into.entry(*block).or_default();
        *known = (*known).max(*time);
    }
}

/// What a block knows of the others.
#[derive(Debug, Default)]
struct Clock {
    /// How often it has published.
    time: u32,
    /// What it has seen.
    seen: Seen,
    /// What who reads its next strong write will see: all before the last fence.
    published: Seen,
    /// What it will have seen behind its next fence.
    pending: Seen,
}

/// Global memory of a launch: the order that fences and strong accesses make among blocks.
///
/// Clocks follow Lamport (1978), kept for every word as in FastTrack (Flanagan and Freund 2009).
#[derive(Debug, Default)]
pub struct GlobalRaces {
    writes: HashMap<u64, Mark>,
    reads: HashMap<u64, Vec<Mark>>,
    clocks: HashMap<u32, Clock>,
    /// What strong writes have left at their places.
    places: HashMap<u64, Seen>,
}

impl GlobalRaces {
    /// A fence of a block.
    pub fn fence(&mut self, block: u32) {
        let clock = self.clocks.entry(block).or_default();
        let pending = std::mem::take(&mut clock.pending);
        join(&mut clock.seen, &pending);
        clock.published = clock.seen.clone();
        clock.published.insert(block, clock.time + 1);
        clock.time += 1;
    }

    /// A strong read: what its writers published is seen behind the next fence.
    pub fn acquire(&mut self, block: u32, address: u64) {
        if let Some(place) = self.places.get(&address) {
            join(&mut self.clocks.entry(block).or_default().pending, place);
        }
    }

    /// A strong write: its readers may see what was published.
    pub fn release(&mut self, block: u32, address: u64) {
        let published = &self.clocks.entry(block).or_default().published;
        join(self.places.entry(address).or_default(), published);
    }

    /// What is wrong with an access, if anything is.
    pub fn check(&mut self, access: Use) -> Option<String> {
        let Use { block, is_write, is_strong, line, .. } = access;
        let clock = self.clocks.entry(block).or_default();
        for (word, bytes) in access.words() {
            let races = |mark: &&Mark| {
                let seen = clock.seen.get(&mark.who).copied().unwrap_or(0);
                let is_other = mark.who != block && mark.bytes & bytes != 0;
                is_other && seen < mark.time && !(mark.is_strong && is_strong)
            };
            let written = self.writes.get(&word).filter(races).map(|mark| (*mark, "writes"));
            let read = || self.reads.get(&word)?.iter().find(races).map(|mark| (*mark, "reads"));
            if let Some((mark, does)) = written.or_else(|| if is_write { read() } else { None }) {
                return Some(format!(
                    "race: {} {:#x}, which block {} {does} on line {} in the same launch",
                    access.verb(),
                    4 * word,
                    mark.who,
                    mark.line
                ));
            }
            let mut mark = Mark { who: block, time: clock.time + 1, is_strong, line, bytes };
            if is_write {
                let last = self.writes.entry(word).or_default();
                if last.who == block && last.time == mark.time {
                    mark.bytes |= last.bytes;
                }
                *last = mark;
            } else {
                let reads = self.reads.entry(word).or_default();
                match reads.last_mut().filter(|last| last.who == block && last.time == mark.time) {
                    Some(last) => last.bytes |= bytes,
                    None => reads.push(mark),
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(who: u32, address: u64, is_write: bool) -> Use {
        let (is_strong, line) = (false, 1);
        Use { warp: who, block: who, address, bytes: 4, is_write, is_strong, line }
    }

    #[test]
    fn warps_need_a_barrier_unless_both_read() {
        let mut races = SharedRaces::new(64);
        assert_eq!(races.check(access(0, 8, false)), None);
        assert_eq!(races.check(access(1, 8, false)), None);
        assert!(races.check(access(0, 8, true)).is_some());
        races.barrier();
        assert_eq!(races.check(access(0, 8, true)), None);
        assert_eq!(races.check(access(0, 8, false)), None);
        assert!(races.check(access(1, 8, false)).is_some());
        races.barrier();
        assert_eq!(races.check(access(1, 8, false)), None);
    }

    #[test]
    fn atomics_race_only_with_others() {
        let mut races = SharedRaces::new(64);
        let atomic = |who| Use { is_strong: true, ..access(who, 8, true) };
        assert_eq!(races.check(atomic(0)), None);
        assert_eq!(races.check(atomic(1)), None);
        assert!(races.check(access(2, 8, false)).is_some());
    }

    #[test]
    fn blocks_must_not_meet() {
        let mut races = GlobalRaces::default();
        assert_eq!(races.check(access(0, 8, true)), None);
        assert_eq!(races.check(access(1, 12, true)), None);
        assert!(races.check(access(1, 8, false)).is_some());
        assert_eq!(races.check(access(2, 64, false)), None);
        assert_eq!(races.check(access(3, 64, false)), None);
        assert!(races.check(access(3, 64, true)).is_some());
    }

    #[test]
    fn bytes_of_a_word_are_told_apart() {
        let mut races = GlobalRaces::default();
        let byte = |who, address| Use { bytes: 1, ..access(who, address, true) };
        assert_eq!(races.check(byte(0, 8)), None);
        assert_eq!(races.check(byte(1, 9)), None);
        assert!(races.check(byte(2, 9)).is_some());
    }

    #[test]
    fn fences_and_atomics_make_an_order() {
        let meet = |first_fence: bool, second_fence: bool| {
            let mut races = GlobalRaces::default();
            assert_eq!(races.check(access(0, 8, true)), None);
            if first_fence {
                races.fence(0);
            }
            for block in 0..2 {
                races.acquire(block, 100);
                races.release(block, 100);
            }
            if second_fence {
                races.fence(1);
            }
            races.check(access(1, 8, false)).is_none()
        };
        assert!(meet(true, true));
        assert!(!meet(false, true));
        assert!(!meet(true, false));
    }
}
