//! Instructions of several lanes together: `shfl` (9.7.9.6), `vote` (9.7.13.9), `redux`
//! (9.7.13.12); products of matrices are in [`super::multiply`].

use super::lanes::{LANES, Lanes, all, fill};
use super::moves::set_flag;
use crate::fault::{Fault, code};
use crate::ptx::instruction::{Direction, Op, Question, Reduce, Register, Shuffle, Vote};
use crate::ptx::names::Names;
use crate::ptx::opcode::Opcode;
use crate::ptx::types::Type;

/// What a shuffle takes from a lane that does not take part.
const UNKNOWN: u32 = 0xDEAD_BEEF;

/// Decodes `shfl.sync`.
pub fn decode_shuffle(opcode: &Opcode, operands: &[&str], names: &mut Names) -> Result<Op, String> {
    let &[to, value, lane, clamp, members] = operands else {
        return Err(format!("{} has five operands", opcode.text));
    };
    let direction = opcode.find(|name| {
        Some(match name {
            "up" => Direction::Up,
            "down" => Direction::Down,
            "bfly" => Direction::Butterfly,
            "idx" => Direction::Index,
            _ => return None,
        })
    });
    let (to, valid) = match to.split_once('|') {
        Some((to, valid)) => (to, names.flag_target(valid)?),
        None => (to, None),
    };
    if !opcode.has("sync") || opcode.kind().bytes() != 4 {
        return Err(opcode.unsupported());
    }
    Ok(Op::Shuffle(Box::new(Shuffle {
        direction: direction.ok_or_else(|| opcode.unsupported())?,
        to: names.target(to, false)?,
        valid,
        value: names.source(value, false)?,
        lane: names.source(lane, false)?,
        clamp: names.source(clamp, false)?,
        members: names.source(members, false)?,
    })))
}

/// Decodes `vote.sync`.
pub fn decode_vote(opcode: &Opcode, operands: &[&str], names: &mut Names) -> Result<Op, String> {
    let &[to, from, members] = operands else {
        return Err(format!("{} has three operands", opcode.text));
    };
    let question = opcode.find(|name| {
        Some(match name {
            "all" => Question::All,
            "any" => Question::Any,
            "uni" => Question::Uniform,
            "ballot" => Question::Ballot,
            _ => return None,
        })
    });
    let question = question.filter(|_| opcode.has("sync")).ok_or_else(|| opcode.unsupported())?;
    let to = match question {
        Question::Ballot => names.target(to, false)?,
        _ => names.flag_target(to)?.ok_or("a vote needs a destination")?,
    };
    let (from, members) = (names.flag(from)?, names.source(members, false)?);
    Ok(Op::Vote(Box::new(Vote { question, to, from, members })))
}

/// Decodes `redux.sync`.
pub fn decode_reduce(opcode: &Opcode, operands: &[&str], names: &mut Names) -> Result<Op, String> {
    let &[to, from, members] = operands else {
        return Err(format!("{} has three operands", opcode.text));
    };
    let kind = opcode.kind();
    let join = opcode.find(|name| {
        let join: fn(u32, u32) -> u32 = match (name, kind) {
            ("add", Type::U32 | Type::S32) => |a, b| a.wrapping_add(b),
            ("min", Type::U32) => |a, b| a.min(b),
            ("max", Type::U32) => |a, b| a.max(b),
            ("min", Type::S32) => |a, b| (a as i32).min(b as i32) as u32,
            ("max", Type::S32) => |a, b| (a as i32).max(b as i32) as u32,
            ("and", Type::B32) => |a, b| a & b,
            ("or", Type::B32) => |a, b| a | b,
            ("xor", Type::B32) => |a, b| a ^ b,
            _ => return None,
        };
        Some(join)
    });
    Ok(Op::Reduce(Box::new(Reduce {
        join: join.filter(|_| opcode.has("sync")).ok_or_else(|| opcode.unsupported())?,
        to: names.target(to, false)?,
        from: names.source(from, false)?,
        members: names.source(members, false)?,
    })))
}

