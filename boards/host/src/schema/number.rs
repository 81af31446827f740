//! Numbers as texts.

use super::refusal::refusal;
use super::shape::Shape;
use super::value::Keywords;
use kinglet_quant::Result;
use regex_syntax::hir::Hir;

/// The largest integer, which has 15 digits: every program reads so many exactly.
pub const LARGEST: i64 = 999_999_999_999_999;

/// A number with a bounded number of digits, which lets a reply end.
pub const NUMBER: &str = r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?";

/// The integers from one to another one, which is not below it.
pub fn integers(least: i64, most: i64) -> Hir {
    let mut ways = Vec::new();
    if least < 0 {
        ways.push(format!("-({})", positive((-most).max(1), -least)));
    }
    if least <= 0 && most >= 0 {
        ways.push("0".to_owned());
    }
    if most > 0 {
        ways.push(positive(least.max(1), most));
    }
    expression(&ways.join("|"))
}

/// An expression that is known to be one.
pub fn expression(regex: &str) -> Hir {
    regex_syntax::parse(regex).expect("an expression of this program")
}

/// The integers between two positive ones.
fn positive(least: i64, most: i64) -> String {
    let (shortest, longest) = (least.to_string().len(), most.to_string().len());
    let ways = (shortest..=longest).map(|digits| {
        let first = 10_i64.pow(digits as u32 - 1);
        let (from, to) = (least.max(first), most.min(first * 10 - 1));
        between(from.to_string().as_bytes(), to.to_string().as_bytes())
    });
    ways.collect::<Vec<_>>().join("|")
}

/// The texts of as many digits between two of them.
fn between(from: &[u8], to: &[u8]) -> String {
    let (Some((&low, from)), Some((&high, to))) = (from.split_first(), to.split_first()) else {
        return String::new();
    };
    let digits = |first: u8, last: u8, rest: &str| {
        format!("[{}-{}]{rest}", char::from(first), char::from(last))
    };
    let rest = from.len();
    let free = format!("[0-9]{{{rest}}}");
    let (is_first, is_last) = (from.iter().all(|&d| d == b'0'), to.iter().all(|&d| d == b'9'));
    if is_first && is_last {
        return digits(low, high, &free);
    }
    if low == high {
        return digits(low, low, &format!("({})", between(from, to)));
    }
    let mut ways = Vec::new();
    let (mut first, mut last) = (low, high);
    if !is_first {
        ways.push(digits(low, low, &format!("({})", between(from, &vec![b'9'; rest]))));
        first += 1;
    }
    if !is_last {
        ways.push(digits(high, high, &format!("({})", between(&vec![b'0'; rest], to))));
        last -= 1;
    }
    if first <= last {
        ways.push(digits(first, last, &free));
    }
    ways.join("|")
}

/// The integers that the keywords allow.
pub fn read(keywords: &Keywords, place: &str) -> Result<Shape> {
    let bound = |keyword: &str| match keywords.get(keyword) {
        None => Ok(None),
        Some(value) => match value.as_f64().filter(|bound| bound.abs() <= LARGEST as f64) {
            Some(bound) => Ok(Some(bound)),
            None => Err(refusal(place, format_args!("{keyword} is a number of 15 digits at most"))),
        },
    };
    let above = bound("exclusiveMinimum")?.map(|bound| bound.floor() as i64 + 1);
    let below = bound("exclusiveMaximum")?.map(|bound| bound.ceil() as i64 - 1);
    let least = bound("minimum")?.map(|bound| bound.ceil() as i64).max(above).unwrap_or(-LARGEST);
    let most = bound("maximum")?.map(|bound| bound.floor() as i64);
    let most = [most, below].into_iter().flatten().min().unwrap_or(LARGEST);
    let (least, most) = (least.max(-LARGEST), most.min(LARGEST));
    if least > most {
        return Err(refusal(place, "no integer lies between its bounds"));
    }
    Ok(Shape::Regex(integers(least, most)))
}
