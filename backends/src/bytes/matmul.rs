//! Products of quantized weights, as many rows at a time as a register has floats.
//!
//! All integers are exact, and there is one `mul_add` per 32 columns, so a result does not depend
//! on the tokens beside it.

use super::codes::Codes;
use super::multiply::Multiply;
use super::registers::{Batches, QUADS, Quads, Register, Registers};
use super::unpack::{Block, Unpack};
use crate::prefetch::{SLOW_TOKENS, fetch_behind};
use crate::product::Product;
use core::mem::MaybeUninit;
use kinglet_core::Activations;
use kinglet_core::arena::Columns;
use kinglet_core::kernels::{Output, START_GROUP};
use kinglet_quant::Tile;
use kinglet_quant::format::{BLOCK, TILE_ROWS};

/// Tokens that share one unpacking of weights; the sums of more than one live in memory.
const TOKENS: usize = 64;
/// Registers that the rows of a tile fill at most.
const MAX_PARTS: usize = TILE_ROWS / 4;

/// Registers that the rows of a tile fill.
const fn parts<R: Registers>() -> usize {
    assert!(TILE_ROWS / R::COUNT <= MAX_PARTS && TILE_ROWS.is_multiple_of(R::COUNT));
    TILE_ROWS / R::COUNT
}

/// Sums of a tile's rows with one token; the first [`parts`] count.
pub(super) type Total<R> = [<R as crate::lanes::Lanes>::F32; MAX_PARTS];

/// Room for sums of a tile's rows with many tokens, in lines of the cache.
#[repr(align(64))]
pub(super) struct Totals([MaybeUninit<[f32; TILE_ROWS]>; TOKENS]);

impl Totals {
    pub const NEW: Self = Self([MaybeUninit::uninit(); TOKENS]);

    /// Zeros for each of the tokens that [`one_tile`] takes together. One token alone has its sums
    /// in registers: filling all the room would take a fortieth of its time.
    #[inline(always)]
    pub fn zeros(&mut self, x: &Activations<'_>) -> &mut [[f32; TILE_ROWS]] {
        let count = if x.tokens == 1 { 0 } else { x.tokens.min(TOKENS) };
        let totals = &mut self.0[..count];
        for total in totals.iter_mut() {
            total.write([0.0; TILE_ROWS]);
        }
        // SAFETY: all of them were written just now.
        unsafe { totals.assume_init_mut() }
    }
}

/// The product of all tiles.
#[inline(always)]
pub(super) fn all_tiles<R: Registers, C: Codes<R>, const GROUP: usize>(
    cpu: R,
    codes: C,
    of: Product<'_>,
) {
    cpu.compiled(
        #[inline(always)]
        || {
            let Product { w, tiles, x, mut out, output } = of;
            let mut totals = Totals::NEW;
            let totals = totals.zeros(x);
            for (t, tile) in tiles.enumerate() {
                let (tile, mut out) = (w.tile(tile), out.narrow(Product::columns(t)));
                one_tile::<R, C, GROUP>(cpu, codes, &tile, x, &mut out, output, totals);
            }
        },
    );
}

/// The product of a tile with all tokens; `totals` are [`Totals::zeros`] before and after.
#[inline(always)]
pub(super) fn one_tile<R: Registers, C: Codes<R>, const GROUP: usize>(
    cpu: R,
    codes: C,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    out: &mut Columns<'_, f32>,
    output: Output,
    totals: &mut [[f32; TILE_ROWS]],
) {
    if x.tokens == 1 {
        let total = one_token::<R, C, GROUP>(cpu, codes, tile, x, 0);
        store::<R, C>(cpu, total, tile, out.row(0), output);
        return;
    }
    for first in (0..x.tokens).step_by(TOKENS) {
        let totals = &mut totals[..TOKENS.min(x.tokens - first)];
        many_tokens::<R, C, GROUP>(cpu, codes, tile, x, first, totals);
        for (token, total) in totals.iter_mut().enumerate() {
            let mut sums = [cpu.splat(0.0); MAX_PARTS];
            for (sum, rows) in sums.iter_mut().zip(total.chunks_exact_mut(R::COUNT)) {
                *sum = cpu.load(rows);
                cpu.store(cpu.splat(0.0), rows);
            }
            store::<R, C>(cpu, sums, tile, out.row(first + token), output);
        }
    }
}

