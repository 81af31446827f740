//! Sums of floats that are the same to the bit on every instruction set.

use crate::lanes::Lanes;
pub(crate) use kinglet_core::sums::SIDE_BY_SIDE;

/// Registers that they take at most.
const MAX_REGISTERS: usize = SIDE_BY_SIDE / 4;

/// [`SIDE_BY_SIDE`] sums, in registers of any width.
#[derive(Clone, Copy)]
pub(crate) struct Sums<L: Lanes> {
    /// The first [`Self::REGISTERS`] count.
    registers: [L::F32; MAX_REGISTERS],
}

impl<L: Lanes> Sums<L> {
    /// Registers that hold the sums.
    pub const REGISTERS: usize = SIDE_BY_SIDE / L::COUNT;

    /// Sums of nothing.
    #[inline(always)]
    pub fn none(cpu: L) -> Self {
        const { assert!(L::COUNT * Self::REGISTERS == SIDE_BY_SIDE && L::COUNT >= 4) };
        Self { registers: [cpu.splat(0.0); MAX_REGISTERS] }
    }

    /// Adds terms to those of the sums that are in one register.
    #[inline(always)]
    pub fn add(&mut self, cpu: L, register: usize, terms: L::F32) {
        self.registers[register] = cpu.add(self.registers[register], terms);
    }

    /// Adds products, each rounded together with its sum.
    #[inline(always)]
    pub fn add_products(&mut self, cpu: L, register: usize, a: L::F32, b: L::F32) {
        self.registers[register] = cpu.mul_add(a, b, self.registers[register]);
    }

    /// Both sums, each added to its counterpart.
    #[inline(always)]
    pub fn and(mut self, cpu: L, other: Self) -> Self {
        for register in 0..Self::REGISTERS {
            self.add(cpu, register, other.registers[register]);
        }
        self
    }

    /// The sum of all, halves added to one another until one is left.
    #[inline(always)]
    pub fn total(mut self, cpu: L) -> f32 {
        let mut count = Self::REGISTERS;
        while count > 1 {
            count /= 2;
            for register in 0..count {
                self.add(cpu, register, self.registers[register + count]);
            }
        }
        cpu.sum_of_lanes(self.registers[0])
    }
}
