//! What calibration keeps of a matrix's inputs: their second moments and a few samples.

use crate::quantize::deal;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, Mat, MatMut, MatRef, Par};

/// Inputs that are kept as they are.
const SAMPLES: usize = 192;
/// Columns of `Σ x xᵀ` that one job adds up.
const PANEL: usize = 128;

/// Second moments of the inputs of matrices that read the same vector.
#[derive(Clone, Debug)]
pub struct Moments {
    /// `Σ x xᵀ` over the tokens, `[width][width]`; only the lower triangle counts.
    sums: Mat<f32>,
    tokens: u64,
    /// One of so many tokens is kept.
    stride: u64,
    /// `[SAMPLES][width]` at most.
    samples: Vec<f32>,
}

impl Moments {
    /// Nothing seen yet, of about `tokens` vectors of `width`.
    pub fn new(width: usize, tokens: usize) -> Self {
        let stride = tokens.div_ceil(SAMPLES).max(1) as u64;
        Self { sums: Mat::zeros(width, width), tokens: 0, stride, samples: Vec::new() }
    }

    /// Bytes of moments over vectors of `width`.
    pub fn bytes(width: usize) -> usize {
        (width * width + SAMPLES * width) * size_of::<f32>()
    }

    /// Elements of a vector.
    pub fn width(&self) -> usize {
        self.sums.ncols()
    }

    /// Vectors seen.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The vectors that were kept, one after the other.
    pub(crate) fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// Means of `x[row] · x[col]` for the rows from `col` on.
    pub(crate) fn means_below(&self, col: usize) -> impl Iterator<Item = f32> {
        let column = self.sums.col(col).subrows(col, self.width() - col);
        let column = column.try_as_col_major().expect("columns are contiguous").as_slice();
        column.iter().map(|sum| sum / self.tokens as f32)
    }

    /// Root mean square of every element.
    pub(crate) fn sizes(&self) -> Vec<f32> {
        let square = |i| self.sums[(i, i)] / self.tokens as f32;
        (0..self.width()).map(|i| square(i).sqrt()).collect()
    }

    /// Adds vectors, `[tokens][width]`. The result does not depend on the number of threads.
    pub fn add(&mut self, values: &[f32], threads: usize) {
        let width = self.width();
        assert!(values.len().is_multiple_of(width));
        let count = values.len() / width;
        for token in values.chunks_exact(width) {
            if self.tokens % self.stride == self.stride / 2 {
                self.samples.extend_from_slice(token);
            }
            self.tokens += 1;
        }
        let inputs = MatRef::from_row_major_slice(values, count, width);
        let mut panels: Vec<(usize, MatMut<'_, f32>)> = Vec::new();
        let mut rest = self.sums.as_mut();
        for first in (0..width).step_by(PANEL) {
            let (panel, behind) = rest.split_at_col_mut(PANEL.min(width - first));
            panels.push((first, panel.subrows_mut(first, width - first)));
            rest = behind;
        }
        // The first columns have the most rows, so the longest job starts first.
        deal(&mut panels, threads, |(first, panel)| add_panel(inputs, *first, panel.as_mut()));
    }
}

/// Adds the products of columns from `first` on with those of a panel, from the diagonal down.
fn add_panel(inputs: MatRef<'_, f32>, first: usize, mut panel: MatMut<'_, f32>) {
    let width = panel.ncols();
    let columns = inputs.subcols(first, width);
    let (square, below) = panel.as_mut().split_at_row_mut(width);
    triangular::matmul(
        square,
        BlockStructure::TriangularLower,
        Accum::Add,
        columns.transpose(),
        BlockStructure::Rectangular,
        columns,
        BlockStructure::Rectangular,
        1.0,
        Par::Seq,
    );
    let others = inputs.subcols(first + width, inputs.ncols() - first - width);
    faer::linalg::matmul::matmul(below, Accum::Add, others.transpose(), columns, 1.0, Par::Seq);
}

/// The moments of everything that the matrices of a layer read.
#[derive(Clone, Debug)]
pub struct LayerMoments {
    /// Inputs of q, k and v `[hidden]`.
    pub attention: Moments,
    /// Inputs of o `[heads × head_dim]`.
    pub output: Moments,
    /// Inputs of gate and up `[hidden]`.
    pub feed_forward: Moments,
    /// Inputs of down `[ffn]`.
    pub down: Moments,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_the_sums_of_products() {
        let (width, tokens) = (320, 100);
        let mut random = fastrand::Rng::with_seed(1);
        let values: Vec<f32> = (0..tokens * width).map(|_| random.f32() - 0.3).collect();
        let mut all = [1, 3].map(|threads| {
            let mut moments = Moments::new(width, tokens);
            values.chunks(37 * width).for_each(|part| moments.add(part, threads));
            moments
        });
        for col in 0..width {
            let means: Vec<f32> = all[0].means_below(col).collect();
            for (row, &mean) in (col..).zip(&means) {
                let product = |x: &[f32]| f64::from(x[row]) * f64::from(x[col]);
                let sum: f64 = values.chunks_exact(width).map(product).sum();
                assert!((f64::from(mean) - sum / tokens as f64).abs() < 1e-5);
            }
            assert!(all[1].means_below(col).eq(means));
        }
        assert_eq!(all[1].samples().len(), tokens * width);
        all[0].add(&[], 1);
        assert_eq!(all[0].tokens(), tokens as u64);
    }
}
