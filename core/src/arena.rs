//! One caller-supplied buffer, cut into typed slices, and slices shared out to workers.
//!
//! The only file of this crate with `unsafe`: a matrix that several workers write at once, each its
//! own rows or columns. The parts of a [`Split`] do not overlap, and each is handed out once.
#![allow(unsafe_code)]

use crate::claims::{Claims, MAX_CLAIMS};
use bytemuck::Pod;
use core::marker::PhantomData;
use core::ops::Range;
use kinglet_quant::format::ALIGN;

/// Workers that a [`Split`] can serve.
pub const MAX_WORKERS: usize = MAX_CLAIMS;
/// Parts that a pass may have.
pub const MAX_PARTS: usize = MAX_CLAIMS;
/// Rounds of [`Shares::tapering`].
const TAPERING_ROUNDS: usize = 3;

/// Bytes that `count` elements of `T` occupy in an arena: padded to 64. Panics when they are more
/// than this machine can address.
pub const fn padded_bytes<T>(count: usize) -> usize {
    let bytes = count.checked_mul(size_of::<T>()).expect("no memory holds as many elements");
    bytes.checked_next_multiple_of(ALIGN).expect("no memory holds as many elements")
}

/// Cuts a buffer front to back; every slice starts at a multiple of 64 bytes.
#[derive(Debug)]
pub struct Arena<'a> {
    rest: &'a mut [u8],
}

impl<'a> Arena<'a> {
    /// An arena over `memory`, which must start at a multiple of 64 bytes.
    pub fn new(memory: &'a mut [u8]) -> Self {
        assert!(
            memory.as_ptr().addr().is_multiple_of(ALIGN),
            "arena memory must be 64-byte aligned"
        );
        Self { rest: memory }
    }

    /// The next `count` elements. Panics when the plan that sized the buffer forgot them.
    pub fn take<T: Pod>(&mut self, count: usize) -> &'a mut [T] {
        let rest = core::mem::take(&mut self.rest);
        let (head, rest) = rest.split_at_mut(padded_bytes::<T>(count));
        self.rest = rest;
        bytemuck::cast_slice_mut(&mut head[..count * size_of::<T>()])
    }

    /// Bytes not yet cut off.
    pub fn left(&self) -> usize {
        self.rest.len()
    }
}

/// Into how many parts of what size a pass is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    workers: usize,
    rounds: u32,
}

impl Shares {
    /// Parts of one size.
    pub fn even(parts: usize) -> Self {
        assert!((1..=MAX_PARTS).contains(&parts));
        Self { workers: parts, rounds: 1 }
    }

    /// A part of three quarters of its due for each worker, then parts of three quarters of what
    /// is left, then the rest: whoever is faster gets more, and all end at the same time.
    pub fn tapering(workers: usize) -> Self {
        assert!((1..=MAX_WORKERS).contains(&workers));
        // One worker has nobody to wait for.
        let rounds = if workers == 1 { 1 } else { TAPERING_ROUNDS.min(MAX_PARTS / workers) };
        Self { workers, rounds: rounds as u32 }
    }

    /// Parts.
    pub fn count(self) -> usize {
        self.workers * self.rounds as usize
    }

    /// Where in a pass that costs `total` a part begins: at most `total`, and never in front of
    /// where an earlier part begins.
    fn cut(self, part: usize, total: u64) -> u64 {
        let (round, worker) = ((part / self.workers) as u32, (part % self.workers) as u64);
        // After `round` rounds, 4^−round of the pass is left.
        let left = total >> (2 * round);
        let taken = if round + 1 < self.rounds { left - (left >> 2) } else { left };
        total - left + share(taken, worker as u32, self.workers as u32)
    }
}

/// `whole · part / parts` for a part of at most [`MAX_PARTS`], whose product no number can exceed.
fn share(whole: u64, part: u32, parts: u32) -> u64 {
    let (each, rest) = (whole / u64::from(parts), (whole % u64::from(parts)) as u32);
    each * u64::from(part) + u64::from(rest * part / parts)
}

/// How the units (tiles, tokens, heads) of one pass are dealt in parts.
///
/// A pass may run over several matrices one after the other; each has a `Split` of its own that
/// names where in the pass it lies.
#[derive(Clone, Copy, Debug)]
pub struct Split {
    first: u64,
    count: usize,
    unit_cost: u64,
    total: u64,
    shares: Shares,
    is_reversed: bool,
}

