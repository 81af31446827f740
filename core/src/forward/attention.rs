//! Rotation, the cache and attention: the part of a step that looks at earlier positions.

use super::{SharedQuantized, Source, Step, halves, place};
use crate::arena::{SharedColumns, SharedRows, SharedScratch, Shares, Split};
use crate::kernels::Kernels;
use crate::kv::{ATTEND_CHUNK, KvLayout};
use crate::plan::{MAX_TEXTS, partial_floats};
use core::ops::Range;
use kinglet_quant::Config;
use kinglet_quant::format::BLOCK;

impl<K: Kernels> Step<'_, '_, K> {
    /// Rotates keys and appends keys and values.
    pub(super) fn append(&mut self, config: &Config, layer: u16) {
        let (kernels, layout, chunks) = (self.kernels, self.layout, &self.chunks);
        let (count, dim, kv_heads) = (self.count, layout.head_dim, config.kv_heads as usize);
        let (shares, width) = (self.token_shares(), config.kv_dim());
        let b = self.buffers.layers();
        let split = Split::whole(kv_heads, shares);
        let k = SharedColumns::new(&mut b.k[..count * width], width, dim, split);
        let mut texts = b.cache.chunks_exact_mut(self.text_cache_bytes).enumerate();
        let caches: heapless::Vec<SharedRows<'_, u8>, MAX_TEXTS> = chunks
            .iter()
            .map(|chunk| {
                let (_, cache) =
                    texts.find(|(text, _)| *text == chunk.text).expect("texts ascend, each once");
                let blocks = &mut cache[layer_bytes(&layout, kv_heads, layer)];
                SharedRows::new(blocks, layout.block_bytes(), split)
            })
            .collect();
        let (v, cos, sin) = (&*b.v, &*b.cos, &*b.sin);
        self.workers.run(shares.count(), &|part| {
            let mut k = k.take(part);
            let mut rows = 0..count;
            for (chunk, cache) in chunks.iter().zip(&caches) {
                let blocks = cache.take(part);
                for (place, row) in chunk.places().zip(&mut rows) {
                    let (cos, sin) = angles(cos, sin, row, dim);
                    let values = v[row * width..][..width].chunks_exact(dim);
                    let values = values.skip(split.range(part).start);
                    let keys = k.row(row).chunks_exact_mut(dim);
                    let blocks = blocks.chunks_exact_mut(layout.block_bytes());
                    for ((key, value), block) in keys.zip(values).zip(blocks) {
                        kernels.rope(key, cos, sin);
                        kernels.append(&layout, block, place.position, key, value);
                    }
                }
            }
        });
    }

    /// `input = softmax(rotated q · Kᵀ / √head_dim) · V`, causal, and quantizes it. One token is
    /// dealt by key-value head and span of positions, several by token; spans are joined in
    /// ascending order either way.
    pub(super) fn attend(&mut self, config: &Config, layer: u16) {
        if self.count == 1 {
            self.attend_one(config, layer);
        } else {
            self.attend_batch(config, layer);
        }
    }

    fn attend_one(&mut self, config: &Config, layer: u16) {
        let (kernels, layout) = (self.kernels, self.layout);
        let shares = Shares::tapering(self.workers.count());
        let (kv_heads, width) = (config.kv_heads as usize, partial_floats(config));
        let group_dim = config.group() * layout.head_dim;
        let place = place(&self.chunks, 0);
        let length = place.position + 1;
        let spans = length.div_ceil(ATTEND_CHUNK);
        let b = self.buffers.layers();
        let split = Split::whole(kv_heads * spans, shares);
        let cache =
            &b.cache[place.text * self.text_cache_bytes..][layer_bytes(&layout, kv_heads, layer)];
        let queries = &mut b.q[..config.q_dim()];
        rotate(kernels, queries, config, angles(b.cos, b.sin, 0, layout.head_dim));
        let queries = &*queries;
        let partials = SharedRows::new(&mut b.partials[..kv_heads * spans * width], width, split);
        self.workers.run(shares.count(), &|part| {
            let mut out = partials.take(part);
            let mut items = split.range(part);
            // Neighbouring spans of a head lie behind one another in memory.
            while !items.is_empty() {
                let (head, span) = (items.start / spans, items.start % spans);
                let count = items.len().min(spans - span);
                let kv = layout.head(&cache[head * layout.block_bytes()..]);
                let positions = span * ATTEND_CHUNK..((span + count) * ATTEND_CHUNK).min(length);
                let (partials, rest) = out.split_at_mut(count * width);
                kernels.attend(&queries[head * group_dim..][..group_dim], &kv, positions, partials);
                (out, items.start) = (rest, items.start + count);
            }
        });
        let partials = b.partials[..kv_heads * spans * width].chunks_exact(spans * width);
        for (partials, out) in partials.zip(b.input.chunks_exact_mut(group_dim)) {
            kernels.join(partials, layout.head_dim, out);
        }
        self.quantize(Source::Input, config.q_dim());
    }

