//! Attention on 16-bit floats.

use super::{Partials, Weights, spans};
use crate::elementwise::exp;
use crate::lanes::Lanes;
use crate::sums::{SIDE_BY_SIDE, Sums};
use core::ops::Range;
use half::f16;
use kinglet_core::kv::{ATTEND_CHUNK, KvHead};
use kinglet_quant::format::TILE_ROWS;

/// Attention of `Q` queries.
#[inline(always)]
pub(super) fn attend<L: Lanes, const Q: usize>(
    cpu: L,
    queries: &[f32],
    kv: &KvHead<'_>,
    positions: Range<usize>,
    out: &mut Partials<'_>,
) {
    let dim = kv.layout.head_dim;
    for (index, span) in spans(positions) {
        let mut weights = [[0f32; ATTEND_CHUNK]; Q];
        for start in (0..span.len()).step_by(L::COUNT) {
            let scores = scores::<L, Q>(cpu, queries, kv, span.start + start);
            for (weights, scores) in weights.iter_mut().zip(&scores) {
                cpu.store(*scores, &mut weights[start..]);
            }
        }
        for (q, weights) in weights.iter_mut().enumerate() {
            let partial = out.of(index, q);
            (partial[dim], partial[dim + 1]) = softmax(cpu, weights, span.len());
        }
        for d in (0..dim).step_by(L::COUNT) {
            let sums = values::<L, Q>(cpu, &weights, kv, &span, d);
            for (q, sums) in sums.iter().enumerate() {
                cpu.store(*sums, &mut out.of(index, q)[d..dim]);
            }
        }
    }
}

/// Scores of the positions from `position` on, `COUNT` of them.
#[inline(always)]
fn scores<L: Lanes, const Q: usize>(
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
    for (d, keys) in (0..dim).step_by(2).zip(keys.chunks(2 * TILE_ROWS)) {
        let (first, second) = (cpu.load_f16(keys), cpu.load_f16(&keys[TILE_ROWS..]));
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

/// Weighted sums of dimensions `d..d + COUNT` of the values.
#[inline(always)]
fn values<L: Lanes, const Q: usize>(
    cpu: L,
    weights: &Weights<Q>,
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
    let mut sum = Sums::none(cpu);
    for weights in weights.chunks(SIDE_BY_SIDE) {
        for (register, weights) in weights.chunks_exact(L::COUNT).enumerate() {
            sum.add(cpu, register, cpu.load(weights));
        }
    }
    (highest, sum.total(cpu))
}
