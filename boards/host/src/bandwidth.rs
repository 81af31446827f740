//! The read bandwidth of memory, which limits decoding.

use crate::{Cpus, Pool, Root};
use kinglet_core::Workers;
use kinglet_quant::{Code, Error, Result};
use memmap2::MmapMut;
use std::hint::black_box;
use std::time::Instant;

/// Several times the largest caches of the processors that Kinglet is for.
const BYTES: usize = 256 << 20;
/// Bytes of a cache line.
const LINE: usize = 64;
/// Words of 64 bits in a line, each added up on its own so that the sum is a vector's.
const LANES: usize = LINE / 8;
/// Times that each way of reading is tried.
const ROUNDS: usize = 2;

/// One line of the buffer.
type Line = [u64; LANES];

/// A buffer far larger than the caches, read from one end to the other.
pub struct ReadStream {
    memory: MmapMut,
}

impl ReadStream {
    /// Takes the buffer and writes to every page of it. `Resource` when there is too little memory.
    pub fn new() -> Result<Self> {
        let mut memory = MmapMut::map_anon(BYTES).map_err(|error| {
            Error::new(Code::Resource, format_args!("cannot take {BYTES} bytes: {error}"))
        })?;
        memory.fill(1);
        Ok(Self { memory })
    }

    /// Bytes per second that a thread on each of these processors reads with the others, at most as
    /// many as a session has. `Resource` when no threads can be had.
    pub fn measure(&self, cpus: &Cpus) -> Result<f64> {
        let pool = Pool::on(cpus, cpus.default_threads(&Root::here()), false)?;
        Ok(self.bytes_per_second(&pool))
    }

    /// Bytes per second that the workers read together: the best pass over the buffer.
    ///
    /// Which way of reading is fastest depends on the machine: in one piece or four for each
    /// worker, with the hardware's prefetching alone or with software's.
    pub(crate) fn bytes_per_second(&self, workers: &dyn Workers) -> f64 {
        let passes = [sum::<1, 0>, sum::<1, 112>, sum::<4, 0>, sum::<4, 112>];
        let rounds = passes.iter().cycle().take(ROUNDS * passes.len());
        rounds.map(|pass| self.pass(workers, *pass)).fold(0.0, f64::max)
    }

    fn pass(&self, workers: &dyn Workers, sum: fn(&[Line]) -> u64) -> f64 {
        let (words, _) = bytemuck::cast_slice::<u8, u64>(&self.memory).as_chunks::<LANES>();
        let share = words.len() / workers.count();
        let start = Instant::now();
        workers.run(workers.count(), &|worker| {
            black_box(sum(&words[worker * share..][..share]));
        });
        (share * workers.count() * LINE) as f64 / start.elapsed().as_secs_f64()
    }
}

/// The sum of all words, read as `PIECES` streams side by side, each prefetched `AHEAD` lines
/// ahead.
fn sum<const PIECES: usize, const AHEAD: usize>(lines: &[Line]) -> u64 {
    let length = lines.len() / PIECES;
    let mut sums = [0u64; LANES];
    for i in 0..length {
        for piece in 0..PIECES {
            let line = &lines[piece * length + i];
            if AHEAD > 0 {
                prefetch(std::ptr::from_ref(line).wrapping_add(AHEAD));
            }
            for (sum, word) in sums.iter_mut().zip(line) {
                *sum = sum.wrapping_add(*word);
            }
        }
    }
    sums.iter().fold(0, |all, sum| all.wrapping_add(*sum))
}

#[cfg(target_arch = "x86_64")]
fn prefetch(line: *const Line) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: every x86-64 CPU has the instruction, and it takes any address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
fn prefetch(_line: *const Line) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_reading_reads_everything() {
        let lines: Vec<Line> = (0..64).map(|i| [i; LANES]).collect();
        let all = 8 * (0..64).sum::<u64>();
        assert_eq!(sum::<1, 0>(&lines), all);
        assert_eq!(sum::<1, 112>(&lines), all);
        assert_eq!(sum::<4, 0>(&lines), all);
        assert_eq!(sum::<4, 112>(&lines), all);
    }
}
