use super::codes::MAX_Q8;
use super::*;
use crate::matrix::Matrix;
use proptest::prelude::*;

/// A table that is not linear: twice as fine around zero as at the ends.
const CURVED: [i8; 16] = [-32, -25, -19, -14, -10, -7, -4, -1, 1, 4, 7, 10, 14, 19, 25, 32];

fn schemes() -> [Scheme; 10] {
    let curved = |group| Scheme::q4_table(group, CURVED);
    let coarse = Scheme::q4_table(32, LINEAR);
    [
        Scheme::F32,
        Scheme::BF16,
        Scheme::Q8,
        Scheme::Q8_PLANES,
        Scheme::Q5,
        Scheme::Q4,
        coarse,
        curved(16),
        Scheme::Q3,
        Scheme::Q3.with_group(32),
    ]
}

/// Bytes at an address that a mapped file would have.
struct Aligned(Vec<[u64; 8]>);

impl Aligned {
    fn new(bytes: usize) -> Self {
        // The allocator gives 16 bytes of alignment at least; a spare line makes 64 of them.
        Self(vec![[0; 8]; bytes.div_ceil(64) + 1])
    }

    fn bytes(&mut self) -> &mut [u8] {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.0);
        let skip = bytes.as_ptr().addr().next_multiple_of(64) - bytes.as_ptr().addr();
        &mut bytes[skip..]
    }
}

/// Roughly normal: the sum of four uniform numbers.
fn gaussian(random: &mut fastrand::Rng) -> f32 {
    (0..4).map(|_| random.f32() - 0.5).sum::<f32>() * 3f32.sqrt()
}

/// Encodes with tiles next to each other and gives the stored values back.
fn round_trip(scheme: &Scheme, weights: &[f32], cols: usize, threads: usize) -> (Vec<f32>, Power) {
    let rows = weights.len() / cols;
    let layout = scheme.layout(cols);
    let (stride, tiles) = (layout.bytes, rows.div_ceil(TILE_ROWS));
    let mut memory = Aligned::new(tiles * layout.stored_bytes());
    let bytes = &mut memory.bytes()[..tiles * layout.stored_bytes()];
    let (high, low) = bytes.split_at_mut(tiles * stride);
    let tiles = Tiles { bytes: high, stride, low };
    let power = encode(scheme, weights, cols, None, threads, tiles);
    let matrix =
        Matrix::new(scheme.kind(), scheme.group(), rows, cols, stride, *scheme.table(), bytes);
    let matrix = matrix.unwrap();
    let stored = (0..weights.len()).map(|i| matrix.weight(i / cols, i % cols)).collect();
    (stored, power)
}

/// Error power per group of 32 that absolute-maximum scaling cannot exceed: half a step a weight,
/// where the step is the group's own rounded up to the row's grid.
fn q8_bound(row: &[f32], group: &[f32]) -> f64 {
    let step = largest(group) / MAX_Q8 + largest(row) / MAX_Q8 / MAX_GROUP_SCALE;
    group.len() as f64 * (f64::from(step) * 0.5).powi(2) * 1.001
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn stored_weights_are_near(
        rows in 1usize..40, blocks in 1usize..6, exponent in -12i32..12, seed: u64,
    ) {
        let cols = blocks * BLOCK;
        let mut random = fastrand::Rng::with_seed(seed);
        let size = 10f32.powi(exponent);
        let mut weights: Vec<f32> =
            (0..rows * cols).map(|_| gaussian(&mut random) * size).collect();
        // One row and one group of zeros.
        weights[random.usize(..rows) * cols..][..cols].fill(0.0);
        weights[random.usize(..rows * blocks) * BLOCK..][..BLOCK].fill(0.0);
        for scheme in schemes() {
            let (stored, power) = round_trip(&scheme, &weights, cols, 1);
            let mut measured = Power::default();
            weights.iter().zip(&stored).for_each(|(&w, &s)| measured.add(w, s));
            prop_assert!((power.error - measured.error).abs() <= 1e-6 * measured.error);
            prop_assert!((power.exact - measured.exact).abs() <= 1e-6 * measured.exact);
            match scheme.kind() {
                Type::F32 => prop_assert_eq!(&stored, &weights),
                Type::Bf16 => prop_assert!(power.relative_error() < 1.0 / 256.0),
                Type::Q8 | Type::Q8Planes => {
                    for (at, group) in weights.chunks(BLOCK).enumerate() {
                        let mut power = Power::default();
                        let stored = &stored[at * BLOCK..];
                        group.iter().zip(stored).for_each(|(&w, &s)| power.add(w, s));
                        let row = &weights[at / blocks * cols..][..cols];
                        prop_assert!(power.error <= q8_bound(row, group));
                    }
                }
                Type::Q5 => prop_assert!(power.relative_error() < 0.06),
                Type::Q4 => prop_assert!(power.relative_error() < 0.12),
                Type::Q3 => prop_assert!(power.relative_error() < 0.22),
            }
        }
    }

    #[test]
    fn threads_and_stride_do_not_change_tiles(rows in 1usize..100, threads in 2usize..70) {
        let cols = 64;
        let mut random = fastrand::Rng::with_seed(rows as u64);
        let weights: Vec<f32> = (0..rows * cols).map(|_| gaussian(&mut random)).collect();
        for scheme in schemes() {
            let layout = scheme.layout(cols);
            let (tile, tiles) = (layout.bytes, rows.div_ceil(TILE_ROWS));
            let mut alone = vec![0; tiles * tile];
            let mut apart = vec![0xA5; tiles * (tile + 64)];
            let mut lows = [0, 0xA5].map(|byte| vec![byte; tiles * layout.low]);
            let [low, other_low] = &mut lows;
            let dense = Tiles { bytes: &mut alone, stride: tile, low };
            let power = encode(&scheme, &weights, cols, None, 1, dense);
            let spread = Tiles { bytes: &mut apart, stride: tile + 64, low: other_low };
            prop_assert_eq!(power, encode(&scheme, &weights, cols, None, threads, spread));
            prop_assert_eq!(low, other_low);
            for (alone, apart) in alone.chunks(tile).zip(apart.chunks(tile + 64)) {
                prop_assert_eq!(alone, &apart[..tile]);
                prop_assert!(apart[tile..].iter().all(|&byte| byte == 0xA5));
            }
        }
    }
}

