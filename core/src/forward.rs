//! The Llama step (Touvron et al. 2023) for tokens of one or several texts, written once for every
//! set of kernels.
//!
//! ```text
//! x = embedding[tokens]
//! for each layer:
//!     q, k, v = W_qkv · rms_norm(x)                       phase 1
//!     rotate k; append k and v to the cache               (by the caller when decoding)
//!     a = softmax(rotated q · Kᵀ / √head_dim) · V         phase 2
//!     x += W_o · a                                        phase 3
//!     h = silu(W_gate · rms_norm(x)) · (W_up · rms_norm(x))   phase 4
//!     x += W_down · h                                     phase 5
//! logits = W_head · rms_norm(x)
//! ```
//!
//! A product with `W` also adds the bias of `W` in models that have one.
//!
//! Behind the cache of the last layer only tokens that get logits go on: nothing reads what the
//! others would become.
//!
//! A phase is one call of [`Workers::run`]: five meetings of the workers per layer. What lies
//! between them is too short to share when there is one token, and is dealt by token otherwise.

mod attention;
mod head;
mod linear;

use crate::arena::{Columns, SharedColumns, SharedRows, SharedScratch, Shares, Split};
use crate::engine::{Chunk, Observer, Place, Site};
use crate::kernels::{Activations, Kernels, Output, START_GROUP, Workers};
use crate::kv::KvLayout;
use crate::plan::{Buffers, MAX_TEXTS, PROMPT_RUN};
use crate::rotary;
use kinglet_quant::format::{BLOCK, TILE_ROWS};
use kinglet_quant::tensor::NO_LAYER;
use kinglet_quant::{Config, File, Matrix, Role};
use linear::Linear;

/// So many tokens wait for bytes more than for products.
const FEW_TOKENS: usize = 8;

/// Products of weights and activations that take as long as reading a byte of weights, roughly.
const PRODUCTS_PER_BYTE: usize = 10;

/// One step: the tokens of some chunks, in an engine's buffers.
pub(crate) struct Step<'s, 'a, K> {
    pub kernels: K,
    pub workers: &'s dyn Workers,
    pub model: &'s File<'a>,
    pub layout: KvLayout,
    pub text_cache_bytes: usize,
    pub buffers: &'s mut Buffers<'a>,
    /// In ascending order of their texts.
    pub chunks: heapless::Vec<Chunk<'s>, MAX_TEXTS>,
    /// Tokens of all chunks: rows of every buffer, in their order.
    pub count: usize,
    pub observer: Option<Observer<'s>>,
}

impl<K: Kernels> Step<'_, '_, K> {
    /// Runs the step; the logits that chunks want are computed as far as their screens need them if
    /// `is_screened`.
    pub fn run(&mut self, is_screened: bool) {
        let config = self.model.config();
        self.embed(config);
        self.rotary_angles();
        for layer in 0..config.layers as u16 {
            let linear = |role| Linear::of(self.model, role, layer);
            let qkv = [linear(Role::Q), linear(Role::K), linear(Role::V)];
            let (o, gate, up, down) =
                (linear(Role::O), linear(Role::Gate), linear(Role::Up), linear(Role::Down));

            self.norm(self.model.vector(Role::AttnNorm, layer));
            self.observe(Site::Attention, layer, config.hidden as usize);
            self.project_qkv(&qkv);
            self.append(config, layer);
            if layer + 1 == config.layers as u16 && self.observer.is_none() {
                self.keep(config);
                if self.count == 0 {
                    return;
                }
            }
            self.attend(config, layer);
            self.observe(Site::Output, layer, o.w.cols());
            self.project_attended(&o);

            self.norm(self.model.vector(Role::FfnNorm, layer));
            self.observe(Site::FeedForward, layer, gate.w.cols());
            self.gate_and_up(&gate, &up);
            self.observe(Site::Down, layer, down.w.cols());
            self.project_down(&down);
        }
        self.norm(self.model.vector(Role::FinalNorm, NO_LAYER));
        if self.observer.is_some() {
            self.observe(Site::Head, NO_LAYER, config.hidden as usize);
        } else {
            self.head(is_screened);
        }
    }

