//! Integer arithmetic (9.7.1): every opcode has the section named in its comment.

use super::lanes::{Each, each};
use crate::ptx::opcode::Opcode;
use crate::ptx::types::Type::{self, B16, B32, B64, S16, S32, S64, U16, U32, U64};

/// The function of an opcode, if it belongs here.
pub fn find(opcode: &Opcode) -> Option<Each> {
    let kind = opcode.kind();
    if kind.is_float() {
        return None;
    }
    match opcode.name {
        "add" | "sub" | "div" | "rem" if opcode.modifiers.len() == 1 => sums(opcode.name, kind),
        "mul" => products(opcode, kind),
        "mad" => products_and_sums(opcode, kind),
        "mul24" | "mad24" => products_of_24_bits(opcode, kind),
        "min" | "max" if opcode.modifiers.len() == 1 => extremes(opcode.name, kind),
        "abs" | "neg" => signs(opcode.name, kind),
        "sad" => differences(kind),
        "dp4a" => dots_of_four(&opcode.types),
        "dp2a" => dots_of_two(opcode),
        _ => None,
    }
}

/// A quotient; division by zero gives all ones, as hardware does.
macro_rules! divide {
    ($type:ty) => {
        each!(|a: $type, b: $type| -> $type { if b == 0 { !0 } else { a.wrapping_div(b) } })
    };
}

/// A remainder; that of zero is the dividend.
macro_rules! remainder {
    ($type:ty) => {
        each!(|a: $type, b: $type| -> $type { if b == 0 { a } else { a.wrapping_rem(b) } })
    };
}

fn sums(name: &str, kind: Type) -> Option<Each> {
    Some(match (name, kind) {
        // 9.7.1.1
        ("add", U16 | S16 | B16) => each!(|a: u16, b: u16| -> u16 { a.wrapping_add(b) }),
        ("add", U32 | S32 | B32) => each!(|a: u32, b: u32| -> u32 { a.wrapping_add(b) }),
        ("add", U64 | S64 | B64) => each!(|a: u64, b: u64| -> u64 { a.wrapping_add(b) }),
        // 9.7.1.2
        ("sub", U16 | S16 | B16) => each!(|a: u16, b: u16| -> u16 { a.wrapping_sub(b) }),
        ("sub", U32 | S32 | B32) => each!(|a: u32, b: u32| -> u32 { a.wrapping_sub(b) }),
        ("sub", U64 | S64 | B64) => each!(|a: u64, b: u64| -> u64 { a.wrapping_sub(b) }),
        // 9.7.1.8
        ("div", U16) => divide!(u16),
        ("div", S16) => divide!(i16),
        ("div", U32) => divide!(u32),
        ("div", S32) => divide!(i32),
        ("div", U64) => divide!(u64),
        ("div", S64) => divide!(i64),
        // 9.7.1.9
        ("rem", U16) => remainder!(u16),
        ("rem", S16) => remainder!(i16),
        ("rem", U32) => remainder!(u32),
        ("rem", S32) => remainder!(i32),
        ("rem", U64) => remainder!(u64),
        ("rem", S64) => remainder!(i64),
        _ => return None,
    })
}

/// 9.7.1.3
fn products(opcode: &Opcode, kind: Type) -> Option<Each> {
    if opcode.has("lo") {
        return Some(match kind {
            U16 | S16 => each!(|a: u16, b: u16| -> u16 { a.wrapping_mul(b) }),
            U32 | S32 => each!(|a: u32, b: u32| -> u32 { a.wrapping_mul(b) }),
            U64 | S64 => each!(|a: u64, b: u64| -> u64 { a.wrapping_mul(b) }),
            _ => return None,
        });
    }
    if opcode.has("wide") {
        return Some(match kind {
            U16 => each!(|a: u16, b: u16| -> u32 { u32::from(a) * u32::from(b) }),
            S16 => each!(|a: i16, b: i16| -> i32 { i32::from(a) * i32::from(b) }),
            U32 => each!(|a: u32, b: u32| -> u64 { u64::from(a) * u64::from(b) }),
            S32 => each!(|a: i32, b: i32| -> i64 { i64::from(a) * i64::from(b) }),
            _ => return None,
        });
    }
    if !opcode.has("hi") {
        return None;
    }
    Some(match kind {
        U16 => each!(|a: u16, b: u16| -> u16 { ((u32::from(a) * u32::from(b)) >> 16) as u16 }),
        S16 => each!(|a: i16, b: i16| -> i16 { ((i32::from(a) * i32::from(b)) >> 16) as i16 }),
        U32 => each!(|a: u32, b: u32| -> u32 { ((u64::from(a) * u64::from(b)) >> 32) as u32 }),
        S32 => each!(|a: i32, b: i32| -> i32 { ((i64::from(a) * i64::from(b)) >> 32) as i32 }),
        U64 => each!(|a: u64, b: u64| -> u64 { ((u128::from(a) * u128::from(b)) >> 64) as u64 }),
        S64 => each!(|a: i64, b: i64| -> i64 { ((i128::from(a) * i128::from(b)) >> 64) as i64 }),
        _ => return None,
    })
}

