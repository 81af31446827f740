//! The operations that a CPU backend implements, and the workers that run them.
//!
//! A kernel is stateless, allocates nothing, computes the range it is given and asserts its
//! preconditions. [`crate::scalar`] defines what each one means.

use crate::arena::Columns;
use crate::kv::{KvHead, KvLayout};
use core::ops::Range;
use kinglet_quant::format::{BLOCK, TILE_ROWS};
use kinglet_quant::{Matrix, Type};

/// Columns of activations that share a start in [`Activations::starts`].
pub const START_GROUP: usize = 16;
/// What weights are raised by where a kernel multiplies them as unsigned nibbles.
pub const NIBBLE_OFFSET: i32 = 8;
/// Rows that a kernel may unpack to f32 at once in its scratch memory.
pub const PANEL_ROWS: usize = 64;

/// Inputs of a matrix product: `tokens` vectors of `cols`, plain and quantized.
///
/// `codes`, `scales` and `starts` are empty when every matrix that reads them is unquantized.
#[derive(Clone, Copy, Debug)]
pub struct Activations<'a> {
    /// Vectors.
    pub tokens: usize,
    /// Width of a vector, a multiple of 32.
    pub cols: usize,
    /// `[tokens][cols]`.
    pub values: &'a [f32],
    /// `[tokens][cols]`, −127 to 127.
    pub codes: &'a [i8],
    /// `[tokens][cols / 32]`: `values ≈ scales × codes`.
    pub scales: &'a [f32],
    /// `[tokens][cols / 16]`: `−8·Σ codes`, where the sum of 16 products starts for weights that
    /// are raised by 8.
    pub starts: &'a [i32],
}

impl Activations<'_> {
    /// One vector, quantized.
    #[inline]
    pub fn quantized_token(&self, token: usize) -> Self {
        let cols = self.cols;
        Self {
            tokens: 1,
            cols,
            values: &[],
            codes: &self.codes[token * cols..][..cols],
            scales: &self.scales[token * cols / BLOCK..][..cols / BLOCK],
            starts: &self.starts[token * cols / START_GROUP..][..cols / START_GROUP],
        }
    }

    /// Asserts that the slices have the lengths that `w` needs.
    #[inline]
    pub fn check(&self, w: &Matrix<'_>) {
        assert_eq!(self.cols, w.cols());
        if w.kind().is_quantized() {
            assert!(self.codes.len() >= self.tokens * self.cols);
            assert!(self.scales.len() >= self.tokens * self.cols / BLOCK);
            assert!(self.starts.len() >= self.tokens * self.cols / START_GROUP);
        } else {
            assert!(self.values.len() >= self.tokens * self.cols);
        }
    }
}

/// What a matrix product does with its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Overwrite.
    Store,
    /// Add to what is there: the residual stream.
    Add,
}

/// What [`Kernels::screen`] finds, a row for each token.
#[derive(Debug)]
pub struct Screened<'a> {
    /// Coarse logits, `16·tiles` wide.
    pub logits: Columns<'a, f32>,
    /// For each tile the largest `logit − margin · residual norm` of its rows.
    pub floors: Columns<'a, f32>,
    /// For each tile the largest `logit + margin · residual norm` of its rows.
    pub ceilings: Columns<'a, f32>,
}

impl Screened<'_> {
    /// Asserts that there is room for what a search of `tiles` finds.
    pub fn check(
        &self,
        w: &Matrix<'_>,
        tiles: &Range<usize>,
        x: &Activations<'_>,
        margins: &[f32],
    ) {
        x.check(w);
        assert!(w.kind() == Type::Q8Planes && margins.len() == x.tokens);
        assert!(tiles.start <= tiles.end && tiles.end <= w.tile_count());
        assert!(self.logits.width() == tiles.len() * TILE_ROWS);
        assert!(self.floors.width() == tiles.len() && self.ceilings.width() == tiles.len());
        assert!(
            [&self.logits, &self.floors, &self.ceilings].iter().all(|c| c.height() == x.tokens)
        );
    }
}

/// The operations of one instruction set. A value of the type proves that the CPU has it.
pub trait Kernels: Copy + Send + Sync {
    /// Tiles of the gate projection, 4 at most, that few tokens multiply before those of the up
    /// projection that lie between them: one reads the file's bytes in their order, more save
    /// calls.
    const GATE_RUN: usize = 1;

    /// What each further token of a pass of 2 to 8 tokens costs, in hundredths of what a single one
    /// does: measured with SmolLM2-135M and rounded up.
    const FURTHER_TOKEN_COST: u8 = 100;

    /// `out[token][r] (+)= Σ_k w[r][k] · x[token][k]` for the rows of `tiles`.
    ///
    /// `out` is `x.tokens × 16·tiles.len()`. Quantized weights multiply the quantized activations:
    /// exact integers within a group of 32 columns, f32 across groups in ascending order, so that a
    /// result depends neither on the other tokens nor on how tiles are dealt. `scratch` has
    /// [`panel_floats`] elements.
    fn matmul(
        self,
        w: &Matrix<'_>,
        tiles: Range<usize>,
        x: &Activations<'_>,
        out: &mut Columns<'_, f32>,
        output: Output,
        scratch: &mut [f32],
    );

    /// The high plane's part of `w · x` for the rows of `tiles`, and bounds of every tile's largest
    /// logit, from which rows that pad the last tile are left out; see [`crate::screen`].
    ///
    /// `w` is a [`Type::Q8Planes`]; there is a margin for each token.
    fn screen(
        self,
        w: &Matrix<'_>,
        tiles: Range<usize>,
        x: &Activations<'_>,
        margins: &[f32],
        found: &mut Screened<'_>,
    );

