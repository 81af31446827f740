//! A matrix of a layer, with the bias that some models add to its outputs.

use crate::arena::Columns;
use crate::kernels::{Activations, Kernels, Output};
use core::ops::Range;
use kinglet_quant::format::TILE_ROWS;
use kinglet_quant::{File, Matrix, Role};

/// `y = W x + b`.
pub(super) struct Linear<'a> {
    pub w: Matrix<'a>,
    b: Option<&'a [f32]>,
}

impl<'a> Linear<'a> {
    /// The one with this role in a layer.
    pub fn of(model: &File<'a>, role: Role, layer: u16) -> Self {
        Self { w: model.matrix(role, layer), b: model.bias(role, layer) }
    }

    /// [`Kernels::matmul`], and the bias.
    pub fn apply<K: Kernels>(
        &self,
        kernels: K,
        tiles: Range<usize>,
        x: &Activations<'_>,
        out: &mut Columns<'_, f32>,
        output: Output,
        scratch: &mut [f32],
    ) {
        let first = tiles.start * TILE_ROWS;
        kernels.matmul(&self.w, tiles, x, out, output, scratch);
        if let Some(b) = self.b {
            add(&b[first..], x.tokens, out);
        }
    }
}

/// Adds a vector to the outputs of so many tokens. Few models come here, so that code for all of
/// them stays small.
#[cold]
fn add(b: &[f32], tokens: usize, out: &mut Columns<'_, f32>) {
    for token in 0..tokens {
        out.row(token).iter_mut().zip(b).for_each(|(y, b)| *y += b);
    }
}
