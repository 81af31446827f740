//! Conversions (9.7.9.21, 9.7.9.22): here among integers, with floats in `convert/float.rs`.

mod float;

use super::lanes::{Each, each};
use crate::ptx::instruction::Op;
use crate::ptx::names::{Kind, Names};
use crate::ptx::opcode::Opcode;
use crate::ptx::types::Type::{self, B8, B16, B32, B64, S8, S16, S32, S64, U8, U16, U32, U64};

/// How a result is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rounding {
    /// To the nearest, halves to even.
    Nearest,
    /// Towards zero.
    Zero,
    /// Downwards.
    Down,
    /// Upwards.
    Up,
}

impl Rounding {
    /// The rounding of an opcode, and whether it is to a whole number.
    fn of(opcode: &Opcode) -> Option<(Self, bool)> {
        opcode.find(|modifier| {
            Some(match modifier {
                "rn" => (Self::Nearest, false),
                "rz" => (Self::Zero, false),
                "rm" => (Self::Down, false),
                "rp" => (Self::Up, false),
                "rni" => (Self::Nearest, true),
                "rzi" => (Self::Zero, true),
                "rmi" => (Self::Down, true),
                "rpi" => (Self::Up, true),
                _ => return None,
            })
        })
    }

    /// The rounding with a number: functions of lanes get it in a register.
    fn numbered(number: u32) -> Self {
        match number {
            0 => Self::Nearest,
            1 => Self::Zero,
            2 => Self::Down,
            _ => Self::Up,
        }
    }
}

/// Decodes `cvt`.
pub fn decode(opcode: &Opcode, operands: &[&str], names: &mut Names) -> Result<Op, String> {
    if opcode.has("pack") {
        return pack(opcode, operands, names);
    }
    let [to, from] = opcode.types[..] else { return Err(opcode.unsupported()) };
    if to.is_float() || from.is_float() {
        return float::decode(opcode, operands, names);
    }
    let [target, source] = operands else { return Err("cvt has two operands".to_owned()) };
    let source_is_wide = match names.register(source) {
        Some((kind, _)) => kind == Kind::Long,
        None => from.is_wide(),
    };
    let target_is_wide = matches!(names.register(target), Some((Kind::Long, _)));
    let each = match opcode.has("sat") {
        true => clamp(from, to),
        false => resize(from, to, source_is_wide),
    };
    let each = each.ok_or_else(|| opcode.unsupported())?;
    if target_is_wide && !to.is_wide() {
        return Err(format!("{}: the destination has 64 bits", opcode.text));
    }
    each.with(operands, names)
}

/// A change of width; a narrow type keeps its sign in a wider register.
macro_rules! resized {
    ($cell:ty as $from:ty, $to:expr) => {
        match $to {
            U8 | B8 => each!(|a: $cell| -> u8 { a as $from as u8 }),
            S8 => each!(|a: $cell| -> i8 { a as $from as i8 }),
            U16 | S16 | B16 => each!(|a: $cell| -> u16 { a as $from as u16 }),
            U32 | S32 | B32 => each!(|a: $cell| -> u32 { a as $from as u32 }),
            U64 | S64 | B64 => each!(|a: $cell| -> u64 { a as $from as u64 }),
            _ => return None,
        }
    };
}

/// An integer of another width, from a register that may be wider than its type.
fn resize(from: Type, to: Type, source_is_wide: bool) -> Option<Each> {
    Some(match (from, source_is_wide) {
        (U8 | B8, false) => resized!(u32 as u8, to),
        (S8, false) => resized!(u32 as i8, to),
        (U16 | B16, false) => resized!(u32 as u16, to),
        (S16, false) => resized!(u32 as i16, to),
        (U32 | B32, false) => resized!(u32 as u32, to),
        (S32, false) => resized!(u32 as i32, to),
        (U8 | B8, true) => resized!(u64 as u8, to),
        (S8, true) => resized!(u64 as i8, to),
        (U16 | B16, true) => resized!(u64 as u16, to),
        (S16, true) => resized!(u64 as i16, to),
        (U32 | B32, true) => resized!(u64 as u32, to),
        (S32, true) => resized!(u64 as i32, to),
        (U64 | S64 | B64, true) => resized!(u64 as u64, to),
        _ => return None,
    })
}

/// The nearest value of another type.
macro_rules! clamped {
    ($from:ty, $to:expr) => {
        match $to {
            U8 => each!(|a: $from| -> u8 { i128::from(a).clamp(0, 255) as u8 }),
            S8 => each!(|a: $from| -> i8 { i128::from(a).clamp(-128, 127) as i8 }),
            U16 => each!(|a: $from| -> u16 { i128::from(a).clamp(0, 65_535) as u16 }),
            S16 => each!(|a: $from| -> i16 { i128::from(a).clamp(-32_768, 32_767) as i16 }),
            U32 => each!(|a: $from| -> u32 { i128::from(a).clamp(0, u32::MAX.into()) as u32 }),
            S32 => each!(|a: $from| -> i32 {
                i128::from(a).clamp(i32::MIN.into(), i32::MAX.into()) as i32
            }),
            _ => return None,
        }
    };
}

fn clamp(from: Type, to: Type) -> Option<Each> {
    Some(match from {
        S16 => clamped!(i16, to),
        U16 => clamped!(u16, to),
        S32 => clamped!(i32, to),
        U32 => clamped!(u32, to),
        S64 => clamped!(i64, to),
        U64 => clamped!(u64, to),
        _ => return None,
    })
}

/// 9.7.9.22: the first source saturated above the second; of bytes, the third above both.
fn pack(opcode: &Opcode, operands: &[&str], names: &mut Names) -> Result<Op, String> {
    let each = match (opcode.has("sat"), &opcode.types[..]) {
        (true, [S16, S32]) => each!(|a: i32, b: i32| -> u32 {
            let half = |x: i32| u32::from(x.clamp(-32_768, 32_767) as u16);
            half(a) << 16 | half(b)
        }),
        (true, [U16, S32]) => each!(|a: i32, b: i32| -> u32 {
            let half = |x: i32| x.clamp(0, 65_535) as u32;
            half(a) << 16 | half(b)
        }),
        (true, [S8, S32, B32]) => each!(|a: i32, b: i32, c: u32| -> u32 {
            let byte = |x: i32| u32::from(x.clamp(-128, 127) as u8);
            c << 16 | byte(a) << 8 | byte(b)
        }),
        (true, [U8, S32, B32]) => each!(|a: i32, b: i32, c: u32| -> u32 {
            let byte = |x: i32| x.clamp(0, 255) as u32;
            c << 16 | byte(a) << 8 | byte(b)
        }),
        _ => return Err(opcode.unsupported()),
    };
    each.with(operands, names)
}