impl Split {
    /// All of a pass of `count` units.
    pub fn whole(count: usize, shares: Shares) -> Self {
        Self::piece(0, count, 1, count as u64, shares)
    }

    /// `count` units of a pass, `unit_cost` each, behind others that cost `first` together; all of
    /// the pass costs `total`. Panics when the piece ends behind the pass.
    pub fn piece(first: u64, count: usize, unit_cost: u64, total: u64, shares: Shares) -> Self {
        let own = unit_cost.checked_mul(count as u64);
        let end = own.and_then(|cost| cost.checked_add(first));
        let fits = end.is_some_and(|end| end <= total);
        assert!(unit_cost > 0 && fits, "a piece of {count} units ends behind its pass");
        Self { first, count, unit_cost, total, shares, is_reversed: false }
    }

    /// Deals the last units to the first part.
    pub fn reversed(self) -> Self {
        Self { is_reversed: !self.is_reversed, ..self }
    }

    /// Units of the piece.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The units of a part, counted from the piece's own start; ranges of different parts never
    /// overlap and together cover the piece.
    pub fn range(&self, part: usize) -> Range<usize> {
        assert!(part < self.shares.count());
        let bound = |part: usize| {
            if part == self.shares.count() {
                return self.count;
            }
            let cut = self.shares.cut(part, self.total).saturating_sub(self.first);
            // To the nearest unit, without a sum that 64 bits may not hold.
            let (units, rest) = (cut / self.unit_cost, cut % self.unit_cost);
            let nearest = units + u64::from(rest >= self.unit_cost - self.unit_cost / 2);
            nearest.min(self.count as u64) as usize
        };
        let (start, end) = (bound(part), bound(part + 1));
        if self.is_reversed { self.count - end..self.count - start } else { start..end }
    }
}

/// A matrix of `height × width` elements that workers write at the same time: the slice that it
/// borrows has at least as many.
#[derive(Debug)]
struct Shared<'a, T> {
    start: *mut T,
    height: usize,
    width: usize,
    split: Split,
    taken: Claims,
    lent: PhantomData<&'a mut [T]>,
}

// SAFETY: parts are disjoint and `take` lends each of them to one caller only, so sharing the
// matrix moves exclusive references to `T` between threads, nothing else.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    fn new(data: &'a mut [T], width: usize, split: Split) -> Self {
        assert_eq!(data.len().checked_rem(width).unwrap_or(0), 0);
        // Rows of width 0 take no memory, so there are as many as anyone asks for.
        let height = data.len().checked_div(width).unwrap_or(split.count);
        Self {
            start: data.as_mut_ptr(),
            height,
            width,
            split,
            taken: Claims::none(),
            lent: PhantomData,
        }
    }

    /// Claims a part. Panics when it is claimed a second time.
    fn claim(&self, part: usize) -> Range<usize> {
        assert!(self.taken.take(part), "part {part} was handed out twice");
        self.split.range(part)
    }
}

/// A matrix whose rows are dealt to workers.
#[derive(Debug)]
pub struct SharedRows<'a, T>(Shared<'a, T>);

impl<'a, T: Send> SharedRows<'a, T> {
    /// Shares out `data`, a matrix of rows of `width`; the split's units are rows.
    pub fn new(data: &'a mut [T], width: usize, split: Split) -> Self {
        let shared = Shared::new(data, width, split);
        assert!(split.count <= shared.height);
        Self(shared)
    }

    /// The rows of one part, contiguous. Panics when they were taken before.
    pub fn take(&self, part: usize) -> &'a mut [T] {
        let rows = self.0.claim(part);
        // SAFETY: `rows.end` is at most the split's count (`Split::range`), which is at most the
        // height (`new`), so neither product exceeds the number of elements. The rows are disjoint
        // from every other part's (`Split::range`) and were not lent before (`claim`); `'a` keeps
        // the data borrowed.
        unsafe {
            let start = self.0.start.add(rows.start * self.0.width);
            core::slice::from_raw_parts_mut(start, rows.len() * self.0.width)
        }
    }
}

/// A matrix whose columns are dealt to workers in units of several columns.
#[derive(Debug)]
pub struct SharedColumns<'a, T> {
    shared: Shared<'a, T>,
    unit: usize,
}

impl<'a, T: Send> SharedColumns<'a, T> {
    /// Shares out `data`, a matrix of rows of `width`; the split's units are `unit` columns each.
    pub fn new(data: &'a mut [T], width: usize, unit: usize, split: Split) -> Self {
        assert!(split.count.checked_mul(unit).is_some_and(|columns| columns <= width));
        Self { shared: Shared::new(data, width, split), unit }
    }