/// 9.7.1.4
fn products_and_sums(opcode: &Opcode, kind: Type) -> Option<Each> {
    if opcode.has("lo") && !opcode.has("cc") {
        return Some(match kind {
            U16 | S16 => {
                each!(|a: u16, b: u16, c: u16| -> u16 { a.wrapping_mul(b).wrapping_add(c) })
            }
            U32 | S32 => {
                each!(|a: u32, b: u32, c: u32| -> u32 { a.wrapping_mul(b).wrapping_add(c) })
            }
            U64 | S64 => {
                each!(|a: u64, b: u64, c: u64| -> u64 { a.wrapping_mul(b).wrapping_add(c) })
            }
            _ => return None,
        });
    }
    if opcode.has("wide") {
        return Some(match kind {
            U16 => each!(|a: u16, b: u16, c: u32| -> u32 {
                (u32::from(a) * u32::from(b)).wrapping_add(c)
            }),
            S16 => each!(|a: i16, b: i16, c: i32| -> i32 {
                (i32::from(a) * i32::from(b)).wrapping_add(c)
            }),
            U32 => each!(|a: u32, b: u32, c: u64| -> u64 {
                (u64::from(a) * u64::from(b)).wrapping_add(c)
            }),
            S32 => each!(|a: i32, b: i32, c: i64| -> i64 {
                (i64::from(a) * i64::from(b)).wrapping_add(c)
            }),
            _ => return None,
        });
    }
    match (opcode.has("hi") && !opcode.has("sat") && !opcode.has("cc"), kind) {
        (true, U32) => Some(each!(|a: u32, b: u32, c: u32| -> u32 {
            (((u64::from(a) * u64::from(b)) >> 32) as u32).wrapping_add(c)
        })),
        (true, S32) => Some(each!(|a: i32, b: i32, c: i32| -> i32 {
            (((i64::from(a) * i64::from(b)) >> 32) as i32).wrapping_add(c)
        })),
        _ => None,
    }
}

/// Lower 24 bits with their sign.
fn signed24(value: i32) -> i64 {
    i64::from(value << 8 >> 8)
}

/// Lower 24 bits.
fn unsigned24(value: u32) -> u64 {
    u64::from(value & 0x00FF_FFFF)
}

/// 9.7.1.5 and 9.7.1.6
fn products_of_24_bits(opcode: &Opcode, kind: Type) -> Option<Each> {
    Some(match (opcode.name, opcode.has("lo"), kind) {
        ("mul24", true, U32) => {
            each!(|a: u32, b: u32| -> u32 { (unsigned24(a) * unsigned24(b)) as u32 })
        }
        ("mul24", true, S32) => {
            each!(|a: i32, b: i32| -> i32 { (signed24(a) * signed24(b)) as i32 })
        }
        ("mad24", true, U32) => each!(|a: u32, b: u32, c: u32| -> u32 {
            ((unsigned24(a) * unsigned24(b)) as u32).wrapping_add(c)
        }),
        ("mad24", true, S32) => each!(|a: i32, b: i32, c: i32| -> i32 {
            ((signed24(a) * signed24(b)) as i32).wrapping_add(c)
        }),
        _ => return None,
    })
}

fn extremes(name: &str, kind: Type) -> Option<Each> {
    Some(match (name, kind) {
        // 9.7.1.12
        ("min", U16) => each!(|a: u16, b: u16| -> u16 { a.min(b) }),
        ("min", S16) => each!(|a: i16, b: i16| -> i16 { a.min(b) }),
        ("min", U32) => each!(|a: u32, b: u32| -> u32 { a.min(b) }),
        ("min", S32) => each!(|a: i32, b: i32| -> i32 { a.min(b) }),
        ("min", U64) => each!(|a: u64, b: u64| -> u64 { a.min(b) }),
        ("min", S64) => each!(|a: i64, b: i64| -> i64 { a.min(b) }),
        // 9.7.1.13
        ("max", U16) => each!(|a: u16, b: u16| -> u16 { a.max(b) }),
        ("max", S16) => each!(|a: i16, b: i16| -> i16 { a.max(b) }),
        ("max", U32) => each!(|a: u32, b: u32| -> u32 { a.max(b) }),
        ("max", S32) => each!(|a: i32, b: i32| -> i32 { a.max(b) }),
        ("max", U64) => each!(|a: u64, b: u64| -> u64 { a.max(b) }),
        ("max", S64) => each!(|a: i64, b: i64| -> i64 { a.max(b) }),
        _ => return None,
    })
}

