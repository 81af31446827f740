//! The Cholesky factorisation, block by block (Golub and Van Loan, Matrix Computations, 4.2.9):
//! most of the work is products of matrices.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, Axis, Slice};

/// Columns of a block.
const BLOCK: usize = 64;

/// Replaces the lower triangle of a symmetric matrix by that of `L` with `L Lᵀ = matrix`; what is
/// above the diagonal loses its meaning. Panics when the matrix is not positive definite.
pub(crate) fn cholesky(matrix: &mut Array2<f64>) {
    let size = matrix.nrows();
    assert_eq!(matrix.ncols(), size);
    for first in (0..size).step_by(BLOCK) {
        let end = size.min(first + BLOCK);
        factor_columns(matrix, first, end);
        // What the block's columns explain is taken from those behind it.
        let (before, mut behind) = matrix.view_mut().split_at(Axis(1), end);
        let own = before.slice_axis(Axis(1), Slice::from(first..));
        for start in (end..size).step_by(BLOCK) {
            let columns = start..size.min(start + BLOCK);
            let top = own.slice_axis(Axis(0), Slice::from(columns.clone()));
            let left = own.slice_axis(Axis(0), Slice::from(start..));
            let columns = Slice::from(columns.start - end..columns.end - end);
            let mut rest = behind.slice_axis_mut(Axis(1), columns);
            let mut rest = rest.slice_axis_mut(Axis(0), Slice::from(start..));
            general_mat_mul(-1.0, &left, &top.t(), 1.0, &mut rest);
        }
    }
}

/// Factors the columns from `first` to `end`, from which all columns before are taken already.
fn factor_columns(matrix: &mut Array2<f64>, first: usize, end: usize) {
    for row in first..matrix.nrows() {
        for col in first..end.min(row + 1) {
            let known = |row| matrix.row(row).slice_axis_move(Axis(0), Slice::from(first..col));
            let rest = matrix[[row, col]] - known(row).dot(&known(col));
            matrix[[row, col]] = if row == col {
                assert!(rest > 0.0, "pivot {col} of a Cholesky factorisation is {rest}");
                rest.sqrt()
            } else {
                rest / matrix[[col, col]]
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_times_itself_is_the_matrix() {
        let mut random = fastrand::Rng::with_seed(1);
        for size in [1, 2, 63, 64, 65, 128, 200] {
            let root = Array2::from_shape_fn((size, size + 3), |_| random.f64() - 0.5);
            let matrix = root.dot(&root.t()) + Array2::<f64>::eye(size) * 0.01;
            let mut lower = matrix.clone();
            cholesky(&mut lower);
            for ((row, col), value) in lower.indexed_iter_mut() {
                *value *= f64::from(u8::from(col <= row));
            }
            let difference = lower.dot(&lower.t()) - &matrix;
            assert!(difference.iter().all(|x| x.abs() < 1e-12 * size as f64), "{size}");
        }
    }

    #[test]
    #[should_panic(expected = "pivot 1")]
    fn matrices_that_are_not_positive_are_refused() {
        cholesky(&mut ndarray::array![[1.0, 2.0], [2.0, 1.0]]);
    }
}
