// What lies between products: a warp quantizes a block of 32 columns, a lane a column.

#include "numbers.h"
#include "shapes.h"

struct Quantized {
    i8* codes;
    float* scales;
    i32* starts;
};

// Quantizes a vector that all threads of the block see: see `Kernels::quantize`.
DEVICE void quantize_vector(const float* x, u32 cols, u32 row, const Quantized& out) {
    for (u32 block = thread() / WARP; block < cols / BLOCK; block += threads() / WARP) {
        float value = x[block * BLOCK + lane()];
        float max = warp_max(absolute(value));
        bool is_zero = max < 127.0f * SMALLEST_NORMAL;
        float inverse = is_zero ? 0.0f : 127.0f / max;
        i32 code = (i32)round_half_even(value * inverse);
        i32 sum = code;
        for (u32 mask = 8; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
        out.codes[(u64)row * cols + block * BLOCK + lane()] = (i8)code;
        if (lane() == 0) {
            out.scales[(u64)row * (cols / BLOCK) + block] = is_zero ? 0.0f : max / 127.0f;
        }
        if (lane() % START_GROUP == 0) {
            u64 start = (u64)row * (cols / START_GROUP) + block * 2 + lane() / START_GROUP;
            out.starts[start] = -8 * sum;
        }
    }
}

// out = x / sqrt(mean(x^2) + eps) * gain, and its codes; a block for each row.
KERNEL THREADS(256)
norm(const float* x, const float* gain, float eps, u32 cols, float* out, const Quantized codes) {
    const float* from = x + (u64)block_x() * cols;
    float* to = out + (u64)block_x() * cols;
    float square = 0.0f;
    for (u32 i = thread(); i < cols; i += threads()) square += from[i] * from[i];
    float factor = 1.0f / root(block_sum(square) / (float)cols + eps);
    for (u32 i = thread(); i < cols; i += threads()) to[i] = from[i] * factor * gain[i];
    sync();
    quantize_vector(to, cols, block_x(), codes);
}

KERNEL THREADS(256) quantize(const float* x, u32 cols, const Quantized codes) {
    quantize_vector(x + (u64)block_x() * cols, cols, block_x(), codes);
}

// gate = silu(gate) * up, and its codes: `silu(x) = x / (1 + e^-x)`.
KERNEL THREADS(256) silu_mul(float* gate, const float* up, u32 cols, const Quantized codes) {
    gate += (u64)block_x() * cols;
    up += (u64)block_x() * cols;
    for (u32 i = thread(); i < cols; i += threads()) {
        gate[i] = gate[i] / (1.0f + exponential(-gate[i])) * up[i];
    }
    sync();
    quantize_vector(gate, cols, block_x(), codes);
}

// Row `k` becomes what row `rows[k].source` was; sources ascend. A thread for each column.
KERNEL THREADS(128) keep(float* x, u32 width, const Row* rows, u32 count) {
    u32 column = block_x() * threads() + thread();
    if (column >= width) return;
    for (u32 k = 0; k < count; k++) {
        x[(u64)k * width + column] = x[(u64)rows[k].source * width + column];
    }
}
