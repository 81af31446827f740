//! Floats and conversions, against definitions with exact numbers.

mod kernel;

use kernel::{compare, random, results};
use std::cmp::Ordering;

/// A relation of two numbers.
type Relation = fn(f32, f32) -> bool;

/// Words that are floats at borders, and others.
fn floats() -> Vec<u64> {
    let mut state = 3;
    let mut words: Vec<u64> = [
        0.0f32,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        0.1,
        127.5,
        128.5,
        255.49,
        -128.6,
        32_767.5,
        65_504.0,
        65_519.9,
        65_520.0,
        1e-8,
        6e-8,
        6.1e-5,
        -3e-5,
        2_147_483_647.0,
        -2_147_483_648.0,
        4_294_967_296.0,
        9.3e18,
        1e-40,
        -1e-45,
        f32::MAX,
        f32::MIN_POSITIVE,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ]
    .map(|value| value.to_bits().into())
    .to_vec();
    words.extend((0..200).map(|_| random(&mut state) & 0xFFFF_FFFF));
    // Of moderate size, and halves.
    words.extend((0..200).map(|_| {
        let value = (random(&mut state) % 200_000) as f32 / 256.0 - 390.0;
        u64::from(value.to_bits())
    }));
    words
}

fn single(word: u64) -> f32 {
    f32::from_bits(word as u32)
}

fn pairs() -> Vec<[u64; 4]> {
    let floats = floats();
    let mut state = 5;
    let mut other = |_| floats[(random(&mut state) % floats.len() as u64) as usize];
    let mut cases: Vec<[u64; 4]> =
        floats.iter().map(|a| [*a, other(0), other(1), other(2)]).collect();
    cases.extend((0..2000).map(|_| std::array::from_fn(&mut other)));
    cases
}

/// Compares floats by their bits, and NaN with NaN.
fn compare_floats(text: &str, definition: impl Fn(&[u64; 4]) -> f32) {
    for (case, found) in pairs().iter().zip(results(text, &pairs())) {
        let (found, want) = (single(found), definition(case));
        let same = found.to_bits() == want.to_bits() || found.is_nan() && want.is_nan();
        assert!(same, "{text} of {:?}: {found:e} instead of {want:e}", case.map(single));
    }
}

#[test]
fn operations_round_once() {
    // With 53 bits, rounding twice is rounding once for these (Figueroa 1995).
    let exact = |bits: u64| f64::from(single(bits));
    compare_floats("add.rn.f32 %w4, %w0, %w1;", |[a, b, ..]| (exact(*a) + exact(*b)) as f32);
    compare_floats("sub.f32 %w4, %w0, %w1;", |[a, b, ..]| (exact(*a) - exact(*b)) as f32);
    compare_floats("mul.rn.f32 %w4, %w0, %w1;", |[a, b, ..]| (exact(*a) * exact(*b)) as f32);
    compare_floats("div.rn.f32 %w4, %w0, %w1;", |[a, b, ..]| (exact(*a) / exact(*b)) as f32);
    compare_floats("rcp.rn.f32 %w4, %w0;", |[a, ..]| (1.0 / exact(*a)) as f32);
    compare_floats("sqrt.rn.f32 %w4, %w0;", |[a, ..]| exact(*a).sqrt() as f32);
}

/// A sum rounded so that its last bit tells whether it was exact: it can be rounded again
/// (Boldo and Melquiond 2008).
fn sum_to_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    let other = sum - a;
    let error = (a - (sum - other)) + (b - other);
    if !sum.is_finite() || error == 0.0 || sum.to_bits() & 1 == 1 {
        sum
    } else if (error > 0.0) == (sum > 0.0) {
        f64::from_bits(sum.to_bits() + 1)
    } else {
        f64::from_bits(sum.to_bits() - 1)
    }
}

#[test]
fn fused_operations_round_once() {
    compare_floats("fma.rn.f32 %w4, %w0, %w1, %w2;", |[a, b, c, _]| {
        let product = f64::from(single(*a)) * f64::from(single(*b));
        sum_to_odd(product, f64::from(single(*c))) as f32
    });
}

