use super::*;
use crate::calibrate::metric::DAMPING;
use crate::calibrate::moments::Moments;
use crate::quantize;

/// Weights, and the metric of inputs that hang together as those of trained models do.
fn problem(rows: usize, cols: usize, seed: u64) -> (Vec<f32>, Metric) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut gaussian = || (0..4).map(|_| random.f32() - 0.5).sum::<f32>() * 3f32.sqrt();
    let weights = (0..rows * cols).map(|_| gaussian()).collect();
    let mut moments = Moments::new(cols, 4 * cols);
    for _ in 0..4 * cols {
        let shared = gaussian();
        let input = |i: usize| (gaussian() + shared) * if i.is_multiple_of(7) { 5.0 } else { 1.0 };
        let inputs: Vec<f32> = (0..cols).map(input).collect();
        moments.add(&inputs, 1);
    }
    (weights, Metric::new(&moments, &vec![1.0; cols], DAMPING))
}

/// The bytes of all tiles, and what rounding did.
fn rounded(scheme: &Scheme, weights: &[f32], metric: &Metric, threads: usize) -> (Vec<u8>, Errors) {
    let layout = scheme.layout(metric.cols());
    let rows = weights.len() / metric.cols();
    let mut bytes = vec![0xA5; rows.div_ceil(TILE_ROWS) * layout.bytes];
    let tiles = Tiles { bytes: &mut bytes, stride: layout.bytes, low: &mut [] };
    let errors = encode(scheme, weights, metric, threads, tiles);
    (bytes, errors)
}

/// What the nearest codes do to the outputs.
fn nearest(scheme: &Scheme, weights: &[f32], metric: &Metric) -> f64 {
    let importance = metric.diagonal();
    let mut error = 0.0;
    for rows in weights.chunks(TILE_ROWS * metric.cols()) {
        let task = Task { scheme, metric, importance: &importance, rows, descend: false };
        let mut tile = scheme.with_codes(task);
        for (r, row) in rows.chunks_exact(metric.cols()).enumerate() {
            for (col, &weight) in row.iter().enumerate() {
                let scale = tile.row_scales[r] * tile.group_scales[col / tile.width()][r];
                tile.integers[col][r] = scheme.with_codes(Round(weight * inverse(scale)));
            }
        }
        error += tile.outputs(metric, rows, &vec![0.0; metric.cols()]).error;
    }
    error
}

struct Round(f32);

impl UseCodes for Round {
    type Output = f32;

    fn run<C: Codes>(self, codes: &C) -> f32 {
        codes.nearest(self.0)
    }
}

#[test]
fn outputs_are_nearer_than_those_of_the_nearest_codes() {
    let (weights, metric) = problem(40, 192, 1);
    for scheme in [Scheme::Q8, Scheme::Q5, Scheme::Q4, Scheme::Q4.with_group(32), Scheme::Q3] {
        let (_, errors) = rounded(&scheme, &weights, &metric, 1);
        let ratio = errors.outputs.error / nearest(&scheme, &weights, &metric);
        assert!(ratio < 0.75, "{scheme:?}: {ratio}");
    }
}

#[test]
fn descent_lowers_the_cost_that_rounding_leaves() {
    let (weights, metric) = problem(16, 160, 2);
    for scheme in [Scheme::Q5, Scheme::Q4, Scheme::Q3] {
        let cost = |descend| {
            let (importance, rows) = (&metric.diagonal()[..], &weights[..]);
            let task = Task { scheme: &scheme, metric: &metric, importance, rows, descend };
            scheme.with_codes(task).outputs(&metric, rows, &[0.0; 160]).error
        };
        let ratio = cost(true) / cost(false);
        assert!(ratio < 0.99, "{scheme:?}: {ratio}");
    }
}

#[test]
fn tiles_hold_what_was_measured_whatever_the_threads() {
    let (mut weights, metric) = problem(37, 96, 3);
    weights[5 * 96..6 * 96].fill(0.0);
    for scheme in [Scheme::Q8, Scheme::Q5, Scheme::Q4, Scheme::Q3] {
        let (bytes, errors) = rounded(&scheme, &weights, &metric, 1);
        assert_eq!((bytes.clone(), errors), rounded(&scheme, &weights, &metric, 3));
        let mut memory = vec![[0u64; 8]; bytes.len() / 64 + 1];
        let memory: &mut [u8] = bytemuck::cast_slice_mut(&mut memory);
        let skip = memory.as_ptr().addr().next_multiple_of(64) - memory.as_ptr().addr();
        memory[skip..][..bytes.len()].copy_from_slice(&bytes);
        let stride = scheme.layout(96).bytes;
        let (kind, group) = (scheme.kind(), scheme.group());
        let memory = &memory[skip..];
        let matrix =
            crate::Matrix::new(kind, group, 37, 96, stride, *scheme.table(), memory).unwrap();
        let mut power = quantize::Power::default();
        for (i, &weight) in weights.iter().enumerate() {
            power.add(weight, matrix.weight(i / 96, i % 96));
        }
        assert!((power.error - errors.weights.error).abs() <= 1e-6 * power.error);
    }
}

#[test]
fn divided_metrics_are_those_of_divided_inputs() {
    let cols = 64;
    let mut random = fastrand::Rng::with_seed(4);
    let mut moments = Moments::new(cols, 300);
    for _ in 0..300 {
        let inputs: Vec<f32> = (0..cols).map(|_| random.f32() - 0.3).collect();
        moments.add(&inputs, 1);
    }
    let factors: Vec<f32> = (0..cols).map(|_| 0.9 + 0.2 * random.f32()).collect();
    let whole = Metric::new(&moments, &vec![1.0; cols], DAMPING).divided(&factors);
    let exact = Metric::new(&moments, &factors, DAMPING);
    for col in 0..cols {
        for (a, b) in whole.row(col).iter().zip(exact.row(col)) {
            assert!((a - b).abs() < 0.01 * b.abs().max(0.1), "{a} {b}");
        }
    }
}