    /// Adds the low plane's part of one token's product to the `logits` of a tile, `[16]`, for the
    /// rows whose bits are set; others stay as they are.
    ///
    /// [`Kernels::screen`], then this gives what [`Kernels::matmul`] gives, to the bit.
    fn rescore(
        self,
        w: &Matrix<'_>,
        tile: usize,
        rows: u16,
        x: &Activations<'_>,
        token: usize,
        logits: &mut [f32],
    );

    /// Quantizes a vector for integer products: per 32 columns `scale = max|x| / 127` and `code =
    /// round_half_even(x / scale)`, per 16 columns `start = −8·Σ code`. A block whose scale would
    /// be subnormal becomes zeros.
    fn quantize(self, x: &[f32], codes: &mut [i8], scales: &mut [f32], starts: &mut [i32]);

    /// RMSNorm (Zhang and Sennrich 2019): `out = x / sqrt(mean(x²) + eps) · gain`.
    fn rms_norm(self, x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]);

    /// Rotary embedding (Su et al. 2021) of one head, halves paired: `(a, b)` at `i` and
    /// `i + head_dim/2` become `(a·cos − b·sin, b·cos + a·sin)`.
    fn rope(self, head: &mut [f32], cos: &[f32], sin: &[f32]);

    /// `gate = silu(gate) · up`, `silu(x) = x / (1 + e^−x)` (SwiGLU, Shazeer 2020).
    fn silu_mul(self, gate: &mut [f32], up: &[f32]);

    /// [`KvLayout::store`], which backends compile for their instructions.
    fn append(
        self,
        layout: &KvLayout,
        block: &mut [u8],
        position: usize,
        key: &[f32],
        value: &[f32],
    ) {
        layout.store(block, position, key, value);
    }

    /// Attention over some positions for queries that share a key-value head.
    ///
    /// `queries` is `[group][head_dim]`, already divided by `√head_dim`. `positions` is not empty
    /// and starts at a multiple of [`ATTEND_CHUNK`](crate::kv::ATTEND_CHUNK); spans of so many
    /// positions are computed one by one. For each span and query writes to `partials`,
    /// `[spans][group][head_dim + 2]`, the sum of values weighted by `e^(score − max)`, then `max`,
    /// then the sum of the weights; [`Kernels::join`] makes one of the spans.
    ///
    /// With keys and values of bytes, dot products are exact integers: a query becomes codes of
    /// ±32,639 times a scale, and so do the products of weights and scales of values in a span.
    fn attend(
        self,
        queries: &[f32],
        kv: &KvHead<'_>,
        positions: Range<usize>,
        partials: &mut [f32],
    );

    /// Joins the spans that [`Kernels::attend`] wrote, in order: `out`, `[group][head_dim]`, is the
    /// sum of values over the sum of weights.
    fn join(self, partials: &[f32], head_dim: usize, out: &mut [f32]);
}

/// Work that is compiled once for each set of kernels.
pub trait UseKernels {
    /// What the work returns.
    type Output;

    /// Does the work with one set of kernels.
    fn run<K: Kernels>(self, kernels: K) -> Self::Output;
}

/// A set of kernels that was chosen: one itself, or a closed list with its one match.
pub trait Choice: Copy {
    /// Does `work` with the chosen kernels.
    fn with<W: UseKernels>(self, work: W) -> W::Output;

    /// [`Kernels::FURTHER_TOKEN_COST`] of the chosen kernels.
    fn further_token_cost(self) -> u8 {
        self.with(FurtherTokenCost)
    }
}

struct FurtherTokenCost;

impl UseKernels for FurtherTokenCost {
    type Output = u8;

    fn run<K: Kernels>(self, _: K) -> u8 {
        K::FURTHER_TOKEN_COST
    }
}

impl<K: Kernels> Choice for K {
    fn with<W: UseKernels>(self, work: W) -> W::Output {
        work.run(self)
    }
}

/// Asserts what every [`Kernels::rescore`] relies on.
pub fn check_rescore(
    w: &Matrix<'_>,
    tile: usize,
    x: &Activations<'_>,
    token: usize,
    logits: &[f32],
) {
    x.check(w);
    assert!(w.kind() == Type::Q8Planes);
    assert!(tile < w.tile_count() && token < x.tokens && logits.len() == TILE_ROWS);
}

/// Elements of scratch memory that [`Kernels::matmul`] needs for a matrix.
pub fn panel_floats(w: &Matrix<'_>) -> usize {
    if w.kind().is_quantized() { 0 } else { PANEL_ROWS * w.cols() }
}

/// Runs tasks on several threads.
pub trait Workers: Sync {
    /// Workers, 1 to [`crate::arena::MAX_WORKERS`].
    fn count(&self) -> usize;

    /// Calls `task(part)` once for every part below `parts`, at most
    /// [`crate::arena::MAX_PARTS`], and returns when all calls have. Calls of different parts may
    /// run at the same time; lower ones start first.
    fn run(&self, parts: usize, task: &(dyn Fn(usize) + Sync));
}

impl<W: Workers + ?Sized> Workers for &W {
    fn count(&self) -> usize {
        (**self).count()
    }

    fn run(&self, parts: usize, task: &(dyn Fn(usize) + Sync)) {
        (**self).run(parts, task);
    }
}

/// The calling thread alone.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Workers for Alone {
    fn count(&self) -> usize {
        1
    }

    fn run(&self, parts: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..parts).for_each(task);
    }
}
