//! What calibration keeps of a matrix's inputs: their second moments and a few samples.

use crate::quantize::deal;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, Axis, Slice};

/// Inputs that are kept as they are.
const SAMPLES: usize = 192;
/// Rows of `Σ x xᵀ` that one job adds up.
const PANEL: usize = 128;

/// Second moments of the inputs of matrices that read the same vector.
#[derive(Clone, Debug)]
pub struct Moments {
    /// `Σ x xᵀ` over the tokens, `[width][width]`; only the upper triangle counts.
    sums: Array2<f32>,
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
        Self { sums: Array2::zeros((width, width)), tokens: 0, stride, samples: Vec::new() }
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

    /// Means of `x[row] · x[col]` for the columns from `row` on.
    pub(crate) fn means_behind(&self, row: usize) -> impl Iterator<Item = f32> {
        self.sums.row(row).into_iter().skip(row).map(|sum| sum / self.tokens as f32)
    }

    /// Root mean square of every element.
    pub(crate) fn sizes(&self) -> Vec<f32> {
        let square = |i| self.sums[[i, i]] / self.tokens as f32;
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
        let inputs = ArrayView2::from_shape((count, width), values).expect("whole vectors");
        let panels = self.sums.axis_chunks_iter_mut(Axis(0), PANEL);
        // The first rows have the most columns, so the longest job starts first.
        let mut panels: Vec<_> = (0..width).step_by(PANEL).zip(panels).collect();
        deal(&mut panels, threads, |(first, panel)| {
            let behind = Slice::from(*first..);
            let own = inputs.slice_axis(Axis(1), Slice::from(*first..*first + panel.nrows()));
            let all = inputs.slice_axis(Axis(1), behind);
            general_mat_mul(1.0, &own.t(), &all, 1.0, &mut panel.slice_axis_mut(Axis(1), behind));
        });
    }
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
            let means: Vec<f32> = all[0].means_behind(col).collect();
            for (row, &mean) in (col..).zip(&means) {
                let product = |x: &[f32]| f64::from(x[row]) * f64::from(x[col]);
                let sum: f64 = values.chunks_exact(width).map(product).sum();
                assert!((f64::from(mean) - sum / tokens as f64).abs() < 1e-5);
            }
            assert!(all[1].means_behind(col).eq(means));
        }
        assert_eq!(all[1].samples().len(), tokens * width);
        all[0].add(&[], 1);
        assert_eq!(all[0].tokens(), tokens as u64);
    }
}
