//! The meaning of attention over one span of the cache, and of joining spans.

use super::exp;
use crate::kv::{ATTEND_CHUNK, KvHead, MAX_HEAD_DIM};
use crate::round::{round_to_wide, wide_scale};
use crate::sums::{SIDE_BY_SIDE, total};
use core::ops::Range;

/// Attention in floats, for keys and values of 16-bit floats.
pub(super) fn in_floats(query: &[f32], kv: &KvHead<'_>, span: Range<usize>, partial: &mut [f32]) {
    let dim = query.len();
    let mut weights = [0f32; ATTEND_CHUNK];
    let weights = &mut weights[..span.len()];
    for (score, position) in weights.iter_mut().zip(span.clone()) {
        let mut sums = [0f32; 2];
        for (d, query) in query.iter().enumerate() {
            sums[d % 2] += query * kv.key(position, d);
        }
        *score = sums[0] + sums[1];
    }
    (partial[dim], partial[dim + 1]) = softmax(weights);
    for (d, sum) in partial[..dim].iter_mut().enumerate() {
        let terms = weights.iter().zip(span.clone());
        *sum = terms.fold(0.0, |sum, (weight, position)| sum + weight * kv.value(position, d));
    }
}

/// Attention in integers, for keys and values of bytes: the query becomes codes, and so do the
/// weights after each was multiplied by the scale of its value.
pub(super) fn in_integers(query: &[f32], kv: &KvHead<'_>, span: Range<usize>, partial: &mut [f32]) {
    let (dim, layout) = (query.len(), &kv.layout);
    let mut codes = [0i16; MAX_HEAD_DIM];
    let query_scale = to_codes(query, &mut codes);
    let mut weights = [0f32; ATTEND_CHUNK];
    let weights = &mut weights[..span.len()];
    for (score, position) in weights.iter_mut().zip(span.clone()) {
        let key = |d| i32::from(kv.keys[layout.key_index(position, d)] as i8);
        let dot: i32 = (0..dim).map(|d| i32::from(codes[d]) * key(d)).sum();
        *score = dot as f32 * (query_scale * kv.key_scales[position].to_f32());
    }
    (partial[dim], partial[dim + 1]) = softmax(weights);
    for (weight, position) in weights.iter_mut().zip(span.clone()) {
        *weight *= kv.value_scales[position].to_f32();
    }
    let mut codes = [0i16; ATTEND_CHUNK];
    let weight_scale = to_codes(weights, &mut codes);
    for (d, out) in partial[..dim].iter_mut().enumerate() {
        let value = |position| i32::from(kv.values[layout.value_index(position, d)] as i8);
        let terms = codes.iter().zip(span.clone());
        let dot: i32 = terms.map(|(&code, position)| i32::from(code) * value(position)).sum();
        *out = dot as f32 * weight_scale;
    }
}

/// Codes of a vector; returns their scale. A function of its own, as [`softmax`] is, because
/// firmware would have it twice.
#[inline(never)]
fn to_codes(x: &[f32], codes: &mut [i16]) -> f32 {
    let (scale, inverse) = wide_scale(x.iter().fold(0f32, |max, x| max.max(x.abs())));
    for (code, x) in codes.iter_mut().zip(x) {
        *code = round_to_wide(x * inverse);
    }
    scale
}

/// Turns scores into weights `e^(score − max)`; returns the maximum and the sum of the weights.
#[inline(never)]
fn softmax(weights: &mut [f32]) -> (f32, f32) {
    let max = weights.iter().fold(f32::NEG_INFINITY, |max, &score| max.max(score));
    for weight in &mut *weights {
        *weight = exp(*weight - max);
    }
    let mut sums = [0f32; SIDE_BY_SIDE];
    for (i, weight) in weights.iter().enumerate() {
        sums[i % SIDE_BY_SIDE] += weight;
    }
    (max, total(&mut sums))
}

/// [`crate::Kernels::join`] for one query, whose part of a span lies at multiples of `stride`.
pub(super) fn join(partials: &[f32], stride: usize, out: &mut [f32]) {
    let dim = out.len();
    let spans = || partials.chunks(stride).map(|span| &span[..dim + 2]);
    let max = spans().fold(f32::NEG_INFINITY, |max, span| max.max(span[dim]));
    out.fill(0.0);
    let mut weight = 0.0;
    for span in spans() {
        let factor = exp(span[dim] - max);
        weight += factor * span[dim + 1];
        for (out, sum) in out.iter_mut().zip(span) {
            *out += factor * sum;
        }
    }
    let inverse = 1.0 / weight;
    out.iter_mut().for_each(|out| *out *= inverse);
}
