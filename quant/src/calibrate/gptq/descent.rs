//! Coordinate descent over codes and scales, one group of columns after the other.

use super::{Lanes, Tile};
use crate::calibrate::metric::Metric;
use crate::format::TILE_ROWS;
use crate::quantize::codes::{Codes, MAX_GROUP_SCALE, inverse};
use pulp::Simd;
use std::array;

/// Passes over all groups.
const PASSES: usize = 4;
/// Passes over the codes of a group for each scale that is tried.
const SWEEPS: usize = 2;
/// What is added to a group's scale to find a better one, in units of the row's.
const STEPS: [f32; 7] = [0.0, -1.0, 1.0, -3.0, 3.0, -7.0, 7.0];

/// Lowers `e H eᵀ` of every row.
#[inline(always)]
pub(super) fn descend<S: Simd, C: Codes>(
    simd: S,
    tile: &mut Tile,
    codes: &C,
    metric: &Metric,
    rows: &[f32],
) {
    match tile.width() {
        16 => descend_groups::<S, C, 16>(simd, tile, codes, metric, rows),
        width => {
            assert_eq!(width, 32);
            descend_groups::<S, C, 32>(simd, tile, codes, metric, rows);
        }
    }
}

#[inline(always)]
fn descend_groups<S: Simd, C: Codes, const GROUP: usize>(
    simd: S,
    tile: &mut Tile,
    codes: &C,
    metric: &Metric,
    rows: &[f32],
) {
    let mut gradients = gradients(simd, tile, metric, rows);
    for _ in 0..PASSES {
        for group in 0..tile.group_scales.len() {
            improve::<S, C, GROUP>(simd, tile, codes, metric, group, &mut gradients);
        }
    }
}

/// `H e` for the error `e` of every row, `[TILE_ROWS][cols]`.
#[inline(always)]
fn gradients<S: Simd>(simd: S, tile: &Tile, metric: &Metric, rows: &[f32]) -> Vec<f32> {
    let cols = metric.cols();
    let mut errors = vec![[0f32; TILE_ROWS]; cols];
    for (r, row) in rows.chunks_exact(cols).enumerate() {
        for (col, error) in errors.iter_mut().enumerate() {
            error[r] = row[col] - tile.stored(r, col);
        }
    }
    let mut gradients = vec![0f32; TILE_ROWS * cols];
    for col in 0..cols {
        let lanes = super::weighted_sum(simd, &errors, metric.row(col));
        for (gradient, lane) in gradients.chunks_exact_mut(cols).zip(lanes) {
            gradient[col] = lane;
        }
    }
    gradients
}

/// A scale for every row and the codes that go with it.
struct Trial<const GROUP: usize> {
    scales: Lanes,
    integers: [Lanes; GROUP],
    /// What changes in the stored weights.
    changes: [Lanes; GROUP],
    /// What changes in the cost.
    costs: Lanes,
}

impl<const GROUP: usize> Trial<GROUP> {
    /// Takes from `other` the rows in which it costs less.
    #[inline(always)]
    fn keep_better(&mut self, other: &Self) {
        let better: [bool; TILE_ROWS] = array::from_fn(|r| {
            other.costs[r] < self.costs[r] && other.scales[r].abs() <= MAX_GROUP_SCALE
        });
        let keep = |lanes: &mut Lanes, other: &Lanes| {
            for r in 0..TILE_ROWS {
                lanes[r] = if better[r] { other[r] } else { lanes[r] };
            }
        };
        keep(&mut self.costs, &other.costs);
        keep(&mut self.scales, &other.scales);
        for i in 0..GROUP {
            keep(&mut self.integers[i], &other.integers[i]);
            keep(&mut self.changes[i], &other.changes[i]);
        }
    }
}

/// A group of columns in its current state.
struct Group<'a, const GROUP: usize> {
    row_scales: &'a Lanes,
    hessian: [[f32; GROUP]; GROUP],
    /// One over the diagonal.
    inverses: [f32; GROUP],
    stored: [Lanes; GROUP],
    gradient: [Lanes; GROUP],
}

