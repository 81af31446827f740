//! Conversions of which one side is a float (9.7.9.21).

use super::Rounding;
use crate::exec::float::{flush, saturate};
use crate::exec::lanes::{Each, each};
use crate::ptx::instruction::Op;
use crate::ptx::names::Names;
use crate::ptx::opcode::Opcode;
use crate::ptx::types::Type::{
    self, Bf16, Bf16x2, F16, F16x2, F32, F64, S8, S16, S32, S64, U8, U16, U32, U64,
};
use half::{bf16, f16};
use std::cmp::Ordering::{self, Greater, Less};

/// Decodes a conversion from or to a float. Its rounding goes to a constant register behind the
/// other operands.
pub fn decode(opcode: &Opcode, operands: &[&str], names: &mut Names) -> Result<Op, String> {
    let (rounding, whole) = Rounding::of(opcode).unwrap_or((Rounding::Nearest, false));
    let known = ["rn", "rz", "rm", "rp", "rni", "rzi", "rmi", "rpi", "ftz", "sat"];
    let is_known = |modifier: &&str| known.contains(modifier) || Type::named(modifier).is_some();
    let [to, from] = opcode.types[..] else { return Err(opcode.unsupported()) };
    let each = match (from, to) {
        _ if !opcode.modifiers.iter().all(is_known) => None,
        _ if opcode.has("ftz") && (from == F64 || to == F64) => None,
        _ if !from.is_float() && !opcode.has("sat") => from_integer(from, to, rounding),
        _ if !to.is_float() && opcode.has("ftz") => flushed_to_integer(from, to),
        _ if !to.is_float() => to_integer(from, to),
        _ if whole => to_whole(from, to, opcode.has("ftz")),
        _ => {
            let plain = !opcode.has("ftz") && !opcode.has("sat");
            if plain { between(from, to) } else { between_with_modifiers(opcode, from, to) }
        }
    };
    let each = each.ok_or_else(|| opcode.unsupported())?;
    let rounding = (rounding as u32).to_string();
    let mut operands = operands.to_vec();
    operands.push(&rounding);
    each.with(&operands, names)
}

/// A whole number.
fn round(value: f64, rounding: u32) -> f64 {
    match Rounding::numbered(rounding) {
        Rounding::Nearest => value.round_ties_even(),
        Rounding::Zero => value.trunc(),
        Rounding::Down => value.floor(),
        Rounding::Up => value.ceil(),
    }
}

/// Which way a rounded result must move: 1 away from zero, −1 towards it. `order` compares the
/// nearest result with the exact one.
fn correction(order: Option<Ordering>, is_negative: bool, rounding: u32) -> i32 {
    let (too_large, too_small) = (order == Some(Greater), order == Some(Less));
    let is_wrong = match Rounding::numbered(rounding) {
        Rounding::Nearest => false,
        Rounding::Zero => {
            if is_negative {
                too_small
            } else {
                too_large
            }
        }
        Rounding::Down => too_large,
        Rounding::Up => too_small,
    };
    match (is_wrong, too_large == is_negative) {
        (false, _) => 0,
        (true, true) => 1,
        (true, false) => -1,
    }
}

/// A number of 32 bits.
fn narrow(value: f64, rounding: u32) -> f32 {
    let near = value as f32;
    let order = f64::from(near).partial_cmp(&value);
    let step = correction(order, near.is_sign_negative(), rounding);
    f32::from_bits(near.to_bits().wrapping_add_signed(step))
}

/// A number of 32 bits whose last bit is set where others are lost, so that rounding it again gives
/// what rounding `value` would: `half` itself drops bits of a `f64` that decide ties.
fn sticky(value: f64) -> f32 {
    let near = value as f32;
    if !near.is_finite() || f64::from(near) == value {
        return near;
    }
    let is_above = f64::from(near).abs() > value.abs();
    f32::from_bits((near.to_bits() - u32::from(is_above)) | 1)
}

/// The bits of a half-precision number.
fn narrow_half(value: f64, rounding: u32) -> u16 {
    let near = f16::from_f32(sticky(value));
    let order = near.to_f64().partial_cmp(&value);
    let step = correction(order, near.is_sign_negative(), rounding);
    near.to_bits().wrapping_add_signed(step as i16)
}

