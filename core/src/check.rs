//! Compares any set of kernels with [`Scalar`] over awkward shapes; for tests (feature `check`).
//!
//! [`kernels`] panics with the operation and shape where the two disagree. Integer parts must agree
//! to the bit, floats within the bounds that the order of additions allows; [`kernels_to_the_bit`]
//! asks for the same bits everywhere.

mod attention;

extern crate alloc;

mod planes;

pub use attention::{Attention, attend};

use crate::arena::Columns;
use crate::kernels::{Activations, Kernels, Output, START_GROUP, panel_floats};
use crate::scalar::Scalar;
use alloc::vec::Vec;
use alloc::{format, vec};
use bytemuck::{Pod, Zeroable};
use kinglet_quant::format::{ALIGN, BLOCK, LINEAR, TILE_ROWS};
use kinglet_quant::tile::{STRIP_SCALES, TileLayout};
use kinglet_quant::{Matrix, Type};

/// Relative error of one rounding.
const ROUNDING: f32 = f32::EPSILON / 2.0;
/// A code table that is neither linear nor symmetric, and reaches both limits.
pub const CURVED: [i8; 16] = [-32, -25, -19, -14, -10, -7, -4, -1, 1, 3, 6, 9, 13, 18, 24, 32];

/// How near to the definition results must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nearness {
    /// Sums of floats may differ by what their order and joint rounding of products change.
    Rounding,
    /// Every bit is the same.
    Bits,
}

impl Nearness {
    /// Whether `actual` is near enough to `expected`, given a bound of rounding.
    fn holds(self, actual: f32, expected: f32, bound: f32) -> bool {
        match self {
            Self::Rounding => (actual - expected).abs() <= bound,
            Self::Bits => actual.to_bits() == expected.to_bits(),
        }
    }
}

/// Checks every operation of `k`.
pub fn kernels<K: Kernels>(k: K) {
    every_operation(k, Nearness::Rounding);
}

/// Checks that every operation of `k` gives the bits that the definition gives.
pub fn kernels_to_the_bit<K: Kernels>(k: K) {
    every_operation(k, Nearness::Bits);
}

fn every_operation<K: Kernels>(k: K, nearness: Nearness) {
    let mut random = Random::new(1);
    for case in products() {
        product(k, &case, nearness, &mut random);
        if case.kind == Type::Q8Planes {
            planes::screen(k, &case, nearness, &mut random);
        }
    }
    for cols in [32, 64, 96, 576, 1536] {
        quantize(k, cols, &mut random);
    }
    for width in [1, 7, 16, 31, 32, 100, 576, 960] {
        vectors(k, width, nearness, &mut random);
    }
    for head_dim in (16..=256).step_by(16) {
        rope(k, head_dim, nearness, &mut random);
    }
    attention::cases(k, nearness, &mut random);
}

/// Numbers that are the same in every run (splitmix64, Steele et al. 2014).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for every seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in −1 to 1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// `count` numbers uniform in ±`range`.
    pub fn vector(&mut self, count: usize, range: f32) -> Vec<f32> {
        (0..count).map(|_| self.unit() * range).collect()
    }
}

/// 64 bytes that start at a multiple of 64.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; ALIGN]);

/// Bytes that start at a multiple of 64, as weights and caches must.
#[derive(Clone)]
pub struct Aligned(Vec<Line>);

impl Aligned {
    /// `bytes` zeros, a multiple of 64.
    pub fn zeroed(bytes: usize) -> Self {
        Self(vec![Line::zeroed(); bytes / ALIGN])
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }

    /// The bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

/// A shape of matrix product to check.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// Format of the weights.
    pub kind: Type,
    /// Columns of a scale group.
    pub group: usize,
    /// Code table (Q4, Q3).
    pub table: [i8; 16],
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Tokens.
    pub tokens: usize,
    /// Every code, scale and activation at the end of its range.
    pub extreme: bool,
}

/// The formats under odd shapes.
pub fn products() -> Vec<Product> {
    let formats = [
        (Type::F32, 32, LINEAR),
        (Type::Bf16, 32, LINEAR),
        (Type::Q8, 32, LINEAR),
        (Type::Q8Planes, 32, LINEAR),
        (Type::Q4, 32, LINEAR),
        (Type::Q4, 16, LINEAR),
        (Type::Q4, 32, CURVED),
        (Type::Q4, 16, CURVED),
        (Type::Q5, 32, LINEAR),
        (Type::Q5, 16, LINEAR),
        (Type::Q3, 32, CURVED),
        (Type::Q3, 16, CURVED),
    ];
    let mut cases = Vec::new();
    for (kind, group, table) in formats {
        let mut add = |rows, cols, tokens, extreme| {
            cases.push(Product { kind, group, table, rows, cols, tokens, extreme });
        };
        for (rows, cols) in [(1, 32), (16, 64), (17, 96), (40, 288), (100, 96)] {
            for tokens in [1, 2, 3, 7, 8, 13, 19] {
                add(rows, cols, tokens, false);
            }
        }
        for tokens in [1, 3, 13] {
            add(17, 1536, tokens, false);
        }
        for tokens in 1..=19 {
            add(20, 64, tokens, false);
            add(16, 96, tokens, true);
        }
    }
    cases
}