    fn attend_batch(&mut self, config: &Config, layer: u16) {
        let (kernels, layout, workers) = (self.kernels, self.layout, self.workers.count());
        let shares = self.token_shares();
        let (kv_heads, q_dim) = (config.kv_heads as usize, config.q_dim());
        let (dim, group_dim) = (layout.head_dim, config.group() * layout.head_dim);
        let (chunks, count, text_bytes) = (&self.chunks, self.count, self.text_cache_bytes);
        let b = self.buffers.layers();
        let (caches, of_layer) = (&*b.cache, layer_bytes(&layout, kv_heads, layer));
        let (cos, sin) = (&*b.cos, &*b.sin);
        // A row has the queries of one key-value head, or of all where one's are no whole blocks.
        let rows_of_token = if group_dim.is_multiple_of(BLOCK) { kv_heads } else { 1 };
        let width = q_dim / rows_of_token;
        // Later tokens look at more positions, so a part gets early rows and as many late ones.
        let middle = count / 2 * rows_of_token;
        let late = Split::whole(count * rows_of_token - middle, shares).reversed();
        let splits = [Split::whole(middle, shares), late];
        let queries = halves(&mut b.q[..count * q_dim], width, splits);
        let attended = halves(&mut b.input[..count * q_dim], width, splits);
        let quantized = SharedQuantized::halves(b.codes, b.scales, b.starts, width, splits);
        let longest = chunks.iter().map(|chunk| chunk.first + chunk.tokens.len()).max();
        let partial_width = longest.unwrap_or(0).div_ceil(ATTEND_CHUNK) * partial_floats(config);
        let partials = SharedScratch::new(&mut b.partials[..workers * partial_width], workers);
        self.workers.run(shares.count(), &|part| {
            let partials = &mut partials.lend();
            for (half, first_row) in [0, middle].into_iter().enumerate() {
                let start = first_row + splits[half].range(part).start;
                let (queries, attended) = (queries[half].take(part), attended[half].take(part));
                for (row, queries) in (start..).zip(queries.chunks_exact_mut(width)) {
                    rotate(kernels, queries, config, angles(cos, sin, row / rows_of_token, dim));
                }
                // Head by head, whose keys and values stay in a cache.
                for head in 0..kv_heads {
                    let rows = queries.chunks_exact(width).zip(attended.chunks_exact_mut(width));
                    for (row, (queries, out)) in (start..).zip(rows) {
                        if row % rows_of_token != head % rows_of_token {
                            continue;
                        }
                        let place = place(chunks, row / rows_of_token);
                        let cache = &caches[place.text * text_bytes..][of_layer.clone()];
                        let kv = layout.head(&cache[head * layout.block_bytes()..]);
                        let length = place.position + 1;
                        let spans = length.div_ceil(ATTEND_CHUNK);
                        let partials = &mut partials[..spans * partial_floats(config)];
                        let start = head / rows_of_token * group_dim;
                        let group = start..start + group_dim;
                        kernels.attend(&queries[group.clone()], &kv, 0..length, partials);
                        kernels.join(partials, dim, &mut out[group]);
                    }
                }
                quantized[half].fill(kernels, part, attended);
            }
        });
    }
}

/// Rotates the queries of a token, `[heads][head_dim]`, and divides them by `√head_dim`, counted
/// without the zeros that fill a head up.
fn rotate<K: Kernels>(
    kernels: K,
    queries: &mut [f32],
    config: &Config,
    (cos, sin): (&[f32], &[f32]),
) {
    let scale = 1.0 / libm::sqrtf(config.attended_dim() as f32);
    for query in queries.chunks_exact_mut(config.head_dim as usize) {
        kernels.rope(query, cos, sin);
        query.iter_mut().for_each(|q| *q *= scale);
    }
}

/// The cosines and sines of a token, `[head_dim / 2]` each.
fn angles<'a>(cos: &'a [f32], sin: &'a [f32], token: usize, dim: usize) -> (&'a [f32], &'a [f32]) {
    let half = dim / 2;
    (&cos[token * half..][..half], &sin[token * half..][..half])
}

/// Where a text's cache has the blocks of one layer, `[kv_heads][block]`.
fn layer_bytes(layout: &KvLayout, kv_heads: usize, layer: u16) -> Range<usize> {
    let bytes = kv_heads * layout.block_bytes();
    usize::from(layer) * bytes..(usize::from(layer) + 1) * bytes
}
