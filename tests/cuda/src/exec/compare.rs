//! Comparisons: `setp` and `set` (9.7.6.1, 9.7.6.2).

use super::lanes::{Lanes, Run, Test};
use super::moves::set_flag;
use crate::ptx::instruction::{Compare, Flag, Join, Op};
use crate::ptx::names::Names;
use crate::ptx::opcode::Opcode;
use crate::ptx::types::Type::{self, B16, B32, B64, F32, F64, S16, S32, S64, U16, U32, U64};

/// Decodes `setp` (9.7.6.2).
pub fn decode_setp(opcode: &Opcode, operands: &[&str], names: &mut Names) -> Result<Op, String> {
    let (targets, rest) = operands.split_first().ok_or("setp has no operands")?;
    let (first, second) = match targets.split_once('|') {
        Some((first, second)) => (names.flag_target(first)?, names.flag_target(second)?),
        None => (names.flag_target(targets)?, None),
    };
    let ([a, b], join) = match rest {
        [a, b] => ([*a, *b], None),
        [a, b, flag] => {
            let join = opcode.find(joined).ok_or("setp does not say how to join predicates")?;
            ([*a, *b], Some((join, names.flag(flag)?)))
        }
        _ => return Err("setp has three or four operands".to_owned()),
    };
    let kind = opcode.kind();
    let test = comparison(opcode.modifiers[0], kind).ok_or_else(|| opcode.unsupported())?;
    if opcode.has("ftz") {
        return Err(opcode.unsupported());
    }
    let sources = [names.source(a, kind.is_wide())?, names.source(b, kind.is_wide())?];
    Ok(Op::Compare(Box::new(Compare { test, sources, targets: [first, second], join })))
}

fn joined(name: &str) -> Option<Join> {
    Some(match name {
        "and" => Join::And,
        "or" => Join::Or,
        "xor" => Join::Xor,
        _ => return None,
    })
}

impl Compare {
    /// Sets the predicates in the lanes of a mask.
    pub fn run(&self, lanes: &mut Lanes, mask: u32) {
        let bits = (self.test)(lanes, self.sources);
        let join = |bits: u32| match self.join {
            None => bits,
            Some((join, Flag { register, negate })) => {
                let other = lanes.flags[usize::from(register)] ^ negate;
                match join {
                    Join::And => bits & other,
                    Join::Or => bits | other,
                    Join::Xor => bits ^ other,
                }
            }
        };
        let values = [join(bits), join(!bits)];
        for (target, value) in self.targets.into_iter().zip(values) {
            if let Some(target) = target {
                set_flag(lanes, target, mask, value);
            }
        }
    }
}

/// Decodes `set` (9.7.6.1) without a joined predicate: all ones or 1.0 where the comparison holds.
pub fn decode_set(opcode: &Opcode, operands: &[&str], names: &mut Names) -> Result<Op, String> {
    let (&[to, a, b], [result, kind]) = (operands, &opcode.types[..]) else {
        return Err(opcode.unsupported());
    };
    let run: Run = match (opcode.modifiers[0], kind, result) {
        ("eq", U32 | S32 | B32, U32 | S32) => |lanes, r, mask| {
            lanes.map2(r, mask, |a: u32, b: u32| if a == b { u32::MAX } else { 0 });
        },
        ("ne", U32 | S32 | B32, U32 | S32) => |lanes, r, mask| {
            lanes.map2(r, mask, |a: u32, b: u32| if a != b { u32::MAX } else { 0 });
        },
        ("lt", S32, U32 | S32) => |lanes, r, mask| {
            lanes.map2(r, mask, |a: i32, b: i32| if a < b { u32::MAX } else { 0 });
        },
        ("gt", S32, U32 | S32) => |lanes, r, mask| {
            lanes.map2(r, mask, |a: i32, b: i32| if a > b { u32::MAX } else { 0 });
        },
        ("gt", F32, F32) => |lanes, r, mask| {
            lanes.map2(r, mask, |a: f32, b: f32| if a > b { 1f32 } else { 0f32 });
        },
        ("lt", F32, F32) => |lanes, r, mask| {
            lanes.map2(r, mask, |a: f32, b: f32| if a < b { 1f32 } else { 0f32 });
        },
        _ => return Err(opcode.unsupported()),
    };
    let registers =
        [names.target(to, false)?, names.source(a, false)?, names.source(b, false)?, 0, 0];
    Ok(Op::Each { run, registers })
}

/// A [`Test`] from a closure whose types say how registers are read.
macro_rules! test {
    (|$a:ident: $type:ty, $b:ident| $holds:expr) => {
        |lanes, sources| lanes.test(sources, |$a: $type, $b: $type| $holds)
    };
}

/// The comparison of an order, by its name.
macro_rules! ordered {
    ($name:expr, $type:ty) => {
        match $name {
            "lt" | "lo" => test!(|a: $type, b| a < b),
            "le" | "ls" => test!(|a: $type, b| a <= b),
            "gt" | "hi" => test!(|a: $type, b| a > b),
            "ge" | "hs" => test!(|a: $type, b| a >= b),
            _ => return None,
        }
    };
}

/// Comparisons of floats: those with `u` hold where one is NaN.
macro_rules! floats {
    ($name:expr, $type:ty) => {
        match $name {
            "eq" => test!(|a: $type, b| a == b),
            "ne" => test!(|a: $type, b| matches!(a.partial_cmp(&b), Some(Less | Greater))),
            "equ" => test!(|a: $type, b| !matches!(a.partial_cmp(&b), Some(Less | Greater))),
            "neu" => test!(|a: $type, b| a != b),
            "ltu" => test!(|a: $type, b| !matches!(a.partial_cmp(&b), Some(Equal | Greater))),
            "leu" => test!(|a: $type, b| a.partial_cmp(&b) != Some(Greater)),
            "gtu" => test!(|a: $type, b| !matches!(a.partial_cmp(&b), Some(Equal | Less))),
            "geu" => test!(|a: $type, b| a.partial_cmp(&b) != Some(Less)),
            "num" => test!(|a: $type, b| !a.is_nan() && !b.is_nan()),
            "nan" => test!(|a: $type, b| a.is_nan() || b.is_nan()),
            name => ordered!(name, $type),
        }
    };
}

fn comparison(name: &str, kind: Type) -> Option<Test> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    Some(match (name, kind) {
        ("eq", U16 | S16 | B16) => test!(|a: u16, b| a == b),
        ("ne", U16 | S16 | B16) => test!(|a: u16, b| a != b),
        ("eq", U32 | S32 | B32) => test!(|a: u32, b| a == b),
        ("ne", U32 | S32 | B32) => test!(|a: u32, b| a != b),
        ("eq", U64 | S64 | B64) => test!(|a: u64, b| a == b),
        ("ne", U64 | S64 | B64) => test!(|a: u64, b| a != b),
        (name, U16) => ordered!(name, u16),
        (name, S16) => ordered!(name, i16),
        (name, U32) => ordered!(name, u32),
        (name, S32) => ordered!(name, i32),
        (name, U64) => ordered!(name, u64),
        (name, S64) => ordered!(name, i64),
        (name, F32) => floats!(name, f32),
        (name, F64) => floats!(name, f64),
        _ => return None,
    })
}
