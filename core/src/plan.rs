//! The memory of a session: every buffer with its shape, added up before anything is taken.

use crate::arena::{Arena, MAX_WORKERS, padded_bytes};
use crate::kernels::{PANEL_ROWS, START_GROUP};
use crate::kv::{ATTEND_CHUNK, KvLayout, KvType};
use crate::screen::ScreenBuffers;
use core::mem;
use kinglet_quant::format::{BLOCK, TILE_ROWS};
use kinglet_quant::{Code, Config, File, Result, Type, ensure};

/// Texts that one engine can work on at most.
pub const MAX_TEXTS: usize = 8;
/// Tokens that one step can take at most.
pub const MAX_BATCH: usize = 4096;
/// Tiles of gate, then of up, that a worker computes for a prompt. For few tokens they alternate as
/// in the file: one stream of bytes.
pub(crate) const PROMPT_RUN: usize = 4;
/// Buffers of a plan.
const PARTS: usize = 10;
/// How many of them, from the first, are the engine's.
const ENGINE_PARTS: usize = 8;

/// What a session must be able to do; its memory follows from this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Texts, each with a cache and a position of its own; [`MAX_TEXTS`] at most.
    pub texts: usize,
    /// Positions that the cache of a text holds.
    pub context: usize,
    /// Tokens that a pass takes at most, as it does in prefill.
    pub batch: usize,
    /// Tokens of a pass that can have logits: one for each text, or up to `batch` to verify drafts
    /// and to score texts.
    pub logit_rows: usize,
    /// Workers that will run the passes.
    pub workers: usize,
    /// How keys and values are stored.
    pub kv: KvType,
}

/// Elements of every buffer. `T` are the texts, `B` is the batch, `W` the workers, `R` the logit
/// rows.
///
/// What only layers need lies where the logits are written later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    /// Residual stream f32 `[B][hidden]`.
    x: usize,
    /// Normed residual stream, then attention output, f32 `[B][hidden or heads × head_dim]`.
    input: usize,
    /// Quantized activations i8 `[B][widest input]`.
    codes: usize,
    /// Their scales f32 `[B][widest input / 32]`.
    scales: usize,
    /// Their starts of sums i32 `[B][widest input / 16]`.
    starts: usize,
    /// Queries f32 `[B][heads × head_dim]`.
    q: usize,
    /// Keys f32 `[B][kv_heads × head_dim]`.
    k: usize,
    /// Values f32 `[B][kv_heads × head_dim]`.
    v: usize,
    /// Partial attention f32 `[max(kv_heads, W)][spans][group][head_dim + 2]`.
    partials: usize,
    /// Gate, then hidden activation f32 `[B][ffn]`.
    gate: usize,
    /// Some columns of the up projection f32 `[W][B][PROMPT_RUN × 16]`.
    up: usize,
    /// Rotary cosines f32 `[B][head_dim / 2]`.
    cos: usize,
    /// Rotary sines f32 `[B][head_dim / 2]`.
    sin: usize,
    /// Unpacked rows of unquantized weights f32 `[W][64 × widest input]`.
    panels: usize,
    /// Logits f32 `[R][vocabulary, padded to 16]`.
    logits: usize,
    /// Rows and tiles of the head's search, see [`ScreenBuffers`]; `[R][0]` without two planes.
    screen: (usize, usize),
    /// Candidates of the sampler u32 `[vocabulary]`.
    candidates: usize,
    /// Tokens so far u32 `[T][context]`.
    history: usize,
    /// Key-value cache `[T][layers][kv_heads][block]`, see [`crate::kv`].
    cache: usize,
}

/// A named buffer of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it holds.
    pub name: &'static str,
    /// Its bytes, padding included.
    pub bytes: usize,
}

/// The memory that a session needs: a commented sum of bytes.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) counts: Counts,
    pub(crate) layout: KvLayout,
    limits: Limits,
    parts: heapless::Vec<Part, PARTS>,
}

impl Plan {
    /// The plan for a model and what a session must be able to do.
    ///
    /// `BadArgument` for limits of zero, a context beyond the model's, or more memory than this
    /// machine can address.
    pub fn new(file: &File<'_>, limits: &Limits) -> Result<Self> {
        let config = file.config();
        check_limits(config, limits)?;
        let layout = KvLayout::new(limits.kv, config.head_dim as usize, limits.context);
        let counts = Counts::new(file, limits, &layout);
        let mut parts = heapless::Vec::new();
        for part in counts.parts() {
            assert!(parts.push(part).is_ok(), "PARTS is the length of the list");
        }
        let plan = Self { counts, layout, limits: *limits, parts };
        let most = most_bytes(config, limits);
        assert!(plan.total_bytes() as u64 <= most, "the limit of {most} bytes forgets a buffer");
        Ok(plan)
    }

