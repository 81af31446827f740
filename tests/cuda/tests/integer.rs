//! Integers and bits, against definitions by numbers of 128 bits, single bits and bytes.

mod kernel;

use kernel::{cases, compare};

/// A function of two bits.
type Logic = fn(bool, bool) -> bool;

/// A relation of two numbers.
type Order = fn(i128, i128) -> bool;

/// The value of the lowest bits.
fn value(bits: u32, is_signed: bool, raw: u64) -> i128 {
    let modulus = 1i128 << bits;
    let value = i128::from(raw).rem_euclid(modulus);
    if is_signed && value >= modulus / 2 { value - modulus } else { value }
}

/// The lowest bits of a value.
fn wrap(bits: u32, value: i128) -> u64 {
    value.rem_euclid(1i128 << bits) as u64
}

/// Types with their bits, sign, and the letter of their registers.
const TYPES: [(&str, u32, bool, &str); 6] = [
    ("u16", 16, false, "h"),
    ("s16", 16, true, "h"),
    ("u32", 32, false, "w"),
    ("s32", 32, true, "w"),
    ("u64", 64, false, "d"),
    ("s64", 64, true, "d"),
];

/// Compares an instruction of two operands for every type.
fn two(opcode: &str, definition: impl Fn(i128, i128) -> i128) {
    for (name, bits, is_signed, r) in TYPES {
        let text = format!("{opcode}.{name} %{r}4, %{r}0, %{r}1;");
        compare(&text, &cases(), |[a, b, ..]| {
            wrap(bits, definition(value(bits, is_signed, *a), value(bits, is_signed, *b)))
        });
    }
}

#[test]
fn sums_and_extremes() {
    two("add", |a, b| a + b);
    two("sub", |a, b| a - b);
    two("mul.lo", |a, b| wrap(64, a).wrapping_mul(wrap(64, b)).into());
    two("min", |a, b| if a < b { a } else { b });
    two("max", |a, b| if a > b { a } else { b });
}

#[test]
fn quotients() {
    two("div", |a, b| if b == 0 { -1 } else { a / b });
    two("rem", |a, b| if b == 0 { a } else { a - a / b * b });
}

#[test]
fn upper_halves_and_wide_products() {
    for (name, bits, is_signed, r) in TYPES {
        let text = format!("mul.hi.{name} %{r}4, %{r}0, %{r}1;");
        compare(&text, &cases(), |[a, b, ..]| {
            let (a, b) = (value(bits, is_signed, *a), value(bits, is_signed, *b));
            // Products of unsigned longs do not fit 128 bits with a sign.
            let high = if is_signed { a * b } else { ((a as u128 * b as u128) >> 1) as i128 };
            wrap(bits, high >> if is_signed { bits } else { bits - 1 })
        });
    }
    for (name, bits, is_signed, r, wide) in [
        ("u16", 16, false, "h", "w"),
        ("s16", 16, true, "h", "w"),
        ("u32", 32, false, "w", "d"),
        ("s32", 32, true, "w", "d"),
    ] {
        let text = format!("mul.wide.{name} %{wide}4, %{r}0, %{r}1;");
        let product = |a: u64, b: u64| value(bits, is_signed, a) * value(bits, is_signed, b);
        compare(&text, &cases(), |[a, b, ..]| wrap(2 * bits, product(*a, *b)));
        let text = format!("mad.wide.{name} %{wide}4, %{r}0, %{r}1, %{wide}2;");
        let sum = |c: &[u64; 4]| wrap(2 * bits, product(c[0], c[1]) + i128::from(c[2]));
        compare(&text, &cases(), sum);
    }
}

#[test]
fn sums_of_products() {
    for (name, bits, _, r) in TYPES {
        let text = format!("mad.lo.{name} %{r}4, %{r}0, %{r}1, %{r}2;");
        compare(&text, &cases(), |[a, b, c, _]| {
            wrap(bits, i128::from(a.wrapping_mul(*b)) + i128::from(*c))
        });
    }
    compare("mad.hi.u32 %w4, %w0, %w1, %w2;", &cases(), |[a, b, c, _]| {
        let product = value(32, false, *a) * value(32, false, *b);
        wrap(32, (product >> 32) + i128::from(*c))
    });
}

#[test]
fn signs() {
    for (name, bits, _, r) in TYPES.into_iter().filter(|(_, _, is_signed, _)| *is_signed) {
        let text = format!("abs.{name} %{r}4, %{r}0;");
        compare(&text, &cases(), |[a, ..]| {
            let a = value(bits, true, *a);
            wrap(bits, if a < 0 { -a } else { a })
        });
        compare(&format!("neg.{name} %{r}4, %{r}0;"), &cases(), |[a, ..]| {
            wrap(bits, -value(bits, true, *a))
        });
    }
}

