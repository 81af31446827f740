//! Numbers as a page shows them.

/// At most four significant digits, with commas between thousands: `0.0312`, `12.5`, `1,234`.
pub fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let magnitude = value.abs().log10().floor();
    if !(-5.0..15.0).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let decimals = (3.0 - magnitude).max(0.0) as usize;
    let text = format!("{value:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(w, f)| (w, Some(f)));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("−", digits));
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let fraction = fraction.map_or(String::new(), |fraction| format!(".{fraction}"));
    format!("{sign}{grouped}{fraction}")
}

/// The same, and `unknown` for nothing.
pub fn known(value: Option<f64>) -> String {
    value.map_or("unknown".into(), short)
}

/// A unit that fits a size, by the largest value: what values are multiplied with, and its name.
pub fn joules(largest: f64) -> (f64, &'static str) {
    match largest {
        1.0.. => (1.0, "J"),
        1e-3.. => (1e3, "mJ"),
        _ => (1e6, "µJ"),
    }
}

/// A text of at most this many characters.
pub fn cut(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    let kept: String = text.chars().take(characters.saturating_sub(1)).collect();
    kept.trim_end().to_owned() + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.00123449, "0.001234"),
            (0.5, "0.5"),
            (12.3456, "12.35"),
            (999.96, "1,000"),
            (1234.5, "1,234"),
            (-45678.0, "−45,678"),
            (4e-9, "4.000e-9"),
            (2e17, "2.000e17"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn texts_are_cut_where_characters_end() {
        assert_eq!(cut("größer", 6), "größer");
        assert_eq!(cut("größer", 4), "grö…");
        assert_eq!(cut("a b", 3), "a b");
        assert_eq!(cut("ab cd", 4), "ab…");
    }
}
