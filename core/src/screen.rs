//! The search of a head in two planes ([`Type::Q8Planes`](kinglet_quant::Type::Q8Planes)).
//!
//! A weight is `row_scale · group_scale · (16u + l − 128)` with nibbles `u` and `l`. The high plane
//! alone, with the mean of `l` in its place, gives coarse logits. Their error is a sum of many
//! small terms of both signs, and its standard deviation is near `residual norm · ‖x‖ / √cols`. A
//! row is left out when not even [`DEVIATIONS`] standard deviations would make its logit large
//! enough to be chosen. The rows that remain get the low plane's part, which gives the same logit
//! as reading both planes, to the bit. It is not proved that no error is larger: `tests/screen.rs`
//! counts them over real texts.

use crate::arena::{Arena, padded_bytes};
use crate::kernels::{Activations, NIBBLE_OFFSET};
use core::ops::Range;
use kinglet_quant::Tile;
use kinglet_quant::format::{BLOCK, TILE_ROWS};

/// Standard deviations that a coarse logit may be off.
pub const DEVIATIONS: f32 = 6.0;

/// Which logits a way of sampling needs: those that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Screen {
    /// How far below the largest logit a token can still be chosen; 0 when only the largest can.
    pub reach: f32,
    /// How many of the largest can be chosen; 0 for all.
    pub top: usize,
}

impl Screen {
    /// A bound from below on the logits that count. `floors` are lower bounds of logits of
    /// different tokens; they are reordered. −∞ when there are none.
    pub(crate) fn threshold(&self, floors: &mut [f32]) -> f32 {
        let largest = floors.iter().fold(f32::NEG_INFINITY, |max, &floor| max.max(floor));
        let within_reach = largest - self.reach;
        if !(1..=floors.len()).contains(&self.top) {
            return within_reach;
        }
        let (_, last, _) =
            floors.select_nth_unstable_by(self.top - 1, |a: &f32, b: &f32| b.total_cmp(a));
        within_reach.max(*last)
    }
}

/// What nibbles of the high plane are centred with, times 32: since `16u − 128` and the mean of
/// `l`, 7.5, make `16 (u − 241/32)`.
pub const CENTRE: i32 = 241;

/// What the sum over 16 columns of the high plane is centred with, given the sum of the inputs'
/// codes: `round(CENTRE/32 · sum)`.
#[inline]
fn centre(sum: i32) -> i32 {
    (CENTRE * sum + 16) >> 5
}

/// Where `Σ u·a` over 16 columns starts, given `−8·Σ a`.
#[inline]
pub fn high_start(start: i32) -> i32 {
    -centre(-start / NIBBLE_OFFSET)
}

/// Where `Σ l·a` over 16 columns starts, given `−8·Σ a`: what the high plane was centred with is
/// taken back.
#[inline]
pub fn low_start(start: i32) -> i32 {
    16 * (start - high_start(start))
}

/// The largest `logit − margin · norm` and the largest `logit + margin · norm` of a tile's rows.
pub fn bounds(logits: &[f32], norms: &[f32], margin: f32) -> (f32, f32) {
    let mut bounds = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for (logit, norm) in logits.iter().zip(norms) {
        bounds.0 = bounds.0.max(logit - margin * norm);
        bounds.1 = bounds.1.max(logit + margin * norm);
    }
    bounds
}

/// What residual norms are multiplied with to bound how far coarse logits of a token are off.
pub(crate) fn margin(x: &Activations<'_>, token: usize) -> f32 {
    let codes = x.codes[token * x.cols..][..x.cols].chunks_exact(BLOCK);
    let square = |(codes, scale): (&[i8], &f32)| {
        let sum: i32 = codes.iter().map(|&code| i32::from(code).pow(2)).sum();
        scale * scale * sum as f32
    };
    let square: f32 = codes.zip(&x.scales[token * x.cols / BLOCK..]).map(square).sum();
    DEVIATIONS * libm::sqrtf(square / x.cols as f32)
}

/// The rows of a tile whose logits may reach the threshold, a bit for each. NaN counts as such.
pub(crate) fn survivors(tile: &Tile<'_>, logits: &[f32], margin: f32, threshold: f32) -> u16 {
    let mut survivors = 0;
    for (r, (logit, norm)) in logits.iter().zip(tile.residual_norms()).enumerate() {
        let is_below = logit + margin * norm < threshold;
        survivors |= u16::from(!is_below) << r;
    }
    survivors
}

