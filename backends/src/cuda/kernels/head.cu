// The search of a head in two planes: see core/src/screen.rs and core/src/forward/head.rs.

#include "numbers.h"
#include "product.cu"

const float DEVIATIONS = 6.0f;

// What residual norms are multiplied with, a warp for each row.
KERNEL THREADS(32) margins(const Inputs x, u32 cols, float* out) {
    u32 row = block_x(), blocks = cols / BLOCK;
    float square = 0.0f;
    for (u32 first = 0; first < blocks; first += WARP) {
        u32 block = first + lane();
        float mine = 0.0f;
        if (block < blocks) {
            const u32* codes = (const u32*)(x.codes + (u64)row * cols + block * BLOCK);
            i32 sum = 0;
            for (u32 j = 0; j < BLOCK / 4; j++) sum = dot4(codes[j], codes[j], sum);
            float scale = x.scales[(u64)row * blocks + block];
            mine = scale * scale * (float)sum;
        }
        for (u32 i = 0; i < WARP && first + i < blocks; i++) {
            square += __nvvm_shfl_sync_idx_f32(ALL_LANES, mine, i, 31);
        }
    }
    if (lane() == 0) out[row] = DEVIATIONS * root(square / (float)cols);
}

// What a search of the head finds.
struct Found {
    float* logits;        // [rows][width], coarse
    float* floors;        // [rows][tiles], the largest logit of a tile at least
    float* ceilings;      // [rows][tiles], and at most
    u32 width;
};

// Coarse logits of a tile, and the bounds of its largest: see `Kernels::screen`.
template <u32 COUNT> DEVICE void
search(const Matrix& w, const Inputs& x, const float* margins, u32 count, const Found& found,
       float* shared) {
    u32 tile = block_x(), first = COUNT == 1 ? 0 : block_y() * COUNT, here = count - first;
    float scale = row_scale(w, tile, thread() % TILE_ROWS);
    float logit = sum_blocks<HIGH, COUNT>(w, tile, x, first, here, shared);
    logit *= 16.0f * scale;
    u32 t = thread() / TILE_ROWS, r = thread() % TILE_ROWS;
    bool has_token = t < COUNT && t < here;
    float floor = as_float(0xFF800000u), ceiling = floor;
    if (has_token) {
        found.logits[(u64)(first + t) * found.width + tile * TILE_ROWS + r] = logit;
        if (tile * TILE_ROWS + r < w.rows) {
            const float* norms = (const float*)(w.tiles + tile * w.stride) + TILE_ROWS;
            float reach = margins[first + t] * constant(norms + r);
            floor = logit - reach;
            ceiling = logit + reach;
        }
    }
    for (u32 mask = 8; mask > 0; mask /= 2) {
        floor = larger(floor, shuffle_xor(floor, mask));
        ceiling = larger(ceiling, shuffle_xor(ceiling, mask));
    }
    if (has_token && r == 0) {
        found.floors[(u64)(first + t) * w.tile_count + tile] = floor;
        found.ceilings[(u64)(first + t) * w.tile_count + tile] = ceiling;
    }
}

KERNEL THREADS(128)
screen_one(const Matrix w, const Inputs x, const float* margins, u32 count, const Found found) {
    SHARED alignas(16) static float shared[pitch_of(1)];
    search<1>(w, x, margins, count, found, shared);
}
KERNEL THREADS(128, 4)
screen_many(const Matrix w, const Inputs x, const float* margins, u32 count, const Found found) {
    SHARED alignas(16) static float shared[TOKENS * pitch_of(TOKENS)];
    search<TOKENS>(w, x, margins, count, found, shared);
}

// Which logits a row needs: see `Screen`.
struct Wanted {
    float reach;
    u32 top;
};

// Numbers whose order is that of the floats, as `f32::total_cmp` has it.
DEVICE u32 ordered(float x) {
    u32 b = as_bits(x);
    return b & 0x80000000u ? ~b : b | 0x80000000u;
}
DEVICE float from_ordered(u32 key) {
    return as_float(key & 0x80000000u ? key & 0x7FFFFFFFu : ~key);
}

// The key of rank `top` from above among `count`, digit by digit of 8 bits.
DEVICE u32 nth_largest(const float* x, u32 count, u32 top) {
    SHARED static u32 histogram[256];
    SHARED static u32 found[2];
    u32 prefix = 0, left = top;
    for (u32 shift = 32; shift > 0;) {
        shift -= 8;
        for (u32 i = thread(); i < 256; i += threads()) histogram[i] = 0;
        sync();
        for (u32 i = thread(); i < count; i += threads()) {
            u32 key = ordered(x[i]);
            if (shift == 24 || key >> (shift + 8) == prefix >> (shift + 8)) {
                __nvvm_atom_add_gen_i((i32*)&histogram[key >> shift & 255], 1);
            }
        }
        sync();
        if (thread() == 0) {
            u32 digit = 255;
            while (histogram[digit] < left) left -= histogram[digit--];
            found[0] = prefix | digit << shift;
            found[1] = left;
        }
        sync();
        prefix = found[0];
        left = found[1];
        sync();
    }
    return prefix;
}

