// Products of matrices and many vectors on tensor cores, for devices of compute capability 8.0 on.
//
// A warp takes a tile of 16 rows and two groups of 8 vectors. One instruction multiplies 16 rows,
// a block of 32 columns and 8 vectors: lane 4g + t gives words t and 4 + t of the block, of rows g
// and g + 8 and of vector g, and gets the sums of these rows and of vectors 2t and 2t + 1. The
// groups share the weights that the warp has unpacked. Four groups would save a sixth of the
// instructions, but leave half as many warps, and a matrix of 576 rows has only 36 tiles.
//
// The four warps of a block take different tiles and the same vectors. They copy these to shared
// memory first, since lanes want words of eight vectors at once, which lie far apart elsewhere.
// Blocks of the same tiles follow each other, so that weights come from memory once for all of
// their vectors.
//
// Sums are those of `core::scalar` to the bit: integers within a block of columns, then floats in
// ascending order of blocks.
#include "codes.h"

// Groups of 8 vectors of a warp.
const u32 GROUPS = 2;
const u32 GROUP_TOKENS = 8;
const u32 TENSOR_TOKENS = GROUPS * GROUP_TOKENS;
// Tiles of a block, one for each of its warps.
const u32 TENSOR_TILES = 4;
// Blocks of columns that are staged at once: whole strips.
const u32 STAGED_BLOCKS = 16;

// `TENSOR_TOKENS` vectors of `STAGED_BLOCKS` blocks. Words t and 4 + t of a block lie side by side.
struct Staged {
    u32x4 codes[STAGED_BLOCKS][TENSOR_TOKENS][2];
    f32x2 scales[STAGED_BLOCKS][TENSOR_TOKENS / 2];
};

// Stages `length` blocks from `start` on, and zeros behind them. The last vector stands in for
// those behind it.
DEVICE void stage(Staged& staged, const Inputs& x, u32 cols, u32 first, u32 last, u32 start,
                  u32 length) {
    u32 blocks = cols / BLOCK;
    for (u32 i = thread(); i < STAGED_BLOCKS * TENSOR_TOKENS; i += TENSOR_TILES * WARP) {
        // A warp takes eight vectors and four blocks, which are a line of each vector.
        u32 token = i % 8 + i / 32 % GROUPS * 8, block = i / 8 % 4 + i / (32 * GROUPS) * 4;
        if (block >= length) {
            staged.codes[block][token][0] = staged.codes[block][token][1] = u32x4{};
            ((float*)staged.scales[block])[token] = 0.0f;
            continue;
        }
        u32 row = first + token < last ? first + token : last;
        u64 at = (u64)row * blocks + start + block;
        const u32x4* codes = (const u32x4*)x.codes + 2 * at;
        u32x4 low = constant(codes), high = constant(codes + 1);
        staged.codes[block][token][0] = u32x4{low[0], high[0], low[1], high[1]};
        staged.codes[block][token][1] = u32x4{low[2], high[2], low[3], high[3]};
        ((float*)staged.scales[block])[token] = constant(x.scales + at);
    }
}

// How much larger unpacked codes are than the integers they stand for.
DEVICE constexpr float excess(u32 form) {
    return form == NIBBLES ? 16.0f : form == FIVES ? 8.0f : 1.0f;
}

// Words of memory that hold a lane's share of one row of a block.
DEVICE constexpr u32 raw_words(u32 form) {
    return form == THREES ? 3 : form == NIBBLES || form == ENTRIES ? 1 : 2;
}

// Reads words t and 4 + t of a row; `lines` is where the row's first word is.
template <u32 FORM> DEVICE void read(const u32* lines, u32 t, u32* raw) {
    if (FORM == THREES) {
        raw[0] = constant(lines);
        raw[1] = constant(lines + 16);
        raw[2] = constant(lines + 32);
    } else {
        raw[0] = constant(lines + 16 * t);
        if (FORM == BYTES) raw[1] = constant(lines + 16 * (4 + t));
        if (FORM == FIVES) raw[1] = constant(lines + 64);
    }
}

