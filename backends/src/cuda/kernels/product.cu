// Products of matrices and vectors.
//
// 128 threads compute a tile of 16 rows for up to 8 vectors. Half a warp takes a block of 32
// columns, a lane a row, so that a line of 64 bytes is read at once. Sums over blocks meet in shared
// memory and are added in ascending order, as `core::scalar` adds them: to the bit, whatever the
// number of vectors.

#pragma once
#include "codes.h"
#include "numbers.h"

const u32 TOKENS = 8;
// Blocks that are multiplied at once, one by each half of a warp: whole strips of any group.
const u32 HALF_WARPS = 8;
// Blocks whose sums are in shared memory at once.
const u32 SEGMENT = 32;
// Sums of a vector lie 16 floats further apart than they need, for the banks of shared memory.
const u32 PITCH = SEGMENT * TILE_ROWS + TILE_ROWS;

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

// What a lane reads of a vector: its blocks, as `Stream` has those of a matrix.
struct Vector {
    const u32x4* codes;
    const float* scale;
    const i32x2* starts;
};

DEVICE Vector vector_of(const Inputs& x, u32 cols, u32 row, u32 block) {
    u64 first = (u64)row * (cols / BLOCK) + block;
    return {
        (const u32x4*)x.codes + 2 * first,
        x.scales + first,
        (const i32x2*)x.starts + first,
    };
}

// The product of 32 weights, whose codes are unpacked, and 32 inputs: an integer times a scale.
template <u32 FORM> DEVICE float
block_product(const u32* words, const i32* scales, const Vector& x, u32 offset) {
    u32x4 low = constant(x.codes + 2 * offset), high = constant(x.codes + 2 * offset + 1);
    i32 first = 0, last = 0;
    if (FORM == NIBBLES || FORM == FIVES || FORM == HIGH || FORM == LOW) {
        i32x2 starts = constant(x.starts + offset);
        first = start_of<FORM>(starts[0]);
        last = start_of<FORM>(starts[1]);
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            first = dot4_unsigned(words[j], low[j], first);
            last = dot4_unsigned(words[4 + j], high[j], last);
        }
    } else {
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            first = dot4(words[j], low[j], first);
            last = dot4(words[4 + j], high[j], last);
        }
    }
    return constant(x.scale + offset) * (float)(first * scales[0] + last * scales[1]);
}

// The sums of a tile's rows over all blocks, without the rows' scales: that of row `thread % 16` and
// vector `first + thread / 16`, for threads below 16 times the vectors.
template <u32 FORM, u32 COUNT> DEVICE float
sum_blocks(const Matrix& w, u32 tile, const Inputs& x, u32 first, u32 count, float* parts) {
    u32 blocks = w.cols / BLOCK, half = thread() / TILE_ROWS, r = thread() % TILE_ROWS;
    Stream stream = stream_of<FORM>(w, tile, r, half, HALF_WARPS);
    Vector vector = vector_of(x, w.cols, first, half);
    float sum = 0.0f;
    for (u32 segment = 0; segment < blocks; segment += SEGMENT) {
        u32 length = blocks - segment < SEGMENT ? blocks - segment : SEGMENT;
        for (u32 block = half; block < length; block += HALF_WARPS) {
            u32 words[8];
            unpack<FORM>(w, (const u32*)stream.codes, words);
            i32 scales[2] = {constant(stream.scales), constant(stream.scales + stream.last_scale)};
#pragma unroll
            for (u32 t = 0; t < COUNT; t++) {
                if (t > 0 && t >= count) break;
                parts[t * PITCH + block * TILE_ROWS + r] =
                    block_product<FORM>(words, scales, vector, t * blocks);
            }
            stream.codes += stream.code_step;
            stream.scales += stream.scale_step;
            vector.codes += 2 * HALF_WARPS;
            vector.scale += HALF_WARPS;
            vector.starts += HALF_WARPS;
        }
        sync();
        if (thread() < COUNT * TILE_ROWS) {
            const float* mine = parts + half * PITCH + r;
            for (u32 block = 0; block < length; block++) sum += mine[block * TILE_ROWS];
        }
        sync();
    }
    return sum;
}

DEVICE float row_scale(const Matrix& w, u32 tile, u32 r) {
    return constant((const float*)(w.tiles + tile * w.stride) + r);
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

// Where a product goes: `width` floats a vector, to be overwritten or added to.
struct Out {
    float* values;
    u32 width;
    u32 is_added;
};

// Matrices that read the same vectors, and where each one's products go.
struct Products {
    Matrix w[3];
    Out out[3];
};

template <u32 COUNT> DEVICE void
multiply(const Products& products, const Inputs& x, u32 count, float* shared) {
    u32 tile = block_x(), which = 0;
    while (which < 2 && tile >= products.w[which].tile_count) {
        tile -= products.w[which].tile_count;
        which++;
    }
    const Matrix& w = products.w[which];
    const Out& out = products.out[which];
    u32 first = block_y() * COUNT, here = count - first;
    float y = tile_product<COUNT>(w, tile, x, first, here, shared);
    u32 t = thread() / TILE_ROWS, row = tile * TILE_ROWS + thread() % TILE_ROWS;
    if (t < COUNT && t < here && row < out.width) {
        float* value = out.values + (u64)(first + t) * out.width + row;
        *value = out.is_added ? *value + y : y;
    }
}

KERNEL THREADS(128, 8) product_one(const Products products, const Inputs x, u32 count) {
    SHARED static float shared[PITCH];
    multiply<1>(products, x, count, shared);
}
KERNEL THREADS(128, 4) product_many(const Products products, const Inputs x, u32 count) {
    SHARED static float shared[TOKENS * PITCH];
    multiply<TOKENS>(products, x, count, shared);
}