/// The bits of a number with 8 bits.
fn narrow_brain(value: f64, rounding: u32) -> u16 {
    let near = bf16::from_f32(sticky(value));
    let order = near.to_f64().partial_cmp(&value);
    let step = correction(order, near.is_sign_negative(), rounding);
    near.to_bits().wrapping_add_signed(step as i16)
}

fn half(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}

fn brain(bits: u16) -> f32 {
    bf16::from_bits(bits).to_f32()
}

/// An integer as a float.
fn integer(value: i128, rounding: u32) -> f32 {
    let near = value as f32;
    let step = correction(Some((near as i128).cmp(&value)), value < 0, rounding);
    f32::from_bits(near.to_bits().wrapping_add_signed(step))
}

macro_rules! integer_to_float {
    ($from:ty, $to:expr, $rounding:expr) => {
        match $to {
            F32 if $rounding == Rounding::Nearest => {
                each!(|a: $from, _rounding: u32| -> f32 { a as f32 })
            }
            F32 => each!(|a: $from, mode: u32| -> f32 { integer(i128::from(a), mode) }),
            F64 => each!(|a: $from, _rounding: u32| -> f64 { a as f64 }),
            F16 => each!(|a: $from, rounding: u32| -> u16 { narrow_half(a as f64, rounding) }),
            Bf16 => each!(|a: $from, rounding: u32| -> u16 { narrow_brain(a as f64, rounding) }),
            _ => return None,
        }
    };
}

fn from_integer(from: Type, to: Type, rounding: Rounding) -> Option<Each> {
    Some(match from {
        U8 => integer_to_float!(u8, to, rounding),
        S8 => integer_to_float!(i8, to, rounding),
        U16 => integer_to_float!(u16, to, rounding),
        S16 => integer_to_float!(i16, to, rounding),
        U32 => integer_to_float!(u32, to, rounding),
        S32 => integer_to_float!(i32, to, rounding),
        U64 => integer_to_float!(u64, to, rounding),
        S64 => integer_to_float!(i64, to, rounding),
        _ => return None,
    })
}

/// NaN as an integer of 64 bits, or from a float of 64 bits: the sign bit alone.
fn nan_to(value: f64, bits: u32, converted: u64) -> u64 {
    if value.is_nan() { 1 << (bits - 1) } else { converted }
}

/// A float as the nearest integer of a type, from its value in 64 bits.
macro_rules! float_to_integer {
    ($from:ty, $to:expr, |$a:ident| $value:expr, $nan_is_zero:expr) => {
        match ($to, $nan_is_zero) {
            (U8, true) => each!(|$a: $from, mode: u32| -> u8 { round($value, mode) as u8 }),
            (S8, true) => each!(|$a: $from, mode: u32| -> i8 { round($value, mode) as i8 }),
            (U16, true) => each!(|$a: $from, mode: u32| -> u16 { round($value, mode) as u16 }),
            (S16, true) => each!(|$a: $from, mode: u32| -> i16 { round($value, mode) as i16 }),
            (U32, true) => each!(|$a: $from, mode: u32| -> u32 { round($value, mode) as u32 }),
            (S32, true) => each!(|$a: $from, mode: u32| -> i32 { round($value, mode) as i32 }),
            (U32, false) => each!(|$a: $from, mode: u32| -> u32 {
                nan_to($value, 32, (round($value, mode) as u32).into()) as u32
            }),
            (S32, false) => each!(|$a: $from, mode: u32| -> u32 {
                nan_to($value, 32, (round($value, mode) as i32 as u32).into()) as u32
            }),
            (U64, _) => each!(|$a: $from, mode: u32| -> u64 {
                nan_to($value, 64, round($value, mode) as u64)
            }),
            (S64, _) => each!(|$a: $from, mode: u32| -> u64 {
                nan_to($value, 64, round($value, mode) as i64 as u64)
            }),
            _ => return None,
        }
    };
}