// Unpacks words t and 4 + t to signed bytes, `excess` times too large.
template <u32 FORM> DEVICE void unpack_pair(const Matrix& w, const u32* raw, u32 t, u32* pair) {
    const u32 SIGNS = 0x80808080;
    if (FORM == BYTES) {
        pair[0] = raw[0];
        pair[1] = raw[1];
    } else if (FORM == NIBBLES) {
        pair[0] = (raw[0] << 4 & 0xF0F0F0F0) ^ SIGNS;
        pair[1] = (raw[0] & 0xF0F0F0F0) ^ SIGNS;
    } else if (FORM == FIVES) {
        pair[0] = (raw[0] << 3 & 0x78787878) | (~(raw[1] << (7 - t)) & SIGNS);
        pair[1] = (raw[0] >> 1 & 0x78787878) | (~(raw[1] << (3 - t)) & SIGNS);
    } else if (FORM == ENTRIES) {
        look_up(w, raw[0], pair, pair + 1);
    } else {
#pragma unroll
        for (u32 j = 0; j < 2; j++) {
            u32 low = raw[j] >> 2 * t & 0x03030303, high = raw[2] >> (4 * j + t) & 0x01010101;
            u32 codes = low | high << 2;
            pair[j] = pick(w.table[0], w.table[1], pick(codes | codes >> 4, 0, 0x4420));
        }
    }
}

// Adds the products of a block and of staged vectors, whose columns share a scale in each row.
// `a` has words t of rows g and g + 8, then words 4 + t.
template <u32 FORM> DEVICE void
add_whole(const u32* a, const i8* scales, const Staged& x, u32 block, float (*sums)[4]) {
    float factors[2];
#pragma unroll
    for (u32 r = 0; r < 2; r++) factors[r] = (float)constant(scales + 8 * r) / excess(FORM);
#pragma unroll
    for (u32 group = 0; group < GROUPS; group++) {
        u32 token = group * GROUP_TOKENS;
        u32x2 b = ((const u32x2*)x.codes[block][token])[lane()];
        f32x2 scale = x.scales[block][token / 2 + lane() % 4];
        i32x4 products = multiply_32(a, b);
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            // A float has the integer, and rounds its product as it rounds that of integers.
            float product = (float)products[i] * factors[i / 2];
            sums[group][i] += scale[i % 2] * product;
        }
    }
}

// The same where the first and the last 16 columns have scales of their own.
template <u32 FORM> DEVICE void
add_halves(const u32* a, const i8* scales, const Staged& x, u32 block, float (*sums)[4]) {
    i32 factors[2][2];
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        factors[i / 2][i % 2] = constant(scales + i / 2 * TILE_ROWS + i % 2 * 8);
    }
#pragma unroll
    for (u32 group = 0; group < GROUPS; group++) {
        u32 token = group * GROUP_TOKENS;
        u32x2 b = ((const u32x2*)x.codes[block][token])[lane()];
        f32x2 scale = x.scales[block][token / 2 + lane() % 4];
        i32x4 first = multiply_16(a, b[0]), last = multiply_16(a + 2, b[1]);
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            i32 product = first[i] * factors[0][i / 2] + last[i] * factors[1][i / 2];
            sums[group][i] += scale[i % 2] * ((float)product / excess(FORM));
        }
    }
}

