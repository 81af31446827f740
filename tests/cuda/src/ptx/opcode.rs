//! An opcode with its modifiers, such as `ld.global.nc.v4.u32`.

use super::types::{Space, Type};

/// The parts of an opcode.
#[derive(Debug)]
pub struct Opcode<'a> {
    /// All of it.
    pub text: &'a str,
    /// What stands before the first point.
    pub name: &'a str,
    /// What stands behind it, types included.
    pub modifiers: Vec<&'a str>,
    /// The types among the modifiers.
    pub types: Vec<Type>,
}

impl<'a> Opcode<'a> {
    /// Takes an opcode apart.
    pub fn new(text: &'a str) -> Self {
        let mut parts = text.split('.');
        let name = parts.next().unwrap_or_default();
        let modifiers: Vec<&str> = parts.collect();
        let types = modifiers.iter().filter_map(|part| Type::named(part)).collect();
        Self { text, name, modifiers, types }
    }

    /// Whether a modifier is there.
    pub fn has(&self, modifier: &str) -> bool {
        self.modifiers.contains(&modifier)
    }

    /// The first type; 32 bits where none is named.
    pub fn kind(&self) -> Type {
        self.types.first().copied().unwrap_or(Type::B32)
    }

    /// The first modifier that `find` knows.
    pub fn find<T>(&self, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.modifiers.iter().find_map(|modifier| find(modifier))
    }

    /// The state space; generic where none is named.
    pub fn space(&self) -> Space {
        let named = |modifier: &str| {
            Some(match modifier {
                "global" | "const" => Space::Global,
                "shared" | "shared::cta" => Space::Shared,
                "local" => Space::Local,
                "param" | "param::entry" => Space::Param,
                _ => return None,
            })
        };
        self.find(named).unwrap_or(Space::Generic)
    }

    /// An error that names the opcode.
    pub fn unsupported(&self) -> String {
        format!("the stand-in does not know the instruction {}", self.text)
    }
}
