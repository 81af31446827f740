//! Attention over the cache, written once for every instruction set with float [`Lanes`]. Scores
//! run over positions side by side, values over the dimensions of a head.

mod floats;
mod integers;

use crate::lanes::Lanes;
use core::ops::Range;
use kinglet_core::KvType;
use kinglet_core::exp::exp;
use kinglet_core::kv::{ATTEND_CHUNK, KvHead};

/// Queries that share each load of a key or value; their sums fill the registers.
const QUERIES: usize = 3;

/// Weights of the positions of a span, for each query.
type Weights<const Q: usize> = [[f32; ATTEND_CHUNK]; Q];

/// [`kinglet_core::Kernels::attend`].
#[inline(always)]
pub(crate) fn attend<L: Lanes>(
    cpu: L,
    queries: &[f32],
    kv: &KvHead<'_>,
    positions: Range<usize>,
    partials: &mut [f32],
) {
    kv.check_attend(queries, &positions, partials);
    let dim = kv.layout.head_dim;
    let group = queries.len() / dim;
    for first in (0..group).step_by(QUERIES) {
        let queries = &queries[first * dim..];
        let mut out = Partials { all: partials, group, first, dim };
        match group - first {
            1 => together::<L, 1>(cpu, &queries[..dim], kv, positions.clone(), &mut out),
            2 => together::<L, 2>(cpu, &queries[..2 * dim], kv, positions.clone(), &mut out),
            _ => together::<L, QUERIES>(
                cpu,
                &queries[..QUERIES * dim],
                kv,
                positions.clone(),
                &mut out,
            ),
        }
    }
}

/// [`attend`] for `Q` queries.
#[inline(always)]
fn together<L: Lanes, const Q: usize>(
    cpu: L,
    queries: &[f32],
    kv: &KvHead<'_>,
    positions: Range<usize>,
    out: &mut Partials<'_>,
) {
    match kv.layout.kind {
        KvType::Int8 => integers::attend::<L, Q>(cpu, queries, kv, positions, out),
        KvType::F16 => floats::attend::<L, Q>(cpu, queries, kv, positions, out),
    }
}

/// Where some queries of a group write: `[spans][group][dim + 2]`, query `first` and those behind.
struct Partials<'a> {
    all: &'a mut [f32],
    group: usize,
    first: usize,
    dim: usize,
}

impl Partials<'_> {
    /// The `[dim + 2]` of one of the queries.
    #[inline(always)]
    fn of(&mut self, span: usize, query: usize) -> &mut [f32] {
        let width = self.dim + 2;
        &mut self.all[(span * self.group + self.first + query) * width..][..width]
    }
}

/// The spans of these positions, numbered.
#[inline(always)]
fn spans(positions: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
    let end = positions.end;
    positions
        .step_by(ATTEND_CHUNK)
        .map(move |start| start..(start + ATTEND_CHUNK).min(end))
        .enumerate()
}

/// [`kinglet_core::Kernels::join`], to the bit.
#[inline(always)]
pub(crate) fn join<L: Lanes>(cpu: L, partials: &[f32], dim: usize, out: &mut [f32]) {
    let stride = out.len() / dim * (dim + 2);
    assert!(out.len().is_multiple_of(dim) && partials.len().is_multiple_of(stride));
    assert!(dim.is_multiple_of(L::COUNT));
    for (query, out) in out.chunks_exact_mut(dim).enumerate() {
        let spans = partials[query * (dim + 2)..].chunks(stride);
        let max = spans.clone().fold(f32::NEG_INFINITY, |max, span| max.max(span[dim]));
        out.fill(0.0);
        let mut weight = 0.0;
        for span in spans {
            let factor = exp(span[dim] - max);
            weight += factor * span[dim + 1];
            for (out, sum) in out.chunks_exact_mut(L::COUNT).zip(span.chunks_exact(L::COUNT)) {
                let term = cpu.mul(cpu.splat(factor), cpu.load(sum));
                cpu.store(cpu.add(cpu.load(out), term), out);
            }
        }
        let inverse = cpu.splat(1.0 / weight);
        for out in out.chunks_exact_mut(L::COUNT) {
            cpu.store(cpu.mul(cpu.load(out), inverse), out);
        }
    }
}
