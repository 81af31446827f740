//! Updates of low rank: `W + scale · B A`.

use super::disk::DiskFile;
use super::permuted::permuted_row;
use super::stored::Stored;
use crate::Result;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// The update of one matrix.
#[derive(Clone, Debug)]
pub(super) struct LowRank {
    /// `[rank, cols]`.
    pub a: Stored,
    /// `[rows, rank]`.
    pub b: Stored,
    /// What the product is multiplied by.
    pub scale: f32,
    /// The head size, where the rows of `b` are in llama.cpp's order of queries and keys.
    pub permuted: Option<usize>,
}

impl LowRank {
    /// The update's rank.
    pub fn rank(&self) -> usize {
        self.a.shape().0
    }

    /// Adds the update of some rows to their weights.
    pub fn add(&self, file: &DiskFile, rows: Range<usize>, weights: &mut [f32]) -> Result<()> {
        let (rank, _) = self.a.shape();
        let (mut a, mut b) = (Vec::new(), Vec::new());
        self.a.load(file, 0..rank, &mut a)?;
        match self.permuted {
            None => self.b.load(file, rows, &mut b)?,
            Some(head_dim) => {
                let mut all = Vec::new();
                self.b.load(file, 0..self.b.shape().0, &mut all)?;
                for row in rows {
                    let from = permuted_row(row, head_dim) * rank;
                    b.extend_from_slice(&all[from..from + rank]);
                }
            }
        }
        add_product(&a, &b, rank, self.scale, weights);
        Ok(())
    }
}

/// `weights += scale · b a`, for `b` of `[rows, rank]` and `a` of `[rank, cols]`, in f32.
///
/// Each sum goes over the ranks in ascending order with fused multiplications, then it is
/// multiplied by the scale and added. So does PyTorch on x86 where `peft` merges a model in f32, up
/// to rank 192, and so the bits are the same. They are the same on every processor.
pub(super) fn add_product(a: &[f32], b: &[f32], rank: usize, scale: f32, weights: &mut [f32]) {
    pulp::Arch::new().dispatch(Product { a, b, rank, scale, weights });
}

/// What [`add_product`] computes.
struct Product<'a> {
    a: &'a [f32],
    b: &'a [f32],
    rank: usize,
    scale: f32,
    weights: &'a mut [f32],
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { a, b, rank, scale, weights } = self;
        let cols = a.len() / rank;
        assert!(a.len() == rank * cols && b.len() * cols == weights.len() * rank);
        let mut product = vec![0.0; cols];
        for (weights, b) in weights.chunks_exact_mut(cols).zip(b.chunks_exact(rank)) {
            product.fill(0.0);
            for (&b, a) in b.iter().zip(a.chunks_exact(cols)) {
                let (sums, last_sums) = S::as_mut_simd_f32s(&mut product);
                let (a, last_a) = S::as_simd_f32s(a);
                let all_b = simd.splat_f32s(b);
                for (sum, &a) in sums.iter_mut().zip(a) {
                    *sum = simd.mul_add_f32s(all_b, a, *sum);
                }
                for (sum, &a) in last_sums.iter_mut().zip(last_a) {
                    *sum = b.mul_add(a, *sum);
                }
            }
            for (weight, sum) in weights.iter_mut().zip(&product) {
                *weight += sum * scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn products_are_those_of_plain_loops(
            (rows, rank, cols) in (1_usize..20, 1_usize..40, 1_usize..70),
            scale in -4.0_f32..4.0,
            seed: u64,
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut draw = |count| -> Vec<f32> { (0..count).map(|_| random.f32() - 0.5).collect() };
            let (a, b, before) = (draw(rank * cols), draw(rows * rank), draw(rows * cols));
            let mut merged = before.clone();
            add_product(&a, &b, rank, scale, &mut merged);
            for row in 0..rows {
                for col in 0..cols {
                    let (mut sum, mut exact) = (0.0_f32, 0.0_f64);
                    for k in 0..rank {
                        sum = b[row * rank + k].mul_add(a[k * cols + col], sum);
                        exact += f64::from(b[row * rank + k]) * f64::from(a[k * cols + col]);
                    }
                    let at = row * cols + col;
                    prop_assert_eq!(merged[at].to_bits(), (before[at] + sum * scale).to_bits());
                    let exact = f64::from(before[at]) + exact * f64::from(scale);
                    let bound = 1e-7 * (rank as f64 + 2.0).powi(2);
                    prop_assert!((f64::from(merged[at]) - exact).abs() < bound);
                }
            }
        }
    }
}