fn signs(name: &str, kind: Type) -> Option<Each> {
    Some(match (name, kind) {
        // 9.7.1.10
        ("abs", S16) => each!(|a: i16| -> i16 { a.wrapping_abs() }),
        ("abs", S32) => each!(|a: i32| -> i32 { a.wrapping_abs() }),
        ("abs", S64) => each!(|a: i64| -> i64 { a.wrapping_abs() }),
        // 9.7.1.11
        ("neg", S16) => each!(|a: i16| -> i16 { a.wrapping_neg() }),
        ("neg", S32) => each!(|a: i32| -> i32 { a.wrapping_neg() }),
        ("neg", S64) => each!(|a: i64| -> i64 { a.wrapping_neg() }),
        _ => return None,
    })
}

/// 9.7.1.7
fn differences(kind: Type) -> Option<Each> {
    Some(match kind {
        U16 => each!(|a: u16, b: u16, c: u16| -> u16 { c.wrapping_add(a.abs_diff(b)) }),
        S16 => each!(|a: i16, b: i16, c: u16| -> u16 { c.wrapping_add(a.abs_diff(b)) }),
        U32 => each!(|a: u32, b: u32, c: u32| -> u32 { c.wrapping_add(a.abs_diff(b)) }),
        S32 => each!(|a: i32, b: i32, c: u32| -> u32 { c.wrapping_add(a.abs_diff(b)) }),
        _ => return None,
    })
}

/// Byte `at` of a word, by its type.
macro_rules! byte {
    ($word:expr, $at:expr, $type:ty) => {
        i32::from(($word >> (8 * $at)) as $type)
    };
}

/// `c` and four products of bytes.
macro_rules! dot_of_four {
    ($at:ty, $bt:ty) => {
        each!(|a: u32, b: u32, c: i32| -> i32 {
            let mut sum = c;
            sum = sum.wrapping_add(byte!(a, 0, $at).wrapping_mul(byte!(b, 0, $bt)));
            sum = sum.wrapping_add(byte!(a, 1, $at).wrapping_mul(byte!(b, 1, $bt)));
            sum = sum.wrapping_add(byte!(a, 2, $at).wrapping_mul(byte!(b, 2, $bt)));
            sum.wrapping_add(byte!(a, 3, $at).wrapping_mul(byte!(b, 3, $bt)))
        })
    };
}

/// 9.7.1.23
fn dots_of_four(types: &[Type]) -> Option<Each> {
    Some(match types {
        [U32, U32] => dot_of_four!(u8, u8),
        [U32, S32] => dot_of_four!(u8, i8),
        [S32, U32] => dot_of_four!(i8, u8),
        [S32, S32] => dot_of_four!(i8, i8),
        _ => return None,
    })
}

/// `c` and two products of a half of `a` and a byte of `b`, from byte `$first` on.
macro_rules! dot_of_two {
    ($at:ty, $bt:ty, $first:literal) => {
        each!(|a: u32, b: u32, c: u32| -> u32 {
            let low = (a as $at as i32).wrapping_mul(byte!(b, $first, $bt));
            let high = ((a >> 16) as $at as i32).wrapping_mul(byte!(b, ($first + 1), $bt));
            c.wrapping_add(low as u32).wrapping_add(high as u32)
        })
    };
}

/// 9.7.1.24
fn dots_of_two(opcode: &Opcode) -> Option<Each> {
    Some(match (opcode.has("lo"), opcode.has("hi"), &opcode.types[..]) {
        (true, false, [U32, U32]) => dot_of_two!(u16, u8, 0),
        (true, false, [U32, S32]) => dot_of_two!(u16, i8, 0),
        (true, false, [S32, U32]) => dot_of_two!(i16, u8, 0),
        (true, false, [S32, S32]) => dot_of_two!(i16, i8, 0),
        (false, true, [U32, U32]) => dot_of_two!(u16, u8, 2),
        (false, true, [U32, S32]) => dot_of_two!(u16, i8, 2),
        (false, true, [S32, U32]) => dot_of_two!(i16, u8, 2),
        (false, true, [S32, S32]) => dot_of_two!(i16, i8, 2),
        _ => return None,
    })
}
