//! Types of values and state spaces, by their names in PTX.

/// A fundamental type (5.2.1), or one of the narrow floats of `cvt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of PTX")]
pub enum Type {
    Pred,
    B8,
    B16,
    B32,
    B64,
    S8,
    S16,
    S32,
    S64,
    U8,
    U16,
    U32,
    U64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    F32,
    F64,
}

impl Type {
    /// The type with a name such as `u32`.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "pred" => Self::Pred,
            "b8" => Self::B8,
            "b16" => Self::B16,
            "b32" => Self::B32,
            "b64" => Self::B64,
            "s8" => Self::S8,
            "s16" => Self::S16,
            "s32" => Self::S32,
            "s64" => Self::S64,
            "u8" => Self::U8,
            "u16" => Self::U16,
            "u32" => Self::U32,
            "u64" => Self::U64,
            "f16" => Self::F16,
            "f16x2" => Self::F16x2,
            "bf16" => Self::Bf16,
            "bf16x2" => Self::Bf16x2,
            "f32" => Self::F32,
            "f64" => Self::F64,
            _ => return None,
        })
    }

    /// The last type that a declaration names, such as `u8` in `.global .align 4 .u8 x[3]`.
    pub fn of_declaration(text: &str) -> Option<Self> {
        text.split_whitespace().rev().find_map(|word| Self::named(word.strip_prefix('.')?))
    }

    /// Bytes of a value in memory.
    pub fn bytes(self) -> usize {
        match self {
            Self::Pred | Self::B8 | Self::S8 | Self::U8 => 1,
            Self::B16 | Self::S16 | Self::U16 | Self::F16 | Self::Bf16 => 2,
            Self::B32 | Self::S32 | Self::U32 | Self::F32 | Self::F16x2 | Self::Bf16x2 => 4,
            Self::B64 | Self::S64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// Whether values need a register of 64 bits.
    pub fn is_wide(self) -> bool {
        self.bytes() == 8
    }

    /// Whether it is a signed integer.
    pub fn is_signed(self) -> bool {
        matches!(self, Self::S8 | Self::S16 | Self::S32 | Self::S64)
    }

    /// Whether it is a float.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::F16x2 | Self::Bf16 | Self::Bf16x2 | Self::F32 | Self::F64)
    }
}

/// A state space of memory (5.1). Constants lie in global memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of PTX")]
pub enum Space {
    Global,
    Shared,
    Local,
    Param,
    /// The address says which.
    Generic,
}

impl Space {
    /// Where the space begins among generic addresses; global memory is at its real addresses.
    pub fn window(self) -> u64 {
        match self {
            Self::Global | Self::Generic => 0,
            Self::Shared => 1 << 56,
            Self::Local => 2 << 56,
            Self::Param => 3 << 56,
        }
    }

    /// The space of a generic address.
    pub fn of_address(address: u64) -> Self {
        match address >> 56 {
            1 => Self::Shared,
            2 => Self::Local,
            3 => Self::Param,
            _ => Self::Global,
        }
    }
}
