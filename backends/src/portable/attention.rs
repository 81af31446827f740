//! Attention over the cache. Keys and values of bytes lie in lines of 64: 4 codes of each of 16
//! positions or of 16 dimensions, as the columns of a tile's rows do.

use super::elementwise::{softmax, to_codes};
use super::lines::{WORDS, repeat, signed_byte, words};
use core::ops::Range;
use half::f16;
use kinglet_core::KvType;
use kinglet_core::kv::{ATTEND_CHUNK, KvHead, MAX_HEAD_DIM};
use kinglet_quant::format::{ALIGN, TILE_ROWS};

/// Codes of a row in a line.
const QUAD: usize = 4;

/// [`kinglet_core::Kernels::attend`].
pub(super) fn attend(
    queries: &[f32],
    kv: &KvHead<'_>,
    positions: Range<usize>,
    partials: &mut [f32],
) {
    kv.check_attend(queries, &positions, partials);
    let dim = kv.layout.head_dim;
    let group = queries.len() / dim;
    let starts = positions.clone().step_by(ATTEND_CHUNK);
    for (start, partials) in starts.zip(partials.chunks_exact_mut(group * (dim + 2))) {
        let span = start..(start + ATTEND_CHUNK).min(positions.end);
        for (query, partial) in queries.chunks_exact(dim).zip(partials.chunks_exact_mut(dim + 2)) {
            match kv.layout.kind {
                KvType::F16 => in_floats(query, kv, span.clone(), partial),
                KvType::Int8 => in_integers(query, kv, span.clone(), partial),
            }
        }
    }
}

/// One query and one span of bytes.
fn in_integers(query: &[f32], kv: &KvHead<'_>, span: Range<usize>, partial: &mut [f32]) {
    let (dim, layout) = (query.len(), &kv.layout);
    let mut codes = [0i16; MAX_HEAD_DIM];
    let query_scale = to_codes(query, &mut codes);
    let mut weights = [0f32; ATTEND_CHUNK];
    for (start, weights) in
        span.clone().step_by(TILE_ROWS).zip(weights.as_chunks_mut::<TILE_ROWS>().0)
    {
        let keys = &kv.keys[layout.key_index(start, 0)..];
        let dots: [i32; TILE_ROWS] = dots(keys, ALIGN, &codes[..dim]);
        let scales = &kv.key_scales[start..][..TILE_ROWS];
        for ((weight, dot), scale) in weights.iter_mut().zip(dots).zip(scales) {
            *weight = dot as f32 * (query_scale * scale.to_f32());
        }
    }
    let weights = &mut weights[..span.len()];
    (partial[dim], partial[dim + 1]) = softmax(weights);
    for (weight, scale) in weights.iter_mut().zip(&kv.value_scales[span.clone()]) {
        *weight *= scale.to_f32();
    }
    let mut codes = [0i16; ATTEND_CHUNK];
    let weight_scale = to_codes(weights, &mut codes);
    let codes = &codes[..span.len().next_multiple_of(QUAD)];
    for (d, out) in (0..).step_by(TILE_ROWS).zip(partial[..dim].chunks_exact_mut(TILE_ROWS)) {
        let values = &kv.values[layout.value_index(span.start, d)..];
        for (out, dot) in out.iter_mut().zip(dots(values, QUAD * dim, codes)) {
            *out = dot as f32 * weight_scale;
        }
    }
}

/// `Σ code · byte` of 16 rows, a line for every 4 codes, `next` bytes from one to the next.
#[inline(never)]
fn dots(bytes: &[u8], next: usize, codes: &[i16]) -> [i32; TILE_ROWS] {
    let mut sums = [0i32; WORDS];
    for (line, codes) in bytes.chunks(next).zip(codes.as_chunks::<QUAD>().0) {
        let words = words(line.first_chunk().expect("a line"));
        let (even, odd) = (repeat([codes[0], codes[2]]), repeat([codes[1], codes[3]]));
        for (sums, words) in sums.as_chunks_mut().0.iter_mut().zip(words.as_chunks().0) {
            add_words(words, &even, &odd, sums);
        }
    }
    core::array::from_fn(|r| sums[2 * r] + sums[2 * r + 1])
}

/// Adds the products of 8 words' low and high bytes with codes.
#[inline(always)]
fn add_words(words: &[u16; 8], even: &[i16; 8], odd: &[i16; 8], sums: &mut [i32; 8]) {
    for i in 0..8 {
        sums[i] += i32::from(signed_byte(words[i], false)) * i32::from(even[i]);
        sums[i] += i32::from(signed_byte(words[i], true)) * i32::from(odd[i]);
    }
}

/// One query and one span of 16-bit floats.
fn in_floats(query: &[f32], kv: &KvHead<'_>, span: Range<usize>, partial: &mut [f32]) {
    let (dim, layout) = (query.len(), &kv.layout);
    let keys: &[f16] = bytemuck::cast_slice(kv.keys);
    let values: &[f16] = bytemuck::cast_slice(kv.values);
    let mut weights = [0f32; ATTEND_CHUNK];
    for (start, weights) in
        span.clone().step_by(TILE_ROWS).zip(weights.as_chunks_mut::<TILE_ROWS>().0)
    {
        let keys = keys[layout.key_index(start, 0)..].as_chunks::<TILE_ROWS>().0;
        let (mut even, mut odd) = ([0f32; TILE_ROWS], [0f32; TILE_ROWS]);
        for (query, keys) in query.as_chunks::<2>().0.iter().zip(keys.as_chunks::<2>().0) {
            add_scaled(query[0], &keys[0], &mut even);
            add_scaled(query[1], &keys[1], &mut odd);
        }
        *weights = core::array::from_fn(|i| even[i] + odd[i]);
    }
    let weights = &mut weights[..span.len()];
    (partial[dim], partial[dim + 1]) = softmax(weights);
    for (d, out) in (0..).step_by(TILE_ROWS).zip(partial[..dim].as_chunks_mut().0) {
        let values = values[layout.value_index(span.start, d)..].chunks(dim);
        let mut sums = [0f32; TILE_ROWS];
        for (weight, values) in weights.iter().zip(values) {
            add_scaled(*weight, values.first_chunk().expect("16 dimensions"), &mut sums);
        }
        *out = sums;
    }
}

/// Adds a multiple of 16 numbers.
#[inline(always)]
fn add_scaled(factor: f32, numbers: &[f16; TILE_ROWS], sums: &mut [f32; TILE_ROWS]) {
    for (sum, number) in sums.iter_mut().zip(numbers) {
        *sum += factor * to_f32(*number);
    }
}

/// [`f16::to_f32`] in arithmetic that becomes vector instructions: the exponent of what has the
/// bits in their places is too small by 112.
#[inline(always)]
fn to_f32(x: f16) -> f32 {
    const EXPONENT: u32 = 0x7c00 << 13;
    let bits = u32::from(x.to_bits());
    let magnitude = (bits & 0x7fff) << 13;
    // 2^112, with which subnormal numbers become normal.
    let finite = (f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23)).to_bits();
    let special = magnitude | 0xff << 23;
    let magnitude = if magnitude >= EXPONENT { special } else { finite };
    f32::from_bits(magnitude | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod test {
    use super::to_f32;
    use half::f16;

    #[test]
    fn every_half_becomes_the_same_float() {
        for bits in 0..=u16::MAX {
            let (x, half) = (to_f32(f16::from_bits(bits)), f16::from_bits(bits).to_f32());
            assert!(x.to_bits() == half.to_bits() || x.is_nan() && half.is_nan(), "{bits:#x}");
        }
    }
}