// Logits below these cannot be chosen, a block for each row: see `Screen::threshold`.
KERNEL THREADS(256)
threshold(const float* floors, u32 tiles, const Wanted* wanted, float* out) {
    u32 row = block_x();
    floors += (u64)row * tiles;
    float most = as_float(0xFF800000u);
    for (u32 i = thread(); i < tiles; i += threads()) most = larger(most, floors[i]);
    float bound = block_max(most) - wanted[row].reach;
    u32 top = wanted[row].top;
    if (top >= 1 && top <= tiles) {
        bound = larger(bound, from_ordered(nth_largest(floors, tiles, top)));
    }
    if (thread() == 0) out[row] = bound;
}

// The low plane's part of one row, computed by a warp: sums over blocks in ascending order.
DEVICE float low_row(const Matrix& w, u32 tile, u32 r, const Inputs& x, u32 row) {
    u32 blocks = w.cols / BLOCK;
    float total = 0.0f;
    for (u32 first = 0; first < blocks; first += WARP) {
        u32 block = first + lane();
        float mine = 0.0f;
        if (block < blocks) {
            Stream stream = stream_of<LOW>(w, tile, r, block, 0);
            u32 line[1][8];
            read_row<LOW>((const u32*)stream.codes, line[0]);
            u32 scales[2] = {(u32)constant(stream.scales),
                             (u32)constant(stream.scales + stream.last_scale)};
            block_products<LOW>(w, line, scales, x, row * blocks + block, &mine);
        }
        for (u32 i = 0; i < WARP && first + i < blocks; i++) {
            total += __nvvm_shfl_sync_idx_f32(ALL_LANES, mine, i, 31);
        }
    }
    return total * row_scale(w, tile, r);
}

// Exact logits of the rows that may reach the threshold, and a bit for each. A warp takes a tile.
KERNEL THREADS(128)
rescore(const Matrix w, const Inputs x, const float* margins, const float* thresholds,
        const Found found, u16* survivors) {
    u32 tile = block_x() * 4 + thread() / WARP, row = block_y();
    if (tile >= w.tile_count) return;
    u64 at = (u64)row * w.tile_count + tile;
    float bound = thresholds[row];
    if (found.ceilings[at] < bound) {
        if (lane() == 0) survivors[at] = 0;
        return;
    }
    const u8* bytes = w.tiles + tile * w.stride;
    float* mine = found.logits + (u64)row * found.width + tile * TILE_ROWS;
    bool survives = false;
    if (lane() < TILE_ROWS && tile * TILE_ROWS + lane() < w.rows) {
        const float* norms = (const float*)bytes + TILE_ROWS;
        survives = !(mine[lane()] + margins[row] * constant(norms + lane()) < bound);
    }
    u32 mask = ballot(survives);
    if (lane() == 0) survivors[at] = (u16)mask;
    for (u32 r = 0; r < TILE_ROWS; r++) {
        if (!(mask >> r & 1)) continue;
        float low = low_row(w, tile, r, x, row);
        if (lane() == 0) mine[r] += low;
    }
}

// Lists the survivors of a row in ascending order, a block for each: their number, which may be more
// than there is room for, then `room` tokens, then `room` logits.
KERNEL THREADS(256)
collect(const u16* survivors, const Found found, u32 tiles, u32 room, u32* out) {
    SHARED static u32 counts[256];
    u32 row = block_x(), per_thread = (tiles + 255) / 256;
    u32 first = thread() * per_thread, end = first + per_thread < tiles ? first + per_thread : tiles;
    survivors += (u64)row * tiles;
    const float* logits = found.logits + (u64)row * found.width;
    out += (u64)row * (1 + 2 * room);
    u32 count = 0;
    for (u32 tile = first; tile < end; tile++) count += bits(survivors[tile]);
    counts[thread()] = count;
    sync();
    u32 at = 0;
    for (u32 i = 0; i < thread(); i++) at += counts[i];
    if (thread() == 255) out[0] = at + count;
    for (u32 tile = first; tile < end; tile++) {
        for (u32 r = 0, mask = survivors[tile]; r < TILE_ROWS; r++) {
            if (!(mask >> r & 1)) continue;
            if (at < room) {
                u32 token = tile * TILE_ROWS + r;
                out[1 + at] = token;
                out[1 + room + at] = as_bits(logits[token]);
            }
            at++;
        }
    }
}