    /// The plan of an engine whose memory is elsewhere, such as on a device: its parts take
    /// nothing, and what is left are the buffers of [`crate::Texts`].
    pub fn without_engine(mut self) -> Self {
        self.parts[..ENGINE_PARTS].iter_mut().for_each(|part| part.bytes = 0);
        self
    }

    /// What the session can do.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Every buffer, in the order in which the arena is cut.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Bytes of all buffers together.
    pub fn total_bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Bytes of the buffers that an engine computes in, the first ones of all; the others are those
    /// of [`crate::Texts`].
    pub fn engine_bytes(&self) -> usize {
        self.parts[..ENGINE_PARTS].iter().map(|part| part.bytes).sum()
    }

    /// Where things lie in a block of the cache.
    pub fn layout(&self) -> KvLayout {
        self.layout
    }

    /// Blocks of one text's cache: one for each layer and key-value head.
    pub fn blocks_of_text(&self) -> usize {
        self.text_cache_bytes() / self.layout.block_bytes()
    }

    /// Bytes of one text's cache.
    pub fn text_cache_bytes(&self) -> usize {
        self.counts.cache / self.limits.texts
    }

    /// Whether a token's logits are the same to the bit whatever the batch that it comes in: with
    /// quantized weights they are, whose products are exact sums.
    pub fn is_batch_exact(&self) -> bool {
        self.counts.panels == 0
    }

    /// Bytes of the key-value cache.
    pub fn cache_bytes(&self) -> usize {
        padded_bytes::<u8>(self.counts.cache)
    }
}

fn check_limits(config: &Config, limits: &Limits) -> Result<()> {
    let Limits { texts, context, batch, logit_rows, workers, .. } = *limits;
    let most = config.max_context as usize;
    ensure!(
        (1..=MAX_TEXTS).contains(&texts),
        Code::BadArgument,
        "{texts} texts at once: 1 to {MAX_TEXTS} are supported"
    );
    ensure!(
        (1..=most).contains(&context),
        Code::BadArgument,
        "a context of {context}: this model supports 1 to {most} positions"
    );
    ensure!(
        (texts..=MAX_BATCH).contains(&batch),
        Code::BadArgument,
        "a batch of {batch}: {texts} to {MAX_BATCH} tokens are supported"
    );
    ensure!(
        (texts..=batch).contains(&logit_rows),
        Code::BadArgument,
        "{logit_rows} rows of logits: {texts} to the batch of {batch} are supported"
    );
    ensure!(
        (1..=MAX_WORKERS).contains(&workers),
        Code::BadArgument,
        "{workers} threads: 1 to {MAX_WORKERS} are supported"
    );
    ensure!(
        most_bytes(config, limits) < isize::MAX as u64,
        Code::BadArgument,
        "the session would need more memory than this machine can address: lower the context"
    );
    Ok(())
}

/// Bytes that all buffers together stay below: about twice as many. Where this machine can address
/// as many, no product of [`Counts::new`] overflows. Here none does, since [`Config::check`] bounds
/// the factors.
fn most_bytes(config: &Config, limits: &Limits) -> u64 {
    let [texts, context, batch, logit_rows, workers] =
        [limits.texts, limits.context, limits.batch, limits.logit_rows, limits.workers]
            .map(|n| n as u64);
    let width = config.hidden.max(config.ffn).max(config.heads * config.head_dim);
    let cache = u64::from(config.layers) * config.kv_dim() as u64 * (context + 64) * 8;
    let of_texts = texts * (cache + context * 8);
    let spans = (limits.context.div_ceil(ATTEND_CHUNK)) as u64;
    let partial_rows = u64::from(config.kv_heads).max(workers) * spans;
    let partials = partial_rows * partial_floats(config) as u64 * 8;
    let steps = (batch + PANEL_ROWS as u64 * workers) * u64::from(width) * 64;
    let up = workers * batch * (PROMPT_RUN * TILE_ROWS * 8) as u64;
    let logits = logit_rows * u64::from(config.vocab_size + TILE_ROWS as u32) * 16;
    // What the ends of buffers are padded with.
    let padding = 64 * 64;
    of_texts + partials + steps + up + logits + padding
}

