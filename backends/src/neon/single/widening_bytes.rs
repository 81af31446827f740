//! One token's products with signed bytes, of 8 rows.

use crate::neon::half_tile::{ByteLines, LANES, OneHalf, Total};

/// Loads quads `$even` and the next one: rows 0 to 3 into `s0` and `s1`, 4 to 7 into `t0` and `t1`.
#[rustfmt::skip]
macro_rules! load {
    ($even:literal, $odd:literal) => {
        concat!(
            "ldp {s0:q}, {t0:q}, [{bytes}, #", $even, "]\n",
            "ldp {s1:q}, {t1:q}, [{bytes}, #", $odd, "]",
        )
    };
}

/// Repeats the next two quads of the inputs in `a` and `b`.
macro_rules! repeat_quads {
    () => {
        "ld1r {{{a:v}.4s}}, [{input}], #4
         ld1r {{{b:v}.4s}}, [{input}], #4"
    };
}

/// Adds pairs of products up in 32 bits; `$op` begins the sums or goes on with them.
#[rustfmt::skip]
macro_rules! pair_up {
    ($op:literal) => {
        concat!(
            $op, " {p2:v}.4s, {p:v}.8h\n",
            $op, " {q2:v}.4s, {q:v}.8h\n",
            $op, " {r2:v}.4s, {r:v}.8h\n",
            $op, " {u2:v}.4s, {u:v}.8h",
        )
    };
}

/// Adds the sums `p` and `q`, with the scales of their rows, to the totals.
macro_rules! add {
    () => {
        "sxtl {x:v}.8h, {x:v}.8b
         sxtl {y:v}.4s, {x:v}.4h
         sxtl2 {x:v}.4s, {x:v}.8h
         mul {p:v}.4s, {p:v}.4s, {y:v}.4s
         mul {q:v}.4s, {q:v}.4s, {x:v}.4s
         scvtf {p:v}.4s, {p:v}.4s
         scvtf {q:v}.4s, {q:v}.4s
         fmla {low:v}.4s, {p:v}.4s, {scale:v}.s[0]
         fmla {high:v}.4s, {q:v}.4s, {scale:v}.s[0]"
    };
}

/// Adds 32 columns with `smull` and `smlal`: two products fill 16 bits.
///
/// # Safety
/// `of.input` has 32 codes.
#[inline(always)]
pub(in crate::neon) unsafe fn block(mut total: Total, of: OneHalf<'_, ByteLines>) -> Total {
    assert!(of.group_scales.len() >= LANES);
    // SAFETY: what is read of `group_scales` is checked above, `bytes` is as long as what is read,
    // and `input` by this function's contract; fetching accepts any address.
    unsafe {
        piece!(of, total, [
            load!("0", "64"),
            repeat_quads!(),
            "prfm pldl1keep, [{bytes}, #1056]",
            "prfm pldl1keep, [{bytes}, #1184]",
            multiply!("smull", "s0", "t0", "a"),
            multiply!("smlal", "s1", "t1", "b"),
            load!("128", "192"),
            repeat_quads!(),
            pair_up!("saddlp"),
            "prfm pldl1keep, [{bytes}, #1312]",
            "prfm pldl1keep, [{bytes}, #1440]",
            multiply!("smull", "s0", "t0", "a"),
            multiply!("smlal", "s1", "t1", "b"),
            load!("256", "320"),
            repeat_quads!(),
            pair_up!("sadalp"),
            multiply!("smull", "s0", "t0", "a"),
            multiply!("smlal", "s1", "t1", "b"),
            load!("384", "448"),
            repeat_quads!(),
            pair_up!("sadalp"),
            multiply!("smull", "s0", "t0", "a"),
            multiply!("smlal", "s1", "t1", "b"),
            "ldr {x:d}, [{scales}]",
            pair_up!("sadalp"),
            "addp {p:v}.4s, {p2:v}.4s, {q2:v}.4s",
            "addp {q:v}.4s, {r2:v}.4s, {u2:v}.4s",
            add!(),
        ],
            input = inout(reg) of.input => _,
            a = out(vreg) _, b = out(vreg) _, r = out(vreg) _, u = out(vreg) _,
            p2 = out(vreg) _, q2 = out(vreg) _, r2 = out(vreg) _, u2 = out(vreg) _,
        );
    }
    total
}
