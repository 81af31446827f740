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

// Multiplies the blocks of a head by a Hadamard matrix and a factor: see core/src/kv/turn.rs. All
// threads of the block see the head, before and after.
DEVICE void turn(float* head, u32 dim, float factor) {
    u32 width = dim & (0 - dim);
    for (u32 half = width / 2; half > 0; half /= 2) {
        sync();
        for (u32 i = thread(); i < dim / 2; i += threads()) {
            u32 first = i / half * 2 * half + i % half;
            float a = head[first], b = head[first + half];
            head[first] = a + b;
            head[first + half] = a - b;
        }
    }
    sync();
    for (u32 d = thread(); d < dim; d += threads()) head[d] *= factor;
    sync();
}
// 1 / sqrt(width), rounded to a power of two: up for what is stored, down for what asks.
DEVICE float turn_factor(u32 dim, bool is_stored) {
    u32 width = dim & (0 - dim), bits = 0;
    while (width >> bits > 1) bits += 1;
    return 1.0f / (float)(1u << (is_stored ? bits / 2 : bits - bits / 2));
}

// What a head of nibbles takes with the zeros behind it.
DEVICE u32 stored_dim(const Cache& cache) { return (cache.head_dim + BLOCK - 1) / BLOCK * BLOCK; }

// Where dimension `d` of a position lies, in elements of 16 bits or bytes.
DEVICE u64 key_index(const Cache& cache, u32 position, u32 d) {
    u64 start = (u64)(position / TILE_ROWS) * TILE_ROWS * cache.head_dim;
    u32 row = position % TILE_ROWS;
    return cache.kind == KV_INT8 ? start + d / 4 * (TILE_ROWS * 4) + row * 4 + d % 4
                         : start + d * TILE_ROWS + row;
}
DEVICE u64 value_index(const Cache& cache, u32 position, u32 d) {
    return cache.kind == KV_INT8 ? (u64)(position / 4) * (4 * cache.head_dim) + d * 4 + position % 4
                         : (u64)position * cache.head_dim + d;
}

