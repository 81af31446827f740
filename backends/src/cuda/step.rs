//! The Llama step on a device: the phases of [`kinglet_core::forward`](mod@kinglet_core::forward),
//! a launch for each.

#[cfg(feature = "check")]
mod times;

#[cfg(feature = "check")]
pub use times::LaunchTime;

use super::device::Device;
use super::functions::Functions;
use super::launch::Launch;
use super::memory::Weights;
use super::plan::{ATTEND_ROWS, DevicePlan, LISTED, Uploads};
use super::product::{TENSOR_FROM, TILE_THREADS, tile_grid};
use super::shapes::{Address, Cache, Found, Inputs, Out, Products, Quantized, Weight};
use kinglet_core::kv::ATTEND_CHUNK;
use kinglet_core::plan::Plan;
use kinglet_quant::tensor::NO_LAYER;
use kinglet_quant::{Config, File, Matrix, Result, Role};

/// One step: the tokens that were uploaded, in an engine's buffers.
pub(super) struct Step<'s> {
    pub device: &'s Device,
    pub functions: &'s Functions,
    pub model: &'s File<'s>,
    pub weights: &'s Weights<'s>,
    pub plan: &'s Plan,
    pub device_plan: &'s DevicePlan,
    /// Where the device's memory starts.
    pub memory: Address,
    /// Tokens of the pass.
    pub count: usize,
    /// Tokens of it that get logits.
    pub kept: usize,
}

/// The rows that a phase works on.
#[derive(Clone, Copy)]
struct Rows {
    count: u32,
    rows: Address,
}

/// Rows whose partial attention is in memory at once, and where their queries and results are.
#[derive(Clone, Copy)]
struct Attended {
    rows: Rows,
    q: Address,
    out: Address,
}

