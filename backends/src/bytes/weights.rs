//! Unpacked weights of a block.

use super::codes::Codes;
use super::inputs::Inputs;
use super::multiply::Multiply;
use super::registers::{QUADS, Quads, Register, Registers};
use super::unpack::Block;
use kinglet_quant::format::{BLOCK, TILE_ROWS};

/// Registers that the rows of a tile fill at most.
pub(super) const MAX_PARTS: usize = TILE_ROWS / 4;

/// Registers that the rows of a tile fill.
pub(super) const fn parts<R: Registers>() -> usize {
    assert!(TILE_ROWS / R::COUNT <= MAX_PARTS && TILE_ROWS.is_multiple_of(R::COUNT));
    TILE_ROWS / R::COUNT
}

/// 32 columns of the rows of a register.
#[derive(Clone, Copy)]
pub(crate) struct Weights<R: Registers> {
    pub(super) quads: [Quads<R>; 2],
    pub(super) scales: [Register<R>; 2],
}

impl<R: Registers> Weights<R> {
    #[inline(always)]
    pub(super) fn none(cpu: R) -> Self {
        let zero = cpu.repeat_i32(0);
        Self { quads: [[zero; QUADS]; 2], scales: [zero; 2] }
    }

    /// The `part`-th rows of a block; `scales` are those of its one or two groups.
    #[inline(always)]
    pub(super) fn of<C: Codes<R>, const GROUP: usize>(
        cpu: R,
        codes: C,
        block: Block<'_>,
        scales: &[i8],
        part: usize,
    ) -> Self {
        let low = &scales[part * R::COUNT..];
        let high = if GROUP < BLOCK { &low[TILE_ROWS..] } else { low };
        let (low, high) = (cpu.load_scales(low), cpu.load_scales(high));
        Self {
            quads: codes.quads(cpu, block, part),
            scales: [R::Multiply::scales(cpu, low), R::Multiply::scales(cpu, high)],
        }
    }

    /// Adds the products with a token's activations to `total`.
    #[inline(always)]
    pub(super) fn add_product<C: Codes<R>, const GROUP: usize>(
        &self,
        cpu: R,
        inputs: &Inputs<R>,
        total: R::F32,
    ) -> R::F32 {
        let mut sums = inputs.starts;
        for (half, sum) in sums.iter_mut().enumerate() {
            for (quad, input) in self.quads[half].iter().zip(inputs.quads[half]) {
                *sum = C::add(cpu, *sum, *quad, input, self.scales[half]);
            }
        }
        let sum = C::scaled::<GROUP>(cpu, sums, self.scales);
        cpu.mul_add(cpu.to_f32(sum), inputs.scale, total)
    }

    /// Adds the products with a token's activations to a total in memory.
    #[inline(always)]
    pub(super) fn add_to<C: Codes<R>, const GROUP: usize>(
        &self,
        cpu: R,
        inputs: &Inputs<R>,
        total: &mut [f32],
    ) {
        cpu.store(self.add_product::<C, GROUP>(cpu, inputs, cpu.load(total)), total);
    }
}
