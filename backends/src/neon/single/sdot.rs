//! One token's products with `sdot`: all columns of a tile in one piece of assembly, so that what
//! the 16 rows share is loaded once and a loop costs little.
//!
//! Of the registers `v0` to `v3` hold the totals, `v4` to `v7` the sums of a block and `v8` to
//! `v11`, where it has two groups, those of the second. `v12` to `v15` are the scales of a strip,
//! `v16` and `v17` the activations of a block. A line of codes, 4 columns of 16 rows, takes 4 of
//! the others.

use crate::neon::half_tile::{OneTile, Starts, Total, strip_blocks};
use crate::neon::intrinsics::*;
use crate::neon::proof::Sdot;
use crate::product::{BYTE_BLOCK, NIBBLE_BLOCK};
use core::arch::asm;
use kinglet_core::kernels::START_GROUP;
use kinglet_quant::format::BLOCK;

/// An instruction for each of the registers numbered `$to`, beside those numbered `$from`.
macro_rules! each {
    ($op:literal, [$($to:literal)*], $between:literal, [$($from:literal)*], $rest:expr) => {
        concat!($($op, $to, $between, $from, $rest, "\n",)*)
    };
}

/// Loads a line of codes into 4 registers, or the scales of a strip, and goes on to the next.
macro_rules! load {
    ($first:literal, $last:literal) => {
        concat!("ld1 {{v", $first, ".16b-v", $last, ".16b}}, [{codes}], #64\n")
    };
}

/// Multiplies a line with quad `$quad` of the activations in `$x`.
macro_rules! multiply {
    ($sums:tt, $line:tt, $x:literal, $quad:literal) => {
        each!("sdot v", $sums, ".4s, v", $line, concat!(".16b, ", $x, ".4b[", $quad, "]"))
    };
}

/// Multiplies the low and the high nibbles of a line, the latter into the sums `$high`.
macro_rules! multiply_nibbles {
    ($line:tt, $high:tt, $quad:literal) => {
        concat!(
            each!("and v", [28 29 30 31], ".16b, v", $line, ".16b, v18.16b"),
            each!("ushr v", $line, ".16b, v", $line, ".16b, #4"),
            multiply!([4 5 6 7], [28 29 30 31], "v16", $quad),
            multiply!($high, $line, "v17", $quad),
        )
    };
}

/// Multiplies a block of nibbles, the high ones into the sums `$high`.
macro_rules! nibbles {
    ($high:tt) => {
        concat!(
            "ldp q16, q17, [{input}], #32\n",
            load!(20, 23),
            load!(24, 27),
            multiply_nibbles!([20 21 22 23], $high, "0"),
            load!(20, 23),
            multiply_nibbles!([24 25 26 27], $high, "1"),
            load!(24, 27),
            multiply_nibbles!([20 21 22 23], $high, "2"),
            multiply_nibbles!([24 25 26 27], $high, "3"),
        )
    };
}

/// Puts sums that are within 16 bits side by side, 8 in each of `$low` and `$high`.
macro_rules! narrow {
    ([$a:literal $b:literal $c:literal $d:literal], $low:literal, $high:literal) => {
        concat!(
            "uzp1 ", $low, ".8h, v", $a, ".8h, v", $b, ".8h\n", "uzp1 ", $high, ".8h, v", $c,
            ".8h, v", $d, ".8h\n",
        )
    };
}

/// Multiplies the sums that [`narrow`] left in `$low` and `$high` with the scales `$scales`: into
/// `v24` to `v27` with `smull`, to what they hold with `smlal`.
macro_rules! scale_narrow {
    ($op:literal, $low:literal, $high:literal, $scales:literal) => {
        concat!(
            "sxtl v20.8h, ",
            $scales,
            ".8b\n",
            "sxtl2 v21.8h, ",
            $scales,
            ".16b\n",
            $op,
            " v24.4s, ",
            $low,
            ".4h, v20.4h\n",
            $op,
            "2 v25.4s, ",
            $low,
            ".8h, v20.8h\n",
            $op,
            " v26.4s, ",
            $high,
            ".4h, v21.4h\n",
            $op,
            "2 v27.4s, ",
            $high,
            ".8h, v21.8h\n",
        )
    };
}

/// Adds `$sums` to the totals.
macro_rules! add {
    ($sums:tt) => {
        concat!(
            "ldr s19, [{scales}], #4\n",
            each!("scvtf v", $sums, ".4s, v", $sums, ".4s"),
            each!("fmla v", [0 1 2 3], ".4s, v", $sums, ".4s, v19.s[0]"),
        )
    };
}

/// A block of nibbles in two groups with the scales `$first` and `$second`.
macro_rules! nibble_groups {
    ($first:literal, $second:literal) => {
        concat!(
            "ld1r {{v4.4s}}, [{starts}], #4\n",
            each!("mov v", [5 6 7], ".16b, v", [4 4 4], ".16b"),
            "ld1r {{v8.4s}}, [{starts}], #4\n",
            each!("mov v", [9 10 11], ".16b, v", [8 8 8], ".16b"),
            nibbles!([8 9 10 11]),
            narrow!([4 5 6 7], "v4", "v5"),
            narrow!([8 9 10 11], "v6", "v7"),
            scale_narrow!("smull", "v4", "v5", $first),
            scale_narrow!("smlal", "v6", "v7", $second),
            add!([24 25 26 27]),
        )
    };
}

