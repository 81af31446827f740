//! What the bytes of a block stand for, and so how they multiply activations.
//!
//! The first factor of a product of bytes is unsigned. Nibbles that stand for −8 to 7 are
//! multiplied as 0 to 15 with sums that start at `−8·Σ a`, 5 bits with twice that, nibbles of
//! planes as [`kinglet_core::screen`] says; `multiply.rs` says how other weights are multiplied.

use super::multiply::Multiply;
use super::registers::{Quads, Register, Registers};
use super::unpack::{Block, Bytes, Raised, Unpack};
use kinglet_core::kernels::NIBBLE_OFFSET;

/// What [`Unpack`] gives, and how it multiplies activations.
pub(crate) trait Codes<R: Registers>: Copy {
    type Unpack: Unpack;

    /// See [`Unpack::quads`].
    fn quads(self, cpu: R, block: Block<'_>, part: usize) -> [Quads<R>; 2];

    /// Where a sum over 16 columns starts, given `−8·Σ a`.
    fn start(start: i32) -> i32;

    /// Adds the products of a quad of columns with one of activations to the sum over 16 columns;
    /// `scales` are as [`Multiply::scales`] gives them.
    fn add(
        cpu: R,
        sum: Register<R>,
        quad: Register<R>,
        input: Register<R>,
        scales: Register<R>,
    ) -> Register<R>;

    /// `Σ scale · weight · input` over 32 columns, given the sums over 16.
    fn scaled<const GROUP: usize>(
        cpu: R,
        sums: [Register<R>; 2],
        scales: [Register<R>; 2],
    ) -> Register<R>;
}

/// Codes that are multiplied as they are.
#[derive(Clone, Copy)]
pub(super) struct Linear<U>(pub U);

/// Codes that stand for entries of a table, repeated in the register.
#[derive(Clone, Copy)]
pub(super) struct Entries<R: Registers, U>(U, Register<R>);

impl<R: Registers> Codes<R> for Bytes {
    type Unpack = Self;

    #[inline(always)]
    fn quads(self, cpu: R, block: Block<'_>, part: usize) -> [Quads<R>; 2] {
        let mut quads = Unpack::quads(self, cpu, block, part);
        for quad in quads.as_flattened_mut() {
            *quad = R::Multiply::raised(cpu, *quad);
        }
        quads
    }

    #[inline(always)]
    fn start(start: i32) -> i32 {
        R::Multiply::BYTE_OFFSET / NIBBLE_OFFSET * start
    }

    #[inline(always)]
    fn add(
        cpu: R,
        sum: Register<R>,
        quad: Register<R>,
        input: Register<R>,
        scales: Register<R>,
    ) -> Register<R> {
        R::Multiply::add_bytes(cpu, sum, quad, input, scales)
    }

    #[inline(always)]
    fn scaled<const GROUP: usize>(
        cpu: R,
        sums: [Register<R>; 2],
        scales: [Register<R>; 2],
    ) -> Register<R> {
        R::Multiply::scaled_bytes(cpu, sums, scales)
    }
}

impl<R: Registers, U: Raised> Codes<R> for Linear<U> {
    type Unpack = U;

    #[inline(always)]
    fn quads(self, cpu: R, block: Block<'_>, part: usize) -> [Quads<R>; 2] {
        self.0.quads(cpu, block, part)
    }

    #[inline(always)]
    fn start(start: i32) -> i32 {
        U::start(start)
    }

    #[inline(always)]
    fn add(
        cpu: R,
        sum: Register<R>,
        quad: Register<R>,
        input: Register<R>,
        _scales: Register<R>,
    ) -> Register<R> {
        R::Multiply::add_unsigned(cpu, sum, quad, input)
    }

    #[inline(always)]
    fn scaled<const GROUP: usize>(
        cpu: R,
        sums: [Register<R>; 2],
        scales: [Register<R>; 2],
    ) -> Register<R> {
        R::Multiply::scaled_unsigned::<GROUP>(cpu, sums, scales)
    }
}

impl<R: Registers, U: Unpack> Codes<R> for Entries<R, U> {
    type Unpack = U;

    #[inline(always)]
    fn quads(self, cpu: R, block: Block<'_>, part: usize) -> [Quads<R>; 2] {
        let mut quads = self.0.quads(cpu, block, part);
        for quad in quads.as_flattened_mut() {
            *quad = cpu.look_up(self.1, *quad);
        }
        quads
    }

    #[inline(always)]
    fn start(start: i32) -> i32 {
        i32::from(R::Multiply::ENTRY_OFFSET) / NIBBLE_OFFSET * start
    }

    #[inline(always)]
    fn add(
        cpu: R,
        sum: Register<R>,
        quad: Register<R>,
        input: Register<R>,
        _scales: Register<R>,
    ) -> Register<R> {
        R::Multiply::add_entries(cpu, sum, quad, input)
    }

    #[inline(always)]
    fn scaled<const GROUP: usize>(
        cpu: R,
        sums: [Register<R>; 2],
        scales: [Register<R>; 2],
    ) -> Register<R> {
        R::Multiply::scaled_entries::<GROUP>(cpu, sums, scales)
    }
}

impl<R: Registers, U: Unpack> Entries<R, U> {
    pub fn new(cpu: R, unpack: U, table: &[i8; 16]) -> Self {
        Self(unpack, cpu.repeat_table(&table.map(|entry| entry + R::Multiply::ENTRY_OFFSET)))
    }
}
