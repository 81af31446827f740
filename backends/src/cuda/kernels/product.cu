// Products of matrices and vectors.
//
// 128 threads compute a tile of 16 rows for up to 8 vectors. A team of lanes takes a block of 32
// columns, each of them two or four rows: together they read a line of 64 bytes at once, and what a
// lane reads of a vector serves all of its rows. Sums over blocks meet in shared memory and are added
// in ascending order, as `core::scalar` adds them: to the bit, whatever the number of vectors.

#pragma once
#include "codes.h"
#include "numbers.h"

const u32 TOKENS = 8;
// Blocks whose sums are in shared memory at once.
DEVICE constexpr u32 segment_of(u32 count) { return count == 1 ? 64 : 32; }
// Floats of shared memory. Sums of a vector lie 16 further apart than they need, for its banks.
DEVICE constexpr u32 pitch_of(u32 count) { return segment_of(count) * TILE_ROWS + TILE_ROWS; }

// Where the sum of 16 products starts, given -8 times the sum of the inputs.
template <u32 FORM> DEVICE i32 start_of(i32 given) {
    // What was multiplied by -8 shifts back exactly.
    i32 high = -((241 * -(given >> 3) + 16) >> 5);
    switch (FORM) {
    case NIBBLES: return given;
    case FIVES: return 2 * given;
    case HIGH: return high;
    case LOW: return 16 * (given - high);
    default: return 0;
    }
}

// The sums of the first and the last 16 products of row r, by their scales.
template <u32 FORM> DEVICE i32 scaled(i32 first, i32 last, const u32* scales, u32 r) {
    if (!are_short(FORM)) {
        return first * signed_byte(scales[0], r) + last * signed_byte(scales[1], r);
    }
    u32 both = pick(first, last, 0x5410);
    // The scales of two rows, which is the same for each of the vectors.
    u32 pairs = pick(scales[0], scales[1], r < 2 ? 0x5140 : 0x7362);
    return r % 2 == 0 ? dot2_low(both, pairs, 0) : dot2_high(both, pairs, 0);
}

// Products of 32 weights of neighbouring rows and 32 inputs, each an integer times a scale. The bytes
// of `scales` are the rows' for the first 16 columns and for the last; `at` counts the blocks of all
// inputs.
template <u32 FORM, u32 ROWS> DEVICE void
block_products(const Matrix& w, const u32 (&line)[ROWS][8], const u32* scales, const Inputs& x,
               u32 at, float* out) {
    // Addresses are computed from one number, instead of keeping three in two registers each.
    at = unknown(at);
    const u32x4* codes = (const u32x4*)x.codes + 2 * (u64)at;
    u32x4 low = constant(codes), high = constant(codes + 1);
    float scale = constant(x.scales + at);
    i32 starts[2] = {0, 0};
    if (is_unsigned(FORM)) {
        i32x2 given = constant((const i32x2*)x.starts + at);
        starts[0] = start_of<FORM>(given[0]);
        starts[1] = start_of<FORM>(given[1]) * (stays_high(FORM) ? 16 : 1);
    }
#pragma unroll
    for (u32 r = 0; r < ROWS; r++) {
        u32 words[8];
        unpack<FORM, stays_high(FORM)>(w, line[r], words);
        i32 first = starts[0], last = starts[1];
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            first = is_unsigned(FORM) ? dot4_unsigned(words[j], low[j], first)
                                      : dot4(words[j], low[j], first);
            last = is_unsigned(FORM) ? dot4_unsigned(words[4 + j], high[j], last)
                                     : dot4(words[4 + j], high[j], last);
        }
        if (stays_high(FORM)) last >>= 4;
        out[r] = scale * (float)scaled<FORM>(first, last, scales, r);
    }
}

template <u32 ROWS> DEVICE u32 scale_bytes(const i8* scales) {
    return ROWS == 4 ? constant((const u32*)scales) : constant((const u16*)scales);
}