/// The lanes that must take part in an instruction; those that run it are among them.
pub fn members(op: &Op, lanes: &Lanes, active: u32) -> Result<u32, Fault> {
    let register = match op {
        Op::Shuffle(shuffle) => shuffle.members,
        Op::Vote(vote) => vote.members,
        Op::Reduce(reduce) => reduce.members,
        Op::WarpBarrier(members) => *members,
        _ => return Ok(u32::MAX),
    };
    let row = &lanes.words[usize::from(register)];
    let members = row[active.trailing_zeros() as usize];
    let same = (0..LANES).filter(|lane| active >> lane & 1 == 1).all(|lane| row[lane] == members);
    if !same || active & !members != 0 {
        let text = format!("lanes {active:08x} run it, its members are {members:08x}");
        return Err(Fault::new(code::LAUNCH_FAILED, text));
    }
    Ok(members)
}

/// Runs an instruction of several lanes, all of which are there.
pub fn run(op: &Op, lanes: &mut Lanes, active: u32, members: u32) -> Result<(), Fault> {
    match op {
        Op::Shuffle(shuffle) => shuffle.run(lanes, active),
        Op::Vote(vote) => vote.run(lanes, active, members),
        Op::Reduce(reduce) => reduce.run(lanes, active),
        Op::Multiply(multiply) if active == u32::MAX => multiply.run(lanes),
        Op::Multiply(_) => {
            let text = format!("mma in the lanes {active:08x} alone");
            return Err(Fault::new(code::LAUNCH_FAILED, text));
        }
        _ => {}
    }
    Ok(())
}

impl Shuffle {
    /// The lane from which a lane takes its value, and whether that lies in its segment.
    fn source(&self, lane: u32, operand: u32, clamp: u32) -> (u32, bool) {
        let (distance, segment) = (operand & 31, clamp >> 8 & 31);
        let clamp = clamp & 31;
        let first = lane & segment;
        let last = first | clamp & !segment;
        let (source, is_valid) = match self.direction {
            Direction::Up => (lane.wrapping_sub(distance), lane >= distance + last),
            Direction::Down => (lane + distance, lane + distance <= last),
            Direction::Butterfly => (lane ^ distance, lane ^ distance <= last),
            Direction::Index => {
                let source = first | distance & !segment;
                (source, source <= last)
            }
        };
        if is_valid { (source, true) } else { (lane, false) }
    }

    fn run(&self, lanes: &mut Lanes, active: u32) {
        let row = |register: Register| lanes.words[usize::from(register)];
        let (values, operands, clamps) = (row(self.value), row(self.lane), row(self.clamp));
        let sources = all(|lane| self.source(lane as u32, operands[lane], clamps[lane]));
        let value = |source: u32| {
            if active >> source & 1 == 1 { values[source as usize] } else { UNKNOWN }
        };
        fill(&mut lanes.words[usize::from(self.to)], active, |lane| value(sources[lane].0));
        if let Some(valid) = self.valid {
            let bits = sources.iter().rev().fold(0, |bits, (_, v)| bits << 1 | u32::from(*v));
            set_flag(lanes, valid, active, bits);
        }
    }
}

impl Vote {
    fn run(&self, lanes: &mut Lanes, active: u32, members: u32) {
        let asked = active & members;
        let votes = (lanes.flags[usize::from(self.from.register)] ^ self.from.negate) & asked;
        let holds = match self.question {
            Question::All => votes == asked,
            Question::Any => votes != 0,
            Question::Uniform => votes == 0 || votes == asked,
            Question::Ballot => {
                return fill(&mut lanes.words[usize::from(self.to)], active, |_| votes);
            }
        };
        set_flag(lanes, self.to, active, if holds { u32::MAX } else { 0 });
    }
}

impl Reduce {
    fn run(&self, lanes: &mut Lanes, active: u32) {
        let values = lanes.words[usize::from(self.from)];
        let values = (0..LANES).filter(|lane| active >> lane & 1 == 1).map(|lane| values[lane]);
        if let Some(result) = values.reduce(self.join) {
            fill(&mut lanes.words[usize::from(self.to)], active, |_| result);
        }
    }
}