fn to_integer(from: Type, to: Type) -> Option<Each> {
    Some(match from {
        F16 => float_to_integer!(u16, to, |a| f64::from(half(a)), true),
        F32 => float_to_integer!(f32, to, |a| f64::from(a), true),
        F64 => float_to_integer!(f64, to, |a| a, false),
        _ => return None,
    })
}

fn flushed_to_integer(from: Type, to: Type) -> Option<Each> {
    Some(match from {
        F32 => float_to_integer!(f32, to, |a| f64::from(flush(a)), true),
        _ => return None,
    })
}

fn to_whole(from: Type, to: Type, flushes: bool) -> Option<Each> {
    Some(match (from, to, flushes) {
        (F16, F16, false) => {
            each!(|a: u16, mode: u32| -> u16 { narrow_half(round(half(a).into(), mode), 0) })
        }
        (F32, F32, false) => {
            each!(|a: f32, mode: u32| -> f32 { round(f64::from(a), mode) as f32 })
        }
        (F32, F32, true) => {
            each!(|a: f32, mode: u32| -> f32 { round(f64::from(flush(a)), mode) as f32 })
        }
        (F64, F64, false) => each!(|a: f64, mode: u32| -> f64 { round(a, mode) }),
        _ => return None,
    })
}

fn between(from: Type, to: Type) -> Option<Each> {
    Some(match (from, to) {
        (F16, F16) | (Bf16, Bf16) => each!(|a: u16, _mode: u32| -> u16 { a }),
        (F16, F32) => each!(|a: u16, _mode: u32| -> f32 { half(a) }),
        (F16, F64) => each!(|a: u16, _mode: u32| -> f64 { half(a).into() }),
        (Bf16, F32) => each!(|a: u16, _mode: u32| -> f32 { brain(a) }),
        (F32, F16) => each!(|a: f32, mode: u32| -> u16 { narrow_half(a.into(), mode) }),
        (F32, Bf16) => each!(|a: f32, mode: u32| -> u16 { narrow_brain(a.into(), mode) }),
        (F32, F16x2) => each!(|a: f32, b: f32, mode: u32| -> u32 {
            u32::from(narrow_half(a.into(), mode)) << 16 | u32::from(narrow_half(b.into(), mode))
        }),
        (F32, Bf16x2) => each!(|a: f32, b: f32, mode: u32| -> u32 {
            u32::from(narrow_brain(a.into(), mode)) << 16 | u32::from(narrow_brain(b.into(), mode))
        }),
        (F32, F32) => each!(|a: f32, _mode: u32| -> f32 { a }),
        (F32, F64) => each!(|a: f32, _mode: u32| -> f64 { a.into() }),
        (F64, F16) => each!(|a: f64, mode: u32| -> u16 { narrow_half(a, mode) }),
        (F64, F32) => each!(|a: f64, mode: u32| -> f32 { narrow(a, mode) }),
        (F64, F64) => each!(|a: f64, _mode: u32| -> f64 { a }),
        _ => return None,
    })
}

fn between_with_modifiers(opcode: &Opcode, from: Type, to: Type) -> Option<Each> {
    Some(match (from, to, opcode.has("ftz"), opcode.has("sat")) {
        // Half-precision numbers are never subnormal among those of 32 bits.
        (F16, F32, true, false) => each!(|a: u16, _mode: u32| -> f32 { half(a) }),
        (F16, F32, _, true) => each!(|a: u16, _mode: u32| -> f32 { saturate(half(a)) }),
        (F32, F32, true, false) => each!(|a: f32, _mode: u32| -> f32 { flush(a) }),
        (F32, F32, false, true) => each!(|a: f32, _mode: u32| -> f32 { saturate(a) }),
        (F32, F32, true, true) => each!(|a: f32, _mode: u32| -> f32 { saturate(flush(a)) }),
        (F32, F16, true, false) => {
            each!(|a: f32, mode: u32| -> u16 { narrow_half(flush(a).into(), mode) })
        }
        (F32, F16, _, true) => {
            each!(|a: f32, mode: u32| -> u16 { narrow_half(saturate(a).into(), mode) })
        }
        (F64, F32, false, true) => {
            each!(|a: f64, mode: u32| -> f32 { saturate(narrow(a, mode)) })
        }
        _ => return None,
    })
}
