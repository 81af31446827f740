//! Rotation, the cache and attention: the part of a step that looks at earlier positions.

use super::{Step, dispatch};
use crate::arena::{SharedColumns, SharedRows, Split};
use crate::kernels::{Kernels, merge_partial};
use crate::kv::{ATTEND_CHUNK, KvLayout};
use crate::plan::partial_floats;
use kinglet_quant::Config;

impl<K: Kernels> Step<'_, '_, K> {
    /// Rotates queries and keys, divides queries by `√head_dim`, appends keys and values.
    pub(super) fn rotate_and_store(&mut self, config: &Config, layer: u16) {
        let (kernels, layout, first) = (self.kernels, self.layout, self.first);
        let (count, dim, kv_heads) = (self.tokens.len(), layout.head_dim, config.kv_heads as usize);
        let (parts, group) = (self.token_parts(), config.group());
        let b = &mut *self.buffers;
        let split = Split::whole(kv_heads, parts);
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
        dispatch(self.workers, parts, &|part| {
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
        let (kernels, layout, parts) = (self.kernels, self.layout, self.workers.count());
        let (kv_heads, width) = (config.kv_heads as usize, partial_floats(config));
        let group_dim = config.group() * layout.head_dim;
        let length = self.first + 1;
        let items = kv_heads * length.div_ceil(ATTEND_CHUNK);
        let b = &mut *self.buffers;
        let split = Split::whole(items, parts);
        let cache = &*layer_cache(b.cache, &layout, kv_heads, layer);
        let queries = &b.q[..config.q_dim()];
        let partials = SharedRows::new(&mut b.partials[..items * width], width, split);
        self.workers.run(&|part| {
            let out = partials.take(part).chunks_exact_mut(width);
            for (item, partial) in split.range(part).zip(out) {
                let (span, head) = (item / kv_heads, item % kv_heads);
                let kv = layout.head(&cache[head * layout.block_bytes()..]);
                let span = span * ATTEND_CHUNK..((span + 1) * ATTEND_CHUNK).min(length);
                kernels.attend(&queries[head * group_dim..][..group_dim], &kv, span, partial);
            }
        });
        let (heads, rest) = b.partials[..items * width].split_at_mut(kv_heads * width);
        for spans in rest.chunks_exact(kv_heads * width) {
            merge_queries(heads, spans, layout.head_dim);
        }
        divide_by_weights(heads, &mut b.attended[..config.q_dim()], layout.head_dim);
    }

    fn attend_batch(&mut self, config: &Config, layer: u16) {
        let (kernels, layout, parts) = (self.kernels, self.layout, self.workers.count());
        let (kv_heads, width, q_dim) =
            (config.kv_heads as usize, partial_floats(config), config.q_dim());
        let (count, first, group_dim) =
            (self.tokens.len(), self.first, config.group() * layout.head_dim);
        let b = &mut *self.buffers;
        let cache = &*layer_cache(b.cache, &layout, kv_heads, layer);
        let queries = &b.q[..count * q_dim];
        let split = Split::whole(count, parts);
        let attended = SharedRows::new(&mut b.attended[..count * q_dim], q_dim, split);
        let partials = SharedRows::new(
            &mut b.partials[..2 * parts * width],
            2 * width,
            Split::whole(parts, parts),
        );
        self.workers.run(&|part| {
            let (sum, partial) = partials.take(part).split_at_mut(width);
            let tokens = split.range(part);
            let out = attended.take(part);
            for head in 0..kv_heads {
                let kv = layout.head(&cache[head * layout.block_bytes()..]);
                for (token, out) in tokens.clone().zip(out.chunks_exact_mut(q_dim)) {
                    let query = &queries[token * q_dim + head * group_dim..][..group_dim];
                    let length = first + token + 1;
                    for start in (0..length).step_by(ATTEND_CHUNK) {
                        let span = start..(start + ATTEND_CHUNK).min(length);
                        if start == 0 {
                            kernels.attend(query, &kv, span, sum);
                        } else {
                            kernels.attend(query, &kv, span, partial);
                            merge_queries(sum, partial, layout.head_dim);
                        }
                    }
                    divide_by_weights(
                        sum,
                        &mut out[head * group_dim..][..group_dim],
                        layout.head_dim,
                    );
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

/// Joins the partial attention of further spans into that of the first, query by query.
fn merge_queries(into: &mut [f32], from: &[f32], dim: usize) {
    for (into, from) in into.chunks_exact_mut(dim + 2).zip(from.chunks_exact(dim + 2)) {
        merge_partial(into, from);
    }
}

/// `out = weighted sum of values / sum of weights` for each query.
fn divide_by_weights(partials: &[f32], out: &mut [f32], dim: usize) {
    for (partial, out) in partials.chunks_exact(dim + 2).zip(out.chunks_exact_mut(dim)) {
        let inverse = 1.0 / partial[dim + 1];
        for (out, sum) in out.iter_mut().zip(partial) {
            *out = sum * inverse;
        }
    }
}
