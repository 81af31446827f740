//! Decoded instructions: operands are numbers of registers.

use super::types::{Space, Type};
use crate::exec::lanes::{Run, Test};

/// The number of a register among those of its kind.
pub type Register = u16;

/// A predicate, possibly negated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The register.
    pub register: Register,
    /// All ones when the predicate is negated, otherwise 0.
    pub negate: u32,
}

/// An instruction of a kernel.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// The lanes in which it does something.
    pub guard: Flag,
    /// The line of the module's text.
    pub line: u32,
    /// What it does.
    pub op: Op,
}

/// What an instruction does.
#[derive(Clone, Debug)]
pub enum Op {
    /// A function of registers in every lane by itself.
    Each {
        /// The function.
        run: Run,
        /// The destination, then the sources.
        registers: [Register; 5],
    },
    /// A comparison into one or two predicates.
    Compare(Box<Compare>),
    /// A read of memory.
    Load(Box<Access>),
    /// A write to memory.
    Store(Box<Access>),
    /// A read and a write that nothing can come between.
    Atomic(Box<Atomic>),
    /// Values from other lanes.
    Shuffle(Box<Shuffle>),
    /// A predicate of all lanes together.
    Vote(Box<Vote>),
    /// A sum or another reduction over lanes.
    Reduce(Box<Reduce>),
    /// A product of small matrices.
    Multiply(Box<Multiply>),
    /// The lanes that are here.
    ActiveMask(Register),
    /// How many instructions the warp has run.
    Clock {
        /// The destination.
        to: Register,
        /// Whether it has 64 bits.
        is_wide: bool,
    },
    /// A jump.
    Branch(u32),
    /// A jump to one of several places.
    BranchIndex {
        /// The register with the number of the place.
        index: Register,
        /// The places.
        targets: Box<[u32]>,
    },
    /// A barrier of a block.
    Barrier(Barrier),
    /// A barrier of the lanes of a mask in this register.
    WarpBarrier(Register),
    /// An order of memory accesses.
    Fence,
    /// The end of a lane.
    Exit,
    /// Nothing.
    Nothing,
}

/// A comparison (9.7.6.2): `first = test op with`, `second = !test op with`.
#[derive(Clone, Debug)]
pub struct Compare {
    /// The comparison.
    pub test: Test,
    /// What it compares.
    pub sources: [Register; 2],
    /// The predicates that it sets.
    pub targets: [Option<Register>; 2],
    /// How another predicate enters.
    pub join: Option<(Join, Flag)>,
}

/// How predicates are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say everything")]
pub enum Join {
    And,
    Or,
    Xor,
}

/// The address of an access.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    /// What the offset is added to.
    pub base: Base,
    /// Bytes.
    pub offset: i64,
}

/// What an address begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing: the offset is the address.
    Nothing,
    /// A register of 32 bits.
    Word(Register),
    /// A register of 64 bits.
    Long(Register),
}

/// A read or a write.
#[derive(Clone, Debug)]
pub struct Access {
    /// Where.
    pub space: Space,
    /// The type in memory.
    pub kind: Type,
    /// The address of the first value.
    pub address: Address,
    /// Registers, as many as there are values.
    pub registers: Vec<Register>,
    /// Whether the registers have 64 bits.
    pub is_wide: bool,
    /// What the access promises to other threads.
    pub order: Order,
}

/// What an access promises to other threads (8.4, 8.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Not weak: several threads may use the place at the same time.
    pub is_strong: bool,
    /// What others wrote before is visible behind it.
    pub acquires: bool,
    /// What was written before is visible to who reads it.
    pub releases: bool,
}

/// An atomic operation (9.7.13.7).
#[derive(Clone, Debug)]
pub struct Atomic {
    /// Where.
    pub space: Space,
    /// The type in memory.
    pub kind: Type,
    /// The new value, of the old one and two operands.
    pub update: fn(u64, u64, u64) -> u64,
    /// Where the old value goes.
    pub to: Option<Register>,
    /// The address.
    pub address: Address,
    /// The operands; the second is the first where there is only one.
    pub sources: [Register; 2],
    /// What the access promises to other threads.
    pub order: Order,
}

/// From where a shuffle takes values (9.7.9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of PTX")]
pub enum Direction {
    Up,
    Down,
    Butterfly,
    Index,
}

/// A shuffle.
#[derive(Clone, Debug)]
pub struct Shuffle {
    /// From where.
    pub direction: Direction,
    /// The destination.
    pub to: Register,
    /// The predicate that says whether the source was in range.
    pub valid: Option<Register>,
    /// The value.
    pub value: Register,
    /// How far, or from which lane.
    pub lane: Register,
    /// The segment and the clamp.
    pub clamp: Register,
    /// The lanes that take part.
    pub members: Register,
}

/// What a vote asks (9.7.13.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of PTX")]
pub enum Question {
    All,
    Any,
    Uniform,
    Ballot,
}

/// A vote.
#[derive(Clone, Debug)]
pub struct Vote {
    /// What is asked.
    pub question: Question,
    /// The destination: of a ballot a word, otherwise a predicate.
    pub to: Register,
    /// The votes.
    pub from: Flag,
    /// The lanes that take part.
    pub members: Register,
}

/// A reduction over lanes (9.7.13.12).
#[derive(Clone, Debug)]
pub struct Reduce {
    /// How two values become one.
    pub join: fn(u32, u32) -> u32,
    /// The destination.
    pub to: Register,
    /// The values.
    pub from: Register,
    /// The lanes that take part.
    pub members: Register,
}

/// A product of matrices of bytes (9.7.14.5): `d = a · b + c`.
#[derive(Clone, Debug)]
pub struct Multiply {
    /// Columns of `a` and rows of `b`, 16 or 32.
    pub depth: usize,
    /// Whether bytes of `a` and of `b` are signed.
    pub is_signed: [bool; 2],
    /// The result, 16 rows of 8.
    pub d: [Register; 4],
    /// 16 rows of `depth`.
    pub a: Vec<Register>,
    /// `depth` rows of 8.
    pub b: Vec<Register>,
    /// What is added.
    pub c: [Register; 4],
}

/// A barrier of a block (9.7.13.1).
#[derive(Clone, Copy, Debug)]
pub struct Barrier {
    /// The register with its number.
    pub number: Register,
    /// The register with the number of threads, where not all take part.
    pub threads: Option<Register>,
    /// Whether all lanes of a warp must come to the same instruction.
    pub is_aligned: bool,
}
