//! Bits: logic and shifts (9.7.8), fields and counts (9.7.1.14 to 9.7.1.22), bytes (9.7.9.7).

use super::lanes::{Each, each};
use crate::ptx::opcode::Opcode;
use crate::ptx::types::Type::{self, B16, B32, B64, S16, S32, S64, U16, U32, U64};

/// The function of an opcode, if it belongs here. `lop3` has an operand that is no register:
/// the table of `look_up`.
pub fn find(opcode: &Opcode) -> Option<Each> {
    let kind = opcode.kind();
    if kind == Type::Pred {
        return None;
    }
    match opcode.name {
        "and" | "or" | "xor" | "not" | "cnot" => logic(opcode.name, kind),
        "shl" | "shr" => shifts(opcode.name, kind),
        "shf" => funnels(opcode),
        "popc" | "clz" | "brev" => counts(opcode.name, kind),
        "bfind" => highest(opcode.has("shiftamt"), kind),
        "bfe" | "bfi" => fields(opcode.name, kind),
        "bmsk" => masks(opcode),
        "prmt" if opcode.modifiers.len() == 1 => {
            Some(each!(|a: u32, b: u32, c: u32| -> u32 { permute(a, b, c) }))
        }
        "lop3" if opcode.modifiers.len() == 1 => {
            Some(each!(|a: u32, b: u32, c: u32, table: u32| -> u32 { look_up(a, b, c, table) }))
        }
        _ => None,
    }
}

fn logic(name: &str, kind: Type) -> Option<Each> {
    let wide = match kind {
        B16 => None,
        B32 => Some(false),
        B64 => Some(true),
        _ => return None,
    };
    Some(match (name, wide) {
        // 9.7.8.1 to 9.7.8.3
        ("and", Some(true)) => each!(|a: u64, b: u64| -> u64 { a & b }),
        ("or", Some(true)) => each!(|a: u64, b: u64| -> u64 { a | b }),
        ("xor", Some(true)) => each!(|a: u64, b: u64| -> u64 { a ^ b }),
        ("and", Some(false)) => each!(|a: u32, b: u32| -> u32 { a & b }),
        ("or", Some(false)) => each!(|a: u32, b: u32| -> u32 { a | b }),
        ("xor", Some(false)) => each!(|a: u32, b: u32| -> u32 { a ^ b }),
        ("and", None) => each!(|a: u16, b: u16| -> u16 { a & b }),
        ("or", None) => each!(|a: u16, b: u16| -> u16 { a | b }),
        ("xor", None) => each!(|a: u16, b: u16| -> u16 { a ^ b }),
        // 9.7.8.4
        ("not", Some(true)) => each!(|a: u64| -> u64 { !a }),
        ("not", Some(false)) => each!(|a: u32| -> u32 { !a }),
        ("not", None) => each!(|a: u16| -> u16 { !a }),
        // 9.7.8.5
        ("cnot", Some(true)) => each!(|a: u64| -> u64 { u64::from(a == 0) }),
        ("cnot", Some(false)) => each!(|a: u32| -> u32 { u32::from(a == 0) }),
        ("cnot", None) => each!(|a: u16| -> u16 { u16::from(a == 0) }),
        _ => return None,
    })
}

/// 9.7.8.8 and 9.7.8.9: counts beyond the width shift everything out.
fn shifts(name: &str, kind: Type) -> Option<Each> {
    Some(match (name, kind) {
        ("shl", B16) => each!(|a: u16, b: u32| -> u16 { a.checked_shl(b).unwrap_or(0) }),
        ("shl", B32) => each!(|a: u32, b: u32| -> u32 { a.checked_shl(b).unwrap_or(0) }),
        ("shl", B64) => each!(|a: u64, b: u32| -> u64 { a.checked_shl(b).unwrap_or(0) }),
        ("shr", B16 | U16) => each!(|a: u16, b: u32| -> u16 { a.checked_shr(b).unwrap_or(0) }),
        ("shr", B32 | U32) => each!(|a: u32, b: u32| -> u32 { a.checked_shr(b).unwrap_or(0) }),
        ("shr", B64 | U64) => each!(|a: u64, b: u32| -> u64 { a.checked_shr(b).unwrap_or(0) }),
        ("shr", S16) => each!(|a: i16, b: u32| -> i16 { a >> b.min(15) }),
        ("shr", S32) => each!(|a: i32, b: u32| -> i32 { a >> b.min(31) }),
        ("shr", S64) => each!(|a: i64, b: u32| -> i64 { a >> b.min(63) }),
        _ => return None,
    })
}

