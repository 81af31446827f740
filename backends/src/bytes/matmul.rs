//! Products of quantized weights, as many rows at a time as a register has floats.
//!
//! All integers are exact, and there is one `mul_add` per 32 columns, so a result does not depend
//! on the tokens beside it.

use super::batches::Batch;
use super::codes::Codes;
use super::inputs::Tokens;
use super::registers::Registers;
use super::unpack::{Block, Unpack};
use super::weights::{MAX_PARTS, Weights, parts};
use crate::prefetch::{SLOW_TOKENS, fetch_behind};
use crate::product::Product;
use core::mem::MaybeUninit;
use kinglet_core::Activations;
use kinglet_core::arena::Columns;
use kinglet_core::kernels::Output;
use kinglet_quant::Tile;
use kinglet_quant::format::{BLOCK, TILE_ROWS};

/// Tokens that share one unpacking of weights; the sums of more than one live in memory.
const TOKENS: usize = 64;

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
        let tokens = Tokens::of(x, first, totals.len());
        each_block::<C::Unpack, GROUP>(
            tile,
            &tokens,
            #[inline(always)]
            |block, scales| {
                R::Batch::add_block::<C, GROUP>(cpu, codes, block, scales, &tokens, totals);
            },
        );
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
