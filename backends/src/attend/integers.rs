//! Attention on signed bytes, in integers: keys and values lie in quads of 4 that belong to one
//! score or one sum, 16 of which lie side by side in a line.

use super::{Partials, Weights, spans};
use crate::elementwise::exp;
use crate::lanes::{Lanes, MAX_SUMS};
use crate::prefetch::Ahead;
use crate::sums::{SIDE_BY_SIDE, Sums};
use core::ops::Range;
use kinglet_core::kv::{ATTEND_CHUNK, KvHead, MAX_HEAD_DIM};
use kinglet_core::round::wide_scale;
use kinglet_quant::format::{ALIGN, TILE_ROWS};

/// Codes of a quad.
const QUAD: usize = 4;

/// Attention of `Q` queries.
#[inline(always)]
pub(super) fn attend<L: Lanes, const Q: usize>(
    cpu: L,
    queries: &[f32],
    kv: &KvHead<'_>,
    positions: Range<usize>,
    out: &mut Partials<'_>,
) {
    let (dim, end) = (kv.layout.head_dim, positions.end);
    let mut query_codes = [[0i16; MAX_HEAD_DIM]; Q];
    let mut query_scales = [0f32; Q];
    for q in 0..Q {
        query_scales[q] = to_codes(cpu, &queries[q * dim..][..dim], &mut query_codes[q]);
    }
    fetch_scales(kv, &first_span(&positions));
    for (index, span) in spans(positions) {
        let next = span.end..(span.end + ATTEND_CHUNK).min(end);
        fetch_scales(kv, &next);
        let mut weights = [[0f32; ATTEND_CHUNK]; Q];
        scores(cpu, &query_codes, &query_scales, kv, &span, &mut weights);
        let (highest, total) = softmax(cpu, &mut weights, kv, &span);
        for q in 0..Q {
            let partial = out.of(index, q);
            (partial[dim], partial[dim + 1]) = (highest[q], total[q]);
        }
        let mut codes = [[0i16; ATTEND_CHUNK]; Q];
        let mut scales = [0f32; Q];
        for q in 0..Q {
            let weights = &weights[q][..span.len().next_multiple_of(L::COUNT)];
            scales[q] = to_codes(cpu, weights, &mut codes[q]);
        }
        let ahead = Ahead::new(key_bytes(kv, &next));
        let quads = span.len().div_ceil(QUAD);
        for d in (0..dim).step_by(2 * L::COUNT) {
            let bytes = &kv.values[kv.layout.value_index(span.start, d)..];
            let lines = Lines { bytes, next_quad: QUAD * dim, next_line: ALIGN };
            let lines = lines.of_rows(dim - d);
            let pass = Pass { lines, quads, ahead, fetched: d / TILE_ROWS * quads };
            let sums = dots::<L, Q, ATTEND_CHUNK>(cpu, pass, &codes);
            for q in 0..Q {
                let out = out.of(index, q)[d..dim].chunks_exact_mut(L::COUNT);
                for (sums, out) in sums[q].iter().zip(out) {
                    cpu.store(cpu.mul(cpu.to_f32(*sums), cpu.splat(scales[q])), out);
                }
            }
        }
    }
}

/// Fills `weights` with the scores of the positions of a span.
#[expect(clippy::needless_range_loop, reason = "zipped arrays do not stay in registers")]
#[inline(always)]
fn scores<L: Lanes, const Q: usize>(
    cpu: L,
    codes: &[[i16; MAX_HEAD_DIM]; Q],
    scales: &[f32; Q],
    kv: &KvHead<'_>,
    span: &Range<usize>,
    weights: &mut Weights<Q>,
) {
    let dim = kv.layout.head_dim;
    let ahead = Ahead::new(value_bytes(kv, span));
    for start in (0..span.len()).step_by(2 * L::COUNT) {
        let bytes = &kv.keys[kv.layout.key_index(span.start + start, 0)..];
        let lines = Lines { bytes, next_quad: ALIGN, next_line: TILE_ROWS * dim };
        let lines = lines.of_rows(span.len() - start);
        let pass =
            Pass { lines, quads: dim / QUAD, ahead, fetched: start / TILE_ROWS * dim / QUAD };
        let sums = dots::<L, Q, MAX_HEAD_DIM>(cpu, pass, codes);
        for half in 0..2 {
            let start = start + half * L::COUNT;
            if start >= span.len() {
                break;
            }
            let key_scales = cpu.load_f16(&kv.key_scales[span.start + start..]);
            for q in 0..Q {
                let scale = cpu.mul(cpu.splat(scales[q]), key_scales);
                let scores = cpu.mul(cpu.to_f32(sums[q][half]), scale);
                cpu.store(scores, &mut weights[q][start..]);
            }
        }
    }
}

/// Bytes in lines of 16 quads: quad `i` of row `r` belongs to the `i`-th 4 codes.
struct Lines<'a> {
    bytes: &'a [u8],
    /// From a row's quad to its next one.
    next_quad: usize,
    /// From 16 rows to the next 16.
    next_line: usize,
}

impl Lines<'_> {
    /// The lines when only so many rows are left: reads stay within the first 16 when there are no
    /// others.
    #[inline(always)]
    fn of_rows(self, rows: usize) -> Self {
        Self { next_line: if rows > TILE_ROWS { self.next_line } else { 0 }, ..self }
    }
}

/// What a call of [`dots`] reads and fetches.
struct Pass<'a> {
    lines: Lines<'a>,
    /// Quads of a row.
    quads: usize,
    /// What is needed after this pass and those like it.
    ahead: Ahead,
    /// Lines of it that earlier passes have fetched.
    fetched: usize,
}

