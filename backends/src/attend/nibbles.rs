//! Attention on nibbles, in integers within blocks of 32: 16 positions, or 32 dimensions, lie side
//! by side in a line.

use super::softmax::softmax;
use super::{Partials, Weights, spans};
use crate::lanes::{Lanes, MAX_SUMS, NibbleLines, RowSums};
use crate::prefetch::Ahead;
use core::ops::Range;
use kinglet_core::kernels::NIBBLE_OFFSET;
use kinglet_core::kv::{ATTEND_CHUNK, KvHead, MAX_HEAD_DIM};
use kinglet_core::round::{block_scale, round_to_short};
use kinglet_quant::format::{ALIGN, BLOCK, TILE_ROWS};

/// Codes that a line has of a key.
const KEY_CODES: usize = 8;
/// Codes that a line has of a dimension of the values.
const VALUE_CODES: usize = 4;

/// A vector of `N` bytes with a scale per 32, and where sums of its products start.
#[derive(Clone, Copy)]
struct Blocks<const N: usize> {
    codes: [i8; N],
    scales: [f32; MAX_HEAD_DIM / BLOCK],
    starts: [i32; MAX_HEAD_DIM / BLOCK],
}

impl<const N: usize> Blocks<N> {
    const ZERO: Self = Self {
        codes: [0; N],
        scales: [0.0; MAX_HEAD_DIM / BLOCK],
        starts: [0; MAX_HEAD_DIM / BLOCK],
    };

    /// Quantizes a block of a vector, `COUNT` numbers of which `part` gives from an index on: what
    /// [`kinglet_core::Kernels::quantize`] gives.
    #[inline(always)]
    fn fill<L: Lanes>(&mut self, cpu: L, block: usize, part: impl Fn(usize) -> L::F32) {
        let first = block * BLOCK;
        let mut max = cpu.splat(0.0);
        for start in (first..first + BLOCK).step_by(L::COUNT) {
            max = cpu.max(max, cpu.abs(part(start)));
        }
        let (scale, inverse) = block_scale(cpu.max_of_lanes(max));
        let mut sum = cpu.splat(0.0);
        for start in (first..first + BLOCK).step_by(L::COUNT) {
            let codes = cpu.round(cpu.mul(part(start), cpu.splat(inverse)));
            cpu.store_i8(codes, &mut self.codes[start..]);
            // Whole numbers, far from what a float would round.
            sum = cpu.add(sum, cpu.to_f32(codes));
        }
        self.scales[block] = scale;
        self.starts[block] = -NIBBLE_OFFSET * i32::from(round_to_short(cpu.sum_of_lanes(sum)));
    }
}

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
    let mut asked = [Blocks::<MAX_HEAD_DIM>::ZERO; Q];
    for q in 0..Q {
        let mut query = [0f32; MAX_HEAD_DIM];
        query[..dim].copy_from_slice(&queries[q * dim..][..dim]);
        for group in 0..kv.layout.key_groups() {
            asked[q].fill(
                cpu,
                group,
                #[inline(always)]
                |d| cpu.load(&query[d..]),
            );
        }
    }
    let mut shares = [Blocks::<ATTEND_CHUNK>::ZERO; Q];
    for (index, span) in spans(positions) {
        let next = span.end..(span.end + ATTEND_CHUNK).min(end);
        let mut weights = [[0f32; ATTEND_CHUNK]; Q];
        scores(cpu, &asked, kv, &span, &mut weights);
        let (highest, total) = softmax(cpu, &mut weights, kv, &span);
        for q in 0..Q {
            let partial = out.of(index, q);
            (partial[dim], partial[dim + 1]) = (highest[q], total[q]);
        }
        let ahead = Ahead::new(&kv.keys[bytes(kv, &next)]);
        share(cpu, &mut weights, span.len(), &mut shares);
        let lines = span.len().div_ceil(VALUE_CODES);
        for d in (0..dim).step_by(BLOCK) {
            ahead.fetch(d / BLOCK * lines, lines);
            let sums = values(cpu, &shares, kv, &span, d);
            for q in 0..Q {
                let out = &mut out.of(index, q)[..dim];
                for (half, sums) in sums[q].iter().enumerate() {
                    let first = d + half * TILE_ROWS;
                    if first >= dim {
                        break;
                    }
                    for part in 0..TILE_ROWS / L::COUNT {
                        cpu.store(sums[part], &mut out[first + part * L::COUNT..]);
                    }
                }
            }
        }
    }
}