    /// The columns of one part. Panics when they were taken before.
    pub fn take(&self, part: usize) -> Columns<'a, T> {
        // Both ends are at most the split's count, whose columns `new` found within the width.
        let units = self.shared.claim(part);
        Columns {
            // Nothing is at the pointer of a matrix without rows, so it is only counted.
            start: self.shared.start.wrapping_add(units.start * self.unit),
            height: self.shared.height,
            stride: self.shared.width,
            width: units.len() * self.unit,
            lent: PhantomData,
        }
    }
}

/// Memory in slots, for parts that need some while they run.
#[derive(Debug)]
pub struct SharedScratch<'a, T> {
    start: *mut T,
    width: usize,
    slots: usize,
    taken: Claims,
    lent: PhantomData<&'a mut [T]>,
}

// SAFETY: a slot is lent to one caller at a time, so sharing them moves exclusive references to `T`
// between threads, nothing else.
unsafe impl<T: Send> Sync for SharedScratch<'_, T> {}

impl<'a, T: Send> SharedScratch<'a, T> {
    /// Cuts `data` into a slot for each worker.
    pub fn new(data: &'a mut [T], workers: usize) -> Self {
        assert!((1..=MAX_WORKERS).contains(&workers));
        Self {
            start: data.as_mut_ptr(),
            width: data.len() / workers,
            slots: workers,
            taken: Claims::none(),
            lent: PhantomData,
        }
    }

    /// A slot that nobody uses, with what its last user left there. Panics when there is none: more
    /// parts run at the same time than there are workers.
    pub fn lend(&self) -> Scratch<'_, T> {
        let slot = self.taken.take_any(self.slots).expect("no more parts run than workers");
        // SAFETY: `slots · width` is at most the number of elements (`new`) and `slot` is below
        // `slots`. The slot was free, and is lent to nobody else before `Scratch` gives it back,
        // which this claim would see.
        let slice = unsafe {
            core::slice::from_raw_parts_mut(self.start.add(slot * self.width), self.width)
        };
        Scratch { slice, slot, taken: &self.taken }
    }
}

/// A slot of [`SharedScratch`], given back when dropped.
#[derive(Debug)]
pub struct Scratch<'s, T> {
    slice: &'s mut [T],
    slot: usize,
    taken: &'s Claims,
}

impl<T> Drop for Scratch<'_, T> {
    fn drop(&mut self) {
        self.taken.give_back(self.slot);
    }
}

impl<T> core::ops::Deref for Scratch<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.slice
    }
}

impl<T> core::ops::DerefMut for Scratch<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.slice
    }
}

/// Some columns of a matrix, lent to one worker: `height` rows of `width` elements, whose first
/// ones are `stride` apart. The matrix has `height · stride` elements, and `start` is so far in its
/// first row that `width` more are in it.
#[derive(Debug)]
pub struct Columns<'a, T> {
    start: *mut T,
    height: usize,
    stride: usize,
    width: usize,
    lent: PhantomData<&'a mut [T]>,
}

impl<'a, T> Columns<'a, T> {
    /// All columns of a matrix that nobody else uses.
    pub fn all(data: &'a mut [T], width: usize) -> Self {
        assert!(width > 0 && data.len().is_multiple_of(width));
        Self {
            start: data.as_mut_ptr(),
            height: data.len() / width,
            stride: width,
            width,
            lent: PhantomData,
        }
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Elements from one row to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// One row of these columns. Panics when `row` is not below the height.
    pub fn row(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.height);
        // SAFETY: there is such a row, in which these columns lie (`SharedColumns::new`, `all`,
        // `narrow`), so the product is below the number of the matrix's elements. They are lent to
        // this value alone; `&mut self` keeps a second row from being borrowed meanwhile.
        unsafe { core::slice::from_raw_parts_mut(self.start.add(row * self.stride), self.width) }
    }

    /// Columns `range` of these, borrowed.
    pub fn narrow(&mut self, range: Range<usize>) -> Columns<'_, T> {
        assert!(range.start <= range.end && range.end <= self.width);
        Columns {
            // As in `SharedColumns::take`.
            start: self.start.wrapping_add(range.start),
            height: self.height,
            stride: self.stride,
            width: range.len(),
            lent: PhantomData,
        }
    }

    /// The first element of the first row, for kernels that address rows by [`Columns::stride`].
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.start
    }
}

#[cfg(test)]
mod tests;
