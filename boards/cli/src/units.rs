//! Numbers as people write and read them.

use std::fmt::{self, Write};
use std::time::Duration;

/// Reads an amount of memory: `65536`, `64K`, `64M`, `1.5G`, with powers of 1024.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(['i', 'B', 'b']);
    let (number, unit) = match digits.chars().last().map(|c| c.to_ascii_uppercase()) {
        Some('K') => (&digits[..digits.len() - 1], 1u64 << 10),
        Some('M') => (&digits[..digits.len() - 1], 1 << 20),
        Some('G') => (&digits[..digits.len() - 1], 1 << 30),
        _ => (digits, 1),
    };
    let value: f64 = number.parse().map_err(|_| "write bytes such as 65536, 64M or 1.5G")?;
    if !(1.0..=1e15).contains(&(value * unit as f64)) {
        return Err("the amount must lie between 1 byte and 1 PB".into());
    }
    Ok((value * unit as f64) as u64)
}

/// Reads a number.
pub fn parse_number(text: &str) -> Result<f32, String> {
    parse_number_that(text, |_| true, "write a number")
}

fn parse_number_that(text: &str, fits: fn(f32) -> bool, rule: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value.is_finite() && fits(value) => Ok(value),
        _ => Err(rule.into()),
    }
}

/// Reads a number of at least 0.
pub fn parse_non_negative(text: &str) -> Result<f32, String> {
    parse_number_that(text, |x| x >= 0.0, "write a number of at least 0")
}

/// Reads a number of tokens; -1, which other programs take for no limit, is more than any text has.
pub fn parse_tokens(text: &str) -> Result<u32, String> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(u32::MAX),
        Ok(count) if u32::try_from(count).is_ok() => Ok(count as u32),
        _ => Err("write a number of tokens from 0 on, or -1 for no limit".into()),
    }
}

/// Reads a number above 0.
pub fn parse_positive(text: &str) -> Result<f32, String> {
    parse_number_that(text, |x| x > 0.0, "write a number above 0")
}

/// A time that is not zero.
pub fn parse_deadline(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).ok().filter(|time| !time.is_zero());
    time.ok_or_else(|| "write a time, such as 500ms, 10s or 2m".into())
}

/// Reads a stretch of time such as `90s`, `10m` or `1h 30m`, of a day at most.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).ok();
    let fits = |time: &Duration| (1..=86400).contains(&time.as_secs());
    time.filter(fits).ok_or("write a time such as 90s, 10m or 2h, of a day at most".into())
}

/// Reads a number between 0 and 1.
pub fn parse_fraction(text: &str) -> Result<f32, String> {
    parse_number_that(text, |x| (0.0..=1.0).contains(&x), "write a number between 0 and 1")
}

/// Reads `TOKEN=BIAS`, such as `2=-5`. Infinite biases forbid or force a token.
pub fn parse_bias(text: &str) -> Result<(u32, f32), String> {
    let rule = "write a token id and its bias, such as 2=-5 or 0=-inf";
    let (token, bias) = text.split_once('=').ok_or(rule)?;
    let token = token.trim().parse().map_err(|_| rule)?;
    match bias.trim().parse::<f32>() {
        Ok(bias) if !bias.is_nan() => Ok((token, bias)),
        _ => Err(rule.into()),
    }
}

/// Prints an amount of memory or of file in decimal units: `98.4 MB`.
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        match self.0 {
            0..1_000 => f.pad(&format!("{} B", self.0)),
            1_000..1_000_000 => f.pad(&format!("{:.1} kB", bytes / 1e3)),
            1_000_000..1_000_000_000 => f.pad(&format!("{:.1} MB", bytes / 1e6)),
            _ => f.pad(&format!("{:.2} GB", bytes / 1e9)),
        }
    }
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("strings take everything");
        text
    })
}

/// A rough time in words.
pub fn rough_duration(seconds: f64) -> String {
    match seconds {
        ..50.0 => format!("{} seconds", ((seconds / 10.0).ceil() * 10.0).max(10.0)),
        ..90.0 => "a minute".to_owned(),
        ..5400.0 => format!("{} minutes", (seconds / 60.0).round()),
        _ => format!("{:.1} hours", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_with_their_units() {
        assert_eq!(parse_bytes("65536"), Ok(65536));
        assert_eq!(parse_bytes("64k"), Ok(64 << 10));
        assert_eq!(parse_bytes("64MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("1.5G"), Ok(3 << 29));
        for wrong in ["", "M", "-1", "0", "12Q", "NaN", "inf", "1e30"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(parse_deadline("250ms"), Ok(Duration::from_millis(250)));
        assert!(parse_deadline("0s").is_err() && parse_deadline("10").is_err());
        assert_eq!(parse_time("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(parse_time("1h 30s"), Ok(Duration::from_secs(3630)));
        for wrong in ["", "10", "-1s", "0s", "10 fortnights", "2days", "999999999999999999h"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn biases_are_read() {
        assert_eq!(parse_bias("2=-5"), Ok((2, -5.0)));
        assert_eq!(parse_bias("0=-inf"), Ok((0, f32::NEG_INFINITY)));
        for wrong in ["", "2", "a=1", "2=", "2=NaN", "-1=0"] {
            assert!(parse_bias(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_become_hexadecimal() {
        assert_eq!(hex(&[0, 0x0f, 0xa0]), "000fa0");
    }

    #[test]
    fn sizes_are_printed_in_decimal_units() {
        assert_eq!(Bytes(999).to_string(), "999 B");
        assert_eq!(Bytes(98_362_432).to_string(), "98.4 MB");
        assert_eq!(format!("{:>9}", Bytes(1_234)), "   1.2 kB");
    }
}
