//! Weights of the positions of a span, for attention in integers.

use super::Weights;
use crate::elementwise::exp;
use crate::lanes::Lanes;
use core::ops::Range;
use kinglet_core::kv::{ATTEND_CHUNK, KvHead};

/// Turns scores into weights times the scales of the values they will multiply, up to the whole
/// register in which the span ends, zero behind the span; the maxima of the scores and the sums of
/// the weights alone.
///
/// Queries take turns, because each alone is a chain of operations that wait for one another.
#[inline(always)]
pub(super) fn softmax<L: Lanes, const Q: usize>(
    cpu: L,
    weights: &mut Weights<Q>,
    kv: &KvHead<'_>,
    span: &Range<usize>,
) -> ([f32; Q], [f32; Q]) {
    let len = span.len();
    let mut scales = [0f32; ATTEND_CHUNK];
    for start in (0..len).step_by(L::COUNT) {
        cpu.store(cpu.load_f16(&kv.value_scales[span.start + start..]), &mut scales[start..]);
    }
    // Positions behind the span hold anything, NaN too.
    scales[len..].fill(0.0);
    let mut max = [cpu.splat(f32::NEG_INFINITY); Q];
    for weights in weights.iter_mut() {
        weights[len..].fill(f32::NEG_INFINITY);
    }
    for start in (0..len).step_by(L::COUNT) {
        for q in 0..Q {
            max[q] = cpu.max(max[q], cpu.load(&weights[q][start..]));
        }
    }
    let (mut highest, mut total) = ([0f32; Q], [0f32; Q]);
    for q in 0..Q {
        highest[q] = cpu.max_of_lanes(max[q]);
    }
    let mut sum = [cpu.splat(0.0); Q];
    for start in (0..len).step_by(L::COUNT) {
        let scales = cpu.load(&scales[start..]);
        for q in 0..Q {
            let below = cpu.add(cpu.load(&weights[q][start..]), cpu.splat(-highest[q]));
            // Behind the span this is 2⁻¹²⁶, which changes no sum: the highest weight is 1.
            let weight = exp(cpu, below);
            sum[q] = cpu.add(sum[q], weight);
            cpu.store(cpu.mul(weight, scales), &mut weights[q][start..]);
        }
    }
    for q in 0..Q {
        total[q] = cpu.sum_of_lanes(sum[q]);
    }
    (highest, total)
}
