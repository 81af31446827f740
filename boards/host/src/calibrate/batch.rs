//! The Llama step for several texts at once, one token of each: [`kinglet_core::forward`] with a
//! cache for every text, on one thread.

use kinglet_core::arena::Columns;
use kinglet_core::kernels::{Activations, Kernels, Output, START_GROUP};
use kinglet_core::kv::{ATTEND_CHUNK, KvLayout, KvType};
use kinglet_quant::format::{BLOCK, TILE_ROWS};
use kinglet_quant::tensor::NO_LAYER;
use kinglet_quant::{File, Matrix, Role};

/// Texts of the same length so far, of a model with quantized weights.
pub(super) struct Batch<'a, K> {
    kernels: K,
    model: &'a File<'a>,
    layout: KvLayout,
    texts: usize,
    /// Tokens of each text.
    position: usize,
    /// `[texts][layers][kv_heads][block]`, in words.
    cache: Vec<u64>,
    /// The residual stream `[texts][hidden]`.
    x: Vec<f32>,
    inputs: Inputs,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    logits: Vec<f32>,
}

/// What a product multiplies, plain and quantized, `[texts][cols]`.
struct Inputs {
    values: Vec<f32>,
    codes: Vec<i8>,
    scales: Vec<f32>,
    starts: Vec<i32>,
}

impl<'a, K: Kernels> Batch<'a, K> {
    /// `texts` empty texts that may have `length` tokens.
    pub fn new(kernels: K, model: &'a File<'a>, texts: usize, length: usize) -> Self {
        let config = model.config();
        let context = length.next_multiple_of(ATTEND_CHUNK);
        let layout = KvLayout::new(KvType::Int8, config.head_dim as usize, context);
        let blocks = texts * (config.layers * config.kv_heads) as usize;
        let (hidden, ffn) = (config.hidden as usize, config.ffn as usize);
        let widest = hidden.max(ffn).max(config.q_dim());
        let floats = |width: usize| vec![0f32; texts * width.next_multiple_of(TILE_ROWS)];
        Self {
            kernels,
            model,
            layout,
            texts,
            position: 0,
            cache: vec![0; blocks * layout.block_bytes() / size_of::<u64>()],
            x: floats(hidden),
            inputs: Inputs {
                values: floats(widest),
                codes: vec![0; texts * widest],
                scales: floats(widest),
                starts: vec![0; texts * widest / START_GROUP],
            },
            q: floats(config.q_dim()),
            k: floats(config.kv_dim()),
            v: floats(config.kv_dim()),
            gate: floats(ffn),
            up: floats(ffn),
            logits: floats(config.vocab_size as usize),
        }
    }

    /// Appends a token to every text; returns the logits behind them, `[texts][padded vocabulary]`.
    pub fn step(&mut self, tokens: &[u32]) -> &[f32] {
        assert_eq!(tokens.len(), self.texts);
        let (kernels, model) = (self.kernels, self.model);
        let hidden = model.config().hidden as usize;
        let embedding = model.matrix(Role::Embedding, NO_LAYER);
        for (&token, x) in tokens.iter().zip(self.x.chunks_exact_mut(hidden)) {
            embedding.read_row(token as usize, x);
        }
        for layer in 0..model.config().layers as u16 {
            self.inputs.norm(kernels, &self.x, model, Role::AttnNorm, layer);
            for (role, out) in
                [(Role::Q, &mut self.q), (Role::K, &mut self.k), (Role::V, &mut self.v)]
            {
                self.inputs.product(kernels, &model.matrix(role, layer), out, Output::Store);
            }
            self.attend(layer);
            let o = model.matrix(Role::O, layer);
            self.inputs.quantize(kernels, self.texts * o.cols());
            self.inputs.product(kernels, &o, &mut self.x, Output::Add);

            self.inputs.norm(kernels, &self.x, model, Role::FfnNorm, layer);
            for (role, out) in [(Role::Gate, &mut self.gate), (Role::Up, &mut self.up)] {
                self.inputs.product(kernels, &model.matrix(role, layer), out, Output::Store);
            }
            kernels.silu_mul(&mut self.gate, &self.up);
            self.inputs.values[..self.gate.len()].copy_from_slice(&self.gate);
            self.inputs.quantize(kernels, self.gate.len());
            let down = model.matrix(Role::Down, layer);
            self.inputs.product(kernels, &down, &mut self.x, Output::Add);
        }
        self.inputs.norm(kernels, &self.x, model, Role::FinalNorm, NO_LAYER);
        self.inputs.product(kernels, &model.head(), &mut self.logits, Output::Store);
        self.position += 1;
        &self.logits
    }

