//! What an error in one weight costs, and how other weights can make up for it: `H = E[x xᵀ]`.

use crate::calibrate::cholesky::cholesky;
use crate::calibrate::moments::Moments;
use ndarray::Array2;

/// Share of the mean diagonal that is added to the diagonal, so that directions which are rare in
/// the text count a little.
pub(crate) const DAMPING: f32 = 0.01;

/// The cost of errors in the rows of a matrix: `e H eᵀ` for the error `e` of a row.
#[derive(Debug)]
pub(crate) struct Metric {
    cols: usize,
    /// `[cols][cols]`, damped.
    hessian: Vec<f32>,
    /// The order in which columns are rounded: the largest inputs first.
    order: Vec<usize>,
    /// Row `k`, of length `k`: how the errors of the columns rounded before column `order[k]` move
    /// what it should be. Rows lie one behind the other.
    feedback: Vec<f32>,
}

impl Metric {
    /// The metric of inputs that were divided by `factors`; `damping` is usually [`DAMPING`].
    pub fn new(moments: &Moments, factors: &[f32], damping: f32) -> Self {
        let cols = moments.width();
        assert_eq!(factors.len(), cols);
        let mut hessian = vec![0f32; cols * cols];
        for row in 0..cols {
            for (col, mean) in (row..).zip(moments.means_behind(row)) {
                hessian[row * cols + col] = mean / (factors[row] * factors[col]);
            }
        }
        for row in 0..cols {
            for col in 0..row {
                hessian[row * cols + col] = hessian[col * cols + row];
            }
        }
        let trace: f32 = (0..cols).map(|i| hessian[i * cols + i]).sum();
        let damping = (damping * trace / cols as f32).max(f32::MIN_POSITIVE);
        (0..cols).for_each(|i| hessian[i * cols + i] += damping);
        let mut order: Vec<usize> = (0..cols).collect();
        order.sort_by(|&a, &b| hessian[b * cols + b].total_cmp(&hessian[a * cols + a]));
        let feedback = feedback(&hessian, &order);
        Self { cols, hessian, order, feedback }
    }

    /// The metric of the same inputs divided by `factors`, but damped and ordered before that,
    /// which needs no new factorisation: close enough for trying factors.
    pub fn divided(&self, factors: &[f32]) -> Self {
        let cols = self.cols;
        let mut hessian = self.hessian.clone();
        for (row, values) in hessian.chunks_exact_mut(cols).enumerate() {
            for (value, factor) in values.iter_mut().zip(factors) {
                *value /= factor * factors[row];
            }
        }
        let mut feedback = self.feedback.clone();
        let mut rest = &mut feedback[..];
        for (k, &col) in self.order.iter().enumerate() {
            let (row, behind) = rest.split_at_mut(k);
            for (value, &before) in row.iter_mut().zip(&self.order) {
                *value *= factors[col] / factors[before];
            }
            rest = behind;
        }
        Self { cols, hessian, order: self.order.clone(), feedback }
    }

    /// Columns of the matrix.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The order in which columns are rounded.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Row `col` of `H`.
    #[inline(always)]
    pub fn row(&self, col: usize) -> &[f32] {
        &self.hessian[col * self.cols..][..self.cols]
    }

    /// How much an error in each column costs by itself.
    pub fn diagonal(&self) -> Vec<f32> {
        (0..self.cols).map(|i| self.hessian[i * self.cols + i]).collect()
    }

    /// What the errors of the columns `order[..k]` are multiplied with and added to column
    /// `order[k]`.
    #[inline(always)]
    pub fn feedback(&self, k: usize) -> &[f32] {
        &self.feedback[k * k.saturating_sub(1) / 2..][..k]
    }
}

/// With `H = (U + I) D (U + I)ᵀ`, `U` strictly upper triangular in the order of rounding, the cost
/// is `Σ_k D_k (e_k + Σ_{i<k} e_i U_ik)²`: the columns of `U` (LDLQ, Chee et al. 2023, which rounds
/// as GPTQ does, Frantar et al. 2023).
///
/// Such a factorisation is a Cholesky one from the last column to the first.
fn feedback(hessian: &[f32], order: &[usize]) -> Vec<f32> {
    let cols = order.len();
    let at = |i: usize| order[cols - 1 - i];
    let mut lower =
        Array2::from_shape_fn((cols, cols), |(i, j)| f64::from(hessian[at(i) * cols + at(j)]));
    cholesky(&mut lower);
    let mut feedback = Vec::with_capacity(cols * (cols - 1) / 2);
    for k in 0..cols {
        let column = cols - 1 - k;
        let diagonal = lower[[column, column]];
        feedback.extend((0..k).map(|i| (lower[[cols - 1 - i, column]] / diagonal) as f32));
    }
    feedback
}
