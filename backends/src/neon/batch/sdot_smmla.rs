//! Products of a batch with `sdot` and with `smmla`, two tokens at a time.
//!
//! Of two groups of 16 columns the second one's sums go on from those of the first: with `s` and
//! `t` for the scales, `a·s + b·t = a·(s − t) + (a + b)·t`.
//!
//! Multiplying integers and making floats of them take cores two steps each. Sums with one scale,
//! which are within 20 bits, grow in the low bits of a float of 1.5 instead: without its 1.5 it is
//! the sum in steps of 2⁻²³, and its product with a scale is rounded once, as that of integers is.

use super::Batch;
use crate::neon::half_tile::{Quads, Sums};
use crate::neon::intrinsics::*;
use crate::neon::proof::{Sdot, Smmla};
use core::arch::asm;

/// What sums that are floats begin with.
const START: f32 = 1.5;

/// `v0` and `v1` have 32 columns of the first of two tokens, `v2` and `v3` of the second.
macro_rules! load_pair {
    () => {
        "ld1 {{v0.16b, v1.16b}}, [{x}], {cols}
         ld1 {{v2.16b, v3.16b}}, [{x}], {cols}"
    };
}

/// Where sums begin: integers with `"movi"` at `"0"`, the low bits of floats with `"fmov"` at
/// `"1.5"`.
macro_rules! begin {
    ($op:literal, $start:literal, [$($sums:literal)*]) => {
        concat!($($op, " ", $sums, ".4s, #", $start, "\n",)*)
    };
}

/// Multiplies the first 16 columns: sums of the first token are in `p` and `q`, of the second in
/// `r` and `u`.
macro_rules! sdot_low {
    () => {
        "sdot {p:v}.4s, {a0:v}.16b, v0.4b[0]
         sdot {q:v}.4s, {b0:v}.16b, v0.4b[0]
         sdot {r:v}.4s, {a0:v}.16b, v2.4b[0]
         sdot {u:v}.4s, {b0:v}.16b, v2.4b[0]
         sdot {p:v}.4s, {a1:v}.16b, v0.4b[1]
         sdot {q:v}.4s, {b1:v}.16b, v0.4b[1]
         sdot {r:v}.4s, {a1:v}.16b, v2.4b[1]
         sdot {u:v}.4s, {b1:v}.16b, v2.4b[1]
         sdot {p:v}.4s, {a2:v}.16b, v0.4b[2]
         sdot {q:v}.4s, {b2:v}.16b, v0.4b[2]
         sdot {r:v}.4s, {a2:v}.16b, v2.4b[2]
         sdot {u:v}.4s, {b2:v}.16b, v2.4b[2]
         sdot {p:v}.4s, {a3:v}.16b, v0.4b[3]
         sdot {q:v}.4s, {b3:v}.16b, v0.4b[3]
         sdot {r:v}.4s, {a3:v}.16b, v2.4b[3]
         sdot {u:v}.4s, {b3:v}.16b, v2.4b[3]"
    };
}

/// Multiplies the last 16 columns, going on with the sums.
macro_rules! sdot_high {
    () => {
        "sdot {p:v}.4s, {a4:v}.16b, v1.4b[0]
         sdot {q:v}.4s, {b4:v}.16b, v1.4b[0]
         sdot {r:v}.4s, {a4:v}.16b, v3.4b[0]
         sdot {u:v}.4s, {b4:v}.16b, v3.4b[0]
         sdot {p:v}.4s, {a5:v}.16b, v1.4b[1]
         sdot {q:v}.4s, {b5:v}.16b, v1.4b[1]
         sdot {r:v}.4s, {a5:v}.16b, v3.4b[1]
         sdot {u:v}.4s, {b5:v}.16b, v3.4b[1]
         sdot {p:v}.4s, {a6:v}.16b, v1.4b[2]
         sdot {q:v}.4s, {b6:v}.16b, v1.4b[2]
         sdot {r:v}.4s, {a6:v}.16b, v3.4b[2]
         sdot {u:v}.4s, {b6:v}.16b, v3.4b[2]
         sdot {p:v}.4s, {a7:v}.16b, v1.4b[3]
         sdot {q:v}.4s, {b7:v}.16b, v1.4b[3]
         sdot {r:v}.4s, {a7:v}.16b, v3.4b[3]
         sdot {u:v}.4s, {b7:v}.16b, v3.4b[3]"
    };
}