impl Product {
    /// Bytes of the weights: tiles without gaps, then the low plane.
    pub fn weight_bytes(&self) -> usize {
        self.layout().stored_bytes() * self.tiles()
    }

    fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE_ROWS)
    }

    fn layout(&self) -> TileLayout {
        TileLayout::new(self.kind, self.cols, self.group)
    }

    /// The matrix in `bytes`, which must be aligned to 64.
    pub fn matrix<'a>(&self, bytes: &'a [u8]) -> Matrix<'a> {
        let Self { kind, group, rows, cols, table, .. } = *self;
        Matrix::new(kind, group, rows, cols, self.layout().bytes, table, bytes).unwrap()
    }

    /// Fills `bytes` with weights.
    pub fn fill(&self, bytes: &mut [u8], random: &mut Random) {
        let layout = self.layout();
        let (tiles, low_plane) = bytes.split_at_mut(self.tiles() * layout.bytes);
        low_plane.fill_with(|| random.bits() as u8 | if self.extreme { 0x0f } else { 0 });
        for tile in tiles.chunks_exact_mut(layout.bytes) {
            if !self.kind.is_quantized() {
                self.fill_floats(tile, random);
                continue;
            }
            for scale in bytemuck::cast_slice_mut::<u8, f32>(&mut tile[..layout.head]) {
                *scale = random.unit() * 0.01;
                // Positive where they are norms.
                *scale = if self.kind == Type::Q8Planes { scale.abs() } else { *scale };
            }
            for strip in tile[layout.head..].chunks_mut(layout.strip) {
                let (scales, codes) = strip.split_at_mut(STRIP_SCALES);
                for byte in scales {
                    let extreme = [127, -127, -128i8][(random.bits() % 3) as usize];
                    *byte = if self.extreme { extreme as u8 } else { random.bits() as u8 };
                }
                for byte in codes {
                    *byte = match (self.extreme, self.kind) {
                        (false, _) => random.bits() as u8,
                        (true, Type::Q8) => [127, -127, -128i8][(random.bits() % 3) as usize] as u8,
                        (true, _) => [0x00, 0xff, 0x0f, 0xf0][(random.bits() % 4) as usize],
                    };
                }
            }
        }
    }

    fn fill_floats(&self, tile: &mut [u8], random: &mut Random) {
        if self.kind == Type::F32 {
            bytemuck::cast_slice_mut(tile).fill_with(|| random.unit());
        } else {
            bytemuck::cast_slice_mut(tile).fill_with(|| half::bf16::from_f32(random.unit()));
        }
    }

    /// Inputs: every third vector is zero, every fifth block of the others too.
    pub fn inputs(&self, random: &mut Random) -> Inputs {
        let count = self.tokens * self.cols;
        let mut values = random.vector(count, 4.0);
        if self.extreme {
            for (k, value) in values.iter_mut().enumerate() {
                // Runs of one sign drive integer sums to their limits.
                let flip = k / 64 % 2 == 1 || (k / 128 % 2 == 1 && random.bits().is_multiple_of(2));
                *value = if flip { -1.0 } else { 1.0 };
            }
        }
        for (t, token) in values.chunks_exact_mut(self.cols).enumerate() {
            for (b, block) in token.chunks_exact_mut(BLOCK).enumerate() {
                if t % 3 == 2 || (b % 5 == 4 && !self.extreme) {
                    block.fill(0.0);
                }
            }
        }
        Inputs::new(values, self.tokens, self.cols)
    }
}

/// Activations that own their memory.
#[derive(Debug)]
pub struct Inputs {
    tokens: usize,
    cols: usize,
    values: Vec<f32>,
    codes: Vec<i8>,
    scales: Vec<f32>,
    starts: Vec<i32>,
}

impl Inputs {
    /// Quantizes `values`, `[tokens][cols]`.
    pub fn new(values: Vec<f32>, tokens: usize, cols: usize) -> Self {
        let mut codes = vec![0; values.len()];
        let mut scales = vec![0.0; values.len() / BLOCK];
        let mut starts = vec![0; values.len() / START_GROUP];
        Scalar.quantize(&values, &mut codes, &mut scales, &mut starts);
        Self { tokens, cols, values, codes, scales, starts }
    }

