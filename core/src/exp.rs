//! The exponential that every backend computes, operation by operation, so that weights of
//! attention are the same bits everywhere.

use crate::round::SHIFT;

/// Arguments are clamped to this range, where the result is a normal number.
pub const RANGE: [f32; 2] = [-87.336_54, 88.376_26];
/// The upper bits of `ln 2`: products with whole numbers of the range are exact.
pub const LN2_HIGH: f32 = 0.693_359_4;
/// `ln 2` less its upper bits.
pub const LN2_LOW: f32 = -2.121_944_4e-4;
/// Coefficients of `(e^r − 1 − r) / r²`, highest power first, from Cephes' `expf`.
pub const POLYNOMIAL: [f32; 6] =
    [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// `e^x` within 2 units in the last place, `x` clamped to [`RANGE`].
///
/// Range reduction after Cody and Waite (1980) with `ln 2` in two parts, then a polynomial on
/// ±½·ln 2. Products and sums are rounded one by one: not every CPU can round them together.
#[inline]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(RANGE[0], RANGE[1]);
    let shifted = x * core::f32::consts::LOG2_E + SHIFT;
    let whole = shifted - SHIFT;
    let rest = x - whole * LN2_HIGH - whole * LN2_LOW;
    let sum = POLYNOMIAL[1..].iter().fold(POLYNOMIAL[0], |sum, c| sum * rest + c);
    let sum = sum * (rest * rest) + (rest + 1.0);
    // The lowest bits of the shifted number are those of the integer: compilers have vectors for
    // this, but not for a conversion that saturates.
    sum * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_stay_within_two_units_in_the_last_place() {
        for step in -870_000..=880_000 {
            let x = step as f32 * 1e-4;
            let exact = libm::exp(f64::from(x));
            let unit = f64::from((exact as f32).next_up() - exact as f32);
            let error = (f64::from(exp(x)) - exact).abs() / unit;
            assert!(error <= 2.0, "exp({x}) is off by {error} units in the last place");
        }
    }

    #[test]
    fn results_are_normal_numbers() {
        for x in [f32::NEG_INFINITY, -1e9, -88.0, 0.0, 89.0, f32::INFINITY] {
            assert!(exp(x).is_normal(), "exp({x}) is {}", exp(x));
        }
        assert_eq!(exp(0.0), 1.0);
    }
}
