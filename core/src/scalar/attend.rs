//! The meaning of attention over one span of the cache, and of joining spans.

use crate::Kernels;
use crate::exp::exp;
use crate::kernels::START_GROUP;
use crate::kv::{ATTEND_CHUNK, KvHead, MAX_HEAD_DIM};
use crate::round::{round_half_even, wide_scale};
use core::ops::Range;
use kinglet_quant::format::BLOCK;

/// Attention in floats, for keys and values of 16-bit floats.
pub(super) fn in_floats(query: &[f32], kv: &KvHead<'_>, span: Range<usize>, partial: &mut [f32]) {
    let dim = query.len();
    let mut weights = [0f32; ATTEND_CHUNK];
    let weights = &mut weights[..span.len()];
    for (score, position) in weights.iter_mut().zip(span.clone()) {
        *score = (0..dim).map(|d| query[d] * kv.key(position, d)).sum();
    }
    (partial[dim], partial[dim + 1]) = softmax(weights);
    for (d, sum) in partial[..dim].iter_mut().enumerate() {
        let terms = weights.iter().zip(span.clone());
        *sum = terms.map(|(weight, position)| weight * kv.value(position, d)).sum();
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
        let key = |d| kv.code(kv.keys, layout.key_index(position, d));
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
        let value = |position| kv.code(kv.values, layout.value_index(position, d));
        let terms = codes.iter().zip(span.clone());
        let dot: i32 = terms.map(|(&code, position)| i32::from(code) * value(position)).sum();
        *out = dot as f32 * weight_scale;
    }
}

/// Attention in blocks of integers, for keys and values of nibbles: the query becomes bytes with a
/// scale per 32 dimensions. So do the weights, per 32 positions, after each was multiplied by the
/// scale of its value.
pub(super) fn in_blocks(query: &[f32], kv: &KvHead<'_>, span: Range<usize>, partial: &mut [f32]) {
    let (dim, layout) = (query.len(), &kv.layout);
    let query = Blocks::<MAX_HEAD_DIM>::new(query.iter().copied());
    let mut weights = [0f32; ATTEND_CHUNK];
    let weights = &mut weights[..span.len()];
    for (score, position) in weights.iter_mut().zip(span.clone()) {
        let scale = |d| kv.key_scales[layout.key_scale_index(position, d)].to_f32();
        let key = |d| kv.code(kv.keys, layout.key_index(position, d));
        *score = query.sum(dim, scale, key);
    }
    (partial[dim], partial[dim + 1]) = softmax(weights);
    let scale = |position: usize| kv.value_scales[position].to_f32();
    let terms = weights.iter().zip(span.clone());
    let weights = Blocks::<ATTEND_CHUNK>::new(terms.map(|(w, position)| w * scale(position)));
    for (d, sum) in partial[..dim].iter_mut().enumerate() {
        let value = |p| kv.code(kv.values, layout.value_index(span.start + p, d));
        *sum = weights.sum(span.len(), |_| 1.0, value);
    }
}

/// A vector of `N` bytes with a scale per 32.
struct Blocks<const N: usize> {
    codes: [i8; N],
    scales: [f32; MAX_HEAD_DIM / BLOCK],
}

impl<const N: usize> Blocks<N> {
    /// Quantizes a vector and zeros behind it, as [`Kernels::quantize`] does.
    fn new(x: impl Iterator<Item = f32>) -> Self {
        let mut values = [0f32; N];
        values.iter_mut().zip(x).for_each(|(value, x)| *value = x);
        let mut blocks = Self { codes: [0; N], scales: [0.0; MAX_HEAD_DIM / BLOCK] };
        let mut starts = [0; MAX_HEAD_DIM / START_GROUP];
        let Self { codes, scales } = &mut blocks;
        let (scales, starts) = (&mut scales[..N / BLOCK], &mut starts[..N / START_GROUP]);
        super::Scalar.quantize(&values, codes, scales, starts);
        blocks
    }

    /// `Σ scale · other scale · Σ code · other`, block by block, the first `len` elements.
    fn sum(
        &self,
        len: usize,
        other_scale: impl Fn(usize) -> f32,
        other: impl Fn(usize) -> i32,
    ) -> f32 {
        let blocks = (0..len).step_by(BLOCK).zip(self.scales);
        blocks.fold(0.0, |sum, (start, scale)| {
            let indices = start..len.min(start + BLOCK);
            let dot: i32 = indices.map(|i| i32::from(self.codes[i]) * other(i)).sum();
            sum + dot as f32 * (scale * other_scale(start))
        })
    }
}

/// Codes of a vector; returns their scale.
fn to_codes(x: &[f32], codes: &mut [i16]) -> f32 {
    let (scale, inverse) = wide_scale(x.iter().fold(0f32, |max, x| max.max(x.abs())));
    for (code, x) in codes.iter_mut().zip(x) {
        *code = round_half_even(x * inverse) as i16;
    }
    scale
}

/// Turns scores into weights `e^(score − max)`; returns the maximum and the sum of the weights.
fn softmax(weights: &mut [f32]) -> (f32, f32) {
    let max = weights.iter().fold(f32::NEG_INFINITY, |max, &score| max.max(score));
    for weight in &mut *weights {
        *weight = exp(*weight - max);
    }
    (max, weights.iter().sum())
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