#[test]
fn extremes_and_modifiers() {
    let order = |a: f32, b: f32| {
        let key = |x: f32| if x.is_sign_negative() { !x.to_bits() } else { x.to_bits() | 1 << 31 };
        key(a).cmp(&key(b))
    };
    let pick = |a: f32, b: f32, wanted: Ordering| match (a.is_nan(), b.is_nan()) {
        (true, _) => b,
        (_, true) => a,
        _ => {
            if order(a, b) == wanted {
                a
            } else {
                b
            }
        }
    };
    compare_floats("min.f32 %w4, %w0, %w1;", |[a, b, ..]| {
        pick(single(*a), single(*b), Ordering::Less)
    });
    compare_floats("max.f32 %w4, %w0, %w1;", |[a, b, ..]| {
        pick(single(*a), single(*b), Ordering::Greater)
    });
    compare_floats("add.sat.f32 %w4, %w0, %w1;", |[a, b, ..]| {
        let sum = single(*a) + single(*b);
        if sum.is_nan() || sum <= 0.0 {
            0.0
        } else if sum >= 1.0 {
            1.0
        } else {
            sum
        }
    });
    let flush = |x: f32| if x.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(x) } else { x };
    compare_floats("mul.ftz.f32 %w4, %w0, %w1;", |[a, b, ..]| {
        flush(flush(single(*a)) * flush(single(*b)))
    });
}

#[test]
fn comparisons_of_floats() {
    let definitions: [(&str, Relation); 8] = [
        ("eq", |a, b| a == b),
        ("ne", |a, b| !a.is_nan() && !b.is_nan() && a != b),
        ("lt", |a, b| a < b),
        ("ge", |a, b| a >= b),
        ("ltu", |a, b| a.is_nan() || b.is_nan() || a < b),
        ("geu", |a, b| a.is_nan() || b.is_nan() || a >= b),
        ("neu", |a, b| a.is_nan() || b.is_nan() || a != b),
        ("nan", |a, b| a.is_nan() || b.is_nan()),
    ];
    for (name, definition) in definitions {
        compare(&format!("setp.{name}.f32 %p4, %w0, %w1;"), &pairs(), |[a, b, ..]| {
            definition(single(*a), single(*b)).into()
        });
    }
}

/// A finite float as a whole number of halves of the least positive one.
fn exact_parts(value: f64) -> (i128, i32) {
    let bits = value.to_bits();
    let (exponent, fraction) = ((bits >> 52 & 2047) as i32, i128::from(bits & ((1 << 52) - 1)));
    let (whole, power) =
        if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
    (if value < 0.0 { -whole } else { whole }, power)
}

/// The whole number that a rounding gives, by long division.
fn rounded(value: f64, mode: &str) -> i128 {
    let (whole, power) = exact_parts(value);
    if power >= 0 {
        return if power > 70 { whole.signum() * (1 << 100) } else { whole << power };
    }
    let divisor = 1i128 << (-power).min(120);
    let (down, rest) = (whole.div_euclid(divisor), whole.rem_euclid(divisor));
    let up = down + i128::from(rest > 0);
    match mode {
        "rmi" => down,
        "rpi" => up,
        "rzi" => {
            if whole < 0 {
                up
            } else {
                down
            }
        }
        _ => match (2 * rest).cmp(&divisor) {
            Ordering::Less => down,
            Ordering::Greater => up,
            Ordering::Equal => down + (down & 1),
        },
    }
}

