//! The meaning of attention over one span of the cache, and of joining spans.

use crate::Kernels;
use crate::exp::exp;
use crate::kernels::START_GROUP;
use crate::kv::{ATTEND_CHUNK, KvHead, MAX_HEAD_DIM, from_half, signed_nibble};
use crate::round::{round_half_even, wide_scale};
use core::ops::Range;
use half::f16;
use kinglet_quant::format::BLOCK;

/// Attention in floats, for keys and values of 16-bit floats.
pub(super) fn in_floats(query: &[f32], kv: &KvHead<'_>, span: Range<usize>, partial: &mut [f32]) {
    let (dim, layout) = (query.len(), &kv.layout);
    let keys: &[f16] = bytemuck::cast_slice(kv.keys);
    let values: &[f16] = bytemuck::cast_slice(kv.values);
    let key = |position, d| from_half(keys[layout.key_index(position, d)]);
    let value = |position, d| from_half(values[layout.value_index(position, d)]);
    let mut weights = [0f32; ATTEND_CHUNK];
    let weights = &mut weights[..span.len()];
    for (score, position) in weights.iter_mut().zip(span.clone()) {
        *score = (0..dim).map(|d| query[d] * key(position, d)).sum();
    }
    (partial[dim], partial[dim + 1]) = softmax(weights);
    for (d, sum) in partial[..dim].iter_mut().enumerate() {
        let terms = weights.iter().zip(span.clone());
        *sum = terms.map(|(weight, position)| weight * value(position, d)).sum();
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
        *score = dot as f32 * (query_scale * from_half(kv.key_scales[position]));
    }
    (partial[dim], partial[dim + 1]) = softmax(weights);
    for (weight, position) in weights.iter_mut().zip(span.clone()) {
        *weight *= from_half(kv.value_scales[position]);
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

/// Attention in blocks of integers, for keys and values of nibbles: the query becomes bytes with a
/// scale per 32 dimensions. So do the weights, per 32 positions, after each was multiplied by the
/// scale of its value.
pub(super) fn in_blocks(query: &[f32], kv: &KvHead<'_>, span: Range<usize>, partial: &mut [f32]) {
    let (dim, layout) = (query.len(), &kv.layout);
    let query = Blocks::new(query);
    let mut weights = [0f32; ATTEND_CHUNK];
    let weights = &mut weights[..span.len()];
    for (score, position) in weights.iter_mut().zip(span.clone()) {
        let scale = |d| from_half(kv.key_scales[layout.key_scale_index(position, d)]);
        *score = query.sum(dim, kv.keys, &scale, &|d| layout.key_index(position, d));
    }
    (partial[dim], partial[dim + 1]) = softmax(weights);
    for (weight, position) in weights.iter_mut().zip(span.clone()) {
        *weight *= from_half(kv.value_scales[position]);
    }
    let blocks = Blocks::new(weights);
    for (d, sum) in partial[..dim].iter_mut().enumerate() {
        let index = |p| layout.value_index(span.start + p, d);
        *sum = blocks.sum(span.len(), kv.values, &|_| 1.0, &index);
    }
}

/// A vector of bytes with a scale per 32.
struct Blocks {
    codes: [i8; MAX_HEAD_DIM],
    scales: [f32; MAX_HEAD_DIM / BLOCK],
}

impl Blocks {
    /// Quantizes a vector and zeros behind it, as [`Kernels::quantize`] does.
    #[inline(never)]
    fn new(x: &[f32]) -> Self {
        let mut values = [0f32; MAX_HEAD_DIM];
        values[..x.len()].copy_from_slice(x);
        let mut blocks = Self { codes: [0; MAX_HEAD_DIM], scales: [0.0; MAX_HEAD_DIM / BLOCK] };
        let mut starts = [0; MAX_HEAD_DIM / START_GROUP];
        super::Scalar.quantize(&values, &mut blocks.codes, &mut blocks.scales, &mut starts);
        blocks
    }

    /// `Σ scale · other scale · Σ code · nibble`, block by block, the first `len` elements.
    #[inline(never)]
    fn sum(
        &self,
        len: usize,
        nibbles: &[u8],
        other_scale: &dyn Fn(usize) -> f32,
        index: &dyn Fn(usize) -> usize,
    ) -> f32 {
        let mut sum = 0.0;
        for (start, scale) in (0..len).step_by(BLOCK).zip(self.scales) {
            let mut dot = 0;
            for i in start..len.min(start + BLOCK) {
                dot += i32::from(self.codes[i]) * signed_nibble(nibbles, index(i));
            }
            sum += dot as f32 * (scale * other_scale(start));
        }
        sum
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
