// Rotation, the cache and attention: see core/src/forward/attention.rs and core/src/kv.rs.

#include "numbers.h"
#include "shapes.h"

const u32 MAX_HEAD_DIM = 256;
// Queries of a key-value head that read a key at once: a warp for the softmax of each.
const u32 QUERIES = 4;
// The largest wide code: see core/src/round.rs.
const float WIDE_LIMIT = 32639.0f;

DEVICE u8* block_of(const Cache& cache, u32 text, u32 kv_head) {
    return cache.bytes + text * cache.text_bytes + cache.layer_offset
        + kv_head * cache.block_bytes;
}

// Rotates a head that all threads of the block see, and multiplies it by `scale`.
DEVICE void rotate(const float* from, float* to, u32 dim, const float* cos, const float* sin,
                   float scale) {
    u32 half = dim / 2;
    for (u32 i = thread(); i < half; i += threads()) {
        float a = from[i], b = from[i + half];
        to[i] = (a * cos[i] - b * sin[i]) * scale;
        to[i + half] = (b * cos[i] + a * sin[i]) * scale;
    }
}

// Where dimension `d` of a position lies, in elements.
DEVICE u64 key_index(const Cache& cache, u32 position, u32 d) {
    u64 start = (u64)(position / TILE_ROWS) * TILE_ROWS * cache.head_dim;
    u32 row = position % TILE_ROWS;
    return cache.is_int8 ? start + d / 4 * (TILE_ROWS * 4) + row * 4 + d % 4
                         : start + d * TILE_ROWS + row;
}
DEVICE u64 value_index(const Cache& cache, u32 position, u32 d) {
    return cache.is_int8 ? (u64)(position / 4) * (4 * cache.head_dim) + d * 4 + position % 4
                         : (u64)position * cache.head_dim + d;
}

// Stores a key or value that all threads of the block see; `index` says where its elements lie.
template <typename Index> DEVICE void
store(const Cache& cache, const float* x, u8* vectors, u16* scales, u32 position, Index index) {
    u32 dim = cache.head_dim;
    if (!cache.is_int8) {
        for (u32 d = thread(); d < dim; d += threads()) {
            ((u16*)vectors)[index(cache, position, d)] = to_half(x[d]);
        }
        return;
    }
    float max = 0.0f;
    for (u32 d = thread(); d < dim; d += threads()) max = larger(max, absolute(x[d]));
    float exact = block_max(max) / 127.0f;
    u16 half = to_half(exact);
    if (from_half(half) < exact) half += 1;
    float scale = from_half(half);
    for (u32 d = thread(); d < dim; d += threads()) {
        vectors[index(cache, position, d)] = scale == 0.0f ? 0 : round_to_byte(x[d] / scale);
    }
    if (thread() == 0) scales[position] = half;
}

// Rotates the queries and the key of a key-value head, divides the queries by sqrt(head_dim), and
// appends key and value to the cache. A block for each key-value head and row.
KERNEL THREADS(64)
append(float* q, const float* k, const float* v, const float* cos, const float* sin,
       const Row* rows, float query_scale, const Cache cache) {
    SHARED static float key[MAX_HEAD_DIM];
    u32 head = block_x(), row = block_y(), dim = cache.head_dim;
    cos += (u64)row * (dim / 2);
    sin += (u64)row * (dim / 2);
    float* queries = q + ((u64)row * cache.kv_heads + head) * cache.group * dim;
    for (u32 i = 0; i < cache.group; i++) {
        rotate(queries + i * dim, queries + i * dim, dim, cos, sin, query_scale);
    }
    u64 start = ((u64)row * cache.kv_heads + head) * dim;
    rotate(k + start, key, dim, cos, sin, 1.0f);
    sync();
    u8* block = block_of(cache, rows[row].text, head);
    u16* key_scales = (u16*)(block + 2 * cache.vectors);
    u16* value_scales = (u16*)(block + 2 * cache.vectors + cache.scales);
    u32 position = rows[row].position;
    store(cache, key, block, key_scales, position, key_index);
    store(cache, v + start, block + cache.vectors, value_scales, position, value_index);
}

// What a block knows of the span of positions that it computes.
struct Span {
    u32 start;
    u32 length;
    u32 queries;          // Of the group, at once.
    const u8* keys;
    const u8* values;
    const u16* key_scales;
    const u16* value_scales;
};