#[test]
fn floats_to_integers() {
    for (name, bits, is_signed, r) in [
        ("u16", 16, false, "h"),
        ("s16", 16, true, "h"),
        ("u32", 32, false, "w"),
        ("s32", 32, true, "w"),
        ("u64", 64, false, "d"),
        ("s64", 64, true, "d"),
    ] {
        let low = if is_signed { -(1i128 << (bits - 1)) } else { 0 };
        let high = low + (1i128 << bits) - 1;
        for mode in ["rni", "rzi", "rmi", "rpi"] {
            let text = format!("cvt.{mode}.{name}.f32 %{r}4, %w0;");
            compare(&text, &pairs(), |[a, ..]| {
                let value = single(*a);
                let whole = match (value.is_nan(), value.is_infinite()) {
                    (true, _) => return if bits == 64 { 1 << 63 } else { 0 },
                    (_, true) => {
                        if value > 0.0 {
                            high
                        } else {
                            low
                        }
                    }
                    _ => rounded(value.into(), mode).clamp(low, high),
                };
                whole.rem_euclid(1 << bits) as u64
            });
        }
    }
}

#[test]
fn integers_to_floats() {
    let cases = kernel::cases();
    // Of all floats near by, the right one is that which the mode asks for.
    let check = |text: &str, mode: &str, value: fn(u64) -> i128| {
        for (case, found) in cases.iter().zip(results(text, &cases)) {
            let (exact, found) = (value(case[0]), single(found));
            let distance = |x: f32| (x as i128 - exact).abs();
            let (below, above) = (found.next_down(), found.next_up());
            let right = match mode {
                "rn" => {
                    let near = distance(found).min(distance(below)).min(distance(above));
                    let tie = [below, above].iter().any(|x| distance(*x) == distance(found));
                    distance(found) == near && (!tie || found.to_bits() & 1 == 0)
                }
                "rm" => found as i128 <= exact && above as i128 > exact || distance(found) == 0,
                "rp" => found as i128 >= exact && (below as i128) < exact || distance(found) == 0,
                _ => {
                    (found as i128).abs() <= exact.abs()
                        && (exact >= 0 && above as i128 > exact
                            || exact <= 0 && (below as i128) < exact)
                        || distance(found) == 0
                }
            };
            assert!(right, "{text} of {exact}: {found:e}");
        }
    };
    for mode in ["rn", "rz", "rm", "rp"] {
        check(&format!("cvt.{mode}.f32.s32 %w4, %w0;"), mode, |a| i128::from(a as i32));
        check(&format!("cvt.{mode}.f32.u32 %w4, %w0;"), mode, |a| i128::from(a as u32));
        check(&format!("cvt.{mode}.f32.u64 %w4, %d0;"), mode, i128::from);
        check(&format!("cvt.{mode}.f32.s64 %w4, %d0;"), mode, |a| i128::from(a as i64));
    }
    check("cvt.rn.f32.s16 %w4, %h0;", "rn", |a| i128::from(a as i16));
    check("cvt.rn.f32.u8 %w4, %h0;", "rn", |a| i128::from(a as u8));
}

#[test]
fn integers_of_other_widths() {
    let all = kernel::cases();
    let widths: [(&str, u32, bool); 8] = [
        ("u8", 8, false),
        ("s8", 8, true),
        ("u16", 16, false),
        ("s16", 16, true),
        ("u32", 32, false),
        ("s32", 32, true),
        ("u64", 64, false),
        ("s64", 64, true),
    ];
    let register = |bits: u32| match bits {
        0..=16 => "h",
        32 => "w",
        _ => "d",
    };
    for (from, from_bits, from_signed) in widths {
        for (to, to_bits, _) in widths.into_iter().filter(|(_, bits, _)| *bits >= 16) {
            let text =
                format!("cvt.{to}.{from} %{}4, %{}0;", register(to_bits), register(from_bits));
            compare(&text, &all, |[a, ..]| {
                let value = i128::from(*a) % (1 << from_bits);
                let is_negative = from_signed && value >> (from_bits - 1) & 1 == 1;
                let value = if is_negative { value - (1 << from_bits) } else { value };
                value.rem_euclid(1 << to_bits) as u64
            });
        }
    }
    compare("cvt.s64.s8 %d4, %d0;", &all, |[a, ..]| *a as i8 as u64);
    compare("cvt.sat.s8.s32 %w4, %w0; and.b32 %w4, %w4, 255;", &all, |[a, ..]| {
        let value = i64::from(*a as i32);
        (if value > 127 {
            127
        } else if value < -128 {
            128
        } else {
            value & 255
        }) as u64
    });
    compare("cvt.pack.sat.s8.s32.b32 %w4, %w0, %w1, %w2;", &all, |[a, b, c, _]| {
        let byte = |x: u64| (x as i32).clamp(-128, 127) as u8;
        let [low, high, ..] = (*c as u32).to_le_bytes();
        u32::from_le_bytes([byte(*b), byte(*a), low, high]).into()
    });
}

