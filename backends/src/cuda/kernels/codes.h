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

// Words of memory that hold the codes of a row.
DEVICE constexpr u32 line_count(u32 form) {
    return form == BYTES ? 8 : form == FIVES ? 5 : form == THREES ? 3 : 4;
}

// Whether codes stand for less than their unsigned value.
DEVICE constexpr bool is_unsigned(u32 form) {
    return form == NIBBLES || form == FIVES || form == HIGH || form == LOW;
}

// Whether the last 16 columns can stay where they are in their bytes, 16 times too large.
DEVICE constexpr bool stays_high(u32 form) { return is_unsigned(form) && form != FIVES; }

// Reads the codes of a row, whose first word is at `lines`; those of other rows lie between.
template <u32 FORM> DEVICE void read_row(const u32* lines, u32* line) {
    if (FORM == LOW) {
        // Row by row: the words lie side by side.
        u32x4 all = constant((const u32x4*)lines);
#pragma unroll
        for (u32 j = 0; j < 4; j++) line[j] = all[j];
    } else {
#pragma unroll
        for (u32 j = 0; j < line_count(FORM); j++) line[j] = constant(lines + 16 * j);
    }
}

// Rows that a lane takes of a tile. More share what is read of a vector, and take more registers.
DEVICE constexpr u32 lane_rows(u32 form) {
    return form == NIBBLES || form == FIVES || form == ENTRIES ? 4 : 2;
}

// Whether a sum of 16 products fits into 16 bits. Inputs are at most 127, and these codes stand for
// at most 16.
DEVICE constexpr bool are_short(u32 form) { return form == NIBBLES || form == FIVES; }
static_assert(START_GROUP * 127 * 16 <= 0x7FFF);

// Reads the codes of neighbouring rows; the low plane has its rows `row_words` apart.
template <u32 FORM, u32 ROWS> DEVICE void
read_rows(const u32* lines, u32 row_words, u32 (&line)[ROWS][8]) {
    typedef u32 Words __attribute__((ext_vector_type(ROWS)));
    if (FORM == LOW) {
#pragma unroll
        for (u32 r = 0; r < ROWS; r++) read_row<LOW>(lines + r * row_words, line[r]);
    } else {
#pragma unroll
        for (u32 j = 0; j < line_count(FORM); j++) {
            Words all = constant((const Words*)(lines + 16 * j));
#pragma unroll
            for (u32 r = 0; r < ROWS; r++) line[r][j] = all[r];
        }
    }
}

// Unpacks 8 bytes of codes to two words of 4: nibbles alternate between the two.
DEVICE void split_entries(u32 first, u32 second, u32* low, u32* high) {
    *low = pick(first, second, 0x6420);
    *high = pick(first, second, 0x7531);
}

// Looks the 8 nibbles of a line up in the table of 16 bytes. They alternate between column 4j + i and
// column 16 + 4j + i; their upper bits choose between the halves of the table.
DEVICE void look_up(const Matrix& w, u32 line, u32* low, u32* high) {
    // An instruction takes one constant. No group is odd, but the compiler does not know that, and
    // keeps this one in a register.
    u32 bytes = 0x32103210 | (thread() * w.group & 1);
    u32 within = line & 0x77777777, half = bytes | (line >> 1 & 0x44444444);
    u32 first = pick(pick(w.table[0], w.table[1], within),
                     pick(w.table[2], w.table[3], within), half);
    u32 second = pick(pick(w.table[0], w.table[1], within >> 16),
                      pick(w.table[2], w.table[3], within >> 16), half >> 16);
    split_entries(first, second, low, high);
}

// Unpacks the codes of a row. Words 4 to 7 are 16 times too large where they `STAY_HIGH`.
template <u32 FORM, bool STAY_HIGH = false> DEVICE void
unpack(const Matrix& w, const u32* line, u32* words) {
    if (FORM == BYTES) {
#pragma unroll
        for (u32 j = 0; j < 8; j++) words[j] = line[j];
    } else if (FORM == ENTRIES) {
#pragma unroll
        for (u32 j = 0; j < 4; j++) look_up(w, line[j], words + j, words + 4 + j);
    } else if (FORM == THREES) {
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            // Words j and j + 2: two bits of each code in a line, the upper one in bits j and j + 2
            // of the last.
            u32 j = i / 2 * 4 + i % 2;
            u32 codes = line[j / 4] >> 2 * (j % 4) & 0x33333333;
            codes |= (j < 2 ? line[2] << (2 - j) : line[2] >> (j - 2)) & 0x04040404;
            codes |= (j < 4 ? line[2] << (4 - j) : line[2] >> (j - 4)) & 0x40404040;
            u32 first = pick(w.table[0], w.table[1], codes);
            u32 second = pick(w.table[0], w.table[1], codes >> 16);
            split_entries(first, second, words + j, words + j + 2);
        }
    } else if (FORM == FIVES) {
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            // Bits j and 4 + j of a byte are the fifth ones of words j and 4 + j.
            u32 fifths = line[4] >> j & 0x11111111;
            words[j] = choose(0x0F0F0F0F, line[j], fifths << 4);
            words[4 + j] = choose(0x0F0F0F0F, line[j] >> 4, fifths);
        }
    } else {
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            words[j] = line[j] & 0x0F0F0F0F;
            words[4 + j] = STAY_HIGH ? line[j] & 0xF0F0F0F0 : line[j] >> 4 & 0x0F0F0F0F;
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

DEVICE float row_scale(const Matrix& w, u32 tile, u32 r) {
    return constant((const float*)(w.tiles + tile * w.stride) + r);
}
