//! Ways in which several tokens share an unpacking of weights. Their sums live in memory.

use super::codes::Codes;
use super::inputs::{Input, Tokens};
use super::multiply::Multiply;
use super::registers::{QUADS, Registers};
use super::unpack::Block;
use super::weights::{MAX_PARTS, Weights, parts};
use kinglet_core::kernels::START_GROUP;
use kinglet_quant::format::TILE_ROWS;

/// A way.
pub(crate) trait Batch<R: Registers> {
    /// Adds the products of a block and all of the tokens to their totals; `scales` are those of
    /// the block's one or two groups.
    fn add_block<C: Codes<R>, const GROUP: usize>(
        cpu: R,
        codes: C,
        block: Block<'_>,
        scales: &[i8],
        tokens: &Tokens<'_>,
        totals: &mut [[f32; TILE_ROWS]],
    );
}

/// The rows of a register at a time, whose weights stay in registers.
pub(crate) struct Rows;

/// All rows at a time, whose weights lie in memory: each token repeats its activations once.
pub(crate) struct Ones;

/// The same with three tokens at a time, which need to load weights only once.
pub(crate) struct Threes;

impl<R: Registers> Batch<R> for Rows {
    #[inline(always)]
    fn add_block<C: Codes<R>, const GROUP: usize>(
        cpu: R,
        codes: C,
        block: Block<'_>,
        scales: &[i8],
        tokens: &Tokens<'_>,
        totals: &mut [[f32; TILE_ROWS]],
    ) {
        tokens.check(block.index, totals.len());
        for part in 0..parts::<R>() {
            let weights = Weights::<R>::of::<C, GROUP>(cpu, codes, block, scales, part);
            for (token, total) in totals.iter_mut().enumerate() {
                // SAFETY: checked above.
                let inputs = unsafe { tokens.inputs::<R, C>(cpu, token, block.index) };
                weights.add_to::<C, GROUP>(cpu, &inputs, &mut total[part * R::COUNT..][..R::COUNT]);
            }
        }
    }
}

impl<R: Registers> Batch<R> for Ones {
    #[inline(always)]
    fn add_block<C: Codes<R>, const GROUP: usize>(
        cpu: R,
        codes: C,
        block: Block<'_>,
        scales: &[i8],
        tokens: &Tokens<'_>,
        totals: &mut [[f32; TILE_ROWS]],
    ) {
        tokens.check(block.index, totals.len());
        let weights = all_rows::<R, C, GROUP>(cpu, codes, block, scales);
        for (token, total) in totals.iter_mut().enumerate() {
            // SAFETY: checked above.
            let inputs = unsafe { tokens.inputs::<R, C>(cpu, token, block.index) };
            for (weights, total) in weights.iter().zip(total.chunks_exact_mut(R::COUNT)) {
                weights.add_to::<C, GROUP>(cpu, &inputs, total);
            }
        }
    }
}

impl<R: Registers> Batch<R> for Threes {
    #[inline(always)]
    fn add_block<C: Codes<R>, const GROUP: usize>(
        cpu: R,
        codes: C,
        block: Block<'_>,
        scales: &[i8],
        tokens: &Tokens<'_>,
        totals: &mut [[f32; TILE_ROWS]],
    ) {
        tokens.check(block.index, totals.len());
        let weights = all_rows::<R, C, GROUP>(cpu, codes, block, scales);
        let (threes, rest) = totals.as_chunks_mut::<3>();
        let mut token = 0;
        for totals in threes {
            // SAFETY: checked above.
            let inputs = unsafe { tokens.some(token, block.index) };
            together::<R, C, GROUP, 3>(cpu, &weights, inputs, totals);
            token += 3;
        }
        for (token, total) in (token..).zip(rest) {
            // SAFETY: checked above.
            let inputs = unsafe { tokens.inputs::<R, C>(cpu, token, block.index) };
            for (weights, total) in weights.iter().zip(total.chunks_exact_mut(R::COUNT)) {
                weights.add_to::<C, GROUP>(cpu, &inputs, total);
            }
        }
    }
}

/// The weights of all rows; the first [`parts`] count.
#[inline(always)]
fn all_rows<R: Registers, C: Codes<R>, const GROUP: usize>(
    cpu: R,
    codes: C,
    block: Block<'_>,
    scales: &[i8],
) -> [Weights<R>; MAX_PARTS] {
    let mut weights = [Weights::none(cpu); MAX_PARTS];
    for (part, weights) in weights.iter_mut().enumerate().take(parts::<R>()) {
        *weights = Weights::of::<C, GROUP>(cpu, codes, block, scales, part);
    }
    weights
}

/// Adds the products of a block, all rows of which are unpacked, with some tokens.
#[inline(always)]
fn together<R: Registers, C: Codes<R>, const GROUP: usize, const T: usize>(
    cpu: R,
    weights: &[Weights<R>; MAX_PARTS],
    inputs: [Input; T],
    totals: &mut [[f32; TILE_ROWS]; T],
) {
    let mut sums = [[[cpu.repeat_i32(0); 2]; MAX_PARTS]; T];
    for half in 0..2 {
        for (sums, input) in sums.iter_mut().zip(&inputs) {
            // SAFETY: an input has two starts.
            let start = unsafe { *input.starts.add(half) };
            let start = R::Multiply::start(cpu, C::start(start));
            for sums in &mut sums[..parts::<R>()] {
                sums[half] = start;
            }
        }
        for quad in 0..QUADS {
            for (sums, input) in sums.iter_mut().zip(&inputs) {
                // SAFETY: an input has 32 codes, 16 for each half.
                let input =
                    unsafe { cpu.repeat_quad_i8(input.codes.add(half * START_GROUP + 4 * quad)) };
                for (sums, weights) in sums[..parts::<R>()].iter_mut().zip(weights) {
                    let (quad, scales) = (weights.quads[half][quad], weights.scales[half]);
                    sums[half] = C::add(cpu, sums[half], quad, input, scales);
                }
            }
        }
    }
    for ((sums, input), totals) in sums.iter().zip(&inputs).zip(totals) {
        // SAFETY: an input has a scale.
        let scale = cpu.splat(unsafe { *input.scale });
        let totals = totals.chunks_exact_mut(R::COUNT);
        for ((sums, weights), total) in sums.iter().zip(weights).zip(totals) {
            let sum = cpu.to_f32(C::scaled::<GROUP>(cpu, *sums, weights.scales));
            cpu.store(cpu.mul_add(sum, scale, cpu.load(total)), total);
        }
    }
}