// Stores a key or value that all threads of the block see; `index` says where its elements lie.
template <typename Index> DEVICE void
store(const Cache& cache, const float* x, u8* vectors, u16* scales, u32 position, Index index) {
    u32 dim = cache.head_dim;
    if (cache.kind == KV_F16) {
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

// The scale with which the number of the largest magnitude of some becomes -8.
DEVICE u16 nibble_scale(const float* x, u32 count) {
    float largest = 0.0f;
    bool is_positive = true;
    for (u32 i = 0; i < count; i++) {
        float size = absolute(x[i]);
        bool is_above = x[i] > 0.0f;
        is_positive = size > largest ? is_above : is_positive || (size == largest && is_above);
        largest = larger(largest, size);
    }
    return to_half((is_positive ? -largest : largest) / 8.0f);
}
DEVICE u32 nibble_of(float x, float scale) {
    float code = scale == 0.0f ? 0.0f : smaller(larger(x / scale, -8.0f), 7.0f);
    return (round_to_byte(code) + 8) & 15;
}

// Stores a key or value that all threads of the block see; a thread takes a byte of two dimensions.
DEVICE void store_nibbles(const Cache& cache, float* x, u8* vectors, u16* scales, u32 position,
                          bool is_key) {
    u32 dim = stored_dim(cache), tile = position / TILE_ROWS, row = position % TILE_ROWS;
    turn(x, cache.head_dim, turn_factor(cache.head_dim, true));
    for (u32 d = cache.head_dim + thread(); d < dim; d += threads()) x[d] = 0.0f;
    sync();
    u32 group = is_key ? BLOCK : dim;
    for (u32 i = thread(); i < dim / 2; i += threads()) {
        u32 d = is_key ? i / 4 * 8 + i % 4 : i / 16 * 32 + i % 16;
        u32 first = d / group * group;
        u16 half = nibble_scale(x + first, group);
        float scale = from_half(half);
        u64 at = is_key ? (u64)tile * TILE_ROWS * (dim / 2) + i / 4 * 64 + row * 4 + i % 4
                        : (u64)(position / 4) * (2 * dim) + i * 4 + position % 4;
        u32 other = d + (is_key ? 4 : 16);
        vectors[at] = nibble_of(x[d], scale) | nibble_of(x[other], scale) << 4;
        if (d == first) {
            u32 groups = dim / BLOCK;
            scales[is_key ? (tile * groups + d / BLOCK) * TILE_ROWS + row : position] = half;
        }
    }
    sync();
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
    bool turns = cache.kind == KV_INT4;
    for (u32 i = 0; i < cache.group; i++) {
        float* query = queries + i * dim;
        rotate(query, query, dim, cos, sin, turns ? 1.0f : query_scale);
        if (turns) turn(query, dim, query_scale * turn_factor(dim, false));
    }
    u64 start = ((u64)row * cache.kv_heads + head) * dim;
    rotate(k + start, key, dim, cos, sin, 1.0f);
    sync();
    u8* block = block_of(cache, rows[row].text, head);
    u16* key_scales = (u16*)(block + 2 * cache.vectors);
    u16* value_scales = (u16*)(block + 2 * cache.vectors + cache.key_scales);
    u32 position = rows[row].position;
    if (turns) {
        store_nibbles(cache, key, block, key_scales, position, true);
        for (u32 d = thread(); d < dim; d += threads()) key[d] = v[start + d];
        store_nibbles(cache, key, block + cache.vectors, value_scales, position, false);
        return;
    }
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

// Scales of blocks of bytes, and where sums of their products with nibbles start.
struct Blocks {
    float scales[MAX_HEAD_DIM / BLOCK];
    i32 starts[MAX_HEAD_DIM / BLOCK];
};

// What a block has in shared memory, for each of the queries that it takes at once.
struct Scratch {
    float weights[QUERIES][SPAN];
    u32 query_codes[QUERIES][MAX_HEAD_DIM / 2];
    u32 weight_codes[QUERIES][SPAN / 2];
    float query_scales[QUERIES];
    float weight_scales[QUERIES];
    Blocks query_blocks[QUERIES];
    Blocks weight_blocks[QUERIES];
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

// A warp turns a query, or the weights of a span, into bytes with a scale per 32: see
// `Kernels::quantize`.
DEVICE void byte_codes(const float* x, u32 length, u32 padded, i8* codes, float* scales,
                       i32* starts) {
    for (u32 block = 0; block < padded / BLOCK; block++) {
        u32 i = block * BLOCK + lane();
        float value = i < length ? x[i] : 0.0f;
        float max = warp_max(absolute(value));
        bool is_zero = max < 127.0f * SMALLEST_NORMAL;
        float code = round_half_even(value * (is_zero ? 0.0f : 127.0f / max));
        codes[i] = (i8)code;
        // Whole numbers, far from what a float would round.
        float sum = warp_sum(code);
        if (lane() == 0) {
            scales[block] = is_zero ? 0.0f : max / 127.0f;
            starts[block] = -8 * (i32)sum;
        }
    }
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

// The same from nibbles.
DEVICE void nibble_scores(const Span& span, const Cache& cache, const Scratch& scratch,
                          float (*weights)[SPAN]) {
    u32 position = span.start + thread(), dim = stored_dim(cache);
    if (thread() >= span.length) return;
    u32 tile = position / TILE_ROWS, row = position % TILE_ROWS;
    const u32* key = (const u32*)(span.keys + (u64)tile * TILE_ROWS * (dim / 2)) + row;
    const u16* key_scales = span.key_scales + tile * (dim / BLOCK) * TILE_ROWS + row;
    float scores[QUERIES] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (u32 group = 0; group < dim / BLOCK; group++) {
        i32 dots[QUERIES];
#pragma unroll
        for (u32 i = 0; i < QUERIES; i++) dots[i] = scratch.query_blocks[i].starts[group];
#pragma unroll
        for (u32 line = 0; line < 4; line++) {
            u32 bytes = key[(group * 4 + line) * TILE_ROWS];
            u32 low = bytes & 0x0F0F0F0F, high = bytes >> 4 & 0x0F0F0F0F;
#pragma unroll
            for (u32 i = 0; i < QUERIES; i++) {
                const u32* codes = scratch.query_codes[i] + group * 8 + 2 * line;
                dots[i] = dot4_unsigned(low, codes[0], dots[i]);
                dots[i] = dot4_unsigned(high, codes[1], dots[i]);
            }
        }
        float key_scale = from_half(key_scales[group * TILE_ROWS]);
#pragma unroll
        for (u32 i = 0; i < QUERIES; i++) {
            scores[i] += (float)dots[i] * (scratch.query_blocks[i].scales[group] * key_scale);
        }
    }
#pragma unroll
    for (u32 i = 0; i < QUERIES; i++) {
        if (i < span.queries) weights[i][thread()] = scores[i];
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

// The same from nibbles, block by block.
DEVICE void nibble_values(const Span& span, const Cache& cache, const Scratch& scratch,
                          float* partials) {
    u32 dim = stored_dim(cache);
    for (u32 d = thread(); d < cache.head_dim; d += threads()) {
        u32 row = d / BLOCK * TILE_ROWS + d % TILE_ROWS, shift = d / TILE_ROWS % 2 * 4;
        const u32* values = (const u32*)(span.values + (u64)(span.start / 4) * (2 * dim)) + row;
        float sums[QUERIES] = {0.0f, 0.0f, 0.0f, 0.0f};
        for (u32 block = 0; block * BLOCK < span.length; block++) {
            i32 dots[QUERIES];
#pragma unroll
            for (u32 i = 0; i < QUERIES; i++) dots[i] = scratch.weight_blocks[i].starts[block];
            for (u32 quad = block * 8; quad < block * 8 + 8 && quad * 4 < span.length; quad++) {
                u32 nibbles = values[quad * (dim / 2)] >> shift & 0x0F0F0F0F;
#pragma unroll
                for (u32 i = 0; i < QUERIES; i++) {
                    dots[i] = dot4_unsigned(nibbles, scratch.weight_codes[i][quad], dots[i]);
                }
            }
#pragma unroll
            for (u32 i = 0; i < QUERIES; i++) {
                sums[i] += (float)dots[i] * scratch.weight_blocks[i].scales[block];
            }
        }
#pragma unroll
        for (u32 i = 0; i < QUERIES; i++) {
            if (i < span.queries) partials[i * (cache.head_dim + 2) + d] = sums[i];
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

// A warp turns its query into codes, or makes zeros where there is none.
DEVICE void quantize_query(const Cache& cache, const float* query, Scratch& scratch) {
    u32 mine = thread() / WARP;
    u32* codes = scratch.query_codes[mine];
    if (!query) {
        for (u32 i = lane(); i < MAX_HEAD_DIM / 2; i += WARP) codes[i] = 0;
    } else if (cache.kind == KV_INT8) {
        float scale = wide_codes(query, cache.head_dim, cache.head_dim, (i16*)codes);
        if (lane() == 0) scratch.query_scales[mine] = scale;
    } else {
        Blocks& blocks = scratch.query_blocks[mine];
        byte_codes(query, cache.head_dim, stored_dim(cache), (i8*)codes, blocks.scales,
                   blocks.starts);
    }
}

// The same with the weights of a span, after each was multiplied by the scale of its value.
DEVICE void quantize_weights(const Span& span, const Cache& cache, bool has_query,
                             Scratch& scratch) {
    u32 mine = thread() / WARP;
    u32* codes = scratch.weight_codes[mine];
    if (!has_query) {
        for (u32 i = lane(); i < SPAN / 2; i += WARP) codes[i] = 0;
        return;
    }
    float* weights = scratch.weights[mine];
    for (u32 p = lane(); p < span.length; p += WARP) {
        weights[p] *= from_half(span.value_scales[span.start + p]);
    }
    if (cache.kind == KV_INT8) {
        float scale = wide_codes(weights, span.length, SPAN, (i16*)codes);
        if (lane() == 0) scratch.weight_scales[mine] = scale;
    } else {
        Blocks& blocks = scratch.weight_blocks[mine];
        byte_codes(weights, span.length, SPAN, (i8*)codes, blocks.scales, blocks.starts);
    }
}

DEVICE void attend_queries(const Span& span, const Cache& cache, const float* queries,
                           float* partials, Scratch& scratch) {
    u32 dim = cache.head_dim, mine = thread() / WARP;
    bool has_query = mine < span.queries;
    if (cache.kind == KV_F16) {
        float_scores(span, cache, queries, scratch.weights);
    } else {
        quantize_query(cache, has_query ? queries + mine * dim : 0, scratch);
        sync();
        if (cache.kind == KV_INT8) {
            integer_scores(span, cache, scratch.query_codes, scratch.query_scales,
                           scratch.weights);
        } else {
            nibble_scores(span, cache, scratch, scratch.weights);
        }
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
    }
    if (cache.kind != KV_F16) quantize_weights(span, cache, has_query, scratch);
    sync();
    if (cache.kind == KV_F16) {
        float_values(span, cache, scratch.weights, partials);
    } else if (cache.kind == KV_INT8) {
        integer_values(span, cache, scratch.weight_codes, scratch.weight_scales, partials);
    } else {
        nibble_values(span, cache, scratch, partials);
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
        (const u16*)(block + 2 * cache.vectors + cache.key_scales),
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
    if (cache.kind == KV_INT4) {
        turn(out + (row * heads + head) * dim, dim, turn_factor(dim, false));
    }
}