/// `Σ code · byte` of `2·COUNT` rows.
#[expect(clippy::needless_range_loop, reason = "zipped arrays do not stay in registers")]
#[inline(always)]
fn dots<L: Lanes, const Q: usize, const N: usize>(
    cpu: L,
    pass: Pass<'_>,
    codes: &[[i16; N]; Q],
) -> [[L::I32; 2]; Q] {
    let Pass { lines, quads, ahead, fetched } = pass;
    const {
        let sum_bytes = 2 * L::COUNT * QUAD / L::SUMS;
        assert!(L::SUMS <= MAX_SUMS && sum_bytes * L::SUMS == 2 * L::COUNT * QUAD);
        assert!(ALIGN.is_multiple_of(sum_bytes), "what a sum loads lies within a line");
    }
    let bytes = 2 * L::COUNT * QUAD;
    let line_count = bytes.div_ceil(ALIGN);
    let last = (quads - 1) * lines.next_quad + (line_count - 1) * lines.next_line;
    let end = last + bytes.min(ALIGN);
    assert!(quads > 0 && quads * QUAD <= N && end <= lines.bytes.len());
    let zero = cpu.round(cpu.splat(0.0));
    let mut sums = [[cpu.no_sum(); MAX_SUMS]; Q];
    for quad in 0..quads {
        ahead.fetch(fetched + quad * line_count, line_count);
        // SAFETY: `quad` is below `quads`, so what is read of this line, and of the next if there
        // is one, lies within the bytes, and 4 codes within `codes`: both are asserted above, and
        // that what each sum loads ends where the line does or before.
        unsafe {
            let bytes = lines.bytes.as_ptr().add(quad * lines.next_quad);
            let mut quads = [zero; Q];
            for q in 0..Q {
                quads[q] = cpu.repeat_quad(codes[q].as_ptr().add(quad * QUAD));
            }
            for r in 0..L::SUMS {
                let offset = r * (2 * L::COUNT * QUAD / L::SUMS);
                let at = offset / ALIGN * lines.next_line + offset % ALIGN;
                let rows = cpu.load_quads(bytes.add(at));
                for q in 0..Q {
                    sums[q][r] = cpu.add_quad_products(sums[q][r], rows, quads[q]);
                }
            }
        }
    }
    let mut rows = [[zero; 2]; Q];
    for q in 0..Q {
        rows[q] = cpu.row_sums(sums[q]);
    }
    rows
}

/// Codes of a vector, a multiple of 16; returns their scale.
#[inline(always)]
fn to_codes<L: Lanes>(cpu: L, x: &[f32], codes: &mut [i16]) -> f32 {
    let mut max = cpu.splat(0.0);
    for x in x.chunks_exact(L::COUNT) {
        max = cpu.max(max, cpu.abs(cpu.load(x)));
    }
    let (scale, inverse) = wide_scale(cpu.max_of_lanes(max));
    for (x, codes) in x.chunks_exact(L::COUNT).zip(codes.chunks_exact_mut(L::COUNT)) {
        cpu.store_codes(cpu.round(cpu.mul(cpu.load(x), cpu.splat(inverse))), codes);
    }
    scale
}

/// Turns scores into weights times the scales of the values they will multiply, up to the whole
/// 16 in which the span ends, zero behind the span; the maxima of the scores and the sums of
/// the weights alone.
///
/// Queries take turns, because each alone is a chain of operations that wait for one another.
#[inline(always)]
fn softmax<L: Lanes, const Q: usize>(
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
    let mut sum = [Sums::none(cpu); Q];
    for first in (0..len).step_by(SIDE_BY_SIDE) {
        for register in 0..Sums::<L>::REGISTERS {
            let start = first + register * L::COUNT;
            let scales = cpu.load(&scales[start..]);
            for q in 0..Q {
                let below = cpu.add(cpu.load(&weights[q][start..]), cpu.splat(-highest[q]));
                // Behind the span this is 2⁻¹²⁶, which changes no sum: the highest weight is 1.
                let weight = exp(cpu, below);
                sum[q].add(cpu, register, weight);
                cpu.store(cpu.mul(weight, scales), &mut weights[q][start..]);
            }
        }
    }
    for q in 0..Q {
        total[q] = sum[q].total(cpu);
    }
    (highest, total)
}

/// The first of the spans of these positions.
fn first_span(positions: &Range<usize>) -> Range<usize> {
    positions.start..positions.end.min(positions.start + ATTEND_CHUNK)
}

/// The bytes of a span's keys.
fn key_bytes<'a>(kv: &KvHead<'a>, span: &Range<usize>) -> &'a [u8] {
    &kv.keys[bytes(kv, span)]
}

/// The bytes of a span's values.
fn value_bytes<'a>(kv: &KvHead<'a>, span: &Range<usize>) -> &'a [u8] {
    &kv.values[bytes(kv, span)]
}

/// Where a span's bytes lie in both.
fn bytes(kv: &KvHead<'_>, span: &Range<usize>) -> Range<usize> {
    let end = if span.is_empty() { span.start } else { span.end.next_multiple_of(TILE_ROWS) };
    span.start * kv.layout.head_dim..end * kv.layout.head_dim
}

/// Fetches the scales of a span's keys and values.
#[inline(always)]
fn fetch_scales(kv: &KvHead<'_>, span: &Range<usize>) {
    for scales in [kv.key_scales, kv.value_scales] {
        let bytes: &[u8] = bytemuck::cast_slice(&scales[span.clone()]);
        Ahead::new(bytes).fetch(0, bytes.len().div_ceil(ALIGN));
    }
}
