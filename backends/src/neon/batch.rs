//! Products of 8 rows of 32 columns with many tokens, in one piece of assembly each: the weights
//! stay in 16 registers, and the tokens pass by.
//!
//! Integers are exact and there is one `fma` per token, as for a token alone, so that both give the
//! same bits.

use super::half_tile::Total;
use kinglet_quant::format::BLOCK;

/// 32 columns of some tokens, and where their products are added up.
#[derive(Debug)]
pub struct Batch<'a> {
    codes: &'a [i8],
    scales: &'a [f32],
    /// Codes from one token to the next.
    cols: usize,
    /// Scales from one token to the next.
    blocks: usize,
    tokens: usize,
    totals: &'a mut [Total],
}

impl<'a> Batch<'a> {
    /// Block `block` of tokens that have `codes` and `scales` together; `totals` are one for each,
    /// and one more when the number of tokens is odd.
    #[inline(always)]
    pub(super) fn new(
        codes: &'a [i8],
        scales: &'a [f32],
        block: usize,
        tokens: usize,
        totals: &'a mut [Total],
    ) -> Self {
        let blocks = scales.len() / tokens;
        assert!(block < blocks && scales.len() == tokens * blocks);
        assert!(codes.len() == scales.len() * BLOCK);
        assert!(totals.len() == tokens.next_multiple_of(2));
        let (codes, scales) = (&codes[block * BLOCK..], &scales[block..]);
        Self { codes, scales, cols: blocks * BLOCK, blocks, tokens, totals }
    }

    /// Where the loop over tokens begins.
    fn each(&mut self) -> Steps {
        Steps {
            codes: self.codes.as_ptr(),
            code_bytes: self.cols,
            scales: self.scales.as_ptr(),
            scale_bytes: self.blocks * size_of::<f32>(),
            totals: self.totals.as_mut_ptr(),
            count: self.tokens,
        }
    }

    /// The same for a loop over pairs of tokens: all pairs, then, of an odd number, the last token
    /// twice, for which there is a further total.
    fn pairs(&mut self) -> impl Iterator<Item = Steps> + use<> {
        let all = self.each();
        let last = self.tokens - 1;
        let pairs = (self.tokens > 1).then_some(Steps { count: self.tokens / 2, ..all });
        let single = (self.tokens % 2 == 1).then(|| Steps {
            codes: self.codes[last * self.cols..].as_ptr(),
            code_bytes: 0,
            scales: self.scales[last * self.blocks..].as_ptr(),
            scale_bytes: 0,
            totals: self.totals[last..].as_mut_ptr(),
            count: 1,
        });
        pairs.into_iter().chain(single)
    }
}

/// How a loop over tokens goes, `count` times, at least once.
#[derive(Clone, Copy)]
struct Steps {
    codes: *const i8,
    code_bytes: usize,
    scales: *const f32,
    scale_bytes: usize,
    totals: *mut Total,
    count: usize,
}

/// A piece of assembly with the operands that all have, and some of its own. Rows 0 to 3 of the
/// quads are in `a0` to `a7`, rows 4 to 7 in `b0` to `b7`.
macro_rules! piece {
    ($weights:ident, $steps:ident, [$($code:expr,)*], $($operands:tt)*) => {
        asm!(
            "2:",
            $($code,)*
            "subs {count}, {count}, #1",
            "b.ne 2b",
            x = inout(reg) $steps.codes => _,
            cols = in(reg) $steps.code_bytes,
            scales = inout(reg) $steps.scales => _,
            blocks = in(reg) $steps.scale_bytes,
            totals = inout(reg) $steps.totals => _,
            count = inout(reg) $steps.count => _,
            a0 = in(vreg) $weights[0][0][0], a1 = in(vreg) $weights[0][1][0],
            a2 = in(vreg) $weights[0][2][0], a3 = in(vreg) $weights[0][3][0],
            a4 = in(vreg) $weights[1][0][0], a5 = in(vreg) $weights[1][1][0],
            a6 = in(vreg) $weights[1][2][0], a7 = in(vreg) $weights[1][3][0],
            b0 = in(vreg) $weights[0][0][1], b1 = in(vreg) $weights[0][1][1],
            b2 = in(vreg) $weights[0][2][1], b3 = in(vreg) $weights[0][3][1],
            b4 = in(vreg) $weights[1][0][1], b5 = in(vreg) $weights[1][1][1],
            b6 = in(vreg) $weights[1][2][1], b7 = in(vreg) $weights[1][3][1],
            $($operands)*
            options(nostack),
        )
    };
}

/// Adds what lies in `v4` and `v5` to the totals of one token.
macro_rules! add_one {
    () => {
        "ldp q2, q3, [{totals}]
         ld1r {{v0.4s}}, [{scales}], {blocks}
         scvtf v4.4s, v4.4s
         scvtf v5.4s, v5.4s
         fmla v2.4s, v4.4s, v0.4s
         fmla v3.4s, v5.4s, v0.4s
         stp q2, q3, [{totals}], #32"
    };
}

pub(super) mod sdot_smmla;
pub(super) mod widening;
