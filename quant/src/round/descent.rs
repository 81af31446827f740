//! Coordinate descent over codes and scales, one group of columns after the other.

use super::Tile;
use crate::format::TILE_ROWS;
use crate::metric::Metric;
use crate::quantize::codes::{Codes, MAX_GROUP_SCALE, inverse};
use pulp::Simd;

/// Rounds over all groups.
const PASSES: usize = 4;
/// Rounds over the codes of a group with a scale that is tried.
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
    let cols = metric.cols();
    let mut gradients = gradients(simd, tile, metric, rows);
    for _ in 0..PASSES {
        for group in 0..tile.group_scales.len() {
            for r in 0..rows.len() / cols {
                if tile.row_scales[r] > 0.0 {
                    let gradient = &mut gradients[r * cols..][..cols];
                    improve::<C, GROUP>(tile, codes, metric, r, group, gradient);
                }
            }
        }
    }
}

/// `H e` for the error `e` of every row, `[rows][cols]`.
#[inline(always)]
fn gradients<S: Simd>(simd: S, tile: &Tile, metric: &Metric, rows: &[f32]) -> Vec<f32> {
    let cols = metric.cols();
    let mut errors = vec![[0f32; TILE_ROWS]; cols];
    for (r, row) in rows.chunks_exact(cols).enumerate() {
        for (col, error) in errors.iter_mut().enumerate() {
            error[r] = row[col] - tile.stored(r, col);
        }
    }
    let mut gradients = vec![0f32; rows.len()];
    for col in 0..cols {
        let lanes = super::weighted_sum(simd, &errors, metric.row(col));
        for (gradient, lane) in gradients.chunks_exact_mut(cols).zip(lanes) {
            gradient[col] = lane;
        }
    }
    gradients
}

/// A scale and the codes that go with it.
#[derive(Clone, Copy)]
struct Trial<const GROUP: usize> {
    scale: f32,
    integers: [f32; GROUP],
    /// What changes in the stored weights.
    change: [f32; GROUP],
    /// What changes in the cost.
    cost: f32,
}

/// Takes the best scale and codes for one group of a row, everything else as it is.
#[inline(always)]
fn improve<C: Codes, const GROUP: usize>(
    tile: &mut Tile,
    codes: &C,
    metric: &Metric,
    r: usize,
    group: usize,
    gradient: &mut [f32],
) {
    let first = group * GROUP;
    let mut hessian = [[0f32; GROUP]; GROUP];
    for (i, row) in hessian.iter_mut().enumerate() {
        row.copy_from_slice(&metric.row(first + i)[first..first + GROUP]);
    }
    let inverses: [f32; GROUP] = std::array::from_fn(|i| 1.0 / hessian[i][i]);
    let mut stored = [0f32; GROUP];
    for (i, stored) in stored.iter_mut().enumerate() {
        *stored = tile.stored(r, first + i);
    }
    let mut local = [0f32; GROUP];
    local.copy_from_slice(&gradient[first..first + GROUP]);
    let mut best: Option<Trial<GROUP>> = None;
    for step in STEPS {
        let scale = tile.group_scales[group][r] + step;
        if scale.abs() > MAX_GROUP_SCALE {
            continue;
        }
        let found = attempt(codes, tile.row_scales[r], scale, &hessian, &inverses, &stored, &local);
        if found.cost < best.map_or(0.0, |best| best.cost) {
            best = Some(found);
        }
    }
    let Some(best) = best else { return };
    tile.group_scales[group][r] = best.scale;
    for i in 0..GROUP {
        tile.integers[first + i][r] = best.integers[i];
        let change = best.change[i];
        if change != 0.0 {
            for (g, h) in gradient.iter_mut().zip(metric.row(first + i)) {
                *g -= change * h;
            }
        }
    }
}

/// The codes of one group for a scale: the nearest first, then each in turn where it costs least.
#[inline(always)]
fn attempt<C: Codes, const GROUP: usize>(
    codes: &C,
    row_scale: f32,
    group_scale: f32,
    hessian: &[[f32; GROUP]; GROUP],
    inverses: &[f32; GROUP],
    stored: &[f32; GROUP],
    gradient: &[f32; GROUP],
) -> Trial<GROUP> {
    let scale = row_scale * group_scale;
    let inverse = inverse(scale);
    let mut trial =
        Trial { scale: group_scale, integers: [0.0; GROUP], change: [0.0; GROUP], cost: 0.0 };
    let mut local = *gradient;
    for i in 0..GROUP {
        trial.integers[i] = codes.nearest_alone(stored[i] * inverse);
        trial.change[i] = scale * trial.integers[i] - stored[i];
        for j in 0..GROUP {
            local[j] -= trial.change[i] * hessian[i][j];
        }
    }
    for _ in 0..SWEEPS {
        for i in 0..GROUP {
            let current = scale * trial.integers[i];
            let wanted = current + local[i] * inverses[i];
            let integer = codes.nearest_alone(wanted * inverse);
            if integer != trial.integers[i] {
                let change = scale * integer - current;
                trial.integers[i] = integer;
                trial.change[i] = scale * integer - stored[i];
                for j in 0..GROUP {
                    local[j] -= change * hessian[i][j];
                }
            }
        }
    }
    // With the gradients before and behind the change `d`: −2 d·g + dᵀHd = −d·(g + (g − Hd)).
    let parts = trial.change.iter().zip(gradient.iter().zip(&local));
    trial.cost = parts.map(|(change, (before, behind))| -change * (before + behind)).sum();
    trial
}