/// The memory of a search, a row for each row of logits.
#[derive(Debug)]
pub(crate) struct ScreenBuffers<'a> {
    tiles: usize,
    /// What residual norms are multiplied with `[R]`.
    pub margins: &'a mut [f32],
    /// Logits below cannot be chosen `[R]`.
    pub thresholds: &'a mut [f32],
    /// Lower bound of the largest logit of each tile `[R][tiles]`.
    pub floors: &'a mut [f32],
    /// Upper bound of the largest logit of each tile `[R][tiles]`.
    pub ceilings: &'a mut [f32],
    /// Rows with exact logits, a bit for each `[R][tiles]`.
    pub survivors: &'a mut [u16],
}

impl<'a> ScreenBuffers<'a> {
    /// Bytes for `rows` rows of logits of `tiles` tiles.
    pub fn bytes(rows: usize, tiles: usize) -> usize {
        2 * padded_bytes::<f32>(rows)
            + 2 * padded_bytes::<f32>(rows * tiles)
            + padded_bytes::<u16>(rows * tiles)
    }

    /// Takes exactly these bytes.
    pub fn cut(arena: &mut Arena<'a>, rows: usize, tiles: usize) -> Self {
        Self {
            tiles,
            margins: arena.take(rows),
            thresholds: arena.take(rows),
            floors: arena.take(rows * tiles),
            ceilings: arena.take(rows * tiles),
            survivors: arena.take(rows * tiles),
        }
    }

    /// Writes the surviving tokens of a row of logits to `tokens`, ascending; returns their number.
    pub fn list_survivors(&self, row: usize, tokens: &mut [u32]) -> usize {
        let mut count = 0;
        for (tile, &mask) in self.survivors[self.span(row)].iter().enumerate() {
            for r in rows_of(mask) {
                tokens[count] = (tile * TILE_ROWS + r) as u32;
                count += 1;
            }
        }
        count
    }

    /// The tiles of a row of logits.
    fn span(&self, row: usize) -> Range<usize> {
        row * self.tiles..(row + 1) * self.tiles
    }
}

/// The rows of a tile whose bits are set, ascending.
#[inline]
pub fn rows_of(mut mask: u16) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let row = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        (row < TILE_ROWS).then_some(row)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_add_up_to_the_whole() {
        // 16 (Σ u·a + high) + Σ l·a + low = Σ (16u + l − 128)·a for every sum of activations.
        for sum in -16 * 127..=16 * 127 {
            let start = -8 * sum;
            assert_eq!(16 * high_start(start) + low_start(start), -128 * sum);
            let mean = 7.53125 * f64::from(sum);
            assert!((f64::from(-high_start(start)) - mean).abs() <= 0.5);
            // Kernels keep these in 16 bits beside sums of 16 products.
            assert!(low_start(start).abs() <= 15_300 && high_start(start).abs() <= 15_310);
        }
    }

    #[test]
    fn thresholds_keep_what_can_be_chosen() {
        let floors = [1.0, 5.0, -2.0, 3.0];
        let threshold = |reach, top| Screen { reach, top }.threshold(&mut floors.clone());
        assert_eq!(threshold(0.0, 0), 5.0);
        assert_eq!(threshold(3.0, 0), 2.0);
        assert_eq!(threshold(3.0, 2), 3.0);
        assert_eq!(threshold(3.0, 4), 2.0);
        assert_eq!(threshold(30.0, 4), -2.0);
        // With fewer bounds than tokens that can be chosen, nothing is known of the last of these.
        assert_eq!(threshold(30.0, 5), -25.0);
        assert_eq!(Screen { reach: 1.0, top: 3 }.threshold(&mut []), f32::NEG_INFINITY);
    }

    #[test]
    fn masks_name_their_rows() {
        assert_eq!(rows_of(0).count(), 0);
        assert!(rows_of(0b1000_0000_0001_0010).eq([1, 4, 15]));
        assert!(rows_of(u16::MAX).eq(0..16));
    }
}