/// Takes the best scales and codes for one group of columns; everything else stays fixed.
#[inline(always)]
fn improve<S: Simd, C: Codes, const GROUP: usize>(
    simd: S,
    tile: &mut Tile,
    codes: &C,
    metric: &Metric,
    group: usize,
    gradients: &mut [f32],
) {
    let (cols, first) = (metric.cols(), group * GROUP);
    let scales = tile.group_scales[group];
    let mut best = Trial {
        scales,
        integers: *tile.integers[first..].first_chunk().expect("whole groups"),
        changes: [[0.0; TILE_ROWS]; GROUP],
        costs: [0.0; TILE_ROWS],
    };
    let part = Group {
        row_scales: &tile.row_scales,
        hessian: array::from_fn(|i| {
            *metric.row(first + i)[first..].first_chunk().expect("whole groups")
        }),
        inverses: array::from_fn(|i| 1.0 / metric.row(first + i)[first + i]),
        stored: array::from_fn(|i| array::from_fn(|r| tile.stored(r, first + i))),
        gradient: array::from_fn(|i| array::from_fn(|r| gradients[r * cols + first + i])),
    };
    for step in STEPS {
        best.keep_better(&attempt(simd, codes, &part, scales.map(|scale| scale + step)));
    }
    tile.group_scales[group] = best.scales;
    tile.integers[first..][..GROUP].copy_from_slice(&best.integers);
    for (r, gradient) in gradients.chunks_exact_mut(cols).enumerate() {
        for i in 0..GROUP {
            let change = best.changes[i][r];
            // Most codes stay as they are.
            if change != 0.0 {
                for (g, h) in gradient.iter_mut().zip(metric.row(first + i)) {
                    *g -= change * h;
                }
            }
        }
    }
}

/// The codes of one group for these scales: first the nearest ones, then for each in turn the one
/// that costs least.
#[inline(always)]
fn attempt<S: Simd, C: Codes, const GROUP: usize>(
    simd: S,
    codes: &C,
    group: &Group<'_, GROUP>,
    group_scales: Lanes,
) -> Trial<GROUP> {
    let Group { row_scales, hessian, inverses, stored, gradient } = group;
    let zeros = [[0.0; TILE_ROWS]; GROUP];
    let mut trial =
        Trial { scales: group_scales, integers: zeros, changes: zeros, costs: [0.0; TILE_ROWS] };
    let scales: Lanes = array::from_fn(|r| row_scales[r] * group_scales[r]);
    let scale_inverses = scales.map(inverse);
    let mut local = *gradient;
    for i in 0..GROUP {
        let mut change = [0.0; TILE_ROWS];
        for r in 0..TILE_ROWS {
            trial.integers[i][r] = codes.nearest(stored[i][r] * scale_inverses[r]);
            change[r] = scales[r] * trial.integers[i][r] - stored[i][r];
        }
        subtract(simd, &mut local, &change, &hessian[i]);
    }
    for _ in 0..SWEEPS {
        for i in 0..GROUP {
            let mut change = [0.0; TILE_ROWS];
            for r in 0..TILE_ROWS {
                let current = scales[r] * trial.integers[i][r];
                let wanted = current + local[i][r] * inverses[i];
                trial.integers[i][r] = codes.nearest(wanted * scale_inverses[r]);
                change[r] = scales[r] * trial.integers[i][r] - current;
            }
            subtract(simd, &mut local, &change, &hessian[i]);
        }
    }
    for i in 0..GROUP {
        for r in 0..TILE_ROWS {
            let change = scales[r] * trial.integers[i][r] - stored[i][r];
            trial.changes[i][r] = change;
            // With the gradients before and behind the change `d`:
            // −2 d·g + dᵀHd = −d·(g + (g − Hd)).
            trial.costs[r] -= change * (gradient[i][r] + local[i][r]);
        }
    }
    trial
}

/// Updates the gradients for a change in one column.
#[inline(always)]
fn subtract<S: Simd, const GROUP: usize>(
    simd: S,
    gradients: &mut [Lanes; GROUP],
    change: &Lanes,
    hessian: &[f32; GROUP],
) {
    let changes = S::as_simd_f32s(change).0;
    for (gradient, &h) in gradients.iter_mut().zip(hessian) {
        let h = simd.splat_f32s(h);
        for (gradient, &change) in S::as_mut_simd_f32s(gradient).0.iter_mut().zip(changes) {
            *gradient = simd.sub_f32s(*gradient, simd.mul_f32s(change, h));
        }
    }
}