    /// The view that kernels take.
    pub fn view(&self) -> Activations<'_> {
        Activations {
            tokens: self.tokens,
            cols: self.cols,
            values: &self.values,
            codes: &self.codes,
            scales: &self.scales,
            starts: &self.starts,
        }
    }

    /// One token alone.
    fn token(&self, token: usize) -> Activations<'_> {
        Activations {
            tokens: 1,
            cols: self.cols,
            values: &self.values[token * self.cols..],
            codes: &self.codes[token * self.cols..],
            scales: &self.scales[token * self.cols / BLOCK..],
            starts: &self.starts[token * self.cols / START_GROUP..],
        }
    }
}

/// Checks a product of one shape.
pub fn matmul<K: Kernels>(k: K, case: &Product, random: &mut Random) {
    product(k, case, Nearness::Rounding, random);
}

fn product<K: Kernels>(k: K, case: &Product, nearness: Nearness, random: &mut Random) {
    let mut memory = Aligned::zeroed(case.weight_bytes());
    case.fill(memory.bytes_mut(), random);
    let w = case.matrix(memory.bytes());
    let inputs = case.inputs(random);
    let x = inputs.view();
    let (tiles, width) = (w.tile_count(), w.tile_count() * TILE_ROWS);
    let before = random.vector(case.tokens * width, 1.0);
    let mut scratch = vec![0.0; panel_floats(&w)];
    let bounds = product_bounds(&w, &x);
    for output in [Output::Store, Output::Add] {
        let (mut expected, mut actual) = (before.clone(), before.clone());
        let mut columns = Columns::all(&mut expected, width);
        Scalar.matmul(&w, 0..tiles, &x, &mut columns, output, &mut scratch);
        let mut columns = Columns::all(&mut actual, width);
        k.matmul(&w, 0..tiles, &x, &mut columns, output, &mut scratch);
        for (i, ((a, e), bound)) in actual.iter().zip(&expected).zip(&bounds).enumerate() {
            let bound = bound + 2.0 * ROUNDING * (e.abs() + before[i].abs());
            assert!(
                nearness.holds(*a, *e, bound),
                "matmul {case:?} {output:?} at {i}: {a}, not {e} ± {bound}"
            );
        }
        let exact = w.kind().is_quantized();
        let mut dealt = before.clone();
        for range in [tiles / 2..tiles, 0..tiles / 2] {
            let mut columns = Columns::all(&mut dealt, width);
            let mut columns = columns.narrow(range.start * TILE_ROWS..range.end * TILE_ROWS);
            k.matmul(&w, range, &x, &mut columns, output, &mut scratch);
        }
        assert_same(&dealt, &actual, exact, &bounds, || format!("matmul {case:?} dealt"));
        let mut single = before.clone();
        for (token, row) in single.chunks_exact_mut(width).enumerate() {
            let (x, mut columns) = (inputs.token(token), Columns::all(row, width));
            k.matmul(&w, 0..tiles, &x, &mut columns, output, &mut scratch);
        }
        assert_same(&single, &actual, exact, &bounds, || format!("matmul {case:?} one by one"));
    }
}

/// Equal to the bit when `exact`, else within the bounds.
fn assert_same(
    a: &[f32],
    b: &[f32],
    exact: bool,
    bounds: &[f32],
    what: impl Fn() -> alloc::string::String,
) {
    for (i, ((a, b), bound)) in a.iter().zip(b).zip(bounds).enumerate() {
        let same = if exact { a.to_bits() == b.to_bits() } else { (a - b).abs() <= bound + 1e-6 };
        assert!(same, "{} at {i}: {a} and {b}", what());
    }
}

