//! One token's products.
//!
//! Decoding spends nearly all of its time here. Compilers load and unpack more ahead than there are
//! registers for, split `smull` of nibbles in two, and know no `sdot`, which is why these products
//! are pieces of assembly: with `sdot` a whole tile, else 8 rows of 32 columns. Their order is one
//! for processors that do not reorder by themselves: between a result and its use lie others. Both
//! halves of a block fetch every other line of a later one: the second begins 32 bytes behind the
//! first, which is enough to be one line further.

use super::half_tile::{HalfBlock, OneInput, OneTile, OneToken, Total, strip_blocks, strip_scales};
use super::intrinsics::*;
use kinglet_quant::format::BLOCK;
use kinglet_quant::{Strip, Tile};

/// The products of a tile with one token, not yet scaled by row: `add` gets every 8 rows of 32
/// columns in blocks of `bytes`, with groups of `group` columns, and their total.
#[inline(always)]
pub(super) fn by_halves(
    of: OneTile<'_>,
    bytes: usize,
    group: usize,
    add: impl Fn(&mut Total, HalfBlock<'_>, OneInput<'_>) + Copy,
) -> [Total; 2] {
    let strip_blocks = strip_blocks(group);
    of.check(bytes, strip_blocks);
    let mut totals = [[vdupq_n_f32(0.0); 2]; 2];
    let whole = of.tile.whole_strips();
    let first_cut = whole.len() * strip_blocks;
    let x = of.x;
    let inputs = x.codes.chunks_exact(strip_blocks * BLOCK);
    let inputs = inputs.zip(x.scales.chunks_exact(strip_blocks));
    let inputs = inputs.zip(x.starts.chunks_exact(2 * strip_blocks));
    for (index, (strip, ((codes, scales), starts))) in whole.zip(inputs).enumerate() {
        let x = OneToken { codes, scales, starts };
        let of = OneStrip { tile: of.tile, first: index * strip_blocks, strip, x };
        add_strip(of, bytes, group, add, &mut totals);
    }
    if let Some(strip) = of.tile.cut_strip() {
        let (codes, scales) = (&x.codes[first_cut * BLOCK..], &x.scales[first_cut..]);
        let x = OneToken { codes, scales, starts: &x.starts[2 * first_cut..] };
        add_strip(
            OneStrip { tile: of.tile, first: first_cut, strip, x },
            bytes,
            group,
            add,
            &mut totals,
        );
    }
    totals
}

/// A strip and one token's columns beside it.
#[derive(Clone, Copy)]
struct OneStrip<'a> {
    tile: &'a Tile<'a>,
    /// Its first block.
    first: usize,
    strip: Strip<'a>,
    x: OneToken<'a>,
}

/// [`by_halves`] for one strip.
#[inline(always)]
fn add_strip(
    of: OneStrip<'_>,
    bytes: usize,
    group: usize,
    add: impl Fn(&mut Total, HalfBlock<'_>, OneInput<'_>) + Copy,
    totals: &mut [Total; 2],
) {
    let blocks = of.x.scales.len();
    assert!(of.strip.codes().len() == blocks * bytes);
    // In pairs, for what going round the loop costs.
    for pair in 0..blocks / 2 {
        add_block(of, 2 * pair, bytes, group, add, totals);
        add_block(of, 2 * pair + 1, bytes, group, add, totals);
    }
    if blocks % 2 == 1 {
        add_block(of, blocks - 1, bytes, group, add, totals);
    }
}

/// [`by_halves`] for block `b` of a strip.
#[inline(always)]
fn add_block(
    of: OneStrip<'_>,
    b: usize,
    bytes: usize,
    group: usize,
    add: impl Fn(&mut Total, HalfBlock<'_>, OneInput<'_>) + Copy,
    totals: &mut [Total; 2],
) {
    let x = OneInput {
        codes: of.x.codes[b * BLOCK..][..BLOCK].as_ptr(),
        scale: of.x.scales[b],
        starts: of.x.starts[2 * b..].first_chunk().expect("a block has two starts"),
    };
    let (block, bytes) = (of.first + b, &of.strip.codes()[b * bytes..][..bytes]);
    for (half, total) in totals.iter_mut().enumerate() {
        let group_scales = strip_scales(of.strip, b, half, group);
        add(total, HalfBlock { tile: of.tile, block, bytes, half, group_scales }, x);
    }
}

/// Multiplies the columns of the quad that `$a` repeats with `$op` and `$op2`: rows 0, 1 in `p`, 2,
/// 3 in `q`, 4, 5 in `r` and 6, 7 in `u`.
macro_rules! multiply {
    ($op:literal, $x:literal, $y:literal, $a:literal) => {
        concat!(
            $op,
            " {p:v}.8h, {",
            $x,
            ":v}.8b, {",
            $a,
            ":v}.8b\n",
            $op,
            "2 {q:v}.8h, {",
            $x,
            ":v}.16b, {",
            $a,
            ":v}.16b\n",
            $op,
            " {r:v}.8h, {",
            $y,
            ":v}.8b, {",
            $a,
            ":v}.8b\n",
            $op,
            "2 {u:v}.8h, {",
            $y,
            ":v}.16b, {",
            $a,
            ":v}.16b",
        )
    };
}

/// A piece of assembly for 8 rows with the operands that all have, and some of its own.
macro_rules! piece {
    ($of:ident, $total:ident, [$($code:expr,)*], $($operands:tt)*) => {
        core::arch::asm!(
            $($code,)*
            bytes = in(reg) $of.bytes.as_ptr(),
            scales = in(reg) $of.group_scales.as_ptr(),
            scale = in(vreg) $of.scale,
            low = inout(vreg) $total[0],
            high = inout(vreg) $total[1],
            s0 = out(vreg) _, s1 = out(vreg) _, t0 = out(vreg) _, t1 = out(vreg) _,
            x = out(vreg) _, y = out(vreg) _, p = out(vreg) _, q = out(vreg) _,
            $($operands)*
            options(pure, readonly, nostack, preserves_flags),
        )
    };
}

pub(super) mod sdot;
pub(super) mod widening_bytes;
pub(super) mod widening_nibbles;