#[test]
fn dots_of_bytes() {
    let bytes = |word: u64, is_signed: bool| {
        (0..4).map(move |at| value(8, is_signed, word >> (8 * at)) as i64)
    };
    for (a_type, a_signed) in [("u32", false), ("s32", true)] {
        for (b_type, b_signed) in [("u32", false), ("s32", true)] {
            let text = format!("dp4a.{a_type}.{b_type} %w4, %w0, %w1, %w2;");
            compare(&text, &cases(), |[a, b, c, _]| {
                let products = bytes(*a, a_signed).zip(bytes(*b, b_signed)).map(|(a, b)| a * b);
                wrap(32, i128::from(products.sum::<i64>()) + i128::from(*c))
            });
            for (half, skip) in [("lo", 0), ("hi", 2)] {
                let text = format!("dp2a.{half}.{a_type}.{b_type} %w4, %w0, %w1, %w2;");
                compare(&text, &cases(), |[a, b, c, _]| {
                    let halves = (0..2).map(|at| value(16, a_signed, a >> (16 * at)));
                    let bytes = bytes(*b, b_signed).skip(skip).map(i128::from);
                    wrap(32, halves.zip(bytes).map(|(a, b)| a * b).sum::<i128>() + i128::from(*c))
                });
            }
        }
    }
}

/// The bits of a value, the lowest first.
fn bits(count: u32, value: u64) -> Vec<bool> {
    (0..count).map(|at| value >> at & 1 == 1).collect()
}

fn number(bits: impl IntoIterator<Item = bool>) -> u64 {
    bits.into_iter().enumerate().map(|(at, bit)| u64::from(bit) << at).sum()
}

#[test]
fn logic() {
    for (name, count, r) in [("b16", 16, "h"), ("b32", 32, "w"), ("b64", 64, "d")] {
        let definitions: [(&str, Logic); 3] =
            [("and", |a, b| a && b), ("or", |a, b| a || b), ("xor", |a, b| a != b)];
        for (opcode, definition) in definitions {
            let text = format!("{opcode}.{name} %{r}4, %{r}0, %{r}1;");
            compare(&text, &cases(), |[a, b, ..]| {
                let pairs = bits(count, *a).into_iter().zip(bits(count, *b));
                number(pairs.map(|(a, b)| definition(a, b)))
            });
        }
        compare(&format!("not.{name} %{r}4, %{r}0;"), &cases(), |[a, ..]| {
            number(bits(count, *a).into_iter().map(|bit| !bit))
        });
    }
    for table in [0, 0x80, 0xE8, 0x96, 0xCA, 0xFE, 0xFF, 0x2A] {
        let text = format!("lop3.b32 %w4, %w0, %w1, %w2, {table};");
        compare(&text, &cases(), |[a, b, c, _]| {
            let row = |at: u32| (a >> at & 1) << 2 | (b >> at & 1) << 1 | (c >> at & 1);
            number((0..32).map(|at| table >> row(at) & 1 == 1))
        });
    }
}

#[test]
fn shifts() {
    for (name, count, is_signed, r) in
        [("b16", 16, false, "h"), ("b32", 32, false, "w"), ("b64", 64, false, "d")]
            .into_iter()
            .chain(TYPES.into_iter().filter(|(_, _, is_signed, _)| *is_signed))
    {
        let distance = |b: u64| (b as u32).min(200);
        if !is_signed {
            compare(&format!("shl.{name} %{r}4, %{r}0, %w1;"), &cases(), |[a, b, ..]| {
                (0..distance(*b)).fold(wrap(count, i128::from(*a)), |value, _| {
                    wrap(count, i128::from(value) * 2)
                })
            });
        }
        compare(&format!("shr.{name} %{r}4, %{r}0, %w1;"), &cases(), |[a, b, ..]| {
            let halve = |value: i128, _| value.div_euclid(2);
            wrap(count, (0..distance(*b)).fold(value(count, is_signed, *a), halve))
        });
    }
    let pair = |a: u64, b: u64| (b & 0xFFFF_FFFF) << 32 | a & 0xFFFF_FFFF;
    for (mode, limit) in [("clamp", (|c| c.min(32)) as fn(u64) -> u64), ("wrap", |c| c % 32)] {
        let count = |c: u64| limit(c & 0xFFFF_FFFF) as u32;
        compare(&format!("shf.l.{mode}.b32 %w4, %w0, %w1, %w2;"), &cases(), |[a, b, c, _]| {
            wrap(32, i128::from(pair(*a, *b)) << count(*c) >> 32)
        });
        compare(&format!("shf.r.{mode}.b32 %w4, %w0, %w1, %w2;"), &cases(), |[a, b, c, _]| {
            wrap(32, i128::from(pair(*a, *b)) >> count(*c))
        });
    }
}