// A warp turns a query, or the weights of a span, into 16-bit codes; returns their scale.
DEVICE float wide_codes(const float* x, u32 length, u32 padded, i16* codes) {
    float max = 0.0f;
    for (u32 i = lane(); i < length; i += WARP) max = larger(max, absolute(x[i]));
    max = warp_max(max);
    bool is_zero = max < WIDE_LIMIT * SMALLEST_NORMAL;
    float inverse = is_zero ? 0.0f : WIDE_LIMIT / max;
    for (u32 i = lane(); i < padded; i += WARP) {
        codes[i] = i < length ? (i16)round_half_even(x[i] * inverse) : 0;
    }
    return is_zero ? 0.0f : max / WIDE_LIMIT;
}

// A warp turns the scores of a span into weights; returns their maximum and their sum.
DEVICE void softmax(float* weights, u32 length, float* max, float* sum) {
    float most = as_float(0xFF800000u);
    for (u32 i = lane(); i < length; i += WARP) most = larger(most, weights[i]);
    *max = warp_max(most);
    float part = 0.0f;
    for (u32 i = lane(); i < length; i += WARP) {
        float weight = exponential(weights[i] - *max);
        weights[i] = weight;
        part += weight;
    }
    *sum = warp_sum(part);
}

// Scores of the block's queries with the key of one position, from codes.
DEVICE void integer_scores(const Span& span, const Cache& cache, const u32 (*codes)[MAX_HEAD_DIM / 2],
                           const float* scales, float (*weights)[SPAN]) {
    u32 position = span.start + thread();
    if (thread() >= span.length) return;
    i32 dots[QUERIES] = {0, 0, 0, 0};
    const u32* key = (const u32*)(span.keys + key_index(cache, position, 0));
    for (u32 quad = 0; quad < cache.head_dim / 4; quad++) {
        u32 bytes = key[quad * TILE_ROWS];
#pragma unroll
        for (u32 i = 0; i < QUERIES; i++) {
            dots[i] = dot2_low(codes[i][2 * quad], bytes, dots[i]);
            dots[i] = dot2_high(codes[i][2 * quad + 1], bytes, dots[i]);
        }
    }
    float key_scale = from_half(span.key_scales[position]);
#pragma unroll
    for (u32 i = 0; i < QUERIES; i++) {
        if (i < span.queries) weights[i][thread()] = (float)dots[i] * (scales[i] * key_scale);
    }
}

DEVICE void float_scores(const Span& span, const Cache& cache, const float* queries,
                         float (*weights)[SPAN]) {
    u32 position = span.start + thread();
    if (thread() >= span.length) return;
    const u16* key = (const u16*)span.keys;
    for (u32 i = 0; i < span.queries; i++) {
        float score = 0.0f;
        for (u32 d = 0; d < cache.head_dim; d++) {
            float x = from_half(key[key_index(cache, position, d)]);
            score += queries[i * cache.head_dim + d] * x;
        }
        weights[i][thread()] = score;
    }
}

// Sums of values: a thread takes a dimension.
DEVICE void integer_values(const Span& span, const Cache& cache, const u32 (*codes)[SPAN / 2],
                           const float* scales, float* partials) {
    for (u32 d = thread(); d < cache.head_dim; d += threads()) {
        i32 dots[QUERIES] = {0, 0, 0, 0};
        const u32* values = (const u32*)(span.values + value_index(cache, span.start, d));
        for (u32 quad = 0; quad * 4 < span.length; quad++) {
            u32 bytes = values[quad * cache.head_dim];
#pragma unroll
            for (u32 i = 0; i < QUERIES; i++) {
                dots[i] = dot2_low(codes[i][2 * quad], bytes, dots[i]);
                dots[i] = dot2_high(codes[i][2 * quad + 1], bytes, dots[i]);
            }
        }
#pragma unroll
        for (u32 i = 0; i < QUERIES; i++) {
            if (i < span.queries) {
                partials[i * (cache.head_dim + 2) + d] = (float)dots[i] * scales[i];
            }
        }
    }
}

DEVICE void float_values(const Span& span, const Cache& cache, const float (*weights)[SPAN],
                         float* partials) {
    const u16* values = (const u16*)span.values;
    for (u32 d = thread(); d < cache.head_dim; d += threads()) {
        for (u32 i = 0; i < span.queries; i++) {
            float sum = 0.0f;
            for (u32 p = 0; p < span.length; p++) {
                u64 at = value_index(cache, span.start + p, d);
                sum += weights[i][p] * from_half(values[at]);
            }
            partials[i * (cache.head_dim + 2) + d] = sum;
        }
    }
}