// The sums of a tile's rows over all blocks, without the rows' scales: that of row `thread % 16` and
// vector `first + thread / 16`, for threads below 16 times the vectors.
template <u32 FORM, u32 COUNT> DEVICE float
sum_blocks(const Matrix& w, u32 tile, const Inputs& x, u32 first, u32 count, float* parts) {
    const u32 SEGMENT = segment_of(COUNT), PITCH = pitch_of(COUNT);
    const u32 ROWS = lane_rows(FORM), TEAM = TILE_ROWS / ROWS, TEAMS = 128 / TEAM;
    typedef float Floats __attribute__((ext_vector_type(ROWS)));
    u32 blocks = w.cols / BLOCK, team = thread() / TEAM, r = thread() % TEAM * ROWS;
    Stream stream = stream_of<FORM>(w, tile, r, team, TEAMS);
    float sum = 0.0f;
    for (u32 segment = 0; segment < blocks; segment += SEGMENT) {
        u32 length = blocks - segment < SEGMENT ? blocks - segment : SEGMENT;
        for (u32 block = team; block < length; block += TEAMS) {
            u32 line[ROWS][8];
            read_rows<FORM>((const u32*)stream.codes, w.cols / 8, line);
            u32 scales[2] = {scale_bytes<ROWS>(stream.scales),
                             scale_bytes<ROWS>(stream.scales + stream.last_scale)};
#pragma unroll
            for (u32 t = 0; t < COUNT; t++) {
                if (t > 0 && t >= count) break;
                Floats products;
                block_products<FORM>(w, line, scales, x, (first + t) * blocks + segment + block,
                                     (float*)&products);
                *(Floats*)(parts + t * PITCH + block * TILE_ROWS + r) = products;
            }
            stream.codes += stream.code_step;
            stream.scales += stream.scale_step;
        }
        sync();
        if (thread() < COUNT * TILE_ROWS) {
            const float* mine = parts + thread() / TILE_ROWS * PITCH + thread() % TILE_ROWS;
#pragma unroll 8
            for (u32 block = 0; block < length; block++) sum += mine[block * TILE_ROWS];
        }
        sync();
    }
    return sum;
}

// Products of unquantized weights: a warp takes four rows of the tile, its lanes the columns.
template <bool IS_BF16, u32 COUNT> DEVICE float
sum_floats(const Matrix& w, u32 tile_index, const Inputs& x, u32 first, u32 count, float* sums) {
    const u8* tile = w.tiles + tile_index * w.stride;
    for (u32 r = thread() / WARP; r < TILE_ROWS; r += 4) {
        for (u32 t = 0; t < COUNT && t < count; t++) {
            const float* values = x.values + (u64)(first + t) * w.cols;
            float sum = 0.0f;
            for (u32 k = lane(); k < w.cols; k += WARP) {
                u64 at = (u64)r * w.cols + k;
                float weight = IS_BF16 ? as_float((u32)constant((const u16*)tile + at) << 16)
                                       : constant((const float*)tile + at);
                sum += constant(values + k) * weight;
            }
            sum = warp_sum(sum);
            if (lane() == 0) sums[t * TILE_ROWS + r] = sum;
        }
    }
    sync();
    float sum = thread() < COUNT * TILE_ROWS ? sums[thread()] : 0.0f;
    sync();
    return sum;
}

// The product of a tile: that of row `thread % 16` and vector `first + thread / 16`.
template <u32 COUNT> DEVICE float
tile_product(const Matrix& w, u32 tile, const Inputs& x, u32 first, u32 count, float* shared) {
    if (w.kind == F32) return sum_floats<false, COUNT>(w, tile, x, first, count, shared);
    if (w.kind == BF16) return sum_floats<true, COUNT>(w, tile, x, first, count, shared);
    float scale = row_scale(w, tile, thread() % TILE_ROWS), sum = 0.0f;
    switch (w.kind) {
    case Q8: sum = sum_blocks<BYTES, COUNT>(w, tile, x, first, count, shared); break;
    case Q5: sum = sum_blocks<FIVES, COUNT>(w, tile, x, first, count, shared); break;
    case Q3: sum = sum_blocks<THREES, COUNT>(w, tile, x, first, count, shared); break;
    case Q4:
        sum = w.is_linear ? sum_blocks<NIBBLES, COUNT>(w, tile, x, first, count, shared)
                          : sum_blocks<ENTRIES, COUNT>(w, tile, x, first, count, shared);
        break;
    case PLANES: {
        float high = sum_blocks<HIGH, COUNT>(w, tile, x, first, count, shared);
        float low = sum_blocks<LOW, COUNT>(w, tile, x, first, count, shared);
        return high * (16.0f * scale) + low * scale;
    }
    }
    return sum * scale;
}

template <u32 COUNT> DEVICE void
multiply(const Products& products, const Inputs& x, u32 count, float* shared) {
    u32 tile = block_x(), which = 0;
    while (which < 2 && tile >= products.w[which].tile_count) {
        tile -= products.w[which].tile_count;
        which++;
    }
    const Matrix& w = products.w[which];
    const Out& out = products.out[which];
    u32 first = COUNT == 1 ? 0 : block_y() * COUNT, here = count - first;
    float y = tile_product<COUNT>(w, tile, x, first, here, shared);
    u32 t = thread() / TILE_ROWS, row = tile * TILE_ROWS + thread() % TILE_ROWS;
    if (t < COUNT && t < here && row < out.width) {
        float* value = out.values + (u64)(first + t) * out.width + row;
        *value = out.is_added ? *value + y : y;
    }
}

KERNEL THREADS(128, 8) product_one(const Products products, const Inputs x, u32 count) {
    SHARED alignas(16) static float shared[pitch_of(1)];
    multiply<1>(products, x, count, shared);
}
KERNEL THREADS(128, 4) product_many(const Products products, const Inputs x, u32 count) {
    SHARED alignas(16) static float shared[TOKENS * pitch_of(TOKENS)];
    multiply<TOKENS>(products, x, count, shared);
}
