//! Kernels in plain Rust for processors without kernels of their own: 32-bit ARM, RISC-V,
//! WebAssembly, x86 without AVX2.
//!
//! Loops run over arrays of a fixed length, so that the compiler makes vector instructions of them,
//! whichever the target has. Every result has the bits of [`Scalar`], which computes what takes
//! little time here, too.
//!
//! | file | what it has |
//! |---|---|
//! | `codes.rs` | how the codes of each format become 16-bit integers |
//! | `lines.rs` | products of these with activations |
//! | `matmul.rs` | products of matrices: loops over tiles, blocks and tokens |
//! | `attention.rs` | attention over the cache |
//! | `elementwise.rs` | operations on vectors |

mod attention;
mod codes;
mod elementwise;
mod lines;
mod matmul;

use crate::product::{Product, Rescore, Search};
use core::ops::Range;
use kinglet_core::arena::Columns;
use kinglet_core::kernels::{Activations, Kernels, Output, Screened, check_rescore};
use kinglet_core::kv::{KvHead, KvLayout};
use kinglet_core::scalar::Scalar;
use kinglet_quant::Matrix;

/// The kernels that any CPU can run, made to be vectorised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portable;

impl Kernels for Portable {
    const FURTHER_TOKEN_COST: u8 = 40;

    fn matmul(
        self,
        w: &Matrix<'_>,
        tiles: Range<usize>,
        x: &Activations<'_>,
        out: &mut Columns<'_, f32>,
        output: Output,
        _scratch: &mut [f32],
    ) {
        matmul::product(Product::new(w, tiles, x, out, output));
    }

    fn screen(
        self,
        w: &Matrix<'_>,
        tiles: Range<usize>,
        x: &Activations<'_>,
        margins: &[f32],
        found: &mut Screened<'_>,
    ) {
        found.check(w, &tiles, x, margins);
        matmul::screen(Search { w, tiles, x, margins, found });
    }

    fn rescore(
        self,
        w: &Matrix<'_>,
        tile: usize,
        rows: u16,
        x: &Activations<'_>,
        token: usize,
        logits: &mut [f32],
    ) {
        check_rescore(w, tile, x, token, logits);
        matmul::rescore(Rescore { tile: w.tile(tile), rows, x, token }, logits);
    }

    fn quantize(self, x: &[f32], codes: &mut [i8], scales: &mut [f32], starts: &mut [i32]) {
        elementwise::quantize(x, codes, scales, starts);
    }

    fn rms_norm(self, x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) {
        Scalar.rms_norm(x, gain, eps, out);
    }

    fn rope(self, head: &mut [f32], cos: &[f32], sin: &[f32]) {
        Scalar.rope(head, cos, sin);
    }

    fn silu_mul(self, gate: &mut [f32], up: &[f32]) {
        elementwise::silu_mul(gate, up);
    }

    fn append(
        self,
        layout: &KvLayout,
        block: &mut [u8],
        position: usize,
        key: &[f32],
        value: &[f32],
    ) {
        Scalar.append(layout, block, position, key, value);
    }

    fn attend(
        self,
        queries: &[f32],
        kv: &KvHead<'_>,
        positions: Range<usize>,
        partials: &mut [f32],
    ) {
        attention::attend(queries, kv, positions, partials);
    }

    fn join(self, partials: &[f32], head_dim: usize, out: &mut [f32]) {
        Scalar.join(partials, head_dim, out);
    }
}

#[cfg(test)]
mod test {
    use super::Portable;

    #[test]
    fn portable_is_scalar_to_the_bit() {
        kinglet_core::check::kernels_to_the_bit(Portable);
    }
}
