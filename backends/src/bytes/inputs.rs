//! Activations of tokens, block by block.

use super::codes::Codes;
use super::multiply::Multiply;
use super::registers::{Quads, Register, Registers};
use kinglet_core::Activations;
use kinglet_core::kernels::START_GROUP;
use kinglet_quant::format::BLOCK;

/// 32 activations of a token, in registers.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<R: Registers> {
    pub(super) quads: [Quads<R>; 2],
    /// What [`Multiply::start`] gives for the first and the last 16.
    pub(super) starts: [Register<R>; 2],
    pub(super) scale: R::F32,
}

/// 32 activations of a token: 32 codes, two starts and one scale.
#[derive(Clone, Copy)]
pub(crate) struct Input {
    pub(super) codes: *const i8,
    pub(super) starts: *const i32,
    pub(super) scale: *const f32,
}

/// The activations of some tokens.
pub(crate) struct Tokens<'a> {
    pub(super) count: usize,
    /// Blocks of 32 columns.
    pub(super) blocks: usize,
    codes: &'a [i8],
    scales: &'a [f32],
    starts: &'a [i32],
}

impl<'a> Tokens<'a> {
    /// `count` tokens from `first` on, at least one.
    #[inline(always)]
    pub(super) fn of(x: &Activations<'a>, first: usize, count: usize) -> Self {
        let blocks = x.cols / BLOCK;
        assert!(count > 0);
        Self {
            count,
            blocks,
            codes: &x.codes[first * x.cols..][..count * blocks * BLOCK],
            scales: &x.scales[first * blocks..][..count * blocks],
            starts: &x.starts[first * 2 * blocks..][..count * 2 * blocks],
        }
    }

    /// Asserts that there are so many tokens, and a block of this number.
    #[inline(always)]
    pub(super) fn check(&self, block: usize, tokens: usize) {
        assert!(block < self.blocks && tokens == self.count);
    }

    /// A block of a token's activations.
    ///
    /// # Safety
    /// `token` is below `count` and `block` below `blocks`.
    #[inline(always)]
    pub(super) unsafe fn inputs<R: Registers, C: Codes<R>>(
        &self,
        cpu: R,
        token: usize,
        block: usize,
    ) -> Inputs<R> {
        // SAFETY: by this function's contract.
        let [input] = unsafe { self.some(token, block) };
        // SAFETY: an input has 32 codes, two starts and one scale.
        unsafe {
            let [low, high] = *input.starts.cast::<[i32; 2]>();
            Inputs {
                quads: [
                    cpu.repeat_quads(input.codes),
                    cpu.repeat_quads(input.codes.add(START_GROUP)),
                ],
                starts: [
                    R::Multiply::start(cpu, C::start(low)),
                    R::Multiply::start(cpu, C::start(high)),
                ],
                scale: cpu.splat(*input.scale),
            }
        }
    }

    /// A block of the activations of `T` tokens.
    ///
    /// # Safety
    /// `first + T` is at most `count` and `block` below `blocks`.
    #[inline(always)]
    pub(super) unsafe fn some<const T: usize>(&self, first: usize, block: usize) -> [Input; T] {
        core::array::from_fn(
            #[inline(always)]
            |t| {
                let index = (first + t) * self.blocks + block;
                // SAFETY: the slices have 32 codes, one scale and two starts for each token and
                // block.
                unsafe {
                    Input {
                        codes: self.codes.as_ptr().add(index * BLOCK),
                        starts: self.starts.as_ptr().add(2 * index),
                        scale: self.scales.as_ptr().add(index),
                    }
                }
            },
        )
    }
}