#[test]
fn errors_are_those_of_a_good_search() {
    let mut random = fastrand::Rng::with_seed(1);
    let weights: Vec<f32> = (0..256 * 576).map(|_| gaussian(&mut random)).collect();
    let error = |scheme: Scheme| round_trip(&scheme, &weights, 576, 2).1.relative_error();
    let q4 = error(Scheme::Q4);
    let coarse = error(Scheme::q4_table(32, LINEAR));
    let q8 = error(Scheme::Q8);
    // With the largest weight on the last code instead they are 0.0734, 0.0817 and 0.00516.
    assert!((0.060..0.069).contains(&q4), "{q4}");
    assert!((0.060..0.079).contains(&coarse), "{coarse}");
    assert!((0.004..0.0050).contains(&q8), "{q8}");
}

#[test]
fn rows_beyond_the_matrix_are_zero_bytes() {
    let (rows, cols) = (5, 64);
    let weights = vec![0.7; rows * cols];
    for scheme in schemes() {
        let layout = scheme.layout(cols);
        let (mut bytes, mut low) = (vec![0xFF; layout.bytes], vec![0xFF; layout.low]);
        let tiles = Tiles { stride: bytes.len(), bytes: &mut bytes, low: &mut low };
        encode(&scheme, &weights, cols, None, 1, tiles);
        match scheme.kind() {
            Type::F32 | Type::Bf16 => {
                assert!(bytes[bytes.len() / TILE_ROWS * rows..].iter().all(|&byte| byte == 0));
            }
            _ => {
                for group in 0..cols / scheme.group() {
                    assert!(bytes[layout.scale_index(group, 0)] != 0);
                    assert!((rows..TILE_ROWS).all(|r| bytes[layout.scale_index(group, r)] == 0));
                }
                let mut arrays = bytes[..layout.head].chunks(TILE_ROWS * 4);
                assert!(arrays.all(|array| array[rows * 4..].iter().all(|&byte| byte == 0)));
                assert!(low[layout.low / TILE_ROWS * rows..].iter().all(|&byte| byte == 0));
                for block in 0..cols / BLOCK {
                    let codes = &bytes[layout.block_range(block, scheme.group())];
                    let mut lines = codes.chunks(TILE_ROWS * 4);
                    assert!(lines.all(|line| line[rows * 4..].iter().all(|&code| code == 0)));
                }
            }
        }
    }
}

#[test]
fn two_planes_hold_the_weights_of_one() {
    let (rows, cols) = (37, 96);
    let mut random = fastrand::Rng::with_seed(9);
    let mut weights: Vec<f32> = (0..rows * cols).map(|_| gaussian(&mut random)).collect();
    weights[5 * cols..6 * cols].fill(0.0);
    let (one, power) = round_trip(&Scheme::Q8, &weights, cols, 1);
    let (two, same_power) = round_trip(&Scheme::Q8_PLANES, &weights, cols, 1);
    assert_eq!(one, two);
    assert_eq!(power, same_power);
}