/// How far two results may differ: both round once per addition (per 32 columns for integers), each
/// time by at most a rounding of the sum of magnitudes.
fn product_bounds(w: &Matrix<'_>, x: &Activations<'_>) -> Vec<f32> {
    let width = w.tile_count() * TILE_ROWS;
    let additions = if w.kind().is_quantized() { w.cols() / BLOCK + 4 } else { w.cols() + 4 };
    let mut bounds = vec![0.0; x.tokens * width];
    for row in 0..w.rows() {
        let weights: Vec<f32> = (0..w.cols()).map(|k| w.weight(row, k)).collect();
        for token in 0..x.tokens {
            let magnitude = |block: usize| -> f32 {
                let columns = block * BLOCK..(block + 1) * BLOCK;
                let at = token * x.cols;
                if !w.kind().is_quantized() {
                    return columns.map(|k| (weights[k] * x.values[at + k]).abs()).sum();
                }
                let products = columns.map(|k| weights[k] * f32::from(x.codes[at + k]));
                // The sum within a block is exact, so only its result counts.
                let slack = 1.0 + 64.0 * ROUNDING;
                let scale = x.scales[at / BLOCK + block];
                products.sum::<f32>().abs() * slack * scale
                    + 2.0 * planes::low_magnitude(w, row, token, block, x)
                    + f32::MIN_POSITIVE
            };
            let sum: f32 = (0..w.cols() / BLOCK).map(magnitude).sum();
            bounds[token * width + row] = 2.0 * additions as f32 * ROUNDING * sum;
        }
    }
    // Rows that pad the last tile: whatever lies in them, its products.
    bounds.chunks_exact_mut(width).for_each(|token| token[w.rows()..].fill(f32::INFINITY));
    bounds
}

fn quantize<K: Kernels>(k: K, cols: usize, random: &mut Random) {
    for range in [1.0, 1e-30, 1e-38, 1e30, 0.0] {
        let mut x = random.vector(cols, range);
        // Exact halves between codes, and the maximum in a block's last place.
        for (i, x) in x.iter_mut().enumerate().take(BLOCK) {
            *x = (i as f32 + 0.5) * range;
        }
        x[BLOCK - 1] = 127.0 * range;
        let (mut codes, mut scales) = (vec![0i8; cols], vec![0.0; cols / BLOCK]);
        let mut starts = vec![0; cols / START_GROUP];
        let (mut other_codes, mut other_scales) = (codes.clone(), scales.clone());
        let mut other_starts = starts.clone();
        Scalar.quantize(&x, &mut codes, &mut scales, &mut starts);
        k.quantize(&x, &mut other_codes, &mut other_scales, &mut other_starts);
        assert_eq!(codes, other_codes, "quantize {cols} ± {range}: codes");
        assert_eq!(scales, other_scales, "quantize {cols} ± {range}: scales");
        assert_eq!(starts, other_starts, "quantize {cols} ± {range}: starts");
    }
}

fn vectors<K: Kernels>(k: K, width: usize, nearness: Nearness, random: &mut Random) {
    let (x, gain) = (random.vector(width, 3.0), random.vector(width, 2.0));
    for (x, eps) in [(&x, 1e-5), (&vec![0.0; width], 1e-6)] {
        let (mut expected, mut actual) = (vec![0.0; width], vec![0.0; width]);
        Scalar.rms_norm(x, &gain, eps, &mut expected);
        k.rms_norm(x, &gain, eps, &mut actual);
        // Sums of squares have no cancellation, so every addition costs a relative rounding.
        let relative = (width as f32 + 8.0) * ROUNDING;
        for (i, (a, e)) in actual.iter().zip(&expected).enumerate() {
            let bound = relative * e.abs();
            assert!(nearness.holds(*a, *e, bound), "rms_norm {width} at {i}: {a}, not {e}");
        }
    }
    for range in [1.0, 10.0, 80.0] {
        let (gate, up) = (random.vector(width, range), random.vector(width, 2.0));
        let (mut expected, mut actual) = (gate.clone(), gate.clone());
        Scalar.silu_mul(&mut expected, &up);
        k.silu_mul(&mut actual, &up);
        for (i, (a, e)) in actual.iter().zip(&expected).enumerate() {
            assert_eq!(a.to_bits(), e.to_bits(), "silu_mul of {} at {i}: {a}, not {e}", gate[i]);
        }
    }
}

fn rope<K: Kernels>(k: K, head_dim: usize, nearness: Nearness, random: &mut Random) {
    let head = random.vector(head_dim, 5.0);
    let angles = random.vector(head_dim / 2, 100.0);
    let cos: Vec<f32> = angles.iter().map(|&a| libm::cosf(a)).collect();
    let sin: Vec<f32> = angles.iter().map(|&a| libm::sinf(a)).collect();
    let (mut expected, mut actual) = (head.clone(), head.clone());
    Scalar.rope(&mut expected, &cos, &sin);
    k.rope(&mut actual, &cos, &sin);
    for (i, (a, e)) in actual.iter().zip(&expected).enumerate() {
        let pair = head[i % (head_dim / 2)].abs() + head[i % (head_dim / 2) + head_dim / 2].abs();
        let bound = 4.0 * ROUNDING * pair;
        assert!(nearness.holds(*a, *e, bound), "rope {head_dim} at {i}: {a}, not {e}");
    }
}
