//! Attention over spans that are long, short and not whole, in a cache whose other positions hold
//! bytes that are no numbers.

use super::alloc::{format, vec, vec::Vec};
use super::{Aligned, Nearness, ROUNDING, Random};
use crate::kernels::Kernels;
use crate::kv::{ATTEND_CHUNK, KvHead, KvLayout, KvType};
use crate::scalar::Scalar;
use core::ops::Range;

/// A shape of attention to check.
#[derive(Clone, Debug)]
pub struct Attention {
    /// What the cache holds.
    pub kind: KvType,
    /// Width of a head.
    pub head_dim: usize,
    /// Queries that share a head of the cache.
    pub group: usize,
    /// Positions that are attended to.
    pub positions: Range<usize>,
}

/// Checks attention for heads of every width.
pub(super) fn cases<K: Kernels>(k: K, nearness: Nearness, random: &mut Random) {
    let ranges = [0..1, 0..2, 128..143, 0..16, 256..273, 128..228, 0..128, 0..129, 128..433];
    for kind in [KvType::Int8, KvType::F16] {
        for (number, head_dim) in (16..=256).step_by(16).enumerate() {
            let group = number % 8 + 1;
            // Long spans for some widths, every remainder by 64 among them: emulators are slow.
            let long_spans = number % 3 == 0;
            for positions in ranges.iter().filter(|range| long_spans || range.len() < 20).cloned() {
                let case = Attention { kind, head_dim, group, positions };
                compare(k, &case, nearness, random);
            }
        }
    }
}

/// Checks attention of one shape, and the joining of its spans.
pub fn attend<K: Kernels>(k: K, case: &Attention, random: &mut Random) {
    compare(k, case, Nearness::Rounding, random);
}

fn compare<K: Kernels>(k: K, case: &Attention, nearness: Nearness, random: &mut Random) {
    let Attention { kind, head_dim, group, ref positions } = *case;
    let layout = KvLayout::new(kind, head_dim, positions.end);
    let mut memory = Aligned::zeroed(layout.block_bytes());
    let mut appended = Aligned::zeroed(layout.block_bytes());
    memory.bytes_mut().fill(0xff);
    appended.bytes_mut().fill(0xff);
    for position in positions.clone() {
        // The first position weighs most, as it does in trained models, and some are all zeros.
        let range = if position % 128 == 0 { 6.0 } else { (position % 7) as f32 * 0.5 };
        let (key, value) = (random.vector(head_dim, range), random.vector(head_dim, range));
        layout.store(memory.bytes_mut(), position, &key, &value);
        k.append(&layout, appended.bytes_mut(), position, &key, &value);
    }
    assert!(memory.bytes() == appended.bytes(), "{case:?}: appended differently");
    let kv = layout.head(memory.bytes());
    let mut queries = random.vector(group * head_dim, 8.0 / libm::sqrtf(head_dim as f32));
    if group > 4 {
        queries[..head_dim].fill(0.0);
    }
    let spans = positions.len().div_ceil(ATTEND_CHUNK);
    let width = group * (head_dim + 2);
    let mut expected = vec![0.0; spans * width];
    let mut actual = vec![f32::NAN; spans * width];
    Scalar.attend(&queries, &kv, positions.clone(), &mut expected);
    k.attend(&queries, &kv, positions.clone(), &mut actual);
    for (span, (actual, expected)) in
        actual.chunks_exact(width).zip(expected.chunks_exact(width)).enumerate()
    {
        let start = positions.start + span * ATTEND_CHUNK;
        let span = start..(start + ATTEND_CHUNK).min(positions.end);
        let rows = actual.chunks_exact(head_dim + 2).zip(expected.chunks_exact(head_dim + 2));
        for ((actual, expected), query) in rows.zip(queries.chunks_exact(head_dim)) {
            let what = format!("attend {case:?}, positions {span:?}");
            match kind {
                _ if nearness == Nearness::Bits => {
                    for (d, (a, e)) in actual.iter().zip(expected).enumerate() {
                        assert!(nearness.holds(*a, *e, 0.0), "{what}: {a}, not {e}, at {d}");
                    }
                }
                KvType::Int8 => integers(actual, expected, span.len(), &what),
                KvType::F16 => floats(&kv, query, span.clone(), actual, expected, &what),
            }
        }
    }
    join(k, &expected, head_dim, group);
}

/// Everything but the sum of the weights is the same to the bit.
fn integers(actual: &[f32], expected: &[f32], len: usize, what: &str) {
    let dim = actual.len() - 2;
    for (d, (a, e)) in actual[..=dim].iter().zip(expected).enumerate() {
        assert_eq!(a.to_bits(), e.to_bits(), "{what}: {a}, not {e}, at {d}");
    }
    let (weight, error) = (expected[dim + 1], (actual[dim + 1] - expected[dim + 1]).abs());
    assert!(error <= len as f32 * ROUNDING * weight, "{what}: weight off by {error}");
}

/// Sums of floats differ by their order.
fn floats(
    kv: &KvHead<'_>,
    query: &[f32],
    span: Range<usize>,
    actual: &[f32],
    expected: &[f32],
    what: &str,
) {
    let dim = query.len();
    let magnitude = |p| (0..dim).map(|d| (query[d] * kv.key(p, d)).abs()).sum::<f32>();
    let highest = span.clone().map(magnitude).fold(0.0, f32::max);
    // Of a score; a weight's exponent is the difference of two.
    let score_error = 2.0 * (dim as f32 + 4.0) * ROUNDING * highest;
    let relative = 2.0 * score_error + 2.0 * (span.len() as f32 + 4.0) * ROUNDING;
    assert!((actual[dim] - expected[dim]).abs() <= score_error, "{what}: max");
    let weight = expected[dim + 1];
    let error = (actual[dim + 1] - weight).abs();
    assert!(error <= relative * weight, "{what}: weight off by {error}");
    for d in 0..dim {
        let largest = span.clone().fold(0f32, |max, p| max.max(kv.value(p, d).abs()));
        let error = (actual[d] - expected[d]).abs();
        assert!(error <= relative * weight * largest, "{what}: value {d} off by {error}");
    }
}

/// Joined spans are the same to the bit.
fn join<K: Kernels>(k: K, partials: &[f32], dim: usize, group: usize) {
    let mut expected: Vec<f32> = vec![0.0; group * dim];
    let mut actual = vec![f32::NAN; group * dim];
    Scalar.join(partials, dim, &mut expected);
    k.join(partials, dim, &mut actual);
    for (a, e) in actual.iter().zip(&expected) {
        assert_eq!(a.to_bits(), e.to_bits(), "join of {group} × {dim}: {a}, not {e}");
    }
}