#[test]
fn residual_norms_are_those_of_the_low_plane() {
    let (rows, cols) = (16, 64);
    let mut random = fastrand::Rng::with_seed(4);
    let weights: Vec<f32> = (0..rows * cols).map(|_| gaussian(&mut random)).collect();
    let layout = Scheme::Q8_PLANES.layout(cols);
    let mut memory = Aligned::new(layout.stored_bytes());
    let (high, low) = memory.bytes()[..layout.stored_bytes()].split_at_mut(layout.bytes);
    let tiles = Tiles { bytes: high, stride: layout.bytes, low };
    encode(&Scheme::Q8_PLANES, &weights, cols, None, 1, tiles);
    let bytes = memory.bytes();
    let matrix =
        Matrix::new(Type::Q8Planes, BLOCK, rows, cols, layout.bytes, [0; 16], bytes).unwrap();
    let tile = matrix.tile(0);
    for r in 0..rows {
        let residual = |col: usize| {
            let low = f32::from(matrix.code(&tile, r, col).wrapping_add(-128) as u8 & 15);
            let group_scale = f32::from(tile.group_scale(col / BLOCK, r));
            tile.row_scales()[r] * group_scale * (low - MEAN_LOW)
        };
        let norm = (0..cols).map(|col| residual(col).powi(2)).sum::<f32>().sqrt();
        assert!((tile.residual_norms()[r] - norm).abs() <= 1e-5 * norm);
    }
}

#[test]
fn extreme_weights_stay_finite() {
    let cols = 32;
    for size in [f32::from_bits(1), f32::MIN_POSITIVE, 1e-36, 1e-30, 1e30, 1e36] {
        let mut weights = vec![size; 4 * cols];
        weights[0] = -size;
        weights[cols..2 * cols].fill(0.0);
        weights[cols + 9] = size;
        for scheme in schemes() {
            let (stored, power) = round_trip(&scheme, &weights, cols, 1);
            assert!(stored.iter().all(|value| value.is_finite()), "{size:e} as {scheme:?}");
            assert!(power.relative_error() <= 1.0);
            if size > 1e-31 {
                assert!(power.relative_error() < 0.12, "{size:e} as {scheme:?}");
            }
        }
    }
}

#[test]
fn important_columns_have_smaller_errors() {
    let (rows, cols) = (64, 64);
    let mut random = fastrand::Rng::with_seed(5);
    let weights: Vec<f32> = (0..rows * cols).map(|_| gaussian(&mut random)).collect();
    let importance: Vec<f32> = (0..cols).map(|c| if c % 16 == 0 { 100.0 } else { 1.0 }).collect();
    let weighted = |importance: Option<&[f32]>| {
        let stride = Scheme::Q4.layout(cols).bytes;
        let mut memory = Aligned::new(rows / TILE_ROWS * stride);
        let tiles = Tiles { bytes: memory.bytes(), stride, low: &mut [] };
        // The spare line is no tile.
        let tiles = Tiles { bytes: &mut tiles.bytes[..rows / TILE_ROWS * stride], ..tiles };
        encode(&Scheme::Q4, &weights, cols, importance, 1, tiles);
        let matrix = Matrix::new(Type::Q4, 16, rows, cols, stride, LINEAR, memory.bytes()).unwrap();
        let columns = (0..rows).flat_map(|r| (0..cols).step_by(16).map(move |c| (r, c)));
        let error = |(r, c): (usize, usize)| matrix.weight(r, c) - weights[r * cols + c];
        columns.map(|at| error(at).powi(2)).sum::<f32>()
    };
    assert!(weighted(Some(&importance)) < 0.5 * weighted(None));
}

#[test]
fn table_codes_are_the_nearest_entries() {
    fn check<const N: usize>(table: &[i8; 16]) {
        let codes = Codebook::<N>::new(table);
        // Halfway the lower entry is taken.
        let nearest = |x: f32| {
            let entries = table[..N].iter().map(|&entry| f32::from(entry));
            entries.min_by(|a, b| (x - a).abs().total_cmp(&(x - b).abs())).unwrap()
        };
        for step in -4000..=4000 {
            let x = step as f32 / 64.0;
            assert_eq!(codes.nearest(x), nearest(x), "{x}");
        }
        let (lowest, highest) = (f32::from(table[0]), f32::from(table[N - 1]));
        let extremes = [f32::NEG_INFINITY, f32::MIN, -0.0, f32::MAX, f32::INFINITY];
        let wanted = [lowest, lowest, nearest(0.0), highest, highest];
        assert_eq!(extremes.map(|x| codes.nearest(x)), wanted);
    }
    check::<16>(&CURVED);
    check::<16>(&Q4_TABLE);
    check::<8>(&Q3_TABLE);
}
