//! Attention over one span of the cache, written once for every instruction set with float
//! [`Lanes`]. Scores run over positions side by side, values over the dimensions of a head.

use crate::elementwise::exp;
use crate::lanes::Lanes;
use core::ops::Range;
use half::f16;
use kinglet_core::KvType;
use kinglet_core::kv::{ATTEND_CHUNK, KvHead};

/// Queries that share each load of a key or value.
const QUERIES: usize = 4;
/// Positions that lie side by side in the keys.
const TILE: usize = 16;

/// [`kinglet_core::Kernels::attend`]; `head_dim` is a multiple of 16.
#[inline(always)]
pub(crate) fn attend<L: Lanes>(
    cpu: L,
    queries: &[f32],
    kv: &KvHead<'_>,
    span: Range<usize>,
    partials: &mut [f32],
) {
    kv.check_span(&span);
    let dim = kv.layout.head_dim;
    assert!(dim.is_multiple_of(TILE) && queries.len().is_multiple_of(dim));
    assert!(partials.len() == queries.len() / dim * (dim + 2));
    let queries = queries.chunks(QUERIES * dim);
    for (queries, partials) in queries.zip(partials.chunks_mut(QUERIES * (dim + 2))) {
        match queries.len() / dim {
            1 => together::<L, 1>(cpu, queries, kv, span.clone(), partials),
            2 => together::<L, 2>(cpu, queries, kv, span.clone(), partials),
            3 => together::<L, 3>(cpu, queries, kv, span.clone(), partials),
            _ => together::<L, QUERIES>(cpu, queries, kv, span.clone(), partials),
        }
    }
}

/// [`attend`] for `Q` queries.
#[inline(always)]
fn together<L: Lanes, const Q: usize>(
    cpu: L,
    queries: &[f32],
    kv: &KvHead<'_>,
    span: Range<usize>,
    partials: &mut [f32],
) {
    let dim = kv.layout.head_dim;
    let mut weights = [[0f32; ATTEND_CHUNK]; Q];
    for start in (0..span.len()).step_by(L::COUNT) {
        let scores = match kv.layout.kind {
            KvType::Int8 => int8_scores::<L, Q>(cpu, queries, kv, span.start + start),
            KvType::F16 => f16_scores::<L, Q>(cpu, queries, kv, span.start + start),
        };
        for (weights, scores) in weights.iter_mut().zip(scores) {
            cpu.store(scores, &mut weights[start..]);
        }
    }
    for (weights, partial) in weights.iter_mut().zip(partials.chunks_exact_mut(dim + 2)) {
        (partial[dim], partial[dim + 1]) = softmax(cpu, weights, span.len());
        if kv.layout.kind == KvType::Int8 {
            scale_by_values(cpu, weights, kv, &span);
        }
    }
    for d in (0..dim).step_by(L::COUNT) {
        let sums = match kv.layout.kind {
            KvType::Int8 => int8_values::<L, Q>(cpu, &weights, kv, &span, d),
            KvType::F16 => f16_values::<L, Q>(cpu, &weights, kv, &span, d),
        };
        for (sums, partial) in sums.into_iter().zip(partials.chunks_exact_mut(dim + 2)) {
            cpu.store(sums, &mut partial[d..dim]);
        }
    }
}

/// Scores of the positions from `position` on, `COUNT` of them.
#[inline(always)]
fn int8_scores<L: Lanes, const Q: usize>(
    cpu: L,
    queries: &[f32],
    kv: &KvHead<'_>,
    position: usize,
) -> [L::F32; Q] {
    let dim = kv.layout.head_dim;
    let keys = &kv.keys[kv.layout.key_index(position, 0)..];
    let mut even = [cpu.splat(0.0); Q];
    let mut odd = even;
    for (d, keys) in (0..dim).step_by(4).zip(keys.chunks(4 * TILE)) {
        let quad = cpu.load_bytes(keys);
        let keys =
            [cpu.byte::<0>(quad), cpu.byte::<1>(quad), cpu.byte::<2>(quad), cpu.byte::<3>(quad)];
        for q in 0..Q {
            let query = &queries[q * dim + d..][..4];
            even[q] = cpu.mul_add(cpu.splat(query[0]), keys[0], even[q]);
            odd[q] = cpu.mul_add(cpu.splat(query[1]), keys[1], odd[q]);
            even[q] = cpu.mul_add(cpu.splat(query[2]), keys[2], even[q]);
            odd[q] = cpu.mul_add(cpu.splat(query[3]), keys[3], odd[q]);
        }
    }
    let scales = cpu.load_f16(&kv.key_scales[position..]);
    for q in 0..Q {
        even[q] = cpu.mul(cpu.add(even[q], odd[q]), scales);
    }
    even
}