/// The products of one tile, in steps of the codes and not yet scaled by row, with one token.
#[inline(always)]
pub(super) fn one_token<R: Registers, C: Codes<R>, const GROUP: usize>(
    cpu: R,
    codes: C,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    token: usize,
) -> Total<R> {
    let tokens = Tokens::of(x, token, 1);
    let mut total = [cpu.splat(0.0); MAX_PARTS];
    each_block::<C::Unpack, GROUP>(
        tile,
        &tokens,
        #[inline(always)]
        |block, scales| {
            // SAFETY: there are as many blocks, and one token.
            let inputs = unsafe { tokens.inputs::<R, C>(cpu, 0, block.index) };
            for (part, total) in total.iter_mut().enumerate().take(parts::<R>()) {
                let weights = Weights::<R>::of::<C, GROUP>(cpu, codes, block, scales, part);
                *total = weights.add_product::<C, GROUP>(cpu, &inputs, *total);
            }
        },
    );
    total
}

/// Adds the products of one tile, in steps of the codes and not yet scaled by row, with the tokens
/// from `first` on to `totals`.
#[inline(always)]
fn many_tokens<R: Registers, C: Codes<R>, const GROUP: usize>(
    cpu: R,
    codes: C,
    tile: &Tile<'_>,
    x: &Activations<'_>,
    first: usize,
    totals: &mut [[f32; TILE_ROWS]],
) {
    let tokens = Tokens::of(x, first, totals.len());
    each_block::<C::Unpack, GROUP>(
        tile,
        &tokens,
        #[inline(always)]
        |block, scales| {
            if let Batches::Rows = R::BATCHES {
                for part in 0..parts::<R>() {
                    let weights = Weights::<R>::of::<C, GROUP>(cpu, codes, block, scales, part);
                    for (token, total) in totals.iter_mut().enumerate() {
                        // SAFETY: there are as many blocks, and tokens as totals.
                        let inputs = unsafe { tokens.inputs::<R, C>(cpu, token, block.index) };
                        let total = &mut total[part * R::COUNT..][..R::COUNT];
                        weights.add_to::<C, GROUP>(cpu, &inputs, total);
                    }
                }
                return;
            }
            let mut weights = [Weights::none(cpu); MAX_PARTS];
            for (part, weights) in weights.iter_mut().enumerate().take(parts::<R>()) {
                *weights = Weights::of::<C, GROUP>(cpu, codes, block, scales, part);
            }
            let mut token = 0;
            if let Batches::Threes = R::BATCHES {
                for totals in totals.as_chunks_mut::<3>().0 {
                    // SAFETY: there are as many blocks, and tokens as totals.
                    let inputs = unsafe { tokens.some(token, block.index) };
                    together::<R, C, GROUP, 3>(cpu, &weights, inputs, totals);
                    token += 3;
                }
            }
            for (token, total) in totals.iter_mut().enumerate().skip(token) {
                // SAFETY: there are as many blocks, and tokens as totals.
                let inputs = unsafe { tokens.inputs::<R, C>(cpu, token, block.index) };
                for (weights, total) in weights.iter().zip(total.chunks_exact_mut(R::COUNT)) {
                    weights.add_to::<C, GROUP>(cpu, &inputs, total);
                }
            }
        },
    );
}

