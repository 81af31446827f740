//! Floats in messages.

use core::fmt;

/// Prints a float with about six digits: `0.2`, `-1`, `1.5e30`, `NaN`. The standard library's way
/// prints every digit, and takes 17 kB of a firmware.
#[derive(Clone, Copy, Debug)]
pub struct Float(pub f32);

/// Decimals that are printed at most.
const DECIMALS: usize = 5;
/// Ten to that power.
const SCALE: f64 = 1e5;

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = f64::from(self.0).abs();
        if self.0.is_nan() {
            return f.write_str("NaN");
        }
        if self.0.is_sign_negative() {
            f.write_str("-")?;
        }
        if size.is_infinite() {
            return f.write_str("inf");
        }
        if size == 0.0 || (1e-3..1e6).contains(&size) {
            return decimal(size, f);
        }
        let (mut mantissa, mut exponent) = (size, 0i32);
        while mantissa >= 10.0 {
            (mantissa, exponent) = (mantissa / 10.0, exponent + 1);
        }
        while mantissa < 1.0 {
            (mantissa, exponent) = (mantissa * 10.0, exponent - 1);
        }
        // What rounds to ten is one of the next power.
        if mantissa * SCALE + 0.5 >= 10.0 * SCALE {
            (mantissa, exponent) = (1.0, exponent + 1);
        }
        decimal(mantissa, f)?;
        write!(f, "e{exponent}")
    }
}

/// A number below a million with as many decimals as it needs.
fn decimal(size: f64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let scaled = (size * SCALE + 0.5) as u64;
    let (whole, mut rest) = (scaled / SCALE as u64, scaled % SCALE as u64);
    write!(f, "{whole}")?;
    if rest == 0 {
        return Ok(());
    }
    let mut digits = [0; DECIMALS];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let used = DECIMALS - digits.iter().rev().take_while(|&&digit| digit == b'0').count();
    f.write_str(".")?;
    f.write_str(core::str::from_utf8(&digits[..used]).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn short_numbers_are_printed_as_people_write_them() {
        for (number, text) in [
            (0.0, "0"),
            (-0.5, "-0.5"),
            (0.2, "0.2"),
            (1.0, "1"),
            (-1.0, "-1"),
            (100_000.0, "100000"),
            (1e-5, "1e-5"),
            (1.5e30, "1.5e30"),
            (0.001, "0.001"),
            (3.999_999_9, "4"),
            (f32::NAN, "NaN"),
            (f32::INFINITY, "inf"),
            (f32::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(Float(number).to_string(), text);
        }
    }

    #[test]
    fn every_number_is_near_what_is_printed() {
        for bits in (0..0x7F80_0000u32).step_by(99_991) {
            let number = f32::from_bits(bits);
            let shown: f32 = Float(number).to_string().parse().unwrap();
            let error = (f64::from(shown) - f64::from(number)).abs();
            assert!(error <= f64::from(number) * 1e-5 + 6e-6 * f64::from(number < 1e6), "{number}");
        }
    }
}