#[test]
fn counts() {
    for (name, count, r) in [("b32", 32, "w"), ("b64", 64, "d")] {
        compare(&format!("popc.{name} %w4, %{r}0;"), &cases(), |[a, ..]| {
            bits(count, *a).into_iter().map(u64::from).sum()
        });
        compare(&format!("clz.{name} %w4, %{r}0;"), &cases(), |[a, ..]| {
            bits(count, *a).into_iter().rev().take_while(|bit| !bit).count() as u64
        });
        compare(&format!("brev.{name} %{r}4, %{r}0;"), &cases(), |[a, ..]| {
            number(bits(count, *a).into_iter().rev())
        });
    }
    for (name, count, is_signed, r) in TYPES.into_iter().skip(2) {
        let find = |a: u64| {
            let bits = bits(count, a);
            let sign = is_signed && bits[count as usize - 1];
            bits.into_iter().rposition(|bit| bit != sign).map(|at| at as u64)
        };
        compare(&format!("bfind.{name} %w4, %{r}0;"), &cases(), |[a, ..]| {
            find(*a).unwrap_or(0xFFFF_FFFF)
        });
        compare(&format!("bfind.shiftamt.{name} %w4, %{r}0;"), &cases(), |[a, ..]| {
            find(*a).map_or(0xFFFF_FFFF, |at| u64::from(count) - 1 - at)
        });
    }
}

#[test]
fn fields() {
    for (name, count, is_signed, r) in TYPES.into_iter().skip(2) {
        // The manual's own loop over bits.
        compare(&format!("bfe.{name} %{r}4, %{r}0, %w1, %w2;"), &cases(), |[a, b, c, _]| {
            let (start, length) = ((b & 255) as u32, (c & 255) as u32);
            let last = (start + length).wrapping_sub(1).min(count - 1);
            let sign = is_signed && length > 0 && a >> last & 1 == 1;
            number((0..count).map(|at| {
                if at < length && start + at < count { a >> (start + at) & 1 == 1 } else { sign }
            }))
        });
    }
    for (name, count, r) in [("b32", 32u64, "w"), ("b64", 64, "d")] {
        let text = format!("bfi.{name} %{r}4, %{r}0, %{r}1, %w2, %w3;");
        compare(&text, &cases(), |[a, b, c, d]| {
            let (start, length) = (c & 255, d & 255);
            number((0..count).map(|at| {
                let inside = at >= start && at < start + length;
                if inside { a >> (at - start) & 1 == 1 } else { b >> at & 1 == 1 }
            }))
        });
    }
}

#[test]
fn bytes() {
    compare("prmt.b32 %w4, %w0, %w1, %w2;", &cases(), |[a, b, c, _]| {
        let mut bytes = (*a as u32).to_le_bytes().to_vec();
        bytes.extend((*b as u32).to_le_bytes());
        let chosen = (0..4).map(|at| {
            let digit = (*c >> (4 * at) & 15) as usize;
            let byte = bytes[digit % 8];
            if digit < 8 {
                byte
            } else if byte >= 128 {
                255
            } else {
                0
            }
        });
        chosen.rev().fold(0, |word, byte| word << 8 | u64::from(byte))
    });
}

#[test]
fn comparisons() {
    let orders: [(&str, Order); 6] = [
        ("eq", |a, b| a == b),
        ("ne", |a, b| a != b),
        ("lt", |a, b| a < b),
        ("le", |a, b| a <= b),
        ("gt", |a, b| a > b),
        ("ge", |a, b| a >= b),
    ];
    for (name, bits, is_signed, r) in TYPES {
        for (order, definition) in orders {
            let text = format!("setp.{order}.{name} %p4, %{r}0, %{r}1;");
            let holds =
                |a: u64, b: u64| definition(value(bits, is_signed, a), value(bits, is_signed, b));
            compare(&text, &cases(), |[a, b, ..]| holds(*a, *b).into());
            let text = format!(
                "setp.ne.b32 %p1, %w2, 0; setp.{order}.xor.{name} %p3|%p4, %{r}0, %{r}1, !%p1;"
            );
            compare(&text, &cases(), |[a, b, c, _]| (holds(*a, *b) == (*c as u32 == 0)).into());
        }
    }
    compare("setp.ne.b32 %p1, %w2, 0; selp.b32 %w4, %w0, %w1, %p1;", &cases(), |[a, b, c, _]| {
        wrap(32, i128::from(if *c as u32 != 0 { *a } else { *b }))
    });
    let text = "setp.ne.b32 %p1, %w2, 0; setp.gt.s32 %p2, %w0, 0; and.pred %p3, %p1, !%p2;
                not.pred %p4, %p3;";
    compare(text, &cases(), |[a, _, c, _]| (*c as u32 == 0 || *a as i32 > 0).into());
}

#[test]
fn parts_of_values() {
    compare("mov.b64 {%w1, %w2}, %d0; mov.b64 %d4, {%w2, %w1};", &cases(), |[a, ..]| {
        a.rotate_left(32)
    });
    compare("mov.b32 {%h1, %h2}, %w0; mov.b32 %w4, {%h2, %h1};", &cases(), |[a, ..]| {
        (*a as u32).rotate_left(16).into()
    });
}
