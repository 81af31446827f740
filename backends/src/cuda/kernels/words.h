// The words of CUDA that the kernels use, for clang without NVIDIA's headers.
#pragma once

#define KERNEL extern "C" __attribute__((global)) void
#define DEVICE static __attribute__((device)) inline __attribute__((always_inline))
#define SHARED __attribute__((shared))
#define THREADS(...) __attribute__((launch_bounds(__VA_ARGS__)))

typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef u32 u32x4 __attribute__((ext_vector_type(4)));
typedef i32 i32x2 __attribute__((ext_vector_type(2)));
typedef i32 i32x4 __attribute__((ext_vector_type(4)));
typedef u32 u32x2 __attribute__((ext_vector_type(2)));
typedef float f32x2 __attribute__((ext_vector_type(2)));

const u32 WARP = 32;
const u32 ALL_LANES = 0xFFFFFFFFu;

DEVICE u32 thread() { return __nvvm_read_ptx_sreg_tid_x(); }
DEVICE u32 threads() { return __nvvm_read_ptx_sreg_ntid_x(); }
DEVICE u32 lane() { return thread() % WARP; }
DEVICE u32 block_x() { return __nvvm_read_ptx_sreg_ctaid_x(); }
DEVICE u32 block_y() { return __nvvm_read_ptx_sreg_ctaid_y(); }
DEVICE u32 block_z() { return __nvvm_read_ptx_sreg_ctaid_z(); }
DEVICE void sync() { __syncthreads(); }
DEVICE void sync_warp() { __nvvm_bar_warp_sync(ALL_LANES); }

DEVICE float shuffle_xor(float x, u32 mask) {
    return __nvvm_shfl_sync_bfly_f32(ALL_LANES, x, mask, 31);
}
DEVICE i32 shuffle_xor(i32 x, u32 mask) {
    return __nvvm_shfl_sync_bfly_i32(ALL_LANES, x, mask, 31);
}
DEVICE u32 ballot(bool bit) { return __nvvm_vote_ballot_sync(ALL_LANES, bit); }
DEVICE u32 bits(u32 x) { return __builtin_popcount(x); }

// Four products of bytes: signed with signed, and unsigned with signed.
DEVICE i32 dot4(u32 a, u32 b, i32 sum) {
    asm("dp4a.s32.s32 %0, %1, %2, %0;" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}
DEVICE i32 dot4_unsigned(u32 a, u32 b, i32 sum) {
    asm("dp4a.u32.s32 %0, %1, %2, %0;" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}
// Two products of 16-bit numbers with the lower, or the upper, two bytes of b.
DEVICE i32 dot2_low(u32 a, u32 b, i32 sum) {
    asm("dp2a.lo.s32.s32 %0, %1, %2, %0;" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}
DEVICE i32 dot2_high(u32 a, u32 b, i32 sum) {
    asm("dp2a.hi.s32.s32 %0, %1, %2, %0;" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}
#if __CUDA_ARCH__ >= 800
// Products of 16 rows and 8 columns of signed bytes, 32 or 16 deep, in all lanes of a warp: which
// element of what is in which lane, the manual of PTX shows in 9.7.14.5, "Matrix Fragments for
// mma.m16n8k32" and "for mma.m16n8k16 with .u8/.s8".
DEVICE i32x4 multiply_32(const u32* a, u32x2 b) {
    i32x4 d;
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%10, %10, %10, %10};"
        : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(0));
    return d;
}
DEVICE i32x4 multiply_16(const u32* a, u32 b) {
    i32x4 d;
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
        "{%7, %7, %7, %7};"
        : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(b), "r"(0));
    return d;
}
#endif
// The same number, of which the compiler knows nothing.
DEVICE u32 unknown(u32 x) {
    asm("" : "+r"(x));
    return x;
}
// The bits of `a` where the mask has ones, and those of `b` where not.
DEVICE u32 choose(u32 mask, u32 a, u32 b) {
    u32 chosen;
    asm("lop3.b32 %0, %1, %2, %3, 0xCA;" : "=r"(chosen) : "r"(mask), "r"(a), "r"(b));
    return chosen;
}
// Four bytes of eight, as the nibbles of `selector` say.
DEVICE u32 pick(u32 low, u32 high, u32 selector) { return __nvvm_prmt(low, high, selector); }

// Byte i of four signed ones.
DEVICE i32 signed_byte(u32 bytes, u32 i) { return (i32)pick(bytes, 0, i + 0x1110 * (8 + i)); }

DEVICE float as_float(u32 x) { return __builtin_bit_cast(float, x); }
DEVICE u32 as_bits(float x) { return __builtin_bit_cast(u32, x); }
DEVICE float absolute(float x) { return as_float(as_bits(x) & 0x7FFFFFFFu); }
DEVICE float larger(float a, float b) { return __nvvm_fmax_f(a, b); }
DEVICE float smaller(float a, float b) { return __nvvm_fmin_f(a, b); }
DEVICE float root(float x) { return __nvvm_sqrt_rn_f(x); }

DEVICE float from_half(u16 x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
    return y;
}
DEVICE u16 to_half(float x) {
    u16 y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}

// Bytes that no kernel writes while this one runs.
template <typename T> DEVICE T constant(const T* p) {
    return *(const T __attribute__((address_space(1)))*)p;
}
// As one load: the compiler would take some of these apart.
template <> __attribute__((device)) inline u32x2 constant(const u32x2* p) {
    u32x2 x;
    asm("ld.global.nc.v2.u32 {%0, %1}, [%2];" : "=r"(x[0]), "=r"(x[1]) : "l"(p));
    return x;
}
template <> __attribute__((device)) inline u32x4 constant(const u32x4* p) {
    u32x4 x;
    asm("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
        : "l"(p));
    return x;
}