// Adds the products of a tile's blocks from `start` on, `length` of which are staged.
template <u32 FORM, u32 GROUP> DEVICE void
add_blocks(const Matrix& w, const u8* tile, u32 start, u32 length, const Staged& x,
           float (*sums)[4]) {
    const u32 STRIP = STRIP_GROUPS * GROUP / BLOCK;
    const u32 STRIP_BYTES = STRIP_SCALES + STRIP * block_bytes(FORM);
    u32 g = lane() / 4, t = lane() % 4;
    const u8* strip = tile + TILE_ROWS * 4 + (u64)(start / STRIP) * STRIP_BYTES;
    for (u32 first = 0; first < length; first += STRIP, strip += STRIP_BYTES) {
        // All of a strip is read before any of it is used. The last block stands in for those
        // behind it, which meet zeros.
        u32 raw[STRIP][2][raw_words(FORM)], most = length - first - 1;
#pragma unroll
        for (u32 i = 0; i < STRIP; i++) {
            const u8* lines = strip + STRIP_SCALES + (i < most ? i : most) * block_bytes(FORM);
            read<FORM>((const u32*)lines + g, t, raw[i][0]);
            read<FORM>((const u32*)lines + g + 8, t, raw[i][1]);
        }
#pragma unroll
        for (u32 i = 0; i < STRIP; i++) {
            u32 upper[2], lower[2];
            unpack_pair<FORM>(w, raw[i][0], t, upper);
            unpack_pair<FORM>(w, raw[i][1], t, lower);
            u32 a[4] = {upper[0], lower[0], upper[1], lower[1]};
            const i8* scales = (const i8*)strip + i * (BLOCK / GROUP) * TILE_ROWS + g;
            if (GROUP == BLOCK) add_whole<FORM>(a, scales, x, first + i, sums);
            else add_halves<FORM>(a, scales, x, first + i, sums);
        }
    }
}

template <u32 FORM> DEVICE void
add_form(const Matrix& w, const u8* tile, u32 start, u32 length, const Staged& x,
         float (*sums)[4]) {
    if (w.group == BLOCK) add_blocks<FORM, BLOCK>(w, tile, start, length, x, sums);
    else add_blocks<FORM, BLOCK / 2>(w, tile, start, length, x, sums);
}

KERNEL THREADS(128, 4) product_tensor(const Products products, const Inputs x, u32 count) {
    SHARED static Staged staged;
    u32 tile = block_y() * TENSOR_TILES + thread() / WARP, which = 0;
    while (which < 2 && tile >= products.w[which].tile_count) {
        tile -= products.w[which].tile_count;
        which++;
    }
    const Matrix& w = products.w[which];
    const Out& out = products.out[which];
    // The last block may have warps without a tile: they only stage.
    bool has_tile = tile < w.tile_count;
    const u8* bytes = w.tiles + tile * w.stride;
    u32 cols = products.w[0].cols, first = block_x() * TENSOR_TOKENS;
    float sums[GROUPS][4] = {};
    for (u32 start = 0; start < cols / BLOCK; start += STAGED_BLOCKS) {
        u32 rest = cols / BLOCK - start, length = rest < STAGED_BLOCKS ? rest : STAGED_BLOCKS;
        stage(staged, x, cols, first, count - 1, start, length);
        sync();
        if (has_tile) {
            switch (w.kind) {
            case Q8: add_blocks<BYTES, BLOCK>(w, bytes, start, length, staged, sums); break;
            case Q5: add_form<FIVES>(w, bytes, start, length, staged, sums); break;
            case Q3: add_form<THREES>(w, bytes, start, length, staged, sums); break;
            case Q4:
                if (w.is_linear) add_form<NIBBLES>(w, bytes, start, length, staged, sums);
                else add_form<ENTRIES>(w, bytes, start, length, staged, sums);
                break;
            }
        }
        sync();
    }
    if (!has_tile) return;
    u32 g = lane() / 4, t = lane() % 4;
    float scales[2] = {row_scale(w, tile, g), row_scale(w, tile, g + 8)};
#pragma unroll
    for (u32 i = 0; i < 4 * GROUPS; i++) {
        u32 row = tile * TILE_ROWS + g + i % 4 / 2 * 8;
        u32 token = first + i / 4 * GROUP_TOKENS + 2 * t + i % 2;
        if (token >= count || row >= out.width) continue;
        float* value = out.values + (u64)token * out.width + row;
        float y = sums[i / 4][i % 4] * scales[i % 4 / 2];
        *value = out.is_added ? *value + y : y;
    }
}