    /// Makes this a step of the tokens that get logits, whose queries have been computed.
    fn keep(&mut self, config: &Config) {
        let (hidden, half) = (config.hidden as usize, config.head_dim as usize / 2);
        let b = self.buffers.layers();
        let mut buffers = [(b.x, hidden), (b.q, config.q_dim()), (b.cos, half), (b.sin, half)];
        let (mut end, mut kept) = (0, 0);
        for chunk in &mut self.chunks {
            end += chunk.tokens.len();
            *chunk = chunk.with_logits();
            let start = end - chunk.tokens.len();
            if start > kept {
                for (rows, width) in &mut buffers {
                    rows.copy_within(start * *width..end * *width, kept * *width);
                }
            }
            kept += chunk.tokens.len();
        }
        self.count = kept;
    }

    /// Hands the inputs of a site to the observer, if there is one.
    fn observe(&mut self, site: Site, layer: u16, width: usize) {
        if let Some(observer) = &mut self.observer {
            let b = self.buffers.layers();
            let values = match site {
                Site::Attention | Site::Output | Site::FeedForward | Site::Head => &*b.input,
                Site::Down => &*b.gate,
            };
            observer(site, layer, &values[..self.count * width]);
        }
    }

    /// How what is dealt by token is cut: with one token the caller does it alone.
    fn token_shares(&self) -> Shares {
        Shares::tapering(if self.count == 1 { 1 } else { self.workers.count() })
    }

    /// How the tiles of a product are cut.
    fn tile_shares(&self) -> Shares {
        Shares::tapering(self.workers.count())
    }

    /// `x[token] = embedding[token]`.
    fn embed(&mut self, config: &Config) {
        let embedding = self.model.matrix(Role::Embedding, NO_LAYER);
        let (chunks, hidden, shares) = (&self.chunks, config.hidden as usize, self.token_shares());
        let split = Split::whole(self.count, shares);
        let b = self.buffers.layers();
        let x = SharedRows::new(&mut b.x[..self.count * hidden], hidden, split);
        self.workers.run(shares.count(), &|part| {
            let rows = x.take(part).chunks_exact_mut(hidden);
            for (row, x) in split.range(part).zip(rows) {
                embedding.read_row(place(chunks, row).token as usize, x);
            }
        });
    }

    /// Cosines and sines of every token's position.
    fn rotary_angles(&mut self) {
        let places = self.chunks.iter().flat_map(|chunk| chunk.places());
        let b = self.buffers.layers();
        rotary::angles(self.model, places.map(|place| place.position), b.cos, b.sin);
    }

    /// `input = rms_norm(x)`, and quantizes it.
    fn norm(&mut self, gain: &[f32]) {
        let (kernels, hidden, eps) = (self.kernels, gain.len(), self.model.config().rms_eps);
        let (count, shares) = (self.count, self.token_shares());
        let b = self.buffers.layers();
        let x = &b.x[..count * hidden];
        let split = Split::whole(count, shares);
        let normed = SharedRows::new(&mut b.input[..count * hidden], hidden, split);
        let quantized = SharedQuantized::new(b.codes, b.scales, b.starts, hidden, split);
        self.workers.run(shares.count(), &|part| {
            let (rows, out) = (split.range(part), normed.take(part));
            let x = &x[rows.start * hidden..rows.end * hidden];
            for (x, out) in x.chunks_exact(hidden).zip(out.chunks_exact_mut(hidden)) {
                kernels.rms_norm(x, gain, eps, out);
            }
            quantized.fill(kernels, part, out);
        });
    }

    /// `q, k, v = W_qkv · input`: one pass over the tiles of three matrices.
    fn project_qkv(&mut self, linear: &[Linear<'_>; 3]) {
        let [q, k, v] = linear.each_ref().map(|linear| &linear.w);
        let (kernels, shares, count) = (self.kernels, self.tile_shares(), self.count);
        let b = self.buffers.layers();
        let x = activations(count, q.cols(), b.input, b.codes, b.scales, b.starts);
        let cost = |w: &Matrix<'_>| w.tile_count() as u64 * tile_cost(w, count);
        let total = cost(q) + cost(k) + cost(v);
        let mut first = 0;
        let mut share = |w: &Matrix<'_>| {
            let split = Split::piece(first, w.tile_count(), tile_cost(w, count), total, shares);
            first += cost(w);
            split
        };
        let splits = [share(q), share(k), share(v)];
        let outs = [
            SharedColumns::new(&mut b.q[..count * q.rows()], q.rows(), TILE_ROWS, splits[0]),
            SharedColumns::new(&mut b.k[..count * k.rows()], k.rows(), TILE_ROWS, splits[1]),
            SharedColumns::new(&mut b.v[..count * v.rows()], v.rows(), TILE_ROWS, splits[2]),
        ];
        let panels = SharedScratch::new(b.panels, self.workers.count());
        self.workers.run(shares.count(), &|part| {
            let scratch = &mut panels.lend();
            for ((linear, out), split) in linear.iter().zip(&outs).zip(&splits) {
                let mut out = out.take(part);
                linear.apply(kernels, split.range(part), &x, &mut out, Output::Store, scratch);
            }
        });
    }

