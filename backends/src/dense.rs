//! Matrix products of unquantized weights (F32, BF16): row dot products for a few tokens, the
//! `gemm` crate for many.
//!
//! The two round differently, so results agree within 1e-5 of the sum of magnitudes but not to the
//! bit. `gemm` keeps a packing buffer per thread and allocates on every call; decode never gets
//! there, and neither do quantized weights.

use crate::lanes::Lanes;
use crate::prefetch::fetch_behind;
use crate::product::Product;
use crate::sums::{SIDE_BY_SIDE, Sums};
use kinglet_core::kernels::Output;
#[cfg(feature = "gemm")]
use kinglet_core::{Activations, arena::Columns};
#[cfg(feature = "gemm")]
use kinglet_quant::Matrix;
use kinglet_quant::Type;
use kinglet_quant::format::TILE_ROWS;

/// Rows of a tile whose dot products share each load of the input.
const ROWS: usize = 4;

/// The product by dot products: every output is computed in the same order whatever the tokens and
/// tiles of the call.
#[inline(always)]
pub(crate) fn dot_products<L: Lanes>(cpu: L, of: Product<'_>) {
    let Product { w, tiles, x, mut out, output } = of;
    for (t, tile) in tiles.enumerate() {
        let tile = w.tile(tile);
        for token in 0..x.tokens {
            let values = &x.values[token * x.cols..][..x.cols];
            let out = &mut out.row(token)[Product::columns(t)];
            for (r, out) in (0..TILE_ROWS).step_by(ROWS).zip(out.chunks_exact_mut(ROWS)) {
                let sums = match w.kind() {
                    Type::Bf16 => {
                        let rows = &tile.bf16_rows()[r * x.cols..][..ROWS * x.cols];
                        if token == 0 {
                            fetch_behind(rows);
                        }
                        rows_dot(
                            cpu,
                            values,
                            #[inline(always)]
                            |i| cpu.load_bf16(&rows[i..]),
                        )
                    }
                    Type::F32 => {
                        let rows = &tile.f32_rows()[r * x.cols..][..ROWS * x.cols];
                        if token == 0 {
                            fetch_behind(rows);
                        }
                        rows_dot(
                            cpu,
                            values,
                            #[inline(always)]
                            |i| cpu.load(&rows[i..]),
                        )
                    }
                    kind @ (Type::Q8 | Type::Q8Planes | Type::Q5 | Type::Q4 | Type::Q3) => {
                        not_floats(kind)
                    }
                };
                for (out, sum) in out.iter_mut().zip(sums) {
                    match output {
                        Output::Store => *out = sum,
                        Output::Add => *out += sum,
                    }
                }
            }
        }
    }
}

#[cold]
fn not_floats(kind: Type) -> ! {
    unreachable!("{} weights are not floats", kind.name())
}

/// Dot products of [`ROWS`] rows with `values`; `load(i)` gives the weights from element `i` on.
#[inline(always)]
fn rows_dot<L: Lanes>(cpu: L, values: &[f32], load: impl Fn(usize) -> L::F32) -> [f32; ROWS] {
    let mut sums = [Sums::none(cpu); ROWS];
    for first in (0..values.len()).step_by(SIDE_BY_SIDE) {
        for register in 0..Sums::<L>::REGISTERS {
            let k = first + register * L::COUNT;
            let value = cpu.load(&values[k..]);
            for (r, sum) in sums.iter_mut().enumerate() {
                sum.add_products(cpu, register, load(r * values.len() + k), value);
            }
        }
    }
    sums.map(|sum| sum.total(cpu))
}

/// The product through the `gemm` crate, when there are tokens enough for it to pay; whether it was
/// taken. Weights go through `scratch` in panels of 64 rows.
#[cfg(feature = "gemm")]
pub(crate) fn through_gemm(of: &mut Product<'_>, scratch: &mut [f32]) -> bool {
    /// Below this, packing costs `gemm` more than it saves.
    const TOKENS: usize = 8;
    /// Tiles of a panel.
    const PANEL: usize = kinglet_core::kernels::PANEL_ROWS / TILE_ROWS;
    let Product { w, ref tiles, x, ref mut out, output } = *of;
    if x.tokens < TOKENS {
        return false;
    }
    for first in tiles.clone().step_by(PANEL) {
        let panel = first..tiles.end.min(first + PANEL);
        let start = (first - tiles.start) * TILE_ROWS;
        let mut out = out.narrow(start..start + panel.len() * TILE_ROWS);
        let weights = &mut scratch[..panel.len() * TILE_ROWS * w.cols()];
        for (tile, weights) in panel.zip(weights.chunks_exact_mut(TILE_ROWS * w.cols())) {
            unpack(w, tile, weights);
        }
        multiply(weights, x, &mut out, output);
    }
    true
}

/// Writes one tile as f32, `[row][col]`.
#[cfg(feature = "gemm")]
fn unpack(w: &Matrix<'_>, tile: usize, to: &mut [f32]) {
    let tile = w.tile(tile);
    match w.kind() {
        Type::F32 => to.copy_from_slice(tile.f32_rows()),
        Type::Bf16 => {
            for (to, from) in to.iter_mut().zip(tile.bf16_rows()) {
                *to = from.to_f32();
            }
        }
        kind @ (Type::Q8 | Type::Q8Planes | Type::Q5 | Type::Q4 | Type::Q3) => not_floats(kind),
    }
}

/// `out[token][r] (+)= Σ_k weights[r][k] · x[token][k]`, one column of `out` per row of `weights`.
#[cfg(feature = "gemm")]
fn multiply(weights: &[f32], x: &Activations<'_>, out: &mut Columns<'_, f32>, output: Output) {
    let (rows, cols) = (out.width(), x.cols);
    assert!(weights.len() == rows * cols && x.values.len() >= x.tokens * cols);
    assert!(out.height() == x.tokens);
    // SAFETY: `weights` is rows × cols, `x.values` tokens × cols and `out` tokens × rows with its
    // own stride, all checked above or by the type; `out` is borrowed mutably, so it overlaps none.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            rows,
            x.tokens,
            cols,
            out.as_mut_ptr(),
            out.stride() as isize,
            1,
            output == Output::Add,
            weights.as_ptr(),
            1,
            cols as isize,
            x.values.as_ptr(),
            cols as isize,
            1,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm_common::Parallelism::None,
        );
    }
}

/// Without the feature there is no `gemm`.
#[cfg(not(feature = "gemm"))]
pub(crate) fn through_gemm(_of: &mut Product<'_>, _scratch: &mut [f32]) -> bool {
    false
}