impl Step<'_> {
    /// Launches the step; of the logits, those that the uploaded screens need if `is_screened`.
    pub fn run(&self, is_screened: bool) -> Result<()> {
        self.layers(self.kept)?;
        if self.kept == 0 {
            return Ok(());
        }
        let wanted = self.at(self.device_plan.offsets.upload + self.uploads().wanted);
        self.head(is_screened, wanted)
    }

    /// Hidden states behind the final norm of every token, in place of logits.
    pub fn states(&self) -> Result<()> {
        self.layers(self.count)
    }

    fn uploads(&self) -> Uploads {
        Uploads::new(self.count, self.kept, self.model.config().head_dim as usize)
    }

    /// All up to the final norm. Behind the cache of the last layer go on as many tokens: those
    /// that get logits, or all.
    fn layers(&self, last: usize) -> Result<()> {
        let (config, uploads) = (self.model.config(), self.uploads());
        let start = self.at(self.device_plan.offsets.upload);
        let mut rows = Rows { count: self.count as u32, rows: start };
        self.embed(rows)?;
        for layer in 0..config.layers as u16 {
            self.norm(Role::AttnNorm, layer, rows)?;
            self.multiply(&self.qkv(layer), &self.input(), rows)?;
            self.append(layer, rows, &uploads)?;
            if layer + 1 == config.layers as u16 && last < self.count {
                if last == 0 {
                    return Ok(());
                }
                rows = Rows { count: last as u32, rows: start + uploads.kept as u64 };
                self.keep(rows)?;
            }
            self.attend_and_join(layer, rows)?;
            self.multiply(&self.projection(Role::O, layer), &self.input(), rows)?;
            self.norm(Role::FfnNorm, layer, rows)?;
            self.multiply(&self.gate_and_up(layer), &self.input(), rows)?;
            self.silu_mul(rows)?;
            self.multiply(&self.projection(Role::Down, layer), &self.gate(), rows)?;
        }
        self.norm(Role::FinalNorm, NO_LAYER, rows)
    }

    /// Logits of the last step's rows: all, or those that the screens at `wanted` need.
    pub fn head(&self, is_screened: bool, wanted: Address) -> Result<()> {
        if is_screened {
            return self.search(wanted);
        }
        self.multiply(&self.whole_head(), &self.input(), self.kept_rows())
    }

    /// The rows that get logits; none of them is looked up any more.
    fn kept_rows(&self) -> Rows {
        Rows { count: self.kept as u32, rows: 0 }
    }

    fn at(&self, offset: usize) -> Address {
        self.memory + offset as u64
    }

    /// A launch of a kernel of `kernels/`, given what its page says, in order.
    fn launch<'l>(&'l self, grid: [u32; 3], threads: u32) -> Launch<'l> {
        // SAFETY: the methods below give each kernel the parameters of its declaration, whose
        // structs `shapes.rs` repeats. Their addresses are in the engine's memory and the weights,
        // and `DevicePlan` has room for all rows that a pass within the plan has; the tests run
        // every kernel where each access is checked. The engine keeps both, and the module, for
        // longer than its graphs, and waits for the stream before it drops them.
        unsafe { Launch::new(self.device, grid, threads) }
    }

    fn weight(&self, role: Role, layer: u16) -> Weight {
        let matrix = self.model.matrix(role, layer);
        self.located(&matrix)
    }

    fn located(&self, matrix: &Matrix<'_>) -> Weight {
        Weight::new(matrix, self.weights.pointer_of(matrix.bytes()))
    }

    fn codes(&self) -> Quantized {
        let o = &self.device_plan.offsets;
        Quantized { codes: self.at(o.codes), scales: self.at(o.scales), starts: self.at(o.starts) }
    }

    fn inputs(&self, values: usize) -> Inputs {
        let Quantized { codes, scales, starts } = self.codes();
        Inputs { values: self.at(values), codes, scales, starts }
    }

    /// What norms and attention leave.
    fn input(&self) -> Inputs {
        self.inputs(self.device_plan.offsets.input)
    }

    /// What gate and up leave.
    fn gate(&self) -> Inputs {
        self.inputs(self.device_plan.offsets.gate)
    }

    /// `x[token] = embedding[token]`.
    fn embed(&self, rows: Rows) -> Result<()> {
        let embedding = self.weight(Role::Embedding, NO_LAYER);
        let x = self.at(self.device_plan.offsets.x);
        let launch = self.launch([rows.count, 1, 1], 128);
        launch.with(&embedding).with(&rows.rows).with(&x).run(self.functions.embed)
    }

    /// `input = rms_norm(x)`, and quantizes it.
    fn norm(&self, role: Role, layer: u16, rows: Rows) -> Result<()> {
        let o = &self.device_plan.offsets;
        let (x, input) = (self.at(o.x), self.at(o.input));
        let gain = self.weights.pointer_of(bytemuck::cast_slice(self.model.vector(role, layer)));
        let Config { hidden, rms_eps, .. } = *self.model.config();
        let codes = self.codes();
        let launch = self.launch([rows.count, 1, 1], 256);
        let launch = launch.with(&x).with(&gain).with(&rms_eps).with(&hidden);
        launch.with(&input).with(&codes).run(self.functions.norm)
    }

    /// Quantizes the inputs of a product that were not normed.
    fn quantize(&self, values: Address, cols: u32, rows: Rows) -> Result<()> {
        let codes = self.codes();
        let launch = self.launch([rows.count, 1, 1], 256);
        launch.with(&values).with(&cols).with(&codes).run(self.functions.quantize)
    }

    /// `q, k, v = W_qkv · input`: one launch over the tiles of three matrices.
    fn qkv(&self, layer: u16) -> Products {
        let o = &self.device_plan.offsets;
        let w = [Role::Q, Role::K, Role::V].map(|role| self.weight(role, layer));
        let mut products = Products { w, ..Products::default() };
        for (out, (start, w)) in products.out.iter_mut().zip([o.q, o.k, o.v].into_iter().zip(w)) {
            *out = Out { values: self.at(start), width: w.rows(), is_added: 0 };
        }
        products
    }

    /// `x += W · input`.
    fn projection(&self, role: Role, layer: u16) -> Products {
        let w = self.weight(role, layer);
        let x = self.at(self.device_plan.offsets.x);
        let mut products = Products::default();
        products.w[0] = w;
        products.out[0] = Out { values: x, width: w.rows(), is_added: 1 };
        products
    }

    fn multiply(&self, products: &Products, input: &Inputs, rows: Rows) -> Result<()> {
        let (function, grid) = self.functions.product(products, rows.count, TENSOR_FROM);
        let launch = self.launch(grid, TILE_THREADS).with(products).with(input);
        launch.with(&rows.count).run(function)
    }

    /// `gate, up = W_gate · input, W_up · input`.
    fn gate_and_up(&self, layer: u16) -> Products {
        let o = &self.device_plan.offsets;
        let (gate, up) = (self.at(o.gate), self.at(o.up));
        let mut products = Products::default();
        for (i, (role, values)) in [(Role::Gate, gate), (Role::Up, up)].into_iter().enumerate() {
            let w = self.weight(role, layer);
            (products.w[i], products.out[i]) = (w, Out { values, width: w.rows(), is_added: 0 });
        }
        products
    }

    /// `gate = silu(gate) · up`, and quantizes it.
    fn silu_mul(&self, rows: Rows) -> Result<()> {
        let o = &self.device_plan.offsets;
        let (gate, up) = (self.at(o.gate), self.at(o.up));
        let (ffn, codes) = (self.model.config().ffn, self.codes());
        let launch = self.launch([rows.count, 1, 1], 256);
        launch.with(&gate).with(&up).with(&ffn).with(&codes).run(self.functions.silu_mul)
    }

    /// Rotates queries and keys, and appends keys and values to the cache.
    fn append(&self, layer: u16, rows: Rows, uploads: &Uploads) -> Result<()> {
        let (config, o) = (self.model.config(), &self.device_plan.offsets);
        let [q, k, v] = [o.q, o.k, o.v].map(|start| self.at(start));
        let cos = self.at(o.upload + uploads.cos);
        let sin = self.at(o.upload + uploads.sin);
        let scale = 1.0 / (config.attended_dim() as f32).sqrt();
        let cache = self.cache(layer);
        let launch = self.launch([config.kv_heads, rows.count, 1], 64);
        let launch = launch.with(&q).with(&k).with(&v).with(&cos).with(&sin);
        launch.with(&rows.rows).with(&scale).with(&cache).run(self.functions.append)
    }

    fn cache(&self, layer: u16) -> Cache {
        let bytes = self.at(self.device_plan.offsets.cache);
        Cache::new(self.plan, self.model.config(), bytes, layer)
    }

    /// Makes the rows those of tokens that get logits, whose queries have been computed.
    fn keep(&self, rows: Rows) -> Result<()> {
        let (config, o) = (self.model.config(), &self.device_plan.offsets);
        for (start, width) in [(o.x, config.hidden), (o.q, config.q_dim() as u32)] {
            let values = self.at(start);
            let launch = self.launch([width.div_ceil(128), 1, 1], 128);
            let launch = launch.with(&values).with(&width).with(&rows.rows).with(&rows.count);
            launch.run(self.functions.keep)?;
        }
        Ok(())
    }

    /// `input = softmax(q · Kᵀ) · V`, causal, and quantizes it.
    fn attend_and_join(&self, layer: u16, rows: Rows) -> Result<()> {
        for first in (0..rows.count).step_by(ATTEND_ROWS) {
            let part = self.attended(rows, first);
            self.attend(layer, part)?;
            self.join(layer, part)?;
        }
        self.quantize_attention(rows)
    }

    /// As many rows from `first` on as there is memory for.
    fn attended(&self, rows: Rows, first: u32) -> Attended {
        let (o, q_dim) = (&self.device_plan.offsets, self.model.config().q_dim());
        let values = first as usize * q_dim * size_of::<f32>();
        let count = (rows.count - first).min(ATTEND_ROWS as u32);
        let bytes = u64::from(first) * size_of::<super::shapes::Row>() as u64;
        let rows = Rows { count, rows: rows.rows + bytes };
        Attended { rows, q: self.at(o.q + values), out: self.at(o.input + values) }
    }

    /// Partial attention of every span.
    fn attend(&self, layer: u16, Attended { rows, q, .. }: Attended) -> Result<()> {
        let (cache, spans) = (self.cache(layer), self.device_plan.spans as u32);
        let partials = self.at(self.device_plan.offsets.partials);
        let grid = [spans, self.model.config().kv_heads, rows.count];
        let launch = self.launch(grid, ATTEND_CHUNK as u32);
        let launch = launch.with(&q).with(&rows.rows).with(&spans).with(&partials);
        launch.with(&cache).run(self.functions.attend)
    }

    /// Joins the spans.
    fn join(&self, layer: u16, Attended { rows, out, .. }: Attended) -> Result<()> {
        let (cache, spans) = (self.cache(layer), self.device_plan.spans as u32);
        let partials = self.at(self.device_plan.offsets.partials);
        let launch = self.launch([self.model.config().heads, rows.count, 1], 64);
        let launch = launch.with(&partials).with(&rows.rows).with(&spans).with(&out);
        launch.with(&cache).run(self.functions.join)
    }

    fn quantize_attention(&self, rows: Rows) -> Result<()> {
        let input = self.at(self.device_plan.offsets.input);
        self.quantize(input, self.model.config().q_dim() as u32, rows)
    }

    /// `logits = W_head · input`.
    fn whole_head(&self) -> Products {
        let mut products = Products::default();
        products.w[0] = self.located(&self.model.head());
        let width = self.device_plan.logit_width as u32;
        let values = self.at(self.device_plan.offsets.logits);
        products.out[0] = Out { values, width, is_added: 0 };
        products
    }

    /// The logits that can be chosen, and lists of them: see [`kinglet_core::screen`].
    fn search(&self, wanted: Address) -> Result<()> {
        self.margins()?;
        self.screen()?;
        self.threshold(wanted)?;
        self.rescore()?;
        self.collect()
    }

    fn found(&self) -> Found {
        let o = &self.device_plan.offsets;
        Found {
            logits: self.at(o.logits),
            floors: self.at(o.floors),
            ceilings: self.at(o.ceilings),
            width: self.device_plan.logit_width as u32,
        }
    }

    /// How far the first plane's products may be off.
    fn margins(&self) -> Result<()> {
        let (input, hidden) = (self.input(), self.model.config().hidden);
        let margins = self.at(self.device_plan.offsets.margins);
        let launch = self.launch([self.kept as u32, 1, 1], 32);
        launch.with(&input).with(&hidden).with(&margins).run(self.functions.margins)
    }

    /// Products of the first plane, and their bounds.
    fn screen(&self) -> Result<()> {
        let (head, input, found) = (self.located(&self.model.head()), self.input(), self.found());
        let (margins, count) = (self.at(self.device_plan.offsets.margins), self.kept as u32);
        let (grid, is_one) = tile_grid(head.tiles(), count);
        let launch = self.launch(grid, TILE_THREADS);
        let launch = launch.with(&head).with(&input).with(&margins).with(&count).with(&found);
        let functions = self.functions;
        launch.run(if is_one { functions.screen_one } else { functions.screen_many })
    }

    /// What a logit must reach.
    fn threshold(&self, wanted: Address) -> Result<()> {
        let thresholds = self.at(self.device_plan.offsets.thresholds);
        let (floors, tiles) = (self.found().floors, self.located(&self.model.head()).tiles());
        let launch = self.launch([self.kept as u32, 1, 1], 256);
        let launch = launch.with(&floors).with(&tiles).with(&wanted).with(&thresholds);
        launch.run(self.functions.threshold)
    }

    /// Logits of the tiles that can reach it.
    fn rescore(&self) -> Result<()> {
        let o = &self.device_plan.offsets;
        let [margins, thresholds, survivors] =
            [o.margins, o.thresholds, o.survivors].map(|start| self.at(start));
        let (head, input, found) = (self.located(&self.model.head()), self.input(), self.found());
        let launch = self.launch([head.tiles().div_ceil(4), self.kept as u32, 1], TILE_THREADS);
        let launch = launch.with(&head).with(&input).with(&margins).with(&thresholds);
        launch.with(&found).with(&survivors).run(self.functions.rescore)
    }

    /// Lists of those that do.
    fn collect(&self) -> Result<()> {
        let o = &self.device_plan.offsets;
        let [survivors, lists] = [o.survivors, o.lists].map(|start| self.at(start));
        let (found, tiles) = (self.found(), self.located(&self.model.head()).tiles());
        let (launch, room) = (self.launch([self.kept as u32, 1, 1], 256), LISTED as u32);
        let launch = launch.with(&survivors).with(&found).with(&tiles).with(&room);
        launch.with(&lists).run(self.functions.collect)
    }
}
