//! Moves, selections and logic of predicates (9.7.9.3, 9.7.6.3, 9.7.6.4, 9.7.8).

use super::lanes::{Each, Lanes, Run, each};
use crate::ptx::instruction::{Flag, Op, Register};
use crate::ptx::names::Names;
use crate::ptx::opcode::Opcode;
use crate::ptx::statement::list;
use crate::ptx::types::Type;

/// Decodes `mov` (9.7.9.3): of a value, or of the parts of one.
pub fn decode_mov(opcode: &Opcode, operands: &[&str], names: &mut Names) -> Result<Op, String> {
    let &[to, from] = operands else { return Err("mov has two operands".to_owned()) };
    let kind = opcode.kind();
    if to.starts_with('{') {
        return unpack(kind, &list(to), from, names);
    }
    if from.starts_with('{') {
        return pack(kind, to, &list(from), names);
    }
    match from {
        "%clock" | "%clock_hi" => return clock(to, false, names),
        "%clock64" | "%globaltimer" => return clock(to, true, names),
        _ => {}
    }
    match (kind, kind.bytes()) {
        (Type::Pred, _) => {
            let from = names.flag(from)?;
            let to = names.flag_target(to)?.ok_or("mov needs a destination")?;
            let run: Run = |lanes, r, mask| {
                let value = negated(lanes, r[1], r[2]);
                set_flag(lanes, r[0], mask, value);
            };
            Ok(Op::Each { run, registers: [to, from.register, sign(from), 0, 0] })
        }
        (_, 8) => copy64().with(operands, names),
        (_, 4) => copy32().with(operands, names),
        _ => copy16().with(operands, names),
    }
}

fn copy16() -> Each {
    each!(|a: u16| -> u16 { a })
}

fn copy32() -> Each {
    each!(|a: u32| -> u32 { a })
}

fn copy64() -> Each {
    each!(|a: u64| -> u64 { a })
}

fn clock(to: &str, is_wide: bool, names: &mut Names) -> Result<Op, String> {
    Ok(Op::Clock { to: names.target(to, is_wide)?, is_wide })
}

/// The parts of a value into registers, the lowest first.
fn unpack(kind: Type, to: &[&str], from: &str, names: &mut Names) -> Result<Op, String> {
    let is_wide = kind.is_wide();
    let from = names.source(from, is_wide)?;
    let mut registers = [0; 5];
    for (register, name) in registers.iter_mut().zip(to) {
        *register = names.target(name, false)?;
    }
    registers[4] = from;
    let run: Run = match (kind.bytes(), to.len()) {
        (8, 2) => |lanes, r, mask| {
            let from = lanes.longs[usize::from(r[4])];
            part(lanes, r[0], mask, |lane| from[lane] as u32);
            part(lanes, r[1], mask, |lane| (from[lane] >> 32) as u32);
        },
        (8, 4) => |lanes, r, mask| {
            let from = lanes.longs[usize::from(r[4])];
            for (at, to) in r[..4].iter().enumerate() {
                part(lanes, *to, mask, |lane| u32::from((from[lane] >> (16 * at)) as u16));
            }
        },
        (4, 2) => |lanes, r, mask| {
            let from = lanes.words[usize::from(r[4])];
            part(lanes, r[0], mask, |lane| from[lane] & 0xFFFF);
            part(lanes, r[1], mask, |lane| from[lane] >> 16);
        },
        (4, 4) => |lanes, r, mask| {
            let from = lanes.words[usize::from(r[4])];
            for (at, to) in r[..4].iter().enumerate() {
                part(lanes, *to, mask, |lane| from[lane] >> (8 * at) & 0xFF);
            }
        },
        _ => return Err("mov cannot take a value apart in this way".to_owned()),
    };
    Ok(Op::Each { run, registers })
}

fn part(lanes: &mut Lanes, to: Register, mask: u32, value: impl Fn(usize) -> u32) {
    super::lanes::fill(&mut lanes.words[usize::from(to)], mask, value);
}

/// A value of parts, the lowest first.
fn pack(kind: Type, to: &str, from: &[&str], names: &mut Names) -> Result<Op, String> {
    let mut operands = vec![to];
    operands.extend(from);
    let each = match (kind.bytes(), from.len()) {
        (8, 2) => each!(|a: u32, b: u32| -> u64 { u64::from(a) | u64::from(b) << 32 }),
        (8, 4) => each!(|a: u16, b: u16, c: u16, d: u16| -> u64 {
            u64::from(a) | u64::from(b) << 16 | u64::from(c) << 32 | u64::from(d) << 48
        }),
        (4, 2) => each!(|a: u16, b: u16| -> u32 { u32::from(a) | u32::from(b) << 16 }),
        (4, 4) => {
            each!(|a: u8, b: u8, c: u8, d: u8| -> u32 { u32::from_le_bytes([a, b, c, d]) })
        }
        _ => return Err("mov cannot join values in this way".to_owned()),
    };
    each.with(&operands, names)
}

