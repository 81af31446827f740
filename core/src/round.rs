//! How numbers become codes; every backend rounds alike.

/// 1.5·2²³: adding it leaves no bits for a fraction.
pub(crate) const SHIFT: f32 = 12_582_912.0;

/// Rounds to the nearest integer, halves to even, for magnitudes below 2²².
#[inline]
pub fn round_half_even(x: f32) -> f32 {
    (x + SHIFT) - SHIFT
}

/// Rounds as [`round_half_even`] does, to a signed byte, for magnitudes up to 127: the lowest bits
/// of the shifted number are those of the integer.
#[inline]
pub fn round_to_byte(x: f32) -> u8 {
    (x + SHIFT).to_bits() as u8
}

/// Rounds as [`round_half_even`] does, to a wide code, for magnitudes up to [`WIDE_LIMIT`].
#[inline]
pub fn round_to_wide(x: f32) -> i16 {
    (x + SHIFT).to_bits() as i16
}

/// The scale of a block of activations with this largest magnitude, and what to multiply them with.
///
/// Both are zero where the scale would be subnormal, because its inverse may be infinite.
pub fn block_scale(max: f32) -> (f32, f32) {
    if max < 127.0 * f32::MIN_POSITIVE { (0.0, 0.0) } else { (max / 127.0, 127.0 / max) }
}

/// Largest magnitude of a wide code: what two signed bytes, one worth 256 of the other, give with
/// either sign.
pub const WIDE_LIMIT: i16 = 127 * 256 + 127;

/// The scale of a vector whose largest magnitude becomes the code [`WIDE_LIMIT`], and what to
/// multiply the vector with; both zero where the inverse may be infinite.
pub fn wide_scale(max: f32) -> (f32, f32) {
    const LIMIT: f32 = WIDE_LIMIT as f32;
    if max < LIMIT * f32::MIN_POSITIVE { (0.0, 0.0) } else { (max / LIMIT, LIMIT / max) }
}