impl Counts {
    fn new(file: &File<'_>, limits: &Limits, layout: &KvLayout) -> Self {
        let config = file.config();
        let (batch, workers) = (limits.batch, limits.workers);
        let (hidden, ffn) = (config.hidden as usize, config.ffn as usize);
        let (q_dim, kv_dim) = (config.q_dim(), config.kv_dim());
        let half_head = config.head_dim as usize / 2;
        let widest = hidden.max(q_dim).max(ffn);
        let spans = limits.context.div_ceil(ATTEND_CHUNK);
        let partial_rows = (config.kv_heads as usize).max(workers) * spans;
        let unquantized = file.records().iter().any(|record| {
            record.rows > 1 && Type::from_file(record.kind).is_ok_and(|kind| !kind.is_quantized())
        });
        let head = file.head();
        let screen_tiles = if head.kind() == Type::Q8Planes { head.tile_count() } else { 0 };
        Self {
            x: batch * hidden,
            input: batch * hidden.max(q_dim),
            codes: batch * widest,
            scales: batch * widest / BLOCK,
            starts: batch * widest / START_GROUP,
            q: batch * q_dim,
            k: batch * kv_dim,
            v: batch * kv_dim,
            partials: partial_rows * partial_floats(config),
            gate: batch * ffn,
            up: workers * batch * PROMPT_RUN * TILE_ROWS,
            cos: batch * half_head,
            sin: batch * half_head,
            panels: if unquantized { workers * PANEL_ROWS * widest } else { 0 },
            logits: limits.logit_rows * padded_vocab(config),
            screen: (limits.logit_rows, screen_tiles),
            candidates: config.vocab_size as usize,
            history: limits.texts * limits.context,
            cache: limits.texts * (config.layers * config.kv_heads) as usize * layout.block_bytes(),
        }
    }

    fn parts(&self) -> [Part; PARTS] {
        let f32s = padded_bytes::<f32>;
        let u32s = padded_bytes::<u32>;
        let part = |name, bytes| Part { name, bytes };
        [
            part("layers_then_logits", f32s(self.layers_or_logits())),
            part("product_input", f32s(self.input)),
            part("activation_codes", padded_bytes::<i8>(self.codes)),
            part("activation_scales", f32s(self.scales)),
            part("activation_starts", padded_bytes::<i32>(self.starts)),
            part("weight_panels", f32s(self.panels)),
            part("head_screen", ScreenBuffers::bytes(self.screen.0, self.screen.1)),
            part("kv_cache", padded_bytes::<u8>(self.cache)),
            part("candidates", u32s(self.candidates)),
            part("history", u32s(self.history)),
        ]
    }

    /// The larger of the two that share their memory.
    fn layers_or_logits(&self) -> usize {
        self.layer_buffers().map(padded_floats).iter().sum::<usize>().max(self.logits)
    }

    /// The buffers that only layers need.
    fn layer_buffers(&self) -> [usize; 9] {
        let Self { x, q, k, v, partials, gate, up, cos, sin, .. } = *self;
        [x, q, k, v, partials, gate, up, cos, sin]
    }
}

/// Floats that as many occupy in an arena.
fn padded_floats(count: usize) -> usize {
    padded_bytes::<f32>(count) / size_of::<f32>()
}

/// Elements of one partial attention: all queries of one key-value head.
pub fn partial_floats(config: &Config) -> usize {
    config.group() * (config.head_dim as usize + 2)
}

/// Logits of one position: kernels write whole tiles.
pub fn padded_vocab(config: &Config) -> usize {
    (config.vocab_size as usize).next_multiple_of(TILE_ROWS)
}

/// The buffers of an engine.
#[derive(Debug)]
pub(crate) struct Buffers<'a> {
    counts: Counts,
    pub layers_or_logits: &'a mut [f32],
    input: &'a mut [f32],
    codes: &'a mut [i8],
    scales: &'a mut [f32],
    starts: &'a mut [i32],
    panels: &'a mut [f32],
    pub screen: ScreenBuffers<'a>,
    pub cache: &'a mut [u8],
}

/// What layers compute in; shapes are those of [`Counts`].
pub(crate) struct LayerBuffers<'b> {
    pub x: &'b mut [f32],
    pub q: &'b mut [f32],
    pub k: &'b mut [f32],
    pub v: &'b mut [f32],
    pub partials: &'b mut [f32],
    pub gate: &'b mut [f32],
    pub up: &'b mut [f32],
    pub cos: &'b mut [f32],
    pub sin: &'b mut [f32],
    pub input: &'b mut [f32],
    pub codes: &'b mut [i8],
    pub scales: &'b mut [f32],
    pub starts: &'b mut [i32],
    pub panels: &'b mut [f32],
    pub cache: &'b mut [u8],
}

