//! Products of a batch with `smull` and `smlal`, token by token.

use super::{Batch, Steps};
use crate::neon::half_tile::{Quads, Sums};
use crate::neon::intrinsics::*;
use core::arch::asm;
use kinglet_quant::format::BLOCK;

/// Largest weights whose products with 16 columns add up to no more than 16 bits hold.
pub(in crate::neon) const GROUP_REACH: u8 = 16;

/// Repeats 4 quads of the inputs in `v0` to `v3`, then goes on by `$step`.
macro_rules! repeat_quads {
    ($step:literal) => {
        concat!(
            "ld1r {{v0.4s}}, [{x}], #4
             ld1r {{v1.4s}}, [{x}], #4
             ld1r {{v2.4s}}, [{x}], #4
             ld1r {{v3.4s}}, [{x}], ",
            $step,
        )
    };
}

/// Multiplies quad `$quad` of the weights with the inputs `$a`: rows 0 and 1 are in `p`, 2 and 3 in
/// `q`, 4 and 5 in `r`, 6 and 7 in `u`, 4 sums each.
#[rustfmt::skip]
macro_rules! products {
    ($multiply:literal, $quad:literal, $a:literal) => {
        concat!(
            $multiply, " {p:v}.8h, {a", $quad, ":v}.8b, ", $a, ".8b\n",
            $multiply, "2 {q:v}.8h, {a", $quad, ":v}.16b, ", $a, ".16b\n",
            $multiply, " {r:v}.8h, {b", $quad, ":v}.8b, ", $a, ".8b\n",
            $multiply, "2 {u:v}.8h, {b", $quad, ":v}.16b, ", $a, ".16b\n",
        )
    };
}

/// Multiplies 16 columns of a token.
macro_rules! group_products {
    ($first:literal, $second:literal, $third:literal, $fourth:literal) => {
        concat!(
            products!("smull", $first, "v0"),
            products!("smlal", $second, "v1"),
            products!("smlal", $third, "v2"),
            products!("smlal", $fourth, "v3"),
        )
    };
}

/// A loop over tokens that goes on to the next one from the last quad.
fn each_behind_quads(batch: &mut Batch<'_>) -> Steps {
    let steps = batch.each();
    Steps { code_bytes: steps.code_bytes - (BLOCK - 4), ..steps }
}

/// `totals += scale · Σ row scale · Σ w·a` over two groups of 16 columns with weights of at most
/// [`GROUP_REACH`].
#[inline(always)]
pub(in crate::neon) fn groups(weights: &[Quads; 2], scales: [int16x8_t; 2], batch: &mut Batch<'_>) {
    let steps = each_behind_quads(batch);
    // SAFETY: every 64-bit ARM has the instructions. `Batch::new` checked that there is a token,
    // and that each has the 32 codes, the scale and the total that are read and written.
    unsafe {
        piece!(weights, steps, [
            repeat_quads!("#4"),
            group_products!("0", "1", "2", "3"),
            repeat_quads!("{cols}"),
            "addp {p:v}.8h, {p:v}.8h, {q:v}.8h",
            "addp {r:v}.8h, {r:v}.8h, {u:v}.8h",
            "addp {g:v}.8h, {p:v}.8h, {r:v}.8h",
            group_products!("4", "5", "6", "7"),
            "smull v4.4s, {g:v}.4h, {s:v}.4h",
            "smull2 v5.4s, {g:v}.8h, {s:v}.8h",
            "addp {p:v}.8h, {p:v}.8h, {q:v}.8h",
            "addp {r:v}.8h, {r:v}.8h, {u:v}.8h",
            "addp {g:v}.8h, {p:v}.8h, {r:v}.8h",
            "smlal v4.4s, {g:v}.4h, {t:v}.4h",
            "smlal2 v5.4s, {g:v}.8h, {t:v}.8h",
            add_one!(),
        ],
            s = in(vreg) scales[0], t = in(vreg) scales[1],
            p = out(vreg) _, q = out(vreg) _, r = out(vreg) _, u = out(vreg) _, g = out(vreg) _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _,
        );
    }
}

/// Adds pairs of sums up in 32 bits.
#[rustfmt::skip]
macro_rules! widen_sums {
    ($pairwise:literal) => {
        concat!(
            $pairwise, " v4.4s, {p:v}.8h\n",
            $pairwise, " v5.4s, {q:v}.8h\n",
            $pairwise, " v6.4s, {r:v}.8h\n",
            $pairwise, " v7.4s, {u:v}.8h\n",
        )
    };
}

/// Multiplies 16 columns of a token: two sums of each row in `v4` to `v7`, which begin or go on as
/// `$pairwise` does. Two products of bytes fill 16 bits.
macro_rules! byte_products {
    ($pairwise:literal, $first:literal, $second:literal, $third:literal, $fourth:literal) => {
        concat!(
            products!("smull", $first, "v0"),
            products!("smlal", $second, "v1"),
            widen_sums!($pairwise),
            products!("smull", $third, "v2"),
            products!("smlal", $fourth, "v3"),
            widen_sums!("sadalp"),
        )
    };
}

/// `totals += scale · row scale · Σ w·a`.
#[inline(always)]
pub(in crate::neon) fn scaled(weights: &[Quads; 2], scales: Sums, batch: &mut Batch<'_>) {
    let steps = each_behind_quads(batch);
    // SAFETY: every 64-bit ARM has the instructions. `Batch::new` checked that there is a token,
    // and that each has the 32 codes, the scale and the total that are read and written.
    unsafe {
        piece!(weights, steps, [
            repeat_quads!("#4"),
            byte_products!("saddlp", "0", "1", "2", "3"),
            repeat_quads!("{cols}"),
            byte_products!("sadalp", "4", "5", "6", "7"),
            "addp v4.4s, v4.4s, v5.4s",
            "addp v5.4s, v6.4s, v7.4s",
            "mul v4.4s, v4.4s, {s:v}.4s",
            "mul v5.4s, v5.4s, {t:v}.4s",
            add_one!(),
        ],
            s = in(vreg) scales[0], t = in(vreg) scales[1],
            p = out(vreg) _, q = out(vreg) _, r = out(vreg) _, u = out(vreg) _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
        );
    }
}
