// Codes of 32 columns of one row, as 8 words of bytes: word j has columns 4j to 4j + 3.
#pragma once
#include "shapes.h"

// What a kernel makes of a block's bytes. Unsigned codes are larger than the integers they stand
// for; sums of their products start at what that makes too much.
enum Form {
    BYTES,    // Q8: signed bytes
    FIVES,    // Q5: unsigned, 16 too large
    NIBBLES,  // Q4 with linear codes: unsigned, 8 too large
    ENTRIES,  // Q4: signed bytes of the table
    THREES,   // Q3: signed bytes of the table
    HIGH,     // The high plane of two: unsigned, see core/src/screen.rs
    LOW,      // The low plane: unsigned
};

// Bytes of the codes of 16 rows and 32 columns.
DEVICE constexpr u32 block_bytes(u32 form) {
    return form == BYTES ? 512 : form == FIVES ? 320 : form == THREES ? 192 : 256;
}

// Looks four nibbles, one in each four bits of `selector`, up in a table of 16 bytes.
DEVICE u32 look_up(const u32* table, u32 selector) {
    u32 first = pick(table[0], table[1], selector & 0x7777);
    u32 second = pick(table[2], table[3], selector & 0x7777);
    return pick(first, second, 0x3210 | (selector & 0x8888) >> 1);
}

DEVICE void split_nibbles(u32 line, u32* low, u32* high) {
    *low = line & 0x0F0F0F0F;
    *high = line >> 4 & 0x0F0F0F0F;
}

// Unpacks the codes of a row, whose first word is at `lines`; those of other rows lie between.
template <u32 FORM> DEVICE void unpack(const Matrix& w, const u32* lines, u32* words) {
    if (FORM == BYTES) {
#pragma unroll
        for (u32 j = 0; j < 8; j++) words[j] = constant(lines + 16 * j);
    } else if (FORM == ENTRIES) {
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            // The nibbles of a line alternate between column 4j + i and column 16 + 4j + i.
            u32 line = constant(lines + 16 * j);
            u32 first = look_up(w.table, line & 0xFFFF), second = look_up(w.table, line >> 16);
            words[j] = pick(first, second, 0x6420);
            words[4 + j] = pick(first, second, 0x7531);
        }
    } else if (FORM == THREES) {
        u32 high = constant(lines + 32);
#pragma unroll
        for (u32 j = 0; j < 8; j++) {
            u32 low = constant(lines + 16 * (j / 4)) >> 2 * (j % 4) & 0x03030303;
            u32 codes = low | (high >> j & 0x01010101) << 2;
            u32 selector = pick(codes | codes >> 4, 0, 0x4420);
            words[j] = pick(w.table[0], w.table[1], selector);
        }
    } else if (FORM == LOW) {
        // Row by row: the words lie side by side.
        u32x4 line = constant((const u32x4*)lines);
#pragma unroll
        for (u32 j = 0; j < 4; j++) split_nibbles(line[j], words + j, words + 4 + j);
    } else {
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            split_nibbles(constant(lines + 16 * j), words + j, words + 4 + j);
        }
        if (FORM == FIVES) {
            u32 high = constant(lines + 64);
#pragma unroll
            for (u32 j = 0; j < 8; j++) words[j] |= (high >> j & 0x01010101) << 4;
        }
    }
}

// What a lane reads of a tile: the blocks `first`, `first + step` and so on of one row.
struct Stream {
    const u8* codes;
    const i8* scales;     // Of the first 16 columns.
    u32 last_scale;       // Where the scale of the last 16 columns lies behind it.
    u32 code_step;
    u32 scale_step;
};

// `step` blocks must be whole strips: `first` and what follows then lie alike in theirs.
template <u32 FORM> DEVICE Stream
stream_of(const Matrix& w, u32 tile_index, u32 r, u32 first, u32 step) {
    const u8* tile = w.tiles + tile_index * w.stride;
    const u8* strips = tile + TILE_ROWS * 4 * (FORM == HIGH || FORM == LOW ? 2 : 1);
    u32 blocks = STRIP_GROUPS * w.group / BLOCK, groups = BLOCK / w.group;
    u32 strip_bytes = STRIP_SCALES + blocks * block_bytes(FORM);
    const u8* strip = strips + (u64)(first / blocks) * strip_bytes;
    u32 within = first % blocks, strips_step = step / blocks * strip_bytes;
    const i8* scales = (const i8*)strip + within * groups * TILE_ROWS + r;
    u32 last_scale = (groups - 1) * TILE_ROWS;
    if (FORM == LOW) {
        u64 row = (u64)tile_index * TILE_ROWS + r;
        const u8* codes = w.low + row * (w.cols / 2) + first * (BLOCK / 2);
        return {codes, scales, last_scale, step * (BLOCK / 2), strips_step};
    }
    const u8* codes = strip + STRIP_SCALES + within * block_bytes(FORM) + r * 4;
    return {codes, scales, last_scale, strips_step, strips_step};
}