/// The buffers of [`crate::Texts`].
#[derive(Debug)]
pub(crate) struct TextBuffers<'a> {
    /// `[vocabulary]`
    pub candidates: &'a mut [u32],
    /// `[T][context]`
    pub history: &'a mut [u32],
}

impl<'a> TextBuffers<'a> {
    /// Cuts what lies behind [`Plan::engine_bytes`] of a plan's memory.
    pub fn cut(plan: &Plan, memory: &'a mut [u8]) -> Self {
        let bytes = plan.total_bytes() - plan.engine_bytes();
        let mut arena = Arena::new(&mut memory[..bytes]);
        let candidates = arena.take(plan.counts.candidates);
        let history = arena.take(plan.counts.history);
        assert_eq!(arena.left(), 0, "the plan and the cut must agree to the byte");
        Self { candidates, history }
    }
}

/// What the head computes in; shapes are those of [`Counts`].
pub(crate) struct HeadBuffers<'b, 'a> {
    pub logits: &'b mut [f32],
    pub input: &'b mut [f32],
    pub codes: &'b mut [i8],
    pub scales: &'b mut [f32],
    pub starts: &'b mut [i32],
    pub panels: &'b mut [f32],
    pub screen: &'b mut ScreenBuffers<'a>,
}

impl<'a> Buffers<'a> {
    /// Cuts all buffers; exactly [`Plan::engine_bytes`] of the arena are used.
    pub fn cut(plan: &Plan, memory: &'a mut [u8]) -> Self {
        let counts = plan.counts;
        let mut arena = Arena::new(&mut memory[..plan.engine_bytes()]);
        let buffers = Self {
            counts,
            layers_or_logits: arena.take(counts.layers_or_logits()),
            input: arena.take(counts.input),
            codes: arena.take(counts.codes),
            scales: arena.take(counts.scales),
            starts: arena.take(counts.starts),
            panels: arena.take(counts.panels),
            screen: ScreenBuffers::cut(&mut arena, counts.screen.0, counts.screen.1),
            cache: arena.take(counts.cache),
        };
        assert_eq!(arena.left(), 0, "the plan and the cut must agree to the byte");
        buffers
    }

    /// The buffers of layers, which hold anything once the head has run.
    pub fn layers(&mut self) -> LayerBuffers<'_> {
        let mut rest = &mut *self.layers_or_logits;
        let [x, q, k, v, partials, gate, up, cos, sin] = self.counts.layer_buffers().map(|count| {
            let (buffer, behind) = mem::take(&mut rest).split_at_mut(padded_floats(count));
            rest = behind;
            &mut buffer[..count]
        });
        LayerBuffers {
            x,
            q,
            k,
            v,
            partials,
            gate,
            up,
            cos,
            sin,
            input: self.input,
            codes: self.codes,
            scales: self.scales,
            starts: self.starts,
            panels: self.panels,
            cache: self.cache,
        }
    }

    /// The buffers of the head.
    pub fn head(&mut self) -> HeadBuffers<'_, 'a> {
        HeadBuffers {
            logits: &mut self.layers_or_logits[..self.counts.logits],
            input: self.input,
            codes: self.codes,
            scales: self.scales,
            starts: self.starts,
            panels: self.panels,
            screen: &mut self.screen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;

    /// Many heads that share one key-value head need more for partial attention than for anything
    /// else: more than 32 bits can address.
    #[test]
    fn memory_beyond_what_can_be_addressed_is_refused() {
        let config = Config {
            vocab_size: 256,
            hidden: 32,
            layers: 1,
            heads: 1024,
            kv_heads: 1,
            head_dim: 16,
            ffn: 32,
            max_context: 1 << 24,
            rope_theta: 1e4,
            rms_eps: 1e-5,
            ..Config::zeroed()
        };
        config.check().unwrap();
        let limits = Limits {
            texts: 1,
            context: 1 << 23,
            batch: 1,
            logit_rows: 1,
            workers: 1,
            kv: KvType::Int8,
        };
        let partials = (limits.context / ATTEND_CHUNK) as u64 * partial_floats(&config) as u64 * 4;
        assert!(partials > 1 << 32 && most_bytes(&config, &limits) > partials);
        assert_eq!(check_limits(&config, &limits).is_ok(), usize::BITS == 64);
        let shorter = Limits { context: 1 << 20, ..limits };
        assert!(check_limits(&config, &shorter).is_ok());
    }
}
