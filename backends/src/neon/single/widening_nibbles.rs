//! One token's products with nibbles from 0 to 15, of 8 rows.

use crate::neon::half_tile::{LANES, NibbleLines, OneHalf, Total};
use crate::neon::intrinsics::*;
use kinglet_quant::format::TILE_ROWS;

/// Scales from the first of one group to the last of the next, of 8 rows.
const GROUPS: usize = TILE_ROWS + LANES;

/// Loads 4 lines: 16 bytes each of rows 0 to 3 into `s0`…, of rows 4 to 7 into `t0`….
macro_rules! load {
    () => {
        "ldp {s0:q}, {t0:q}, [{bytes}]
         ldp {s1:q}, {t1:q}, [{bytes}, #64]
         ldp {s2:q}, {t2:q}, [{bytes}, #128]
         ldp {s3:q}, {t3:q}, [{bytes}, #192]"
    };
}

/// Puts the low nibbles of a line into `$x` and `$y`, and leaves the high ones in place.
macro_rules! unpack {
    ($line:literal, $x:literal, $y:literal) => {
        concat!(
            "and {",
            $x,
            ":v}.16b, {s",
            $line,
            ":v}.16b, {mask:v}.16b\n",
            "and {",
            $y,
            ":v}.16b, {t",
            $line,
            ":v}.16b, {mask:v}.16b\n",
            "ushr {s",
            $line,
            ":v}.16b, {s",
            $line,
            ":v}.16b, #4\n",
            "ushr {t",
            $line,
            ":v}.16b, {t",
            $line,
            ":v}.16b, #4",
        )
    };
}

/// Repeats the next 4 quads of the inputs in `a` to `d`.
macro_rules! repeat_quads {
    () => {
        "ld1r {{{a:v}.4s}}, [{input}], #4
         ld1r {{{b:v}.4s}}, [{input}], #4
         ld1r {{{c:v}.4s}}, [{input}], #4
         ld1r {{{d:v}.4s}}, [{input}], #4"
    };
}

/// Adds up `p`, `q`, `r` and `u`: 8 sums in `$sum`.
macro_rules! pair_up {
    ($sum:literal) => {
        concat!(
            "addp {p:v}.8h, {p:v}.8h, {q:v}.8h\n",
            "addp {r:v}.8h, {r:v}.8h, {u:v}.8h\n",
            "addp {",
            $sum,
            ":v}.8h, {p:v}.8h, {r:v}.8h",
        )
    };
}

/// Adds what lies in `s0` and `t0` to the totals.
macro_rules! add {
    () => {
        "scvtf {s0:v}.4s, {s0:v}.4s
         scvtf {t0:v}.4s, {t0:v}.4s
         fmla {low:v}.4s, {s0:v}.4s, {scale:v}.s[0]
         fmla {high:v}.4s, {t0:v}.4s, {scale:v}.s[0]"
    };
}

/// [`piece`] with the operands that nibbles need.
macro_rules! nibble_piece {
    ($of:ident, $total:ident, $code:tt, $($operands:tt)*) => {
        piece!($of, $total, $code,
            mask = in(vreg) vdupq_n_s8(15),
            s2 = out(vreg) _, s3 = out(vreg) _, t2 = out(vreg) _, t3 = out(vreg) _,
            v = out(vreg) _, w = out(vreg) _,
            $($operands)*
        )
    };
}

/// Adds two groups with `smull` and `smlal`: 4 products in each 16-bit sum, and
/// after it is paired up twice 16, at most 16·15·127.
///
/// # Safety
/// `of.input` has 32 codes.
#[inline(always)]
pub(in crate::neon) unsafe fn groups(
    mut total: Total,
    of: OneHalf<'_, NibbleLines>,
    starts: [i32; 2],
) -> Total {
    assert!(of.group_scales.len() >= GROUPS);
    // SAFETY: what is read of `group_scales` is checked above, `bytes` is as long as what is read,
    // and `input` by this function's contract; fetching accepts any address.
    unsafe {
        nibble_piece!(of, total, [
            load!(),
            "prfm pldl1keep, [{bytes}, #544]",
            repeat_quads!(),
            unpack!("0", "x", "y"),
            unpack!("1", "v", "w"),
            multiply!("smull", "x", "y", "a"),
            unpack!("2", "x", "y"),
            multiply!("smlal", "v", "w", "b"),
            unpack!("3", "v", "w"),
            multiply!("smlal", "x", "y", "c"),
            multiply!("smlal", "v", "w", "d"),
            repeat_quads!(),
            pair_up!("first"),
            "prfm pldl1keep, [{bytes}, #672]",
            multiply!("smull", "s0", "t0", "a"),
            "ldr {x:d}, [{scales}]",
            "ldr {y:d}, [{scales}, #16]",
            multiply!("smlal", "s1", "t1", "b"),
            "add {first:v}.8h, {first:v}.8h, {start:v}.8h",
            "sxtl {x:v}.8h, {x:v}.8b",
            "sxtl {y:v}.8h, {y:v}.8b",
            multiply!("smlal", "s2", "t2", "c"),
            "smull {s0:v}.4s, {first:v}.4h, {x:v}.4h",
            "smull2 {t0:v}.4s, {first:v}.8h, {x:v}.8h",
            multiply!("smlal", "s3", "t3", "d"),
            pair_up!("p"),
            "add {p:v}.8h, {p:v}.8h, {second:v}.8h",
            "smlal {s0:v}.4s, {p:v}.4h, {y:v}.4h",
            "smlal2 {t0:v}.4s, {p:v}.8h, {y:v}.8h",
            add!(),
        ],
            input = inout(reg) of.input => _,
            start = in(vreg) vdupq_n_s16(starts[0] as i16),
            second = in(vreg) vdupq_n_s16(starts[1] as i16),
            first = out(vreg) _, r = out(vreg) _, u = out(vreg) _,
            a = out(vreg) _, b = out(vreg) _, c = out(vreg) _, d = out(vreg) _,
        );
    }
    total
}

/// Adds one group with `smull` and `smlal`: 32 products may exceed 16 bits until
/// the start is added, which is why they may wrap around.
///
/// # Safety
/// `of.input` has 32 codes.
#[inline(always)]
pub(in crate::neon) unsafe fn block(
    mut total: Total,
    of: OneHalf<'_, NibbleLines>,
    start: i32,
) -> Total {
    assert!(of.group_scales.len() >= LANES);
    // SAFETY: as for `groups`.
    unsafe {
        nibble_piece!(of, total, [
            load!(),
            "prfm pldl1keep, [{bytes}, #544]",
            repeat_quads!(),
            unpack!("0", "x", "y"),
            unpack!("1", "v", "w"),
            multiply!("smull", "x", "y", "a"),
            unpack!("2", "x", "y"),
            multiply!("smlal", "v", "w", "b"),
            unpack!("3", "v", "w"),
            multiply!("smlal", "x", "y", "c"),
            multiply!("smlal", "v", "w", "d"),
            repeat_quads!(),
            "prfm pldl1keep, [{bytes}, #672]",
            "ldr {x:d}, [{scales}]",
            multiply!("smlal", "s0", "t0", "a"),
            multiply!("smlal", "s1", "t1", "b"),
            "sxtl {x:v}.8h, {x:v}.8b",
            multiply!("smlal", "s2", "t2", "c"),
            multiply!("smlal", "s3", "t3", "d"),
            pair_up!("p"),
            "add {p:v}.8h, {p:v}.8h, {start:v}.8h",
            "smull {s0:v}.4s, {p:v}.4h, {x:v}.4h",
            "smull2 {t0:v}.4s, {p:v}.8h, {x:v}.8h",
            add!(),
        ],
            input = inout(reg) of.input => _,
            start = in(vreg) vdupq_n_s16(start as i16),
            r = out(vreg) _, u = out(vreg) _,
            a = out(vreg) _, b = out(vreg) _, c = out(vreg) _, d = out(vreg) _,
        );
    }
    total
}