/// 9.7.8.7: a word of the pair `b:a`.
fn funnels(opcode: &Opcode) -> Option<Each> {
    Some(match (opcode.has("l"), opcode.has("wrap")) {
        (true, true) => {
            each!(|a: u32, b: u32, c: u32| -> u32 { (pair(a, b) << (c & 31) >> 32) as u32 })
        }
        (true, false) => {
            each!(|a: u32, b: u32, c: u32| -> u32 { (pair(a, b) << c.min(32) >> 32) as u32 })
        }
        (false, true) => each!(|a: u32, b: u32, c: u32| -> u32 { (pair(a, b) >> (c & 31)) as u32 }),
        (false, false) => {
            each!(|a: u32, b: u32, c: u32| -> u32 { (pair(a, b) >> c.min(32)) as u32 })
        }
    })
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn counts(name: &str, kind: Type) -> Option<Each> {
    Some(match (name, kind) {
        // 9.7.1.14
        ("popc", B32) => each!(|a: u32| -> u32 { a.count_ones() }),
        ("popc", B64) => each!(|a: u64| -> u32 { a.count_ones() }),
        // 9.7.1.15
        ("clz", B32) => each!(|a: u32| -> u32 { a.leading_zeros() }),
        ("clz", B64) => each!(|a: u64| -> u32 { a.leading_zeros() }),
        // 9.7.1.18
        ("brev", B32) => each!(|a: u32| -> u32 { a.reverse_bits() }),
        ("brev", B64) => each!(|a: u64| -> u64 { a.reverse_bits() }),
        _ => return None,
    })
}

/// The place of the highest bit that differs from the sign, or how far to shift it to the top; all
/// ones when there is none.
macro_rules! find_highest {
    ($type:ty, $bits:ty, $from_top:expr) => {
        each!(|a: $type| -> u32 {
            let bits = (if (a as i64) < 0 && <$type>::MIN != 0 { !a } else { a }) as $bits;
            match (bits, $from_top) {
                (0, _) => u32::MAX,
                (bits, true) => bits.leading_zeros(),
                (bits, false) => bits.ilog2(),
            }
        })
    };
}

/// 9.7.1.16
fn highest(from_top: bool, kind: Type) -> Option<Each> {
    Some(match (kind, from_top) {
        (U32, false) => find_highest!(u32, u32, false),
        (U32, true) => find_highest!(u32, u32, true),
        (S32, false) => find_highest!(i32, u32, false),
        (S32, true) => find_highest!(i32, u32, true),
        (U64, false) => find_highest!(u64, u64, false),
        (U64, true) => find_highest!(u64, u64, true),
        (S64, false) => find_highest!(i64, u64, false),
        (S64, true) => find_highest!(i64, u64, true),
        _ => return None,
    })
}

/// `length` ones, at most 64.
fn ones(length: u32) -> u64 {
    if length >= 64 { u64::MAX } else { (1 << length) - 1 }
}

/// A field of `length` bits at `start` of a value of `width` bits, with the sign of its last bit
/// within the value when that is asked for.
fn extract(value: u64, start: u32, length: u32, width: u32, is_signed: bool) -> u64 {
    let (start, length) = (start & 255, length & 255);
    let field = value.checked_shr(start).unwrap_or(0) & ones(length);
    let last = (start + length).saturating_sub(1).min(width - 1);
    let negative = is_signed && length > 0 && value >> last & 1 == 1;
    let kept = length.min(width.saturating_sub(start));
    if negative { field | !ones(kept) } else { field }
}

/// `into` with `length` bits of `value` at `start`.
fn insert(value: u64, into: u64, start: u32, length: u32) -> u64 {
    let (start, length) = (start & 255, length & 255);
    let mask = ones(length).checked_shl(start).unwrap_or(0);
    into & !mask | value.checked_shl(start).unwrap_or(0) & mask
}

fn fields(name: &str, kind: Type) -> Option<Each> {
    Some(match (name, kind) {
        // 9.7.1.19
        ("bfe", U32) => each!(|a: u32, start: u32, length: u32| -> u32 {
            extract(u64::from(a), start, length, 32, false) as u32
        }),
        ("bfe", S32) => each!(|a: u32, start: u32, length: u32| -> u32 {
            extract(u64::from(a), start, length, 32, true) as u32
        }),
        ("bfe", U64) => {
            each!(|a: u64, start: u32, length: u32| -> u64 { extract(a, start, length, 64, false) })
        }
        ("bfe", S64) => {
            each!(|a: u64, start: u32, length: u32| -> u64 { extract(a, start, length, 64, true) })
        }
        // 9.7.1.20
        ("bfi", B32) => each!(|a: u32, b: u32, start: u32, length: u32| -> u32 {
            insert(u64::from(a), u64::from(b), start, length) as u32
        }),
        ("bfi", B64) => {
            each!(|a: u64, b: u64, start: u32, length: u32| -> u64 { insert(a, b, start, length) })
        }
        _ => return None,
    })
}

/// 9.7.1.22: ones from a bit on.
fn masks(opcode: &Opcode) -> Option<Each> {
    if opcode.has("clamp") {
        return Some(each!(|start: u32, length: u32| -> u32 {
            (ones(length.min(32)) as u32).checked_shl(start).unwrap_or(0)
        }));
    }
    let wraps =
        each!(|start: u32, length: u32| -> u32 { (ones(length & 31) as u32) << (start & 31) });
    opcode.has("wrap").then_some(wraps)
}

/// 9.7.9.7: bytes of the pair `b:a`, chosen by the digits of `selector`. The top bit of a digit
/// asks for the sign alone.
#[inline(always)]
fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let mut result = 0;
    for at in 0..4 {
        let digit = selector >> (4 * at);
        let word = if digit & 4 == 0 { a } else { b };
        let byte = word >> (8 * (digit & 3)) & 255;
        let sign = ((byte << 24) as i32 >> 31) as u32 & 255;
        result |= (if digit & 8 == 0 { byte } else { sign }) << (8 * at);
    }
    result
}

/// 9.7.8.6: a function of three bits by its table of 8 results.
#[inline(always)]
fn look_up(a: u32, b: u32, c: u32, table: u32) -> u32 {
    let mut result = 0;
    for row in 0..8 {
        let chosen = if table >> row & 1 == 1 { u32::MAX } else { 0 };
        let a = if row & 4 == 0 { !a } else { a };
        let b = if row & 2 == 0 { !b } else { b };
        let c = if row & 1 == 0 { !c } else { c };
        result |= chosen & a & b & c;
    }
    result
}
