//! How numbers become codes; every backend rounds alike.

/// Rounds to the nearest integer, halves to even, for magnitudes below 2²²: adding 1.5·2²³ leaves
/// no bits for a fraction.
pub fn round_half_even(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT) - SHIFT
}

/// The scale of a block of activations with this largest magnitude, and what to multiply them with.
///
/// Both are zero where the scale would be subnormal, because its inverse may be infinite.
pub fn block_scale(max: f32) -> (f32, f32) {
    if max < 127.0 * f32::MIN_POSITIVE { (0.0, 0.0) } else { (max / 127.0, 127.0 / max) }
}