    /// Appends keys and values, and attends to all positions of each text.
    fn attend(&mut self, layer: u16) {
        let config = self.model.config();
        let (kernels, layout, dim) = (self.kernels, self.layout, self.layout.head_dim);
        let (heads, group_dim) = (config.kv_heads as usize, config.group() * dim);
        let angle = |i: usize| {
            let exponent = (2 * i) as f32 / dim as f32;
            f64::from(self.position as f32 / config.rope_theta.powf(exponent))
        };
        let cos: Vec<f32> = (0..dim / 2).map(|i| angle(i).cos() as f32).collect();
        let sin: Vec<f32> = (0..dim / 2).map(|i| angle(i).sin() as f32).collect();
        let scale = 1.0 / (dim as f32).sqrt();
        let length = self.position + 1;
        let spans = length.div_ceil(ATTEND_CHUNK);
        let mut partials = vec![0f32; spans * config.group() * (dim + 2)];
        for key in self.k.chunks_exact_mut(dim) {
            kernels.rope(key, &cos, &sin);
        }
        for query in self.q.chunks_exact_mut(dim) {
            kernels.rope(query, &cos, &sin);
            query.iter_mut().for_each(|q| *q *= scale);
        }
        let of_text = config.layers as usize * heads;
        let blocks: &mut [u8] = bytemuck::cast_slice_mut(&mut self.cache);
        let rows = self.k.chunks_exact(dim).zip(self.v.chunks_exact(dim));
        let rows = rows.zip(self.q.chunks_exact(group_dim));
        let rows = rows.zip(self.inputs.values.chunks_exact_mut(group_dim));
        for (row, (((key, value), queries), out)) in rows.enumerate() {
            let block = row / heads * of_text + usize::from(layer) * heads + row % heads;
            let block = &mut blocks[block * layout.block_bytes()..][..layout.block_bytes()];
            kernels.append(&layout, block, self.position, key, value);
            kernels.attend(queries, &layout.head(block), 0..length, &mut partials);
            kernels.join(&partials, dim, out);
        }
    }
}

impl Inputs {
    /// `values = rms_norm(x)`, quantized.
    fn norm<K: Kernels>(
        &mut self,
        kernels: K,
        x: &[f32],
        model: &File<'_>,
        role: Role,
        layer: u16,
    ) {
        let (gain, eps) = (model.norm(role, layer), model.config().rms_eps);
        let rows = x.chunks_exact(gain.len()).zip(self.values.chunks_exact_mut(gain.len()));
        for (x, out) in rows {
            kernels.rms_norm(x, gain, eps, out);
        }
        self.quantize(kernels, x.len());
    }

    /// Quantizes the first `count` values.
    fn quantize<K: Kernels>(&mut self, kernels: K, count: usize) {
        kernels.quantize(
            &self.values[..count],
            &mut self.codes[..count],
            &mut self.scales[..count / BLOCK],
            &mut self.starts[..count / START_GROUP],
        );
    }

    /// `out (+)= W · values`.
    fn product<K: Kernels>(&self, kernels: K, w: &Matrix<'_>, out: &mut [f32], output: Output) {
        let width = w.tile_count() * TILE_ROWS;
        let (tokens, cols) = (out.len() / width, w.cols());
        let x = Activations {
            tokens,
            cols,
            values: &self.values[..tokens * cols],
            codes: &self.codes[..tokens * cols],
            scales: &self.scales[..tokens * cols / BLOCK],
            starts: &self.starts[..tokens * cols / START_GROUP],
        };
        let mut out = Columns::all(out, width);
        kernels.matmul(w, 0..w.tile_count(), &x, &mut out, output, &mut []);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Model, SessionOptions, Tier, Type};
    use kinglet_backends::UseKernels;
    use kinglet_quant::convert::{Options, convert};
    use kinglet_quant::source::Source;
    use std::ops::ControlFlow;
    use std::path::Path;

    const TEXTS: usize = 3;
    const LENGTH: usize = 40;

    struct Steps<'a> {
        model: &'a Model,
        texts: &'a [Vec<u32>; TEXTS],
    }

    impl UseKernels for Steps<'_> {
        /// The logits behind every token, `[LENGTH][TEXTS][vocabulary]`.
        type Output = Vec<Vec<Vec<f32>>>;

        fn run<K: Kernels>(self, kernels: K) -> Self::Output {
            let file = self.model.file();
            let vocabulary = self.model.config().vocab_size as usize;
            let mut batch = Batch::new(kernels, &file, TEXTS, LENGTH);
            let mut step = |i: usize| {
                let tokens: Vec<u32> = self.texts.iter().map(|text| text[i]).collect();
                let logits = batch.step(&tokens);
                let rows = logits.chunks_exact(logits.len() / TEXTS);
                rows.map(|row| row[..vocabulary].to_vec()).collect()
            };
            (0..LENGTH).map(&mut step).collect()
        }
    }

    /// The root of the mean square of differences, over that of the logits.
    fn distance(found: &[f32], expected: &[f32]) -> f32 {
        let squares = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>();
        let differences = squares(&mut found.iter().zip(expected).map(|(a, b)| a - b));
        (differences / squares(&mut expected.iter().copied())).sqrt()
    }

    #[test]
    fn a_batch_computes_what_sessions_compute() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["mha-head32", "gqa3-head32-untied", "gqa2-head128"] {
            let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/models");
            let source = Source::open(&models.join(name)).unwrap();
            let path = folder.path().join(name);
            let mut go = |_: kinglet_quant::convert::Progress<'_>| ControlFlow::Continue(());
            convert(&source, &path, &Options::new(Type::Q8, 1), &mut go).unwrap();
            let model = Model::open(&path).unwrap();
            let mut random = fastrand::Rng::with_seed(1);
            let texts: [Vec<u32>; TEXTS] = std::array::from_fn(|_| {
                (0..LENGTH).map(|_| random.u32(..model.config().vocab_size)).collect()
            });
            let found = Tier::best().with(Steps { model: &model, texts: &texts });
            for (number, text) in texts.iter().enumerate() {
                let options = SessionOptions { logit_rows: LENGTH, ..Default::default() };
                let mut session = model.session(&options).unwrap();
                let check = &mut |position: usize, logits: &[f32]| {
                    let distance = distance(&found[position][number], logits);
                    // Sums of another order flip codes of activations.
                    assert!(distance < 5e-2, "{name}, text {number} at {position}: {distance}");
                };
                session.score(text, check).unwrap();
            }
        }
    }
}
