//! Floating point (9.7.3): IEEE 754 with one rounding for every operation; subnormal numbers are
//! kept unless `.ftz` is there. Approximations give the exact result, rounded.

use super::lanes::{Each, each};
use crate::ptx::opcode::Opcode;
use crate::ptx::types::Type::{F32, F64};

/// The function of an opcode, if it belongs here.
pub fn find(opcode: &Opcode) -> Option<Each> {
    let other_rounding = ["rz", "rm", "rp"].iter().any(|rounding| opcode.has(rounding));
    if opcode.types.len() != 1 || other_rounding {
        return None;
    }
    match opcode.kind() {
        F32 => single(opcode),
        F64 => double(opcode),
        _ => None,
    }
}

/// Zero in the place of a subnormal number.
pub fn flush(value: f32) -> f32 {
    if value.is_subnormal() { 0f32.copysign(value) } else { value }
}

/// A number from 0 to 1; NaN becomes 0.
pub fn saturate(value: f32) -> f32 {
    if value > 0.0 { value.min(1.0) } else { 0.0 }
}

/// The smaller number; the other one where one is NaN.
fn smaller(a: f32, b: f32) -> f32 {
    // Of zeros, the negative one is smaller.
    let equal = f32::from_bits(a.to_bits() | b.to_bits());
    let unequal = if a < b || b.is_nan() { a } else { b };
    if a == b { equal } else { unequal }
}

/// The larger number; the other one where one is NaN.
fn larger(a: f32, b: f32) -> f32 {
    -smaller(-a, -b)
}

/// NaN where one of both is.
fn or_nan(a: f32, b: f32, value: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::from_bits(0x7FFF_FFFF) } else { value }
}

/// A function with the modifiers `.ftz` and `.sat` of an opcode.
macro_rules! with_modifiers {
    ($opcode:expr, |$($a:ident: f32),+| $body:expr) => {
        match ($opcode.has("ftz"), $opcode.has("sat")) {
            (false, false) => each!(|$($a: f32),+| -> f32 { $body }),
            (false, true) => each!(|$($a: f32),+| -> f32 { saturate($body) }),
            (true, false) => each!(|$($a: f32),+| -> f32 {
                $(let $a = flush($a);)+
                flush($body)
            }),
            (true, true) => each!(|$($a: f32),+| -> f32 {
                $(let $a = flush($a);)+
                saturate(flush($body))
            }),
        }
    };
}

fn single(opcode: &Opcode) -> Option<Each> {
    Some(match opcode.name {
        // 9.7.3.3 to 9.7.3.8
        "add" => with_modifiers!(opcode, |a: f32, b: f32| a + b),
        "sub" => with_modifiers!(opcode, |a: f32, b: f32| a - b),
        "mul" => with_modifiers!(opcode, |a: f32, b: f32| a * b),
        "fma" | "mad" => with_modifiers!(opcode, |a: f32, b: f32, c: f32| a.mul_add(b, c)),
        "div" => with_modifiers!(opcode, |a: f32, b: f32| a / b),
        // 9.7.3.9 to 9.7.3.12
        "abs" => with_modifiers!(opcode, |a: f32| a.abs()),
        "neg" => with_modifiers!(opcode, |a: f32| -a),
        "min" if opcode.has("NaN") => {
            with_modifiers!(opcode, |a: f32, b: f32| or_nan(a, b, smaller(a, b)))
        }
        "max" if opcode.has("NaN") => {
            with_modifiers!(opcode, |a: f32, b: f32| or_nan(a, b, larger(a, b)))
        }
        "min" => with_modifiers!(opcode, |a: f32, b: f32| smaller(a, b)),
        "max" => with_modifiers!(opcode, |a: f32, b: f32| larger(a, b)),
        // 9.7.3.2: the sign of the first with the rest of the second
        "copysign" => each!(|a: f32, b: f32| -> f32 { b.copysign(a) }),
        _ => return roots(opcode),
    })
}

fn roots(opcode: &Opcode) -> Option<Each> {
    Some(match opcode.name {
        // 9.7.3.13, 9.7.3.15 and 9.7.3.16
        "rcp" => with_modifiers!(opcode, |a: f32| 1.0 / a),
        "sqrt" => with_modifiers!(opcode, |a: f32| a.sqrt()),
        "rsqrt" => with_modifiers!(opcode, |a: f32| (1.0 / f64::from(a).sqrt()) as f32),
        // 9.7.3.18 to 9.7.3.22
        "sin" => with_modifiers!(opcode, |a: f32| f64::from(a).sin() as f32),
        "cos" => with_modifiers!(opcode, |a: f32| f64::from(a).cos() as f32),
        "lg2" => with_modifiers!(opcode, |a: f32| f64::from(a).log2() as f32),
        "ex2" => with_modifiers!(opcode, |a: f32| f64::from(a).exp2() as f32),
        "tanh" => with_modifiers!(opcode, |a: f32| f64::from(a).tanh() as f32),
        _ => return None,
    })
}

fn double(opcode: &Opcode) -> Option<Each> {
    Some(match opcode.name {
        "add" => each!(|a: f64, b: f64| -> f64 { a + b }),
        "sub" => each!(|a: f64, b: f64| -> f64 { a - b }),
        "mul" => each!(|a: f64, b: f64| -> f64 { a * b }),
        "fma" | "mad" => each!(|a: f64, b: f64, c: f64| -> f64 { a.mul_add(b, c) }),
        "div" => each!(|a: f64, b: f64| -> f64 { a / b }),
        "abs" => each!(|a: f64| -> f64 { a.abs() }),
        "neg" => each!(|a: f64| -> f64 { -a }),
        "min" => each!(|a: f64, b: f64| -> f64 { a.min(b) }),
        "max" => each!(|a: f64, b: f64| -> f64 { a.max(b) }),
        "copysign" => each!(|a: f64, b: f64| -> f64 { b.copysign(a) }),
        "rcp" => each!(|a: f64| -> f64 { 1.0 / a }),
        "sqrt" => each!(|a: f64| -> f64 { a.sqrt() }),
        "rsqrt" => each!(|a: f64| -> f64 { 1.0 / a.sqrt() }),
        _ => return None,
    })
}