/// The value of half a word with so many bits of fraction.
fn narrow_value(bits: u16, fraction: u32) -> f64 {
    let exponents = 15 - fraction;
    let exponent = i32::from(bits >> fraction & ((1 << exponents) - 1));
    let bias = (1 << (exponents - 1)) - 1;
    let rest = f64::from(bits & ((1 << fraction) - 1)) / f64::from(1u32 << fraction);
    let size = match exponent {
        0 => rest * 2f64.powi(1 - bias),
        e if e == (1 << exponents) - 1 => {
            if rest == 0.0 {
                f64::INFINITY
            } else {
                f64::NAN
            }
        }
        e => (1.0 + rest) * 2f64.powi(e - bias),
    };
    if bits >> 15 == 1 { -size } else { size }
}

#[test]
fn narrow_floats() {
    let all: Vec<[u64; 4]> = (0..=65_535).map(|bits| [bits, 0, 0, 0]).collect();
    for (name, fraction) in [("f16", 10), ("bf16", 7)] {
        for ([bits, ..], found) in
            all.iter().zip(results(&format!("cvt.f32.{name} %w4, %h0;"), &all))
        {
            let (found, want) = (single(found), narrow_value(*bits as u16, fraction) as f32);
            let same = found.to_bits() == want.to_bits() || found.is_nan() && want.is_nan();
            assert!(same, "{name} {bits:x}: {found:e} instead of {want:e}");
        }
        let text = format!("cvt.rn.{name}.f32 %h4, %w0;");
        for (case, found) in pairs().iter().zip(results(&text, &pairs())) {
            let (value, found) = (f64::from(single(case[0])), found as u16);
            if value.is_nan() {
                assert!(narrow_value(found, fraction).is_nan());
                continue;
            }
            // Beyond the largest number, the next one would be where infinity is.
            let size = |bits: u16| match narrow_value(bits, fraction) {
                x if x.is_infinite() => {
                    2.0 * narrow_value(bits - 1, fraction) - narrow_value(bits - 2, fraction)
                }
                x => x,
            };
            let magnitude = found & 0x7FFF;
            let distance = |bits: u16| (size(bits) - value.abs()).abs();
            let below = magnitude.checked_sub(1).map_or(f64::INFINITY, distance);
            let is_largest = narrow_value(magnitude, fraction).is_infinite();
            let above = if is_largest { f64::INFINITY } else { distance(magnitude + 1) };
            let own =
                if is_largest && value.abs() > size(magnitude) { 0.0 } else { distance(magnitude) };
            let near = own <= below && own <= above;
            let even = own < below && own < above || magnitude & 1 == 0;
            let sign = (found >> 15 == 1) == value.is_sign_negative();
            assert!(near && even && sign, "{text} of {value:e}: {found:x}");
        }
    }
    compare("cvt.rn.f16x2.f32 %w4, %w0, %w1;", &[[0x3F80_0000, 0x4000_0000, 0, 0]], |_| {
        0x3C00_4000
    });
}

#[test]
fn whole_floats() {
    for (mode, definition) in [
        ("rni", f64::round_ties_even as fn(f64) -> f64),
        ("rzi", f64::trunc),
        ("rmi", f64::floor),
        ("rpi", f64::ceil),
    ] {
        compare_floats(&format!("cvt.{mode}.f32.f32 %w4, %w0;"), |[a, ..]| {
            definition(single(*a).into()) as f32
        });
    }
}