/// A block of nibbles with the scales `$scales`. Its two starts are multiplied with the factors in
/// `v8`, rounded, and their sum negated.
macro_rules! nibble_block {
    ($scales:literal) => {
        concat!(
            "ld1r {{v9.2d}}, [{starts}], #8\n",
            "sqrdmulh v9.4s, v9.4s, v8.4s\n",
            "addp v9.4s, v9.4s, v9.4s\n",
            each!("neg v", [4 5 6 7], ".4s, v", [9 9 9 9], ".4s"),
            nibbles!([4 5 6 7]),
            narrow!([4 5 6 7], "v4", "v5"),
            scale_narrow!("smull", "v4", "v5", $scales),
            add!([24 25 26 27]),
        )
    };
}

/// A block of bytes with the scales `$scales`.
macro_rules! byte_block {
    ($scales:literal) => {
        concat!(
            "ldp q16, q17, [{input}], #32\n",
            load!(20, 23),
            load!(24, 27),
            each!("movi v", [4 5 6 7], ".4s, #", [0 0 0 0], ""),
            multiply!([4 5 6 7], [20 21 22 23], "v16", "0"),
            load!(28, 31),
            multiply!([4 5 6 7], [24 25 26 27], "v16", "1"),
            load!(20, 23),
            multiply!([4 5 6 7], [28 29 30 31], "v16", "2"),
            load!(24, 27),
            multiply!([4 5 6 7], [20 21 22 23], "v16", "3"),
            load!(28, 31),
            multiply!([4 5 6 7], [24 25 26 27], "v17", "0"),
            load!(20, 23),
            multiply!([4 5 6 7], [28 29 30 31], "v17", "1"),
            load!(24, 27),
            multiply!([4 5 6 7], [20 21 22 23], "v17", "2"),
            "sxtl v28.8h, ", $scales, ".8b\n",
            "sxtl2 v30.8h, ", $scales, ".16b\n",
            multiply!([4 5 6 7], [24 25 26 27], "v17", "3"),
            "sxtl2 v29.4s, v28.8h\n",
            "sxtl v28.4s, v28.4h\n",
            "sxtl2 v31.4s, v30.8h\n",
            "sxtl v30.4s, v30.4h\n",
            "mul v4.4s, v4.4s, v28.4s\n",
            "mul v5.4s, v5.4s, v29.4s\n",
            "mul v6.4s, v6.4s, v30.4s\n",
            "mul v7.4s, v7.4s, v31.4s\n",
            add!([4 5 6 7]),
        )
    };
}

/// Two blocks, or one and the end if no other is left; then the flags say `ne` if others are.
macro_rules! two_blocks {
    ($first:expr, $second:expr) => {
        concat!("subs {left}, {left}, #2\n", $first, "b.lo 3f\n", $second)
    };
}

/// A piece of assembly that loops over the strips of a tile, with the operands that all have, and
/// some of its own. The number of blocks is not zero.
macro_rules! over_strips {
    ($of:ident, [$($code:expr,)*], $($operands:tt)*) => {{
        let mut totals = [[vdupq_n_f32(0.0); 2]; 2];
        asm!(
            ".arch_extension dotprod",
            "2:",
            load!(12, 15),
            $($code,)*
            "b.ne 2b",
            "3:",
            codes = inout(reg) $of.tile.strip_bytes().as_ptr() => _,
            input = inout(reg) $of.x.codes.as_ptr() => _,
            scales = inout(reg) $of.x.scales.as_ptr() => _,
            left = inout(reg) $of.x.scales.len() => _,
            inout("v0") totals[0][0], inout("v1") totals[0][1],
            inout("v2") totals[1][0], inout("v3") totals[1][1],
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v9") _, out("v10") _, out("v11") _,
            out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            $($operands)*
            options(pure, readonly, nostack),
        );
        totals
    }};
}

/// [`Dot::nibble_groups`](crate::neon::dot::Dot::nibble_groups).
#[inline(always)]
pub(in crate::neon) fn nibble_groups(_cpu: Sdot, of: OneTile<'_>) -> [Total; 2] {
    of.check(NIBBLE_BLOCK, strip_blocks(START_GROUP));
    // SAFETY: `_cpu` proves that the CPU has the instructions. `check` asserted that strips, codes,
    // scales and starts are as long as what is read for so many blocks, and that there is one.
    unsafe {
        over_strips!(of, [
            two_blocks!(nibble_groups!("v12", "v13"), nibble_groups!("v14", "v15")),
        ],
            starts = inout(reg) of.x.starts.as_ptr() => _,
            out("v8") _,
            in("v18") vdupq_n_s8(15),
        )
    }
}

/// [`Dot::nibble_blocks`](crate::neon::dot::Dot::nibble_blocks).
#[inline(always)]
pub(in crate::neon) fn nibble_blocks(_cpu: Sdot, of: OneTile<'_>, starts: Starts) -> [Total; 2] {
    of.check(NIBBLE_BLOCK, strip_blocks(BLOCK));
    // SAFETY: as for `nibble_groups`.
    unsafe {
        over_strips!(of, [
            two_blocks!(nibble_block!("v12"), nibble_block!("v13")),
            "b.eq 3f",
            two_blocks!(nibble_block!("v14"), nibble_block!("v15")),
        ],
            starts = inout(reg) of.x.starts.as_ptr() => _,
            in("v8") vdupq_n_s32(starts.factor()),
            in("v18") vdupq_n_s8(15),
        )
    }
}

/// [`Dot::bytes`](crate::neon::dot::Dot::bytes).
#[inline(always)]
pub(in crate::neon) fn bytes(_cpu: Sdot, of: OneTile<'_>) -> [Total; 2] {
    of.check(BYTE_BLOCK, strip_blocks(BLOCK));
    // SAFETY: as for `nibble_groups`.
    unsafe {
        over_strips!(
            of,
            [
                two_blocks!(byte_block!("v12"), byte_block!("v13")),
                "b.eq 3f",
                two_blocks!(byte_block!("v14"), byte_block!("v15")),
            ],
        )
    }
}