    /// `x += W_o · input`.
    fn project_attended(&mut self, o: &Linear<'_>) {
        let shares = self.tile_shares();
        let b = self.buffers.layers();
        let x = activations(self.count, o.w.cols(), b.input, b.codes, b.scales, b.starts);
        add_product(self.kernels, self.workers, shares, o, &x, b.x, b.panels);
    }

    /// `gate = silu(W_gate · input) · (W_up · input)`: each worker owns both halves of its
    /// columns.
    fn gate_and_up(&mut self, gate: &Linear<'_>, up: &Linear<'_>) {
        let (kernels, shares, count) = (self.kernels, self.tile_shares(), self.count);
        let b = self.buffers.layers();
        let x = activations(count, gate.w.cols(), b.input, b.codes, b.scales, b.starts);
        const { assert!(K::GATE_RUN <= PROMPT_RUN) };
        let run = if count <= FEW_TOKENS { K::GATE_RUN } else { PROMPT_RUN };
        let split = Split::whole(gate.w.tile_count(), shares);
        let (ffn, workers) = (gate.w.rows(), self.workers.count());
        let gates = SharedColumns::new(&mut b.gate[..count * ffn], ffn, TILE_ROWS, split);
        let ups = SharedScratch::new(b.up, workers);
        let panels = SharedScratch::new(b.panels, workers);
        self.workers.run(shares.count(), &|part| {
            let mut gates = gates.take(part);
            let (ups, scratch) = (&mut ups.lend(), &mut panels.lend());
            let tiles = split.range(part);
            for first in tiles.clone().step_by(run) {
                let run = first..(first + run).min(tiles.end);
                let (start, width) = ((run.start - tiles.start) * TILE_ROWS, run.len() * TILE_ROWS);
                let mut g = gates.narrow(start..start + width);
                let mut u = Columns::all(&mut ups[..count * width], width);
                gate.apply(kernels, run.clone(), &x, &mut g, Output::Store, scratch);
                up.apply(kernels, run, &x, &mut u, Output::Store, scratch);
                for token in 0..count {
                    kernels.silu_mul(g.row(token), u.row(token));
                }
            }
        });
    }

    /// `x += W_down · gate`.
    fn project_down(&mut self, down: &Linear<'_>) {
        self.quantize(Source::Gate, down.w.cols());
        let shares = self.tile_shares();
        let b = self.buffers.layers();
        let x = activations(self.count, down.w.cols(), b.gate, b.codes, b.scales, b.starts);
        add_product(self.kernels, self.workers, shares, down, &x, b.x, b.panels);
    }

    /// Quantizes the inputs of a product that were not normed.
    fn quantize(&mut self, source: Source, cols: usize) {
        let (kernels, shares, count) = (self.kernels, self.token_shares(), self.count);
        let b = self.buffers.layers();
        let values = match source {
            Source::Input => &*b.input,
            Source::Gate => &*b.gate,
        };
        let split = Split::whole(count, shares);
        let quantized = SharedQuantized::new(b.codes, b.scales, b.starts, cols, split);
        self.workers.run(shares.count(), &|part| {
            let rows = split.range(part);
            quantized.fill(kernels, part, &values[rows.start * cols..rows.end * cols]);
        });
    }
}

