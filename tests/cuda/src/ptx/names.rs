//! What names in a kernel stand for: registers, variables, constants and labels.

use super::instruction::{Address, Base, Flag, Register};
use super::statement::split;
use super::types::{Space, Type};
use std::collections::HashMap;

/// The kinds of registers. What has 8 or 16 bits lies in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say everything")]
pub enum Kind {
    Word,
    Long,
    Flag,
}

impl Kind {
    /// The kind of register for values of a type.
    pub fn of(kind: Type) -> Self {
        match kind {
            Type::Pred => Self::Flag,
            kind if kind.is_wide() => Self::Long,
            _ => Self::Word,
        }
    }
}

/// Values that registers have from the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constants {
    /// Words.
    pub words: Vec<(Register, u32)>,
    /// Longs.
    pub longs: Vec<(Register, u64)>,
    /// Registers that a launch sets, by their names without `%`.
    pub specials: Vec<(Register, String)>,
}

/// A variable in memory: its address in its space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Where it lies.
    pub space: Space,
    /// Its address there.
    pub address: u64,
}

/// Registers of one declaration: `%r<4>`, or a single one.
#[derive(Clone, Copy, Debug)]
struct Declared {
    kind: Kind,
    first: Register,
    /// How many there are; none when the name is that of a single one.
    count: Option<u32>,
}

/// The registers of a kernel and what else its operands may name.
#[derive(Debug)]
pub struct Names {
    /// Variables of the module and of the kernel.
    pub variables: HashMap<String, Variable>,
    /// Instructions behind labels.
    pub labels: HashMap<String, u32>,
    /// Places behind `.branchtargets`.
    pub targets: HashMap<String, Vec<String>>,
    /// Registers with a value from the start.
    pub constants: Constants,
    /// How many words, longs and flags there are.
    pub counts: [usize; 3],
    scopes: Vec<HashMap<String, Declared>>,
    known: HashMap<(bool, u64), Register>,
    specials: HashMap<String, Register>,
}

/// The predicate register that is true everywhere; the next is false everywhere.
pub const TRUE: Register = 0;

impl Names {
    /// The names of a kernel in a module with these variables.
    pub fn new(variables: HashMap<String, Variable>) -> Self {
        Self {
            variables,
            labels: HashMap::new(),
            targets: HashMap::new(),
            constants: Constants::default(),
            counts: [0, 0, 2],
            scopes: vec![HashMap::new()],
            known: HashMap::new(),
            specials: HashMap::new(),
        }
    }

    /// Begins a block.
    pub fn open(&mut self) {
        self.scopes.push(HashMap::new());
    }

    /// Ends a block; its registers have no names any more.
    pub fn close(&mut self) {
        self.scopes.pop();
    }

    fn take(&mut self, kind: Kind, count: u32) -> Result<Register, String> {
        let next = &mut self.counts[kind as usize];
        let first = Register::try_from(*next).map_err(|_| "too many registers")?;
        *next += count as usize;
        if *next > usize::from(Register::MAX) {
            return Err("too many registers".to_owned());
        }
        Ok(first)
    }

    /// Declares registers: what stands behind `.reg`.
    pub fn declare(&mut self, text: &str) -> Result<(), String> {
        let (kind, names) = text.trim().split_once(char::is_whitespace).ok_or("no registers")?;
        let kind = kind.strip_prefix('.').and_then(Type::named);
        let kind = Kind::of(kind.ok_or_else(|| format!("registers of an unknown type: {text}"))?);
        for name in split(names) {
            let (name, count) = match name.split_once('<') {
                Some((name, count)) => {
                    let count = count.trim_end_matches('>').trim().parse::<u32>();
                    (name, Some(count.map_err(|error| error.to_string())?))
                }
                None => (name, None),
            };
            let first = self.take(kind, count.unwrap_or(1))?;
            let scope = self.scopes.last_mut().ok_or("no block")?;
            scope.insert(name.to_owned(), Declared { kind, first, count });
        }
        Ok(())
    }

