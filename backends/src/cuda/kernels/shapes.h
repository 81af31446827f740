// What kernels are given. `shapes.rs` has the same structs.
#pragma once
#include "words.h"

const u32 TILE_ROWS = 16;
const u32 BLOCK = 32;
const u32 START_GROUP = 16;
const u32 STRIP_GROUPS = 4;
const u32 STRIP_SCALES = STRIP_GROUPS * TILE_ROWS;
const u32 SPAN = 128;

// The numbers of `quant::Type`.
enum Kind { F32, BF16, Q8, Q4, Q5, Q3, PLANES };

// A matrix of the file: see quant/src/tile.rs for where its bytes lie.
struct Matrix {
    const u8* tiles;
    const u8* low;        // The low plane of the first tile, where there are two.
    u64 stride;           // Bytes from a tile to the next.
    u32 kind;
    u32 group;            // Columns that share a scale: 16 or 32.
    u32 rows;
    u32 cols;
    u32 tile_count;
    u32 is_linear;        // 4-bit codes stand for -8 to 7.
    u32 table[4];         // What codes stand for, 16 signed bytes.
};

// Inputs of products: vectors of `cols`, one behind the other.
struct Inputs {
    const float* values;  // [rows][cols]
    const i8* codes;      // [rows][cols]
    const float* scales;  // [rows][cols / 32]
    const i32* starts;    // [rows][cols / 16], -8 times the sum of the codes
};

// A token of a pass.
struct Row {
    u32 token;
    u32 text;
    u32 position;
    u32 source;           // The row that it was before rows without logits were dropped.
};

// The key-value cache: see core/src/kv.rs for where a block's bytes lie.
struct Cache {
    u8* bytes;            // [texts][layers][kv_heads][block]
    u64 text_bytes;
    u64 layer_offset;     // Where the layer's blocks start in a text's.
    u64 block_bytes;
    u64 vectors;          // Bytes of a block's keys, and of its values.
    u64 scales;           // Bytes of its key scales, and of its value scales.
    u32 is_int8;
    u32 head_dim;
    u32 kv_heads;
    u32 group;            // Query heads of a key-value head.
};

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