/// Fills `weights` with the scores of the positions of a span.
#[inline(always)]
fn scores<L: Lanes, const Q: usize>(
    cpu: L,
    asked: &[Blocks<MAX_HEAD_DIM>; Q],
    kv: &KvHead<'_>,
    span: &Range<usize>,
    weights: &mut Weights<Q>,
) {
    let dim = kv.layout.stored_dim();
    let ahead = Ahead::new(&kv.values[bytes(kv, span)]);
    let tile_lines = dim / KEY_CODES;
    for start in (0..span.len()).step_by(TILE_ROWS) {
        let position = span.start + start;
        ahead.fetch(start / TILE_ROWS * tile_lines, tile_lines);
        let keys = &kv.keys[kv.layout.key_index(position, 0) / 2..][..tile_lines * ALIGN];
        let mut sums = [[cpu.splat(0.0); MAX_SUMS]; Q];
        for group in 0..kv.layout.key_groups() {
            let lines = BLOCK / KEY_CODES;
            let bytes = &keys[group * lines * ALIGN..];
            let lines = NibbleLines::<KEY_CODES>::new(bytes, ALIGN, lines);
            let dots = dots(cpu, lines, asked, group);
            let scales = &kv.key_scales[kv.layout.key_scale_index(position, group * BLOCK)..];
            for part in 0..TILE_ROWS / L::COUNT {
                let key_scales = cpu.load_f16(&scales[part * L::COUNT..]);
                for q in 0..Q {
                    let scale = cpu.mul(cpu.splat(asked[q].scales[group]), key_scales);
                    let dot = cpu.add_i32(dots[q][0][part], dots[q][1][part]);
                    let term = cpu.mul(cpu.to_f32(dot), scale);
                    sums[q][part] = cpu.add(sums[q][part], term);
                }
            }
        }
        for q in 0..Q {
            for part in 0..TILE_ROWS / L::COUNT {
                cpu.store(sums[q][part], &mut weights[q][start + part * L::COUNT..]);
            }
        }
    }
}

/// Fills `shares` with the weights of a span, which were multiplied by the scales of their values.
#[inline(always)]
fn share<L: Lanes, const Q: usize>(
    cpu: L,
    weights: &mut Weights<Q>,
    len: usize,
    shares: &mut [Blocks<ATTEND_CHUNK>; Q],
) {
    for weights in weights.iter_mut() {
        weights[len..].fill(0.0);
    }
    for block in 0..len.div_ceil(BLOCK) {
        for q in 0..Q {
            shares[q].fill(
                cpu,
                block,
                #[inline(always)]
                |p| cpu.load(&weights[q][p..]),
            );
        }
    }
}

/// Weighted sums of 32 dimensions of the values.
#[inline(always)]
fn values<L: Lanes, const Q: usize>(
    cpu: L,
    shares: &[Blocks<ATTEND_CHUNK>; Q],
    kv: &KvHead<'_>,
    span: &Range<usize>,
    d: usize,
) -> [[RowSums<L::F32>; 2]; Q] {
    // From 4 positions to the next.
    let stride = kv.layout.stored_dim() * VALUE_CODES / 2;
    let mut sums = [[[cpu.splat(0.0); MAX_SUMS]; 2]; Q];
    for block in 0..span.len().div_ceil(BLOCK) {
        let start = block * BLOCK;
        let bytes = &kv.values[kv.layout.value_index(span.start + start, d) / 2..];
        let count = (span.len() - start).min(BLOCK).div_ceil(VALUE_CODES);
        let lines = NibbleLines::<VALUE_CODES>::new(bytes, stride, count);
        let dots = dots(cpu, lines, shares, block);
        for q in 0..Q {
            let scale = cpu.splat(shares[q].scales[block]);
            for half in 0..2 {
                for part in 0..TILE_ROWS / L::COUNT {
                    let term = cpu.mul(cpu.to_f32(dots[q][half][part]), scale);
                    sums[q][half][part] = cpu.add(sums[q][half][part], term);
                }
            }
        }
    }
    sums
}

/// What the nibbles of some lines, less 8, make with a block of codes: `Σ code · nibble`. Where the
/// high nibbles belong to the same rows, their sums are still to be added.
#[inline(always)]
fn dots<L: Lanes, const Q: usize, const N: usize, const STEP: usize>(
    cpu: L,
    lines: NibbleLines<'_, STEP>,
    blocks: &[Blocks<N>; Q],
    block: usize,
) -> [[RowSums<L::I32>; 2]; Q] {
    let (mut codes, mut starts) = ([&[0; BLOCK]; Q], [[0; 2]; Q]);
    for q in 0..Q {
        let of_block = blocks[q].codes[block * BLOCK..].first_chunk();
        codes[q] = of_block.expect("a block has its codes");
        let start = blocks[q].starts[block];
        starts[q] = [start, if STEP == VALUE_CODES { start } else { 0 }];
    }
    cpu.nibble_sums(lines, codes, starts)
}

/// Where a span's bytes lie in keys and values.
fn bytes(kv: &KvHead<'_>, span: &Range<usize>) -> Range<usize> {
    let end = if span.is_empty() { span.start } else { span.end.next_multiple_of(TILE_ROWS) };
    span.start * kv.layout.stored_dim() / 2..end * kv.layout.stored_dim() / 2
}
