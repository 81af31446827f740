//! The memory of an engine on a device: every buffer with its shape, added up before any is taken.

use super::shapes::{Row, Wanted};
use kinglet_core::kv::ATTEND_CHUNK;
use kinglet_core::plan::{Part, Plan, padded_vocab, partial_floats};
use kinglet_quant::format::{BLOCK, TILE_ROWS};
use kinglet_quant::{File, Type};
use std::vec::Vec;

/// Rows of a pass whose partial attention is in memory at once.
pub(super) const ATTEND_ROWS: usize = 64;
/// Survivors of a search of the head that come back in a list; where there are more, the whole row
/// of logits is fetched.
pub(super) const LISTED: usize = 1024;
/// Buffers start at multiples of this.
const ALIGN: usize = 256;

/// Where each buffer starts in the device's memory, and how many bytes there are.
///
/// `B` is the batch, `R` the rows of logits, `A` [`ATTEND_ROWS`] or the batch if that is smaller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offsets {
    /// What the processor says of a pass: [`Uploads`].
    pub upload: usize,
    /// Residual stream f32 `[B][hidden]`.
    pub x: usize,
    /// Inputs of products f32 `[B][hidden or heads × head_dim]`.
    pub input: usize,
    /// Quantized inputs: i8 `[B][widest]`, then f32 `[B][widest / 32]`, then i32
    /// `[B][widest / 16]`.
    pub codes: usize,
    pub scales: usize,
    pub starts: usize,
    /// Queries, keys and values f32 `[B][heads × head_dim]`, twice `[B][kv_heads × head_dim]`.
    pub q: usize,
    pub k: usize,
    pub v: usize,
    /// Partial attention f32 `[A][kv_heads][spans][group][head_dim + 2]`.
    pub partials: usize,
    /// Gate, then hidden activation f32 `[B][ffn]`.
    pub gate: usize,
    /// Up f32 `[B][ffn]`.
    pub up: usize,
    /// Logits f32 `[R][vocabulary, padded to 16]`.
    pub logits: usize,
    /// A search of the head: f32 `[R]` twice, f32 `[R][tiles]` twice, u16 `[R][tiles]`.
    pub margins: usize,
    pub thresholds: usize,
    pub floors: usize,
    pub ceilings: usize,
    pub survivors: usize,
    /// Survivors in lists u32 `[R][1 + 2 × LISTED]`.
    pub lists: usize,
    /// Key-value cache `[texts][layers][kv_heads][block]`.
    pub cache: usize,
    /// All.
    pub end: usize,
}

/// Where things lie in what a pass uploads: one copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uploads {
    /// [`Row`]s of all tokens, at the start; then those of tokens with logits.
    pub kept: usize,
    /// [`Wanted`] of every row of logits.
    pub wanted: usize,
    /// Rotary cosines f32 `[tokens][head_dim / 2]`.
    pub cos: usize,
    /// Rotary sines f32 `[tokens][head_dim / 2]`.
    pub sin: usize,
    /// All.
    pub end: usize,
}

impl Uploads {
    /// For as many tokens, of which `kept` get logits.
    pub fn new(tokens: usize, kept: usize, head_dim: usize) -> Self {
        let angles = tokens * head_dim / 2 * size_of::<f32>();
        let kept_start = tokens * size_of::<Row>();
        let wanted = kept_start + kept * size_of::<Row>();
        let cos = (wanted + kept * size_of::<Wanted>()).next_multiple_of(size_of::<Row>());
        Self { kept: kept_start, wanted, cos, sin: cos + angles, end: cos + 2 * angles }
    }
}

/// The memory of an engine on a device.
#[derive(Clone, Debug)]
pub(super) struct DevicePlan {
    pub offsets: Offsets,
    /// Spans of positions that a text has at most.
    pub spans: usize,
    /// Tiles of a head in two planes; 0 for others.
    pub search_tiles: usize,
    /// Floats of a row of logits.
    pub logit_width: usize,
    pub parts: Vec<Part>,
}

/// Adds up buffers.
struct Sum {
    end: usize,
    parts: Vec<Part>,
}

impl Sum {
    /// A part of the plan, and where each of its buffers starts.
    fn part<const N: usize>(&mut self, name: &'static str, bytes: [usize; N]) -> [usize; N] {
        let first = self.end;
        let starts = bytes.map(|bytes| {
            let start = self.end;
            self.end += bytes.next_multiple_of(ALIGN);
            start
        });
        self.parts.push(Part { name, bytes: self.end - first });
        starts
    }
}

impl DevicePlan {
    /// The memory of an engine for a model and a plan of its texts.
    pub fn new(file: &File<'_>, plan: &Plan) -> Self {
        let (config, limits) = (file.config(), plan.limits());
        let (batch, rows) = (limits.batch, limits.logit_rows);
        let (hidden, ffn) = (config.hidden as usize, config.ffn as usize);
        let (q_dim, kv_dim) = (config.q_dim(), config.kv_dim());
        let widest = hidden.max(q_dim).max(ffn);
        let spans = limits.context.div_ceil(ATTEND_CHUNK);
        let partial = config.kv_heads as usize * spans * partial_floats(config);
        let head = file.head();
        let search_tiles = if head.kind() == Type::Q8Planes { head.tile_count() } else { 0 };
        let logit_width = padded_vocab(config);
        let mut sum = Sum { end: 0, parts: Vec::new() };
        let upload = Uploads::new(batch, rows, config.head_dim as usize).end;
        let [upload] = sum.part("pass", [upload]);
        let [x] = sum.part("residual_stream", [batch * hidden * 4]);
        let [input] = sum.part("product_input", [batch * hidden.max(q_dim) * 4]);
        let [codes, scales, starts] = sum.part(
            "activations",
            [batch * widest, batch * widest / BLOCK * 4, batch * widest / TILE_ROWS * 4],
        );
        let [q, k, v] = sum
            .part("queries_keys_values", [batch * q_dim, batch * kv_dim, batch * kv_dim].map(f32s));
        let [partials] = sum.part("partial_attention", [f32s(batch.min(ATTEND_ROWS) * partial)]);
        let [gate, up] = sum.part("gate_and_up", [f32s(batch * ffn); 2]);
        let [logits] = sum.part("logits", [f32s(rows * logit_width)]);
        let tiles = rows * search_tiles;
        let [margins, thresholds, floors, ceilings, survivors] = sum.part(
            "head_screen",
            [f32s(rows), f32s(rows), f32s(tiles), f32s(tiles), tiles * size_of::<u16>()],
        );
        let [lists] =
            sum.part("survivors", [if search_tiles > 0 { rows * list_bytes() } else { 0 }]);
        let cache_bytes = limits.texts * plan.text_cache_bytes();
        let [cache] = sum.part("kv_cache", [cache_bytes]);
        let offsets = Offsets {
            upload,
            x,
            input,
            codes,
            scales,
            starts,
            q,
            k,
            v,
            partials,
            gate,
            up,
            logits,
            margins,
            thresholds,
            floors,
            ceilings,
            survivors,
            lists,
            cache,
            end: sum.end,
        };
        Self { offsets, spans, search_tiles, logit_width, parts: sum.parts }
    }
}

/// Bytes of one row's list of survivors.
pub(super) fn list_bytes() -> usize {
    (1 + 2 * LISTED) * size_of::<u32>()
}

fn f32s(count: usize) -> usize {
    count * size_of::<f32>()
}
