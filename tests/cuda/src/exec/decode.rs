//! From opcodes to the pages that define them.

use super::{bits, compare, control, convert, float, integer, memory, moves, multiply, warp};
use crate::ptx::instruction::Op;
use crate::ptx::names::Names;
use crate::ptx::opcode::Opcode;
use crate::ptx::types::Type;

/// Decodes an instruction without its guard.
pub fn decode(opcode: &Opcode, operands: &[&str], names: &mut Names) -> Result<Op, String> {
    let is_flag = opcode.kind() == Type::Pred;
    match opcode.name {
        "ld" | "ldu" => memory::decode_load(opcode, operands, names),
        "st" => memory::decode_store(opcode, operands, names),
        "atom" | "red" => memory::decode_atomic(opcode, operands, names),
        "cvta" => memory::decode_cvta(opcode, operands, names),
        "mov" => moves::decode_mov(opcode, operands, names),
        "selp" => moves::decode_selp(opcode, operands, names),
        "and" | "or" | "xor" | "not" if is_flag => moves::decode_flags(opcode, operands, names),
        "setp" => compare::decode_setp(opcode, operands, names),
        "set" => compare::decode_set(opcode, operands, names),
        "cvt" => convert::decode(opcode, operands, names),
        "shfl" => warp::decode_shuffle(opcode, operands, names),
        "vote" => warp::decode_vote(opcode, operands, names),
        "redux" => warp::decode_reduce(opcode, operands, names),
        "mma" => multiply::decode(opcode, operands, names),
        _ => {
            let each = integer::find(opcode).or_else(|| bits::find(opcode));
            let each = each.or_else(|| float::find(opcode));
            let slct = || moves::find_slct(opcode).filter(|_| opcode.name == "slct");
            match each.or_else(slct) {
                Some(each) => each.with(operands, names),
                None => control::decode(opcode, operands, names),
            }
        }
    }
}