/// Puts 8 columns of both tokens into each of `v4` to `v7`.
macro_rules! interleave_pair {
    () => {
        "zip1 v4.2d, v0.2d, v2.2d
         zip2 v5.2d, v0.2d, v2.2d
         zip1 v6.2d, v1.2d, v3.2d
         zip2 v7.2d, v1.2d, v3.2d"
    };
}

/// Multiplies the first 16 columns of both tokens with 8 columns of two rows in each of the
/// weights: two rows and two tokens in each of `v0` to `v3`.
macro_rules! smmla_low {
    () => {
        "smmla v0.4s, {a0:v}.16b, v4.16b
         smmla v1.4s, {a1:v}.16b, v4.16b
         smmla v2.4s, {b0:v}.16b, v4.16b
         smmla v3.4s, {b1:v}.16b, v4.16b
         smmla v0.4s, {a2:v}.16b, v5.16b
         smmla v1.4s, {a3:v}.16b, v5.16b
         smmla v2.4s, {b2:v}.16b, v5.16b
         smmla v3.4s, {b3:v}.16b, v5.16b"
    };
}

/// Multiplies the last 16 columns, going on with the sums.
macro_rules! smmla_high {
    () => {
        "smmla v0.4s, {a4:v}.16b, v6.16b
         smmla v1.4s, {a5:v}.16b, v6.16b
         smmla v2.4s, {b4:v}.16b, v6.16b
         smmla v3.4s, {b5:v}.16b, v6.16b
         smmla v0.4s, {a6:v}.16b, v7.16b
         smmla v1.4s, {a7:v}.16b, v7.16b
         smmla v2.4s, {b6:v}.16b, v7.16b
         smmla v3.4s, {b7:v}.16b, v7.16b"
    };
}

/// Multiplies the sums of [`smmla_low`] with the scales of their rows at `{first}`: in `v16` to
/// `v19`.
macro_rules! scale_first {
    () => {
        "ld1 {{v16.4s, v17.4s, v18.4s, v19.4s}}, [{first}]
         mul v16.4s, v16.4s, v0.4s
         mul v17.4s, v17.4s, v1.4s
         mul v18.4s, v18.4s, v2.4s
         mul v19.4s, v19.4s, v3.4s"
    };
}

/// Adds the sums of [`smmla_high`], multiplied with the scales at `{second}`, and makes floats of
/// them.
macro_rules! scale_second {
    () => {
        "ld1 {{v4.4s, v5.4s, v6.4s, v7.4s}}, [{second}]
         mla v16.4s, v4.4s, v0.4s
         mla v17.4s, v5.4s, v1.4s
         mla v18.4s, v6.4s, v2.4s
         mla v19.4s, v7.4s, v3.4s
         scvtf v16.4s, v16.4s
         scvtf v17.4s, v17.4s
         scvtf v18.4s, v18.4s
         scvtf v19.4s, v19.4s"
    };
}

/// Multiplies sums that are floats with the scales of their rows at `{first}`: in `v16` to `v19`.
macro_rules! scale_row_pairs {
    () => {
        "ld1 {{v16.4s, v17.4s, v18.4s, v19.4s}}, [{first}]
         fsub v0.4s, v0.4s, {start:v}.4s
         fsub v1.4s, v1.4s, {start:v}.4s
         fsub v2.4s, v2.4s, {start:v}.4s
         fsub v3.4s, v3.4s, {start:v}.4s
         fmul v16.4s, v16.4s, v0.4s
         fmul v17.4s, v17.4s, v1.4s
         fmul v18.4s, v18.4s, v2.4s
         fmul v19.4s, v19.4s, v3.4s"
    };
}

