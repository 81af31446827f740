// Numbers that every backend computes alike: see core/src/round.rs and core/src/exp.rs.
#pragma once
#include "words.h"

const float SMALLEST_NORMAL = 1.17549435e-38f;

DEVICE float round_half_even(float x) {
    const float SHIFT = 12582912.0f;
    return (x + SHIFT) - SHIFT;
}

// The lowest bits of the shifted number are those of the integer.
DEVICE u8 round_to_byte(float x) { return (u8)as_bits(x + 12582912.0f); }

DEVICE float exponential(float x) {
    x = smaller(larger(x, -87.33654f), 88.37626f);
    float whole = round_half_even(x * 1.44269504088896340736f);
    float rest = x - whole * 0.6933594f - whole * -2.1219444e-4f;
    float sum = 1.9875691e-4f;
    sum = sum * rest + 1.3981999e-3f;
    sum = sum * rest + 8.333452e-3f;
    sum = sum * rest + 4.1665796e-2f;
    sum = sum * rest + 1.6666665e-1f;
    sum = sum * rest + 0.5f;
    sum = sum * (rest * rest) + (rest + 1.0f);
    return sum * as_float((u32)((i32)whole + 127) << 23);
}

DEVICE float warp_max(float x) {
    for (u32 mask = 16; mask > 0; mask /= 2) x = larger(x, shuffle_xor(x, mask));
    return x;
}
DEVICE float warp_sum(float x) {
    for (u32 mask = 16; mask > 0; mask /= 2) x += shuffle_xor(x, mask);
    return x;
}

// The largest, and the sum, of what all threads of a block of at most 1,024 give, for all of them.
DEVICE float block_max(float x) {
    SHARED static float of_warps[WARP];
    x = warp_max(x);
    sync();
    if (lane() == 0) of_warps[thread() / WARP] = x;
    sync();
    float all = of_warps[0];
    for (u32 warp = 1; warp < threads() / WARP; warp++) all = larger(all, of_warps[warp]);
    return all;
}
DEVICE float block_sum(float x) {
    SHARED static float of_warps[WARP];
    x = warp_sum(x);
    sync();
    if (lane() == 0) of_warps[thread() / WARP] = x;
    sync();
    float all = of_warps[0];
    for (u32 warp = 1; warp < threads() / WARP; warp++) all += of_warps[warp];
    return all;
}
