//! The meaning of every kernel, in plain loops; always compiled, on every target.

mod attend;
mod planes;

use crate::arena::Columns;
use crate::kernels::{
    Activations, Kernels, NIBBLE_OFFSET, Output, START_GROUP, Screened, check_rescore,
};
use crate::kv::{ATTEND_CHUNK, KvHead, KvType};
use crate::round::{block_scale, round_to_byte};
use crate::screen::{bounds, rows_of};
use crate::sums::{SIDE_BY_SIDE, total};
use core::ops::Range;
use kinglet_quant::format::{BLOCK, TILE_ROWS};
use kinglet_quant::{Matrix, Tile, Type};

/// The kernels that any CPU can run.
#[derive(Clone, Copy, Debug)]
pub struct Scalar;

impl Kernels for Scalar {
    fn matmul(
        self,
        w: &Matrix<'_>,
        tiles: Range<usize>,
        x: &Activations<'_>,
        out: &mut Columns<'_, f32>,
        output: Output,
        _scratch: &mut [f32],
    ) {
        x.check(w);
        assert!(out.height() == x.tokens && out.width() == tiles.len() * TILE_ROWS);
        for (t, tile) in tiles.enumerate() {
            let tile = w.tile(tile);
            for token in 0..x.tokens {
                let sums = match w.kind() {
                    Type::F32 | Type::Bf16 => float_rows(w.kind(), &tile, token, x),
                    Type::Q8Planes => {
                        let high = planes::high_rows(&tile, token, x);
                        core::array::from_fn(|r| high[r] + planes::low_row(&tile, r, token, x))
                    }
                    Type::Q8 | Type::Q5 | Type::Q4 | Type::Q3 => integer_rows(w, &tile, token, x),
                };
                let out = &mut out.row(token)[t * TILE_ROWS..][..TILE_ROWS];
                for (out, sum) in out.iter_mut().zip(sums) {
                    match output {
                        Output::Store => *out = sum,
                        Output::Add => *out += sum,
                    }
                }
            }
        }
    }

    fn screen(
        self,
        w: &Matrix<'_>,
        tiles: Range<usize>,
        x: &Activations<'_>,
        margins: &[f32],
        found: &mut Screened<'_>,
    ) {
        found.check(w, &tiles, x, margins);
        for (t, index) in tiles.enumerate() {
            let tile = w.tile(index);
            let rows = TILE_ROWS.min(w.rows() - index * TILE_ROWS);
            for (token, &margin) in margins.iter().enumerate() {
                let logits = planes::high_rows(&tile, token, x);
                let (floor, ceiling) = bounds(&logits[..rows], tile.residual_norms(), margin);
                found.logits.row(token)[t * TILE_ROWS..][..TILE_ROWS].copy_from_slice(&logits);
                found.floors.row(token)[t] = floor;
                found.ceilings.row(token)[t] = ceiling;
            }
        }
    }

    fn rescore(
        self,
        w: &Matrix<'_>,
        tile: usize,
        rows: u16,
        x: &Activations<'_>,
        token: usize,
        logits: &mut [f32],
    ) {
        check_rescore(w, tile, x, token, logits);
        let tile = w.tile(tile);
        for r in rows_of(rows) {
            logits[r] += planes::low_row(&tile, r, token, x);
        }
    }

    fn quantize(self, x: &[f32], codes: &mut [i8], scales: &mut [f32], starts: &mut [i32]) {
        assert!(x.len().is_multiple_of(BLOCK) && codes.len() == x.len());
        assert!(scales.len() == x.len() / BLOCK && starts.len() == x.len() / START_GROUP);
        let blocks = x.chunks_exact(BLOCK).zip(codes.chunks_exact_mut(BLOCK));
        for ((x, codes), scale) in blocks.zip(scales) {
            let max = x.iter().fold(0f32, |max, x| max.max(x.abs()));
            let inverse;
            (*scale, inverse) = block_scale(max);
            for (code, x) in codes.iter_mut().zip(x) {
                *code = round_to_byte(x * inverse) as i8;
            }
        }
        for (start, codes) in starts.iter_mut().zip(codes.chunks_exact(START_GROUP)) {
            *start = -NIBBLE_OFFSET * codes.iter().map(|&c| i32::from(c)).sum::<i32>();
        }
    }

