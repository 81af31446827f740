//! Rotation, the cache and attention: the part of a step that looks at earlier positions.

use super::Step;
use crate::arena::{SharedColumns, SharedRows, SharedScratch, Shares, Split};
use crate::kernels::Kernels;
use crate::kv::{ATTEND_CHUNK, KvLayout};
use crate::plan::partial_floats;
use kinglet_quant::Config;

impl<K: Kernels> Step<'_, '_, K> {
    /// Rotates queries and keys, divides queries by `√head_dim`, appends keys and values.
    pub(super) fn rotate_and_store(&mut self, config: &Config, layer: u16) {
        let (kernels, layout, first) = (self.kernels, self.layout, self.first);
        let (count, dim, kv_heads) = (self.tokens.len(), layout.head_dim, config.kv_heads as usize);
        let (shares, group) = (self.token_shares(), config.group());
        let b = &mut *self.buffers;
        let split = Split::whole(kv_heads, shares);
        let q = SharedColumns::new(
            &mut b.q[..count * config.q_dim()],
            config.q_dim(),
            group * dim,
            split,
        );
        let k =
            SharedColumns::new(&mut b.k[..count * config.kv_dim()], config.kv_dim(), dim, split);
        let blocks = SharedRows::new(
            layer_cache(b.cache, &layout, kv_heads, layer),
            layout.block_bytes(),
            split,
        );
        let (v, cos, sin) = (&*b.v, &*b.cos, &*b.sin);
        let scale = 1.0 / libm::sqrtf(dim as f32);
        self.workers.run(shares.count(), &|part| {
            let (mut q, mut k, blocks) = (q.take(part), k.take(part), blocks.take(part));
            let heads = split.range(part);
            for token in 0..count {
                let angles = token * dim / 2..(token + 1) * dim / 2;
                let (cos, sin) = (&cos[angles.clone()], &sin[angles]);
                for query in q.row(token).chunks_exact_mut(dim) {
                    kernels.rope(query, cos, sin);
                    query.iter_mut().for_each(|q| *q *= scale);
                }
                let values = v[token * config.kv_dim()..][..config.kv_dim()].chunks_exact(dim);
                let keys = k.row(token).chunks_exact_mut(dim);
                let blocks = blocks.chunks_exact_mut(layout.block_bytes());
                for ((key, value), block) in keys.zip(values.skip(heads.start)).zip(blocks) {
                    kernels.rope(key, cos, sin);
                    layout.store(block, first + token, key, value);
                }
            }
        });
    }

    /// `attended = softmax(q · Kᵀ) · V`, causal. One token is dealt by key-value head and span of
    /// positions, several by token; spans are joined in ascending order either way.
    pub(super) fn attend(&mut self, config: &Config, layer: u16) {
        if self.tokens.len() == 1 {
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
        let length = self.first + 1;
        let spans = length.div_ceil(ATTEND_CHUNK);
        let b = &mut *self.buffers;
        let split = Split::whole(kv_heads * spans, shares);
        let cache = &*layer_cache(b.cache, &layout, kv_heads, layer);
        let queries = &b.q[..config.q_dim()];
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
        for (partials, out) in partials.zip(b.attended.chunks_exact_mut(group_dim)) {
            kernels.join(partials, layout.head_dim, out);
        }
    }

    fn attend_batch(&mut self, config: &Config, layer: u16) {
        let (kernels, layout, workers) = (self.kernels, self.layout, self.workers.count());
        let shares = self.token_shares();
        let (kv_heads, q_dim) = (config.kv_heads as usize, config.q_dim());
        let group_dim = config.group() * layout.head_dim;
        let (count, first) = (self.tokens.len(), self.first);
        let width = (first + count).div_ceil(ATTEND_CHUNK) * partial_floats(config);
        let b = &mut *self.buffers;
        let cache = &*layer_cache(b.cache, &layout, kv_heads, layer);
        let queries = &b.q[..count * q_dim];
        // Later tokens look at more positions, so a part gets early tokens and as many late ones.
        let (early, late) = b.attended[..count * q_dim].split_at_mut(count / 2 * q_dim);
        let splits =
            [Split::whole(count / 2, shares), Split::whole(count - count / 2, shares).reversed()];
        let attended =
            [SharedRows::new(early, q_dim, splits[0]), SharedRows::new(late, q_dim, splits[1])];
        let partials = SharedScratch::new(&mut b.partials[..workers * width], workers);
        self.workers.run(shares.count(), &|part| {
            let partials = &mut partials.lend();
            for (half, first_of_half) in [0, count / 2].into_iter().enumerate() {
                let start = first_of_half + splits[half].range(part).start;
                let out = attended[half].take(part);
                for head in 0..kv_heads {
                    let kv = layout.head(&cache[head * layout.block_bytes()..]);
                    for (token, out) in (start..).zip(out.chunks_exact_mut(q_dim)) {
                        let query = &queries[token * q_dim + head * group_dim..][..group_dim];
                        let length = first + token + 1;
                        let spans = length.div_ceil(ATTEND_CHUNK);
                        let partials = &mut partials[..spans * partial_floats(config)];
                        kernels.attend(query, &kv, 0..length, partials);
                        let out = &mut out[head * group_dim..][..group_dim];
                        kernels.join(partials, layout.head_dim, out);
                    }
                }
            }
        });
    }
}

/// The cache blocks of one layer, `[kv_heads][block]`.
fn layer_cache<'a>(
    cache: &'a mut [u8],
    layout: &KvLayout,
    kv_heads: usize,
    layer: u16,
) -> &'a mut [u8] {
    let bytes = kv_heads * layout.block_bytes();
    &mut cache[usize::from(layer) * bytes..][..bytes]
}
