// x[row] = embedding[token]: a thread for each 32 columns.

#include "codes.h"

// Codes of one row and block, less `offset`, times the scales of both halves.
template <u32 FORM> DEVICE void
embed_block(const Matrix& w, u32 tile, u32 r, u32 block, float row_scale, i32 offset, float* out) {
    Stream stream = stream_of<FORM>(w, tile, r, block, 0);
    u32 line[8], words[8];
    read_row<FORM>((const u32*)stream.codes, line);
    unpack<FORM>(w, line, words);
    if (FORM == HIGH) {
        u32 low[8];
        Stream plane = stream_of<LOW>(w, tile, r, block, 0);
        read_row<LOW>((const u32*)plane.codes, line);
        unpack<LOW>(w, line, low);
#pragma unroll
        for (u32 j = 0; j < 8; j++) words[j] = (words[j] << 4 | low[j]) ^ 0x80808080;
    }
    float first = row_scale * (float)constant(stream.scales);
    float last = row_scale * (float)constant(stream.scales + stream.last_scale);
#pragma unroll
    for (u32 k = 0; k < BLOCK; k++) {
        i32 code = (i8)(words[k / 4] >> 8 * (k % 4)) - offset;
        out[k] = (k < START_GROUP ? first : last) * (float)code;
    }
}

KERNEL THREADS(128) embed(const Matrix w, const Row* rows, float* x) {
    u32 row = rows[block_x()].token, tile = row / TILE_ROWS, r = row % TILE_ROWS;
    const u8* bytes = w.tiles + tile * w.stride;
    for (u32 block = thread(); block < w.cols / BLOCK; block += threads()) {
        float* out = x + (u64)block_x() * w.cols + block * BLOCK;
        u64 at = (u64)r * w.cols + block * BLOCK;
        float scale = constant((const float*)bytes + r);
        switch (w.kind) {
        case F32:
            for (u32 k = 0; k < BLOCK; k++) out[k] = constant((const float*)bytes + at + k);
            break;
        case BF16:
            for (u32 k = 0; k < BLOCK; k++) {
                out[k] = as_float((u32)constant((const u16*)bytes + at + k) << 16);
            }
            break;
        case Q8: embed_block<BYTES>(w, tile, r, block, scale, 0, out); break;
        case Q5: embed_block<FIVES>(w, tile, r, block, scale, 16, out); break;
        case Q4: embed_block<ENTRIES>(w, tile, r, block, scale, 0, out); break;
        case Q3: embed_block<THREES>(w, tile, r, block, scale, 0, out); break;
        case PLANES: embed_block<HIGH>(w, tile, r, block, scale, 0, out); break;
        }
    }
}