    /// The register with a name.
    pub fn register(&self, name: &str) -> Option<(Kind, Register)> {
        let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = name[prefix.len()..].parse::<u32>().ok();
        self.scopes.iter().rev().find_map(|scope| {
            let single = scope.get(name).filter(|declared| declared.count.is_none());
            if let Some(declared) = single {
                return Some((declared.kind, declared.first));
            }
            let declared = scope.get(prefix)?;
            let number = number.filter(|number| Some(*number) < declared.count)?;
            Some((declared.kind, declared.first + number as Register))
        })
    }

    fn constant(&mut self, is_wide: bool, value: u64) -> Result<Register, String> {
        let value = if is_wide { value } else { value & u64::from(u32::MAX) };
        if let Some(register) = self.known.get(&(is_wide, value)) {
            return Ok(*register);
        }
        let register = self.take(if is_wide { Kind::Long } else { Kind::Word }, 1)?;
        self.known.insert((is_wide, value), register);
        if is_wide {
            self.constants.longs.push((register, value));
        } else {
            self.constants.words.push((register, value as u32));
        }
        Ok(register)
    }

    /// The register with an operand: a register, a number, or the address of a variable.
    pub fn source(&mut self, text: &str, is_wide: bool) -> Result<Register, String> {
        if let Some((kind, register)) = self.register(text) {
            let fits = kind == if is_wide { Kind::Long } else { Kind::Word };
            return if fits { Ok(register) } else { Err(format!("{text} has another size")) };
        }
        if let Some(value) = number(text) {
            return self.constant(is_wide, value);
        }
        if let Some(value) = self.variable(text) {
            return self.constant(is_wide, value);
        }
        match text.strip_prefix('%') {
            Some(name) if !is_wide && is_special(name) => self.special(name),
            _ => Err(format!("{text} is neither a register nor a number")),
        }
    }

    /// The address of a variable, possibly with an offset: `name+4`.
    fn variable(&self, text: &str) -> Option<u64> {
        let (name, offset) = match text.split_once('+') {
            Some((name, offset)) => (name.trim(), number(offset.trim())?),
            None => (text, 0),
        };
        if let Some(inner) = name.strip_prefix("generic(").and_then(|name| name.strip_suffix(')')) {
            let variable = self.variables.get(inner)?;
            return Some(variable.space.window() + variable.address + offset);
        }
        self.variables.get(name).map(|variable| variable.address.wrapping_add(offset))
    }

    fn special(&mut self, name: &str) -> Result<Register, String> {
        if let Some(register) = self.specials.get(name) {
            return Ok(*register);
        }
        let register = self.take(Kind::Word, 1)?;
        self.specials.insert(name.to_owned(), register);
        self.constants.specials.push((register, name.to_owned()));
        Ok(register)
    }

    /// The register that an instruction writes.
    pub fn target(&mut self, text: &str, is_wide: bool) -> Result<Register, String> {
        let kind = if is_wide { Kind::Long } else { Kind::Word };
        match self.register(text) {
            Some((found, register)) if found == kind => Ok(register),
            None if text == "_" => self.take(kind, 1),
            _ => Err(format!("{text} is no register of the right size")),
        }
    }

    /// A predicate: `%p1`, `!%p1`, or a constant.
    pub fn flag(&self, text: &str) -> Result<Flag, String> {
        let (name, negate) = match text.strip_prefix('!') {
            Some(name) => (name, u32::MAX),
            None => (text, 0),
        };
        match (self.register(name), number(name)) {
            (Some((Kind::Flag, register)), _) => Ok(Flag { register, negate }),
            (None, Some(value)) => Ok(Flag { register: TRUE + Register::from(value == 0), negate }),
            _ => Err(format!("{text} is no predicate")),
        }
    }

    /// The predicate register that an instruction writes; none for `_`.
    pub fn flag_target(&self, text: &str) -> Result<Option<Register>, String> {
        match self.register(text) {
            Some((Kind::Flag, register)) => Ok(Some(register)),
            None if text == "_" => Ok(None),
            _ => Err(format!("{text} is no predicate register")),
        }
    }