/// Adds what is in `v16` to `v19`, two rows and two tokens in each, to totals in this order.
macro_rules! add_row_pairs {
    () => {
        "ld1r {{v0.4s}}, [{scales}], {blocks}
         ld1r {{v1.4s}}, [{scales}], {blocks}
         ld1 {{v4.4s, v5.4s, v6.4s, v7.4s}}, [{totals}]
         zip1 v0.4s, v0.4s, v1.4s
         fmla v4.4s, v16.4s, v0.4s
         fmla v5.4s, v17.4s, v0.4s
         fmla v6.4s, v18.4s, v0.4s
         fmla v7.4s, v19.4s, v0.4s
         st1 {{v4.4s, v5.4s, v6.4s, v7.4s}}, [{totals}], #64"
    };
}

/// Multiplies sums that are floats with the scales of their rows: of the first token in `v4` and
/// `v5`, of the second in `v6` and `v7`.
macro_rules! scale_pair {
    () => {
        "fsub {p:v}.4s, {p:v}.4s, {start:v}.4s
         fsub {q:v}.4s, {q:v}.4s, {start:v}.4s
         fsub {r:v}.4s, {r:v}.4s, {start:v}.4s
         fsub {u:v}.4s, {u:v}.4s, {start:v}.4s
         fmul v4.4s, {p:v}.4s, {s:v}.4s
         fmul v5.4s, {q:v}.4s, {t:v}.4s
         fmul v6.4s, {r:v}.4s, {s:v}.4s
         fmul v7.4s, {u:v}.4s, {t:v}.4s"
    };
}

/// Adds what is in `v4` to `v7`, two registers for each token, to the totals.
macro_rules! add_pair {
    () => {
        "ld1 {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{totals}]
         ld1r {{{p:v}.4s}}, [{scales}], {blocks}
         ld1r {{{q:v}.4s}}, [{scales}], {blocks}
         fmla v0.4s, v4.4s, {p:v}.4s
         fmla v1.4s, v5.4s, {p:v}.4s
         fmla v2.4s, v6.4s, {q:v}.4s
         fmla v3.4s, v7.4s, {q:v}.4s
         st1 {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{totals}], #64"
    };
}

/// A loop over pairs of tokens.
macro_rules! over_pairs {
    ($weights:ident, $batch:ident, [$($code:expr,)*], $($operands:tt)*) => {
        for steps in $batch.pairs() {
            // SAFETY: `Batch::new` checked that each token has the 32 codes, the scale and the
            // total that are read and written; the caller's `cpu` proves the instructions.
            unsafe {
                piece!($weights, steps, [load_pair!(), $($code,)*],
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                    out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                    $($operands)*
                );
            }
        }
    };
}

/// `totals += scale · row scale · Σ w·a`.
#[inline(always)]
pub(in crate::neon) fn sdot_scaled(
    _cpu: Sdot,
    weights: &[Quads; 2],
    scales: Sums,
    batch: &mut Batch<'_>,
) {
    let scales = scales.map(in_float_steps);
    over_pairs!(weights, batch, [
        ".arch_extension dotprod",
        begin!("fmov", "1.5", ["{p:v}" "{q:v}" "{r:v}" "{u:v}"]),
        sdot_low!(),
        sdot_high!(),
        scale_pair!(),
        add_pair!(),
    ], s = in(vreg) scales[0], t = in(vreg) scales[1], start = in(vreg) vdupq_n_f32(START),
        p = out(vreg) _, q = out(vreg) _, r = out(vreg) _, u = out(vreg) _,);
}

/// `totals += scale · Σ row scale · Σ w·a` over two groups of 16 columns: `scales` are the second
/// one's, and `differences` what those of the first exceed them by.
#[inline(always)]
pub(in crate::neon) fn sdot_groups(
    _cpu: Sdot,
    weights: &[Quads; 2],
    differences: Sums,
    scales: Sums,
    batch: &mut Batch<'_>,
) {
    over_pairs!(weights, batch, [
        ".arch_extension dotprod",
        begin!("movi", "0", ["{p:v}" "{q:v}" "{r:v}" "{u:v}"]),
        sdot_low!(),
        "mul v4.4s, {p:v}.4s, {s:v}.4s",
        "mul v5.4s, {q:v}.4s, {t:v}.4s",
        "mul v6.4s, {r:v}.4s, {s:v}.4s",
        "mul v7.4s, {u:v}.4s, {t:v}.4s",
        sdot_high!(),
        "mla v4.4s, {p:v}.4s, {s2:v}.4s",
        "mla v5.4s, {q:v}.4s, {t2:v}.4s",
        "mla v6.4s, {r:v}.4s, {s2:v}.4s",
        "mla v7.4s, {u:v}.4s, {t2:v}.4s",
        "scvtf v4.4s, v4.4s",
        "scvtf v5.4s, v5.4s",
        "scvtf v6.4s, v6.4s",
        "scvtf v7.4s, v7.4s",
        add_pair!(),
    ], s = in(vreg) differences[0], t = in(vreg) differences[1],
        s2 = in(vreg) scales[0], t2 = in(vreg) scales[1],
        p = out(vreg) _, q = out(vreg) _, r = out(vreg) _, u = out(vreg) _,);
}

