//! One row of a low plane, with the instructions that both x86 tiers have.

use core::arch::x86_64::*;
use kinglet_core::Activations;
use kinglet_core::kernels::START_GROUP;
use kinglet_core::screen::low_start;
use kinglet_quant::Tile;
use kinglet_quant::format::BLOCK;

/// The low plane's part of the dot product of row `r` of a tile with one token. One `fma` for every
/// 32 columns, in the order of whole tiles, so that both give the same bits.
///
/// The caller has checked that shapes fit together.
#[target_feature(enable = "avx2,fma")]
pub(crate) fn low_row(tile: &Tile<'_>, r: usize, x: &Activations<'_>, token: usize) -> f32 {
    let blocks = x.cols / BLOCK;
    let row = tile.low_plane()[r * x.cols / 2..][..x.cols / 2].chunks_exact(BLOCK / 2);
    let inputs = x.codes[token * x.cols..][..x.cols].chunks_exact(BLOCK);
    let scales = &x.scales[token * blocks..][..blocks];
    let starts = x.starts[token * x.cols / START_GROUP..].chunks_exact(BLOCK / START_GROUP);
    let group_scales = (0..blocks).map(|block| tile.group_scale(block, r));
    let mut total = _mm_setzero_ps();
    let activations = inputs.zip(scales).zip(starts);
    for ((row, group_scale), ((input, scale), starts)) in row.zip(group_scales).zip(activations) {
        // SAFETY: `row` has 16 bytes and `input` 32.
        let (row, input) = unsafe {
            (_mm_loadu_si128(row.as_ptr().cast()), _mm256_loadu_si256(input.as_ptr().cast()))
        };
        let both = _mm256_set_m128i(_mm_srli_epi16::<4>(row), row);
        let nibbles = _mm256_and_si256(both, _mm256_set1_epi8(15));
        let pairs = _mm256_maddubs_epi16(nibbles, input);
        let sum = sum_of_lanes(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
        let centred = sum + low_start(starts[0]) + low_start(starts[1]);
        let integer = centred * i32::from(group_scale);
        total = _mm_fmadd_ss(_mm_set_ss(integer as f32), _mm_set_ss(*scale), total);
    }
    _mm_cvtss_f32(total) * tile.row_scales()[r]
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum_of_lanes(x: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
    let two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
}
