//! Several tokens where a product of bytes takes many instructions: weights become integers of 16
//! bits, times the scale of their group, once for all of them. Sums are those of the other ways.

use super::batches::Batch;
use super::codes::Codes;
use super::inputs::Tokens;
use super::multiply::InPairs;
use super::registers::{QUADS, Register, Registers};
use super::unpack::Block;
use super::weights::{MAX_PARTS, Weights, parts};
use kinglet_core::kernels::START_GROUP;
use kinglet_quant::format::{BLOCK, TILE_ROWS};

/// Registers that make integers of 16 bits of bytes.
pub(crate) trait WordRegisters: Registers {
    /// The signed bytes at even places, as integers of 16 bits.
    fn even_i8(self, x: Register<Self>) -> Register<Self>;
    /// Those at odd places.
    fn odd_i8(self, x: Register<Self>) -> Register<Self>;
    /// Products of integers of 16 bits, which they fit into.
    fn multiply_i16(self, a: Register<Self>, b: Register<Self>) -> Register<Self>;
    /// 16 activations, each 4 as [`Self::even_i8`] and [`Self::odd_i8`] give them, repeated over a
    /// register.
    ///
    /// # Safety
    /// `from` has 16 codes.
    unsafe fn repeat_words(self, from: *const i8) -> [[Register<Self>; 2]; QUADS];
}

/// All rows at a time, in words.
pub(crate) struct Words;

/// Weights of a register's rows, times their scales.
#[derive(Clone, Copy)]
struct Scaled<R: WordRegisters> {
    /// Of each quad of columns the first and third, and the second and fourth.
    words: [[Register<R>; 2]; BLOCK / 4],
    /// The scales of the first and the last 16 columns in the halves of each lane.
    scales: Register<R>,
}

impl<R: WordRegisters<Multiply = InPairs>> Scaled<R> {
    /// A code is within ±128 and so is a scale, which is in both halves of its lane: their product
    /// fits into 16 bits.
    #[inline(always)]
    fn of(cpu: R, weights: &Weights<R>) -> Self {
        let [low, high] = weights.scales;
        let mut words = [[low; 2]; BLOCK / 4];
        for (i, words) in words.iter_mut().enumerate() {
            let (half, quad) = (i / QUADS, weights.quads[i / QUADS][i % QUADS]);
            *words = [cpu.even_i8(quad), cpu.odd_i8(quad)].map(
                #[inline(always)]
                |words| cpu.multiply_i16(words, weights.scales[half]),
            );
        }
        Self { words, scales: cpu.in_halves(low, high) }
    }
}

impl<R: WordRegisters<Multiply = InPairs>> Batch<R> for Words {
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
        let none = Scaled { words: [[cpu.repeat_i32(0); 2]; BLOCK / 4], scales: cpu.repeat_i32(0) };
        let mut weights = [none; MAX_PARTS];
        for (part, weights) in weights.iter_mut().enumerate().take(parts::<R>()) {
            *weights = Scaled::of(cpu, &Weights::of::<C, GROUP>(cpu, codes, block, scales, part));
        }
        for (token, total) in totals.iter_mut().enumerate() {
            // SAFETY: checked above.
            let [input] = unsafe { tokens.some(token, block.index) };
            // SAFETY: an input has 32 codes, two starts and one scale.
            let ([low, high], halves, scale) = unsafe {
                let halves = [input.codes, input.codes.add(START_GROUP)];
                let halves = halves.map(
                    #[inline(always)]
                    |codes| cpu.repeat_words(codes),
                );
                (*input.starts.cast::<[i32; 2]>(), halves, cpu.splat(*input.scale))
            };
            let starts = cpu.repeat_i32(C::start(low) & 0xffff | C::start(high) << 16);
            let inputs = halves.as_flattened().as_flattened();
            for (weights, total) in weights.iter().zip(total.chunks_exact_mut(R::COUNT)) {
                let mut sum = cpu.add_products_i16(starts, weights.scales);
                for (weights, inputs) in weights.words.as_flattened().iter().zip(inputs) {
                    sum = cpu.add_i32(sum, cpu.add_products_i16(*weights, *inputs));
                }
                cpu.store(cpu.mul_add(cpu.to_f32(sum), scale, cpu.load(total)), total);
            }
        }
    }
}