/// The token that a row of the buffers belongs to.
fn place(chunks: &[Chunk<'_>], mut row: usize) -> Place {
    for chunk in chunks {
        if let Some(&token) = chunk.tokens.get(row) {
            return Place { text: chunk.text, position: chunk.first + row, token };
        }
        row -= chunk.tokens.len();
    }
    unreachable!("there is a row for each token of the chunks")
}

/// Which buffer holds the inputs of a product.
enum Source {
    Input,
    Gate,
}

/// What a tile costs in the time of reading a byte: a token waits for the bytes, a prompt for the
/// products.
fn tile_cost(w: &Matrix<'_>, tokens: usize) -> u64 {
    let products = tokens * TILE_ROWS * w.cols();
    (w.read_bytes() / w.tile_count() + products / PRODUCTS_PER_BYTE) as u64
}

/// The inputs of a product: the first `tokens` rows of the buffers.
fn activations<'a>(
    tokens: usize,
    cols: usize,
    values: &'a [f32],
    codes: &'a [i8],
    scales: &'a [f32],
    starts: &'a [i32],
) -> Activations<'a> {
    Activations {
        tokens,
        cols,
        values: &values[..tokens * cols],
        codes: &codes[..tokens * cols],
        scales: &scales[..tokens * cols / BLOCK],
        starts: &starts[..tokens * cols / START_GROUP],
    }
}

/// `x += W · input`, dealt by tiles, with the bias of `W` where it has one.
fn add_product<K: Kernels>(
    kernels: K,
    workers: &dyn Workers,
    shares: Shares,
    linear: &Linear<'_>,
    input: &Activations<'_>,
    x: &mut [f32],
    panels: &mut [f32],
) {
    let rows = linear.w.rows();
    let split = Split::whole(linear.w.tile_count(), shares);
    let out = SharedColumns::new(&mut x[..input.tokens * rows], rows, TILE_ROWS, split);
    let panels = SharedScratch::new(panels, workers.count());
    workers.run(shares.count(), &|part| {
        let mut out: Columns<'_, f32> = out.take(part);
        linear.apply(kernels, split.range(part), input, &mut out, Output::Add, &mut panels.lend());
    });
}

/// Quantized activations that workers fill at the same time, each its own tokens.
struct SharedQuantized<'a> {
    cols: usize,
    codes: SharedRows<'a, i8>,
    scales: SharedRows<'a, f32>,
    starts: SharedRows<'a, i32>,
}

/// Rows of tokens cut in two, behind as many as the first split deals.
fn halves<T: Send>(data: &mut [T], width: usize, splits: [Split; 2]) -> [SharedRows<'_, T>; 2] {
    let (first, second) = data.split_at_mut(splits[0].count() * width);
    [SharedRows::new(first, width, splits[0]), SharedRows::new(second, width, splits[1])]
}

impl<'a> SharedQuantized<'a> {
    /// The tokens cut in two as [`halves`] does.
    fn halves(
        codes: &'a mut [i8],
        scales: &'a mut [f32],
        starts: &'a mut [i32],
        cols: usize,
        splits: [Split; 2],
    ) -> [Self; 2] {
        let first = splits[0].count() * cols;
        let (codes, other_codes) = codes.split_at_mut(first);
        let (scales, other_scales) = scales.split_at_mut(first / BLOCK);
        let (starts, other_starts) = starts.split_at_mut(first / START_GROUP);
        [
            Self::new(codes, scales, starts, cols, splits[0]),
            Self::new(other_codes, other_scales, other_starts, cols, splits[1]),
        ]
    }

    fn new(
        codes: &'a mut [i8],
        scales: &'a mut [f32],
        starts: &'a mut [i32],
        cols: usize,
        split: Split,
    ) -> Self {
        let tokens = split.count();
        Self {
            cols,
            codes: SharedRows::new(&mut codes[..tokens * cols], cols, split),
            scales: SharedRows::new(&mut scales[..tokens * cols / BLOCK], cols / BLOCK, split),
            starts: SharedRows::new(
                &mut starts[..tokens * cols / START_GROUP],
                cols / START_GROUP,
                split,
            ),
        }
    }

    /// Quantizes the tokens of one part.
    fn fill<K: Kernels>(&self, kernels: K, part: usize, values: &[f32]) {
        let codes = self.codes.take(part).chunks_exact_mut(self.cols);
        let scales = self.scales.take(part).chunks_exact_mut(self.cols / BLOCK);
        let starts = self.starts.take(part).chunks_exact_mut(self.cols / START_GROUP);
        for (((x, codes), scales), starts) in
            values.chunks_exact(self.cols).zip(codes).zip(scales).zip(starts)
        {
            kernels.quantize(x, codes, scales, starts);
        }
    }
}
