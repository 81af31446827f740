//! Checks of the search in two planes.

use super::alloc::vec;
use super::alloc::vec::Vec;
use super::{Nearness, Product, ROUNDING, Random, product_bounds};
use crate::arena::Columns;
use crate::check::Aligned;
use crate::kernels::{Activations, Kernels, Output, Screened};
use crate::scalar::Scalar;
use crate::screen::rows_of;
use core::ops::Range;
use kinglet_quant::format::{BLOCK, TILE_ROWS};
use kinglet_quant::{Matrix, Type};

/// A bound of the low plane's part of the products of a block, which the high plane's may cancel.
/// Zero for weights in one plane.
pub(super) fn low_magnitude(
    w: &Matrix<'_>,
    row: usize,
    token: usize,
    block: usize,
    x: &Activations<'_>,
) -> f32 {
    if w.kind() != Type::Q8Planes {
        return 0.0;
    }
    let (tile, r) = (w.tile(row / TILE_ROWS), row % TILE_ROWS);
    let codes = &x.codes[token * x.cols + block * BLOCK..][..BLOCK];
    // Nibbles are at most 7.5 away from their mean; centring rounds by up to 8 for 16 columns.
    let sum = 7.5 * codes.iter().map(|c| f32::from(c.unsigned_abs())).sum::<f32>() + 16.0;
    let group_scale = f32::from(tile.group_scale(block, r));
    let scale = x.scales[token * x.cols / BLOCK + block];
    sum * (tile.row_scales()[r] * group_scale * scale).abs()
}

/// What a search finds.
#[derive(Clone, Debug, PartialEq)]
struct Found {
    logits: Vec<f32>,
    floors: Vec<f32>,
    ceilings: Vec<f32>,
}

impl Found {
    fn new(tokens: usize, tiles: usize) -> Self {
        let bounds = vec![f32::NAN; tokens * tiles];
        let logits = vec![f32::NAN; tokens * tiles * TILE_ROWS];
        Self { logits, floors: bounds.clone(), ceilings: bounds }
    }

    /// Searches some of the tiles.
    fn fill<K: Kernels>(
        &mut self,
        k: K,
        w: &Matrix<'_>,
        tiles: Range<usize>,
        x: &Activations<'_>,
        margins: &[f32],
    ) {
        let all = w.tile_count();
        let mut columns = [&mut self.floors, &mut self.ceilings].map(|c| Columns::all(c, all));
        let [floors, ceilings] = &mut columns;
        let mut logits = Columns::all(&mut self.logits, all * TILE_ROWS);
        let mut found = Screened {
            logits: logits.narrow(tiles.start * TILE_ROWS..tiles.end * TILE_ROWS),
            floors: floors.narrow(tiles.clone()),
            ceilings: ceilings.narrow(tiles.clone()),
        };
        k.screen(w, tiles, x, margins, &mut found);
    }
}

/// Search and rescoring: near to the scalar ones, and together the same as a product to the bit.
pub(super) fn screen<K: Kernels>(k: K, case: &Product, nearness: Nearness, random: &mut Random) {
    let mut memory = Aligned::zeroed(case.weight_bytes());
    case.fill(memory.bytes_mut(), random);
    let w = case.matrix(memory.bytes());
    let inputs = case.inputs(random);
    let x = inputs.view();
    let (tiles, width) = (w.tile_count(), w.tile_count() * TILE_ROWS);
    let margins: Vec<f32> = (0..case.tokens).map(|_| random.unit().abs() * 10.0).collect();
    let [mut expected, mut actual] = [0, 1].map(|_| Found::new(case.tokens, tiles));
    expected.fill(Scalar, &w, 0..tiles, &x, &margins);
    actual.fill(k, &w, 0..tiles, &x, &margins);
    match nearness {
        Nearness::Bits => assert_eq!(actual, expected, "screen {case:?}"),
        Nearness::Rounding => {
            check_found(case, &w, &actual, &expected, &product_bounds(&w, &x), &margins);
        }
    }

    let mut dealt = Found::new(case.tokens, tiles);
    for range in [tiles / 2..tiles, 0..tiles / 2] {
        dealt.fill(k, &w, range, &x, &margins);
    }
    assert_eq!(dealt, actual, "screen {case:?} dealt");
    for (token, margin) in margins.iter().enumerate() {
        let mut single = Found::new(1, tiles);
        single.fill(k, &w, 0..tiles, &inputs.token(token), &[*margin]);
        assert_eq!(single.logits, actual.logits[token * width..][..width], "{case:?} {token}");
        assert_eq!(single.floors, actual.floors[token * tiles..][..tiles], "{case:?} {token}");
    }

    let mut whole = vec![0.0; case.tokens * width];
    k.matmul(&w, 0..tiles, &x, &mut Columns::all(&mut whole, width), Output::Store, &mut []);
    for token in 0..case.tokens {
        for tile in 0..tiles {
            rescore(k, case, &w, (token, tile), &x, &actual.logits, &whole, random);
        }
    }
}

/// Rescored rows are those of the product, others stay coarse, whichever are asked for together.
#[expect(clippy::too_many_arguments, reason = "they are all of one search")]
fn rescore<K: Kernels>(
    k: K,
    case: &Product,
    w: &Matrix<'_>,
    (token, tile): (usize, usize),
    x: &Activations<'_>,
    coarse: &[f32],
    whole: &[f32],
    random: &mut Random,
) {
    let at = (token * w.tile_count() + tile) * TILE_ROWS;
    let (coarse, whole) = (&coarse[at..][..TILE_ROWS], &whole[at..][..TILE_ROWS]);
    for rows in [0, 1 << (random.bits() % 16), random.bits() as u16, u16::MAX] {
        let mut logits = coarse.to_vec();
        k.rescore(w, tile, rows, x, token, &mut logits);
        let mut expected = coarse.to_vec();
        rows_of(rows).for_each(|r| expected[r] = whole[r]);
        let same = expected.iter().zip(&logits).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "rescore {case:?} {rows:016b}: {logits:?}, not {expected:?}");
    }
}

/// Coarse logits within their rounding, and bounds within that of their rows.
fn check_found(
    case: &Product,
    w: &Matrix<'_>,
    actual: &Found,
    expected: &Found,
    errors: &[f32],
    margins: &[f32],
) {
    let tiles = w.tile_count();
    for (i, ((a, e), error)) in actual.logits.iter().zip(&expected.logits).zip(errors).enumerate() {
        let error = error + 2.0 * ROUNDING * e.abs();
        assert!((a - e).abs() <= error, "screen {case:?} at {i}: {a}, not {e} ± {error}");
    }
    let found = [(&actual.floors, &expected.floors), (&actual.ceilings, &expected.ceilings)];
    for (i, margin) in (0..actual.floors.len()).map(|i| (i, margins[i / tiles])) {
        let rows = TILE_ROWS.min(w.rows() - i % tiles * TILE_ROWS);
        let norms = w.tile(i % tiles).residual_norms()[..rows].iter();
        let norm = norms.fold(0f32, |max, norm| max.max(*norm));
        let rows = i * TILE_ROWS..i * TILE_ROWS + rows;
        let error = errors[rows.clone()].iter().fold(0f32, |max, error| max.max(*error));
        let logit = expected.logits[rows].iter().fold(0f32, |max, logit| max.max(logit.abs()));
        let error = error + 4.0 * ROUNDING * (logit + margin * norm);
        for (actual, expected) in found {
            let (a, e) = (actual[i], expected[i]);
            assert!((a - e).abs() <= error, "bounds {case:?} at {i}: {a}, not {e} ± {error}");
        }
    }
}