// What a block has in shared memory, for each of the queries that it takes at once.
struct Scratch {
    float weights[QUERIES][SPAN];
    u32 query_codes[QUERIES][MAX_HEAD_DIM / 2];
    u32 weight_codes[QUERIES][SPAN / 2];
    float query_scales[QUERIES];
    float weight_scales[QUERIES];
};

DEVICE void attend_queries(const Span& span, const Cache& cache, const float* queries,
                           float* partials, Scratch& scratch) {
    u32 dim = cache.head_dim, mine = thread() / WARP;
    bool has_query = mine < span.queries;
    if (cache.is_int8) {
        if (has_query) {
            i16* codes = (i16*)scratch.query_codes[mine];
            float scale = wide_codes(queries + mine * dim, dim, dim, codes);
            if (lane() == 0) scratch.query_scales[mine] = scale;
        } else {
            for (u32 i = lane(); i < dim / 2; i += WARP) scratch.query_codes[mine][i] = 0;
        }
        sync();
        integer_scores(span, cache, scratch.query_codes, scratch.query_scales, scratch.weights);
    } else {
        float_scores(span, cache, queries, scratch.weights);
    }
    sync();
    if (has_query) {
        float* weights = scratch.weights[mine];
        float max, sum;
        softmax(weights, span.length, &max, &sum);
        if (lane() == 0) {
            partials[mine * (dim + 2) + dim] = max;
            partials[mine * (dim + 2) + dim + 1] = sum;
        }
        if (cache.is_int8) {
            for (u32 p = lane(); p < span.length; p += WARP) {
                weights[p] *= from_half(span.value_scales[span.start + p]);
            }
            i16* codes = (i16*)scratch.weight_codes[mine];
            float scale = wide_codes(weights, span.length, SPAN, codes);
            if (lane() == 0) scratch.weight_scales[mine] = scale;
        }
    } else if (cache.is_int8) {
        for (u32 i = lane(); i < SPAN / 2; i += WARP) scratch.weight_codes[mine][i] = 0;
    }
    sync();
    if (cache.is_int8) {
        integer_values(span, cache, scratch.weight_codes, scratch.weight_scales, partials);
    } else {
        float_values(span, cache, scratch.weights, partials);
    }
    sync();
}

// Attention of one row over one span of a key-value head, a block for each: see `Kernels::attend`.
// `partials` is [rows][kv_heads][spans][group][head_dim + 2].
KERNEL THREADS(128)
attend(const float* q, const Row* rows, u32 spans, float* partials, const Cache cache) {
    SHARED static Scratch scratch;
    u32 head = block_y(), row = block_z(), dim = cache.head_dim;
    u32 length = rows[row].position + 1, start = block_x() * SPAN;
    if (start >= length) return;
    const u8* block = block_of(cache, rows[row].text, head);
    Span span = {
        start,
        length - start < SPAN ? length - start : SPAN,
        0,
        block,
        block + cache.vectors,
        (const u16*)(block + 2 * cache.vectors),
        (const u16*)(block + 2 * cache.vectors + cache.scales),
    };
    u64 group_row = (u64)row * cache.kv_heads + head;
    const float* queries = q + group_row * cache.group * dim;
    partials += (group_row * spans + block_x()) * cache.group * (dim + 2);
    for (u32 first = 0; first < cache.group; first += QUERIES) {
        span.queries = cache.group - first < QUERIES ? cache.group - first : QUERIES;
        attend_queries(span, cache, queries + first * dim, partials + first * (dim + 2), scratch);
    }
}

// Joins the spans of a query in order, a block for each head and row: see `Kernels::join`.
KERNEL THREADS(64)
join(const float* partials, const Row* rows, u32 spans, float* out, const Cache cache) {
    u32 head = block_x(), row = block_y(), dim = cache.head_dim;
    u32 count = (rows[row].position + SPAN) / SPAN, stride = cache.group * (dim + 2);
    u64 group_row = (u64)row * cache.kv_heads + head / cache.group;
    const float* first = partials + group_row * spans * stride + head % cache.group * (dim + 2);
    float max = first[dim];
    for (u32 span = 1; span < count; span++) max = larger(max, first[(u64)span * stride + dim]);
    u64 heads = (u64)cache.kv_heads * cache.group;
    for (u32 d = thread(); d < dim; d += threads()) {
        float sum = 0.0f, weight = 0.0f;
        for (u32 span = 0; span < count; span++) {
            const float* partial = first + (u64)span * stride;
            float factor = exponential(partial[dim] - max);
            weight += factor * partial[dim + 1];
            sum += factor * partial[d];
        }
        out[(row * heads + head) * dim + d] = sum * (1.0f / weight);
    }
}