    /// An address in brackets.
    pub fn address(&self, text: &str) -> Result<Address, String> {
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let inner = inner.ok_or_else(|| format!("{text} is no address"))?.trim();
        let (name, offset) = match inner.split_once('+') {
            Some((name, offset)) => (name.trim(), offset.trim()),
            None => match inner.rfind('-').filter(|at| *at > 0) {
                Some(at) => (inner[..at].trim(), inner[at..].trim()),
                None => (inner, "0"),
            },
        };
        let offset = number(offset).ok_or_else(|| format!("no offset: {offset}"))? as i64;
        let base = match self.register(name) {
            Some((Kind::Word, register)) => Base::Word(register),
            Some((Kind::Long, register)) => Base::Long(register),
            Some((Kind::Flag, _)) => return Err(format!("{name} is a predicate")),
            None => {
                let value = self.variable(name).or_else(|| number(name));
                let value = value.ok_or_else(|| format!("there is no {name}"))? as i64;
                return Ok(Address { base: Base::Nothing, offset: value.wrapping_add(offset) });
            }
        };
        Ok(Address { base, offset })
    }

    /// The instruction behind a label.
    pub fn label(&self, name: &str) -> Result<u32, String> {
        self.labels.get(name).copied().ok_or_else(|| format!("there is no label {name}"))
    }
}

/// The bits of a number (4.5): an integer, or a float as `0f3F800000` or `0d3FF0000000000000`.
pub fn number(text: &str) -> Option<u64> {
    let prefix = text.get(..2).unwrap_or_default();
    if prefix.eq_ignore_ascii_case("0f") || prefix.eq_ignore_ascii_case("0d") {
        return u64::from_str_radix(&text[2..], 16).ok();
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits.trim_start()),
        None => (false, text),
    };
    let digits = digits.trim_end_matches(['U', 'u']);
    let value = match digits.get(..2) {
        Some("0x" | "0X") => u64::from_str_radix(&digits[2..], 16).ok()?,
        Some("0b" | "0B") => u64::from_str_radix(&digits[2..], 2).ok()?,
        _ => digits.parse().ok()?,
    };
    Some(if negative { value.wrapping_neg() } else { value })
}

/// Special registers (10) of 32 bits that do not change while a block runs.
fn is_special(name: &str) -> bool {
    const NAMES: [&str; 14] = [
        "laneid",
        "warpid",
        "nwarpid",
        "smid",
        "nsmid",
        "gridid",
        "lanemask_eq",
        "lanemask_le",
        "lanemask_lt",
        "lanemask_ge",
        "lanemask_gt",
        "dynamic_smem_size",
        "total_smem_size",
        "WARP_SZ",
    ];
    let vectors = ["tid", "ntid", "ctaid", "nctaid"];
    let axis = name
        .split_once('.')
        .is_some_and(|(vector, axis)| vectors.contains(&vector) && ["x", "y", "z"].contains(&axis));
    axis || NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_found_from_the_inside_out() {
        let mut names = Names::new(HashMap::new());
        names.declare(".b32 %r<3>").unwrap();
        names.open();
        names.declare(".b64 t1").unwrap();
        assert_eq!(names.register("%r2"), Some((Kind::Word, 2)));
        assert_eq!(names.register("%r3"), None);
        assert_eq!(names.register("t1"), Some((Kind::Long, 0)));
        names.close();
        assert_eq!(names.register("t1"), None);
    }

    #[test]
    fn numbers_have_all_their_spellings() {
        let found = ["12", "-1", "0xFF", "0f3F800000", "0b101", "7U", "%r1"].map(number);
        let want = [Some(12), Some(u64::MAX), Some(255), Some(0x3F80_0000), Some(5), Some(7), None];
        assert_eq!(found, want);
    }

    #[test]
    fn equal_constants_share_a_register() {
        let mut names = Names::new(HashMap::new());
        assert_eq!(names.source("-1", false), names.source("0xFFFFFFFF", false));
        assert_ne!(names.source("1", false), names.source("2", false));
    }
}