/// 1 where a predicate is negated: its sign as a number in an instruction.
fn sign(flag: Flag) -> Register {
    Register::from(flag.negate != 0)
}

fn negated(lanes: &Lanes, register: Register, sign: Register) -> u32 {
    let flag = lanes.flags[usize::from(register)];
    if sign == 0 { flag } else { !flag }
}

/// Writes the lanes of a mask of a predicate.
pub fn set_flag(lanes: &mut Lanes, register: Register, mask: u32, value: u32) {
    let flag = &mut lanes.flags[usize::from(register)];
    *flag = *flag & !mask | value & mask;
}

/// Decodes logic of predicates: `and`, `or`, `xor` and `not` with `.pred` (9.7.8.1 to 9.7.8.4).
pub fn decode_flags(opcode: &Opcode, operands: &[&str], names: &Names) -> Result<Op, String> {
    let to = operands.first().ok_or("no operands")?;
    let to = names.flag_target(to)?.ok_or("a predicate must have a name")?;
    let sources = operands[1..].iter().map(|operand| names.flag(operand));
    let sources = sources.collect::<Result<Vec<Flag>, String>>()?;
    let (run, sources): (Run, [Flag; 2]) = match (opcode.name, &sources[..]) {
        ("not", &[a]) => {
            let run: Run = |lanes, r, mask| {
                let value = !negated(lanes, r[1], r[2]);
                set_flag(lanes, r[0], mask, value);
            };
            (run, [a, a])
        }
        ("and", &[a, b]) => {
            let run: Run = |lanes, r, mask| {
                let value = negated(lanes, r[1], r[2]) & negated(lanes, r[3], r[4]);
                set_flag(lanes, r[0], mask, value);
            };
            (run, [a, b])
        }
        ("or", &[a, b]) => {
            let run: Run = |lanes, r, mask| {
                let value = negated(lanes, r[1], r[2]) | negated(lanes, r[3], r[4]);
                set_flag(lanes, r[0], mask, value);
            };
            (run, [a, b])
        }
        ("xor", &[a, b]) => {
            let run: Run = |lanes, r, mask| {
                let value = negated(lanes, r[1], r[2]) ^ negated(lanes, r[3], r[4]);
                set_flag(lanes, r[0], mask, value);
            };
            (run, [a, b])
        }
        _ => return Err(opcode.unsupported()),
    };
    let [a, b] = sources;
    Ok(Op::Each { run, registers: [to, a.register, sign(a), b.register, sign(b)] })
}

/// Decodes `selp` (9.7.6.3): the first source where the predicate is true, otherwise the second.
pub fn decode_selp(opcode: &Opcode, operands: &[&str], names: &mut Names) -> Result<Op, String> {
    let &[to, a, b, flag] = operands else { return Err("selp has four operands".to_owned()) };
    let is_wide = opcode.kind().is_wide();
    let flag = names.flag(flag)?;
    let registers = [
        names.target(to, is_wide)?,
        names.source(a, is_wide)?,
        names.source(b, is_wide)?,
        flag.register,
        sign(flag),
    ];
    let run: Run = match opcode.kind().bytes() {
        8 => |lanes, r, mask| {
            let chosen = negated(lanes, r[3], r[4]);
            let pick = |a: u64, b: u64, lane| if chosen >> lane & 1 == 1 { a } else { b };
            let (a, b) = (lanes.longs[usize::from(r[1])], lanes.longs[usize::from(r[2])]);
            super::lanes::fill(&mut lanes.longs[usize::from(r[0])], mask, |i| pick(a[i], b[i], i));
        },
        4 => |lanes, r, mask| select(lanes, r, mask, u32::MAX),
        _ => |lanes, r, mask| select(lanes, r, mask, 0xFFFF),
    };
    Ok(Op::Each { run, registers })
}

#[inline(always)]
fn select(lanes: &mut Lanes, r: &[Register; 5], mask: u32, bits: u32) {
    let chosen = negated(lanes, r[3], r[4]);
    let (a, b) = (lanes.words[usize::from(r[1])], lanes.words[usize::from(r[2])]);
    let pick = |lane: usize| if chosen >> lane & 1 == 1 { a[lane] } else { b[lane] };
    part(lanes, r[0], mask, |lane| pick(lane) & bits);
}

/// The function of `slct` (9.7.6.4): the first source where the third is not negative.
pub fn find_slct(opcode: &Opcode) -> Option<Each> {
    let [kind, condition] = opcode.types[..] else { return None };
    Some(match (kind.bytes(), condition) {
        (4, Type::S32) => each!(|a: u32, b: u32, c: i32| -> u32 { if c >= 0 { a } else { b } }),
        (4, Type::F32) => each!(|a: u32, b: u32, c: f32| -> u32 { if c >= 0.0 { a } else { b } }),
        (8, Type::S32) => each!(|a: u64, b: u64, c: i32| -> u64 { if c >= 0 { a } else { b } }),
        (8, Type::F32) => each!(|a: u64, b: u64, c: f32| -> u64 { if c >= 0.0 { a } else { b } }),
        _ => return None,
    })
}