/// A loop over pairs of tokens with `smmla`.
macro_rules! over_pairs_of_rows {
    ($weights:ident, $batch:ident, [$($code:expr,)*], $($operands:tt)*) => {
        let weights = row_pairs($weights);
        over_pairs!(weights, $batch, [".arch_extension i8mm", interleave_pair!(), $($code,)*],
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            $($operands)*
        );
    };
}

/// [`sdot_scaled`] with `smmla`, to totals in the order of [`add_row_pairs`].
#[inline(always)]
pub(in crate::neon) fn smmla_scaled(
    _cpu: Smmla,
    weights: &[Quads; 2],
    scales: Sums,
    batch: &mut Batch<'_>,
) {
    let scales = twice(scales.map(in_float_steps));
    over_pairs_of_rows!(weights, batch, [
        begin!("fmov", "1.5", ["v0" "v1" "v2" "v3"]),
        smmla_low!(),
        smmla_high!(),
        scale_row_pairs!(),
        add_row_pairs!(),
    ], first = in(reg) scales.as_ptr(), start = in(vreg) vdupq_n_f32(START),);
}

/// [`sdot_groups`] with `smmla`, to totals in the order of [`add_row_pairs`].
#[inline(always)]
pub(in crate::neon) fn smmla_groups(
    _cpu: Smmla,
    weights: &[Quads; 2],
    differences: Sums,
    scales: Sums,
    batch: &mut Batch<'_>,
) {
    let (differences, scales) = (twice(differences), twice(scales));
    over_pairs_of_rows!(weights, batch, [
        begin!("movi", "0", ["v0" "v1" "v2" "v3"]),
        smmla_low!(),
        scale_first!(),
        smmla_high!(),
        scale_second!(),
        add_row_pairs!(),
    ], first = in(reg) differences.as_ptr(), second = in(reg) scales.as_ptr(),);
}

/// The bits of the floats that scale sums which are floats.
#[inline(always)]
fn in_float_steps(scales: int32x4_t) -> int32x4_t {
    const STEPS: f32 = (1 << (f32::MANTISSA_DIGITS - 1)) as f32;
    vreinterpretq_s32_f32(vmulq_n_f32(vcvtq_f32_s32(scales), STEPS))
}

/// Each scale twice, for two tokens.
#[inline(always)]
fn twice([low, high]: Sums) -> [int32x4_t; 4] {
    [vzip1q_s32(low, low), vzip2q_s32(low, low), vzip1q_s32(high, high), vzip2q_s32(high, high)]
}

/// Quads of columns of 4 rows as 8 columns of 2 rows each: in place of two quads, those of the
/// first and those of the last two rows.
#[inline(always)]
fn row_pairs(weights: &[Quads; 2]) -> [Quads; 2] {
    weights.map(|group| {
        let pair = |j: usize, t: usize| {
            let quads = [group[j][t], group[j + 1][t]].map(vreinterpretq_s32_s8);
            [vzip1q_s32(quads[0], quads[1]), vzip2q_s32(quads[0], quads[1])]
                .map(vreinterpretq_s8_s32)
        };
        let [[a0, a1], [b0, b1]] = [pair(0, 0), pair(0, 1)];
        let [[a2, a3], [b2, b3]] = [pair(2, 0), pair(2, 1)];
        [[a0, b0], [a1, b1], [a2, b2], [a3, b3]]
    })
}
