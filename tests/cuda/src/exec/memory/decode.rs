//! Decodes loads, stores and atomic operations.

use super::is_atomic;
use crate::exec::lanes::each;
use crate::ptx::instruction::{Access, Atomic, Op, Order, Register};
use crate::ptx::names::{Kind, Names};
use crate::ptx::opcode::Opcode;
use crate::ptx::statement::list;
use crate::ptx::types::Space;
use crate::ptx::types::Type::{self, B32, B64, F32, F64, S32, S64, U32, U64};

/// What the modifiers of an access promise.
fn order(opcode: &Opcode, is_atomic: bool) -> Order {
    let any = |names: &[&str]| names.iter().any(|name| opcode.has(name));
    Order {
        is_strong: is_atomic
            || any(&["volatile", "relaxed", "acquire", "release", "acq_rel", "mmio"]),
        acquires: any(&["acquire", "acq_rel"]),
        releases: any(&["release", "acq_rel"]),
    }
}

/// Decodes `ld` (9.7.9.8, 9.7.9.9) and `ldu` (9.7.9.10).
pub fn decode_load(opcode: &Opcode, operands: &[&str], names: &mut Names) -> Result<Op, String> {
    let &[to, from] = operands else { return Err(format!("{} has two operands", opcode.text)) };
    let parts = list(to);
    let is_wide = width(&parts, opcode, names);
    let registers = parts.iter().map(|name| names.target(name, is_wide));
    let registers = registers.collect::<Result<Vec<Register>, String>>()?;
    Ok(Op::Load(Box::new(access(opcode, from, registers, is_wide, names)?)))
}

/// Decodes `st` (9.7.9.11).
pub fn decode_store(opcode: &Opcode, operands: &[&str], names: &mut Names) -> Result<Op, String> {
    let &[to, from] = operands else { return Err(format!("{} has two operands", opcode.text)) };
    let parts = list(from);
    let is_wide = width(&parts, opcode, names);
    let registers = parts.iter().map(|name| names.source(name, is_wide));
    let registers = registers.collect::<Result<Vec<Register>, String>>()?;
    if opcode.space() == Space::Param {
        return Err("the stand-in does not know stores of parameters".to_owned());
    }
    Ok(Op::Store(Box::new(access(opcode, to, registers, is_wide, names)?)))
}

/// Whether registers of an access have 64 bits: they may be wider than their values in memory.
fn width(parts: &[&str], opcode: &Opcode, names: &Names) -> bool {
    let known = parts.iter().find_map(|name| names.register(name));
    known.map_or(opcode.kind().is_wide(), |(kind, _)| kind == Kind::Long)
}

fn access(
    opcode: &Opcode,
    address: &str,
    registers: Vec<Register>,
    is_wide: bool,
    names: &Names,
) -> Result<Access, String> {
    let (space, kind) = (opcode.space(), opcode.kind());
    let count = match (opcode.has("v2"), opcode.has("v4")) {
        (true, _) => 2,
        (_, true) => 4,
        _ => 1,
    };
    if opcode.types.len() != 1 || registers.len() != count || kind.is_wide() && !is_wide {
        return Err(format!("{} does not fit its registers", opcode.text));
    }
    let address = names.address(address)?;
    Ok(Access { space, kind, address, registers, is_wide, order: order(opcode, false) })
}

/// Decodes `atom` (9.7.13.7) and `red` (9.7.13.8), which has no destination.
pub fn decode_atomic(opcode: &Opcode, operands: &[&str], names: &mut Names) -> Result<Op, String> {
    let kind = opcode.kind();
    let (to, rest) = match (opcode.name, operands) {
        ("atom", [to, rest @ ..]) => (Some(names.target(to, kind.is_wide())?), rest),
        (_, rest) => (None, rest),
    };
    let (address, sources) = rest.split_first().ok_or("it has no address")?;
    let update = opcode.find(|name| update(name, kind)).filter(|_| is_atomic(kind));
    let update = update.ok_or_else(|| opcode.unsupported())?;
    let sources = match *sources {
        [a] if !opcode.has("cas") => [a, a],
        [a, b] if opcode.has("cas") => [a, b],
        _ => return Err(opcode.unsupported()),
    };
    let is_wide = kind.is_wide();
    let sources = [names.source(sources[0], is_wide)?, names.source(sources[1], is_wide)?];
    let address = names.address(address)?;
    let (space, order) = (opcode.space(), order(opcode, true));
    Ok(Op::Atomic(Box::new(Atomic { space, kind, update, to, address, sources, order })))
}

/// A function of floats in words.
fn single(f: impl Fn(f32, f32) -> f32, a: u64, b: u64) -> u64 {
    f(f32::from_bits(a as u32), f32::from_bits(b as u32)).to_bits().into()
}

/// A function of floats in longs.
fn double(f: impl Fn(f64, f64) -> f64, a: u64, b: u64) -> u64 {
    f(f64::from_bits(a), f64::from_bits(b)).to_bits()
}

/// The new value that an operation gives, of the old one and its operands.
fn update(name: &str, kind: Type) -> Option<fn(u64, u64, u64) -> u64> {
    Some(match (name, kind) {
        ("add", U32 | S32 | B32 | U64 | S64 | B64) => |old, a, _| old.wrapping_add(a),
        ("add", F32) => |old, a, _| single(|old, a| old + a, old, a),
        ("add", F64) => |old, a, _| double(|old, a| old + a, old, a),
        ("min", U32 | U64) => |old, a, _| old.min(a),
        ("max", U32 | U64) => |old, a, _| old.max(a),
        ("min", S32) => |old, a, _| (old as i32).min(a as i32) as u64,
        ("max", S32) => |old, a, _| (old as i32).max(a as i32) as u64,
        ("min", S64) => |old, a, _| (old as i64).min(a as i64) as u64,
        ("max", S64) => |old, a, _| (old as i64).max(a as i64) as u64,
        ("and", B32 | B64) => |old, a, _| old & a,
        ("or", B32 | B64) => |old, a, _| old | a,
        ("xor", B32 | B64) => |old, a, _| old ^ a,
        ("exch", B32 | B64) => |_, a, _| a,
        ("cas", B32 | B64) => |old, a, b| if old == a { b } else { old },
        ("inc", U32) => |old, a, _| if old >= a { 0 } else { old + 1 },
        ("dec", U32) => |old, a, _| if old == 0 || old > a { a } else { old - 1 },
        _ => return None,
    })
}

/// Decodes `cvta` (9.7.9.20): addresses of a space to generic ones, or back with `.to`.
pub fn decode_cvta(opcode: &Opcode, operands: &[&str], names: &mut Names) -> Result<Op, String> {
    let &[to, from] = operands else { return Err("cvta has two operands".to_owned()) };
    let window = opcode.space().window();
    let window = if opcode.has("to") { window.wrapping_neg() } else { window };
    let window = (window as i64).to_string();
    let each = each!(|address: u64, window: u64| -> u64 { address.wrapping_add(window) });
    if !opcode.kind().is_wide() {
        return Err(opcode.unsupported());
    }
    each.with(&[to, from, &window], names)
}