    fn rms_norm(self, x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) {
        assert!(gain.len() == x.len() && out.len() == x.len());
        let mut squares = [0f32; 2 * SIDE_BY_SIDE];
        for (i, x) in x.iter().enumerate() {
            squares[i % (2 * SIDE_BY_SIDE)] += x * x;
        }
        let mean_square = total(&mut squares) / x.len() as f32;
        let factor = 1.0 / libm::sqrtf(mean_square + eps);
        for ((out, x), gain) in out.iter_mut().zip(x).zip(gain) {
            *out = x * factor * gain;
        }
    }

    fn rope(self, head: &mut [f32], cos: &[f32], sin: &[f32]) {
        assert!(head.len() == 2 * cos.len() && cos.len() == sin.len());
        let (first, second) = head.split_at_mut(cos.len());
        for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }

    fn silu_mul(self, gate: &mut [f32], up: &[f32]) {
        assert_eq!(gate.len(), up.len());
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate = *gate / (1.0 + exp(-*gate)) * up;
        }
    }

    fn attend(
        self,
        queries: &[f32],
        kv: &KvHead<'_>,
        positions: Range<usize>,
        partials: &mut [f32],
    ) {
        let dim = kv.layout.head_dim;
        let group = queries.len() / dim;
        kv.check_attend(queries, &positions, partials);
        let starts = positions.clone().step_by(ATTEND_CHUNK);
        for (start, partials) in starts.zip(partials.chunks_exact_mut(group * (dim + 2))) {
            let span = start..(start + ATTEND_CHUNK).min(positions.end);
            let partials = partials.chunks_exact_mut(dim + 2);
            for (query, partial) in queries.chunks_exact(dim).zip(partials) {
                match kv.layout.kind {
                    KvType::F16 => attend::in_floats(query, kv, span.clone(), partial),
                    KvType::Int8 => attend::in_integers(query, kv, span.clone(), partial),
                }
            }
        }
    }

    fn join(self, partials: &[f32], head_dim: usize, out: &mut [f32]) {
        let stride = out.len() / head_dim * (head_dim + 2);
        assert!(out.len().is_multiple_of(head_dim) && partials.len().is_multiple_of(stride));
        for (query, out) in out.chunks_exact_mut(head_dim).enumerate() {
            attend::join(&partials[query * (head_dim + 2)..], stride, out);
        }
    }
}

/// [`crate::exp::exp`] as a function of its own: firmware would have it many times.
#[inline(never)]
fn exp(x: f32) -> f32 {
    crate::exp::exp(x)
}

/// Dot products of 16 unquantized rows with one token.
fn float_rows(kind: Type, tile: &Tile<'_>, token: usize, x: &Activations<'_>) -> [f32; TILE_ROWS] {
    let values = &x.values[token * x.cols..][..x.cols];
    core::array::from_fn(|r| {
        let mut sums = [0f32; SIDE_BY_SIDE];
        for (k, value) in values.iter().enumerate() {
            sums[k % SIDE_BY_SIDE] += value * float(kind, tile, r * x.cols + k);
        }
        total(&mut sums)
    })
}

/// A weight of an unquantized tile.
#[inline(never)]
fn float(kind: Type, tile: &Tile<'_>, index: usize) -> f32 {
    if kind == Type::F32 { tile.f32_rows()[index] } else { tile.bf16_rows()[index].to_f32() }
}

/// Dot products of 16 quantized rows with one token: integers within 32 columns, f32 across.
fn integer_rows(
    w: &Matrix<'_>,
    tile: &Tile<'_>,
    token: usize,
    x: &Activations<'_>,
) -> [f32; TILE_ROWS] {
    let codes = &x.codes[token * x.cols..][..x.cols];
    let scales = &x.scales[token * x.cols / BLOCK..][..x.cols / BLOCK];
    core::array::from_fn(|r| {
        let mut sum = 0f32;
        for (block, scale) in scales.iter().enumerate() {
            let mut integer = 0i32;
            for start in (block * BLOCK..(block + 1) * BLOCK).step_by(w.group()) {
                let dot: i32 = (start..start + w.group())
                    .map(|k| i32::from(codes[k]) * i32::from(w.code(tile, r, k)))
                    .sum();
                integer += dot * i32::from(tile.group_scale(start / w.group(), r));
            }
            sum += scale * integer as f32;
        }
        sum * tile.row_scales()[r]
    })
}