/// Calls `work` with every block of a tile and its group scales.
#[inline(always)]
fn each_block<'a, U: Unpack, const GROUP: usize>(
    tile: &Tile<'a>,
    tokens: &Tokens<'_>,
    mut work: impl FnMut(Block<'a>, &'a [i8]),
) {
    const { assert!(GROUP == BLOCK || GROUP == BLOCK / 2) };
    let mut blocks_before = 0..tokens.blocks;
    for strip in tile.strips() {
        if U::IN_STRIPS && tokens.count >= SLOW_TOKENS {
            fetch_behind(strip.bytes());
        }
        let scales = strip.scales().chunks_exact(BLOCK / GROUP * TILE_ROWS);
        for (scales, bytes) in scales.zip(strip.codes().chunks_exact(U::BYTES)) {
            let index = blocks_before.next().expect("as many blocks as inputs have");
            work(Block { index, bytes }, scales);
        }
    }
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

/// 32 activations of a token, in registers.
#[derive(Clone, Copy)]
struct Inputs<R: Registers> {
    quads: [Quads<R>; 2],
    /// What [`Multiply::start`] gives for the first and the last 16.
    starts: [Register<R>; 2],
    scale: R::F32,
}

/// 32 activations of a token: 32 codes, two starts and one scale.
#[derive(Clone, Copy)]
struct Input {
    codes: *const i8,
    starts: *const i32,
    scale: *const f32,
}

/// The activations of some tokens.
struct Tokens<'a> {
    count: usize,
    /// Blocks of 32 columns.
    blocks: usize,
    codes: &'a [i8],
    scales: &'a [f32],
    starts: &'a [i32],
}

impl<'a> Tokens<'a> {
    /// `count` tokens from `first` on, at least one.
    #[inline(always)]
    fn of(x: &Activations<'a>, first: usize, count: usize) -> Self {
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

    /// A block of a token's activations.
    ///
    /// # Safety
    /// `token` is below `count` and `block` below `blocks`.
    #[inline(always)]
    unsafe fn inputs<R: Registers, C: Codes<R>>(
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
    unsafe fn some<const T: usize>(&self, first: usize, block: usize) -> [Input; T] {
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

/// 32 columns of the rows of a register.
#[derive(Clone, Copy)]
struct Weights<R: Registers> {
    quads: [Quads<R>; 2],
    scales: [Register<R>; 2],
}

impl<R: Registers> Weights<R> {
    #[inline(always)]
    fn none(cpu: R) -> Self {
        let zero = cpu.repeat_i32(0);
        Self { quads: [[zero; QUADS]; 2], scales: [zero; 2] }
    }

    /// The `part`-th rows of a block; `scales` are those of its one or two groups.
    #[inline(always)]
    fn of<C: Codes<R>, const GROUP: usize>(
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
    fn add_product<C: Codes<R>, const GROUP: usize>(
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
    fn add_to<C: Codes<R>, const GROUP: usize>(
        &self,
        cpu: R,
        inputs: &Inputs<R>,
        total: &mut [f32],
    ) {
        cpu.store(self.add_product::<C, GROUP>(cpu, inputs, cpu.load(total)), total);
    }
}

/// Multiplies a token's sums by the step of the codes and the scales of their rows; writes them.
#[inline(always)]
fn store<R: Registers, C: Codes<R>>(
    cpu: R,
    total: Total<R>,
    tile: &Tile<'_>,
    out: &mut [f32],
    output: Output,
) {
    let rows = out[..TILE_ROWS].chunks_exact_mut(R::COUNT);
    let parts = tile.row_scales().chunks_exact(R::COUNT).zip(rows);
    for (mut total, (row_scales, row)) in total.into_iter().zip(parts) {
        if C::Unpack::STEP != 1.0 {
            total = cpu.mul(total, cpu.splat(C::Unpack::STEP));
        }
        let mut result = cpu.mul(total, cpu.load(row_scales));
        if output == Output::Add {
            result = cpu.add(result, cpu.load(row));
        }
        cpu.store(result, row);
    }
}