/// Scores of the positions from `position` on, `COUNT` of them.
#[inline(always)]
fn f16_scores<L: Lanes, const Q: usize>(
    cpu: L,
    queries: &[f32],
    kv: &KvHead<'_>,
    position: usize,
) -> [L::F32; Q] {
    let dim = kv.layout.head_dim;
    let keys: &[f16] = bytemuck::cast_slice(kv.keys);
    let keys = &keys[kv.layout.key_index(position, 0)..];
    let mut even = [cpu.splat(0.0); Q];
    let mut odd = even;
    for (d, keys) in (0..dim).step_by(2).zip(keys.chunks(2 * TILE)) {
        let (first, second) = (cpu.load_f16(keys), cpu.load_f16(&keys[TILE..]));
        for q in 0..Q {
            even[q] = cpu.mul_add(cpu.splat(queries[q * dim + d]), first, even[q]);
            odd[q] = cpu.mul_add(cpu.splat(queries[q * dim + d + 1]), second, odd[q]);
        }
    }
    for q in 0..Q {
        even[q] = cpu.add(even[q], odd[q]);
    }
    even
}

/// Turns the first `len` scores into weights and the others into zeros; the maximum of the scores
/// and the sum of the weights.
#[inline(always)]
fn softmax<L: Lanes>(cpu: L, weights: &mut [f32; ATTEND_CHUNK], len: usize) -> (f32, f32) {
    let (weights, unused) = weights.split_at_mut(len.next_multiple_of(L::COUNT));
    unused.fill(0.0);
    // Positions behind the span hold anything, NaN too.
    weights[len..].fill(f32::NEG_INFINITY);
    let mut max = cpu.splat(f32::NEG_INFINITY);
    for scores in weights.chunks_exact(L::COUNT) {
        max = cpu.max(max, cpu.load(scores));
    }
    let highest = cpu.max_of_lanes(max);
    for weights in weights.chunks_exact_mut(L::COUNT) {
        let below = cpu.add(cpu.load(weights), cpu.splat(-highest));
        cpu.store(exp(cpu, below), weights);
    }
    weights[len..].fill(0.0);
    let mut sum = cpu.splat(0.0);
    for weights in weights.chunks_exact(L::COUNT) {
        sum = cpu.add(sum, cpu.load(weights));
    }
    (highest, cpu.sum_of_lanes(sum))
}

/// Multiplies the weights by the scales of the values they will multiply.
#[inline(always)]
fn scale_by_values<L: Lanes>(
    cpu: L,
    weights: &mut [f32; ATTEND_CHUNK],
    kv: &KvHead<'_>,
    span: &Range<usize>,
) {
    for start in (0..span.len()).step_by(L::COUNT) {
        let scales = cpu.load_f16(&kv.value_scales[span.start + start..]);
        let scaled = cpu.mul(cpu.load(&weights[start..]), scales);
        cpu.store(scaled, &mut weights[start..]);
    }
    // A scale behind the span may be NaN, and so is its product with zero.
    weights[span.len()..].fill(0.0);
}

/// Weighted sums of dimensions `d..d + COUNT` of the values.
#[inline(always)]
fn int8_values<L: Lanes, const Q: usize>(
    cpu: L,
    weights: &[[f32; ATTEND_CHUNK]; Q],
    kv: &KvHead<'_>,
    span: &Range<usize>,
    d: usize,
) -> [L::F32; Q] {
    let values = &kv.values[kv.layout.value_index(span.start, d)..];
    let mut even = [cpu.splat(0.0); Q];
    let mut odd = even;
    for (p, values) in (0..span.len()).step_by(4).zip(values.chunks(4 * kv.layout.head_dim)) {
        let quad = cpu.load_bytes(values);
        let values =
            [cpu.byte::<0>(quad), cpu.byte::<1>(quad), cpu.byte::<2>(quad), cpu.byte::<3>(quad)];
        for q in 0..Q {
            let weights = &weights[q][p..p + 4];
            even[q] = cpu.mul_add(cpu.splat(weights[0]), values[0], even[q]);
            odd[q] = cpu.mul_add(cpu.splat(weights[1]), values[1], odd[q]);
            even[q] = cpu.mul_add(cpu.splat(weights[2]), values[2], even[q]);
            odd[q] = cpu.mul_add(cpu.splat(weights[3]), values[3], odd[q]);
        }
    }
    for q in 0..Q {
        even[q] = cpu.add(even[q], odd[q]);
    }
    even
}

/// Weighted sums of dimensions `d..d + COUNT` of the values.
#[inline(always)]
fn f16_values<L: Lanes, const Q: usize>(
    cpu: L,
    weights: &[[f32; ATTEND_CHUNK]; Q],
    kv: &KvHead<'_>,
    span: &Range<usize>,
    d: usize,
) -> [L::F32; Q] {
    let values: &[f16] = bytemuck::cast_slice(kv.values);
    let values = &values[kv.layout.value_index(span.start, d)..];
    let mut sums = [cpu.splat(0.0); Q];
    for (p, values) in (0..span.len()).zip(values.chunks(kv.layout.head_dim)) {
        let values = cpu.load_f16(values);
        for q in 0..Q {
            sums[q] = cpu.mul_add(cpu.splat(weights[q][p]), values, sums[q]);
        }
    }
    sums
}
