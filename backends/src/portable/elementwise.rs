//! Operations on vectors whose plain definition compilers do not vectorise.

use kinglet_core::exp::exp;
use kinglet_core::kernels::{NIBBLE_OFFSET, START_GROUP};
use kinglet_core::round::{block_scale, round_to_byte, round_to_wide, wide_scale};
use kinglet_core::sums::{SIDE_BY_SIDE, total};
use kinglet_quant::format::BLOCK;

/// [`kinglet_core::Kernels::quantize`].
pub(super) fn quantize(x: &[f32], codes: &mut [i8], scales: &mut [f32], starts: &mut [i32]) {
    assert!(x.len().is_multiple_of(BLOCK) && codes.len() == x.len());
    assert!(scales.len() == x.len() / BLOCK && starts.len() == x.len() / START_GROUP);
    let blocks = x.as_chunks::<BLOCK>().0.iter().zip(codes.as_chunks_mut::<BLOCK>().0);
    for ((x, codes), scale) in blocks.zip(scales) {
        let inverse;
        (*scale, inverse) = block_scale(largest(x, 0.0, f32::abs));
        for (code, x) in codes.iter_mut().zip(x) {
            *code = round_to_byte(x * inverse) as i8;
        }
    }
    for (start, codes) in starts.iter_mut().zip(codes.as_chunks::<START_GROUP>().0) {
        *start = -NIBBLE_OFFSET * codes.iter().map(|&code| i32::from(code)).sum::<i32>();
    }
}

/// Codes of a vector within ±[`WIDE_LIMIT`](kinglet_core::round::WIDE_LIMIT); returns their scale.
pub(super) fn to_codes(x: &[f32], codes: &mut [i16]) -> f32 {
    let (scale, inverse) = wide_scale(largest(x, 0.0, f32::abs));
    for (code, x) in codes.iter_mut().zip(x) {
        *code = round_to_wide(x * inverse);
    }
    scale
}

/// Turns scores into weights `e^(score − max)`; returns the maximum and the sum of the weights.
pub(super) fn softmax(weights: &mut [f32]) -> (f32, f32) {
    let max = largest(weights, f32::NEG_INFINITY, |score| score);
    for weight in &mut *weights {
        *weight = exp(*weight - max);
    }
    let mut sums = [0f32; SIDE_BY_SIDE];
    for weights in weights.chunks(SIDE_BY_SIDE) {
        for (sum, weight) in sums.iter_mut().zip(weights) {
            *sum += weight;
        }
    }
    (max, total(&mut sums))
}

/// [`kinglet_core::Kernels::silu_mul`].
pub(super) fn silu_mul(gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len());
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exp(-*gate)) * up;
    }
}

/// The largest of what `of` makes of numbers, at least `least`.
#[inline(always)]
fn largest(x: &[f32], least: f32, of: impl Fn(f32) -> f32) -> f32 {
    // Several maxima side by side become vector instructions; a single one would be a chain.
    let mut largest = [least; SIDE_BY_SIDE];
    for x in x.chunks(SIDE_BY_SIDE) {
        for (largest, x) in largest.iter_mut().zip(x) {
            let x = of(*x);
            *largest = if x > *largest { x } else { *largest };
        }
    }
    largest.iter().fold(least, |max, &x| max.max(x))
}
