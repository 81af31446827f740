//! Which tensors a model has, and the record that describes each in the `TENSORS` section.
//!
//! The records come in one fixed order, so a tensor is found by arithmetic: embedding, head (only
//! when untied), final norm, then nine for each layer.

use crate::{Code, Config, Result, ensure};
use bytemuck::{Pod, Zeroable};
use core::fmt;

/// `layer` of a tensor that belongs to no layer.
pub const NO_LAYER: u16 = u16::MAX;

/// What a tensor does in the model. Shapes are `[rows, cols]`, rows being outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Role {
    /// Token embedding `[vocab, hidden]`; the head too when tied.
    Embedding = 0,
    /// Output head `[vocab, hidden]` of an untied model.
    Head = 1,
    /// Gain of the last RMSNorm `[hidden]`.
    FinalNorm = 2,
    /// Gain of the RMSNorm before attention `[hidden]`.
    AttnNorm = 16,
    /// Query projection `[heads × head_dim, hidden]`, halves rotated as in the paper's
    /// `rotate_half`.
    Q = 17,
    /// Key projection `[kv_heads × head_dim, hidden]`.
    K = 18,
    /// Value projection `[kv_heads × head_dim, hidden]`.
    V = 19,
    /// Attention output projection `[hidden, heads × head_dim]`.
    O = 20,
    /// Gain of the RMSNorm before the feed-forward layer `[hidden]`.
    FfnNorm = 21,
    /// Gate projection `[ffn, hidden]`.
    Gate = 22,
    /// Up projection `[ffn, hidden]`.
    Up = 23,
    /// Down projection `[hidden, ffn]`.
    Down = 24,
}

/// The tensors of one layer, in file order.
pub const LAYER_ROLES: [Role; 9] = [
    Role::AttnNorm,
    Role::Q,
    Role::K,
    Role::V,
    Role::O,
    Role::FfnNorm,
    Role::Gate,
    Role::Up,
    Role::Down,
];

impl Role {
    /// The name that reports print.
    pub fn name(self) -> &'static str {
        match self {
            Role::Embedding => "embedding",
            Role::Head => "head",
            Role::FinalNorm => "final_norm",
            Role::AttnNorm => "attn_norm",
            Role::Q => "q",
            Role::K => "k",
            Role::V => "v",
            Role::O => "o",
            Role::FfnNorm => "ffn_norm",
            Role::Gate => "gate",
            Role::Up => "up",
            Role::Down => "down",
        }
    }

    /// Whether the tensor is a vector of F32 gains instead of a matrix.
    pub fn is_norm(self) -> bool {
        matches!(self, Role::FinalNorm | Role::AttnNorm | Role::FfnNorm)
    }

    /// `(rows, cols)` in a model of this shape; `(1, hidden)` for norms.
    pub fn shape(self, config: &Config) -> (usize, usize) {
        let (hidden, ffn) = (config.hidden as usize, config.ffn as usize);
        match self {
            Role::Embedding | Role::Head => (config.vocab_size as usize, hidden),
            Role::FinalNorm | Role::AttnNorm | Role::FfnNorm => (1, hidden),
            Role::Q => (config.q_dim(), hidden),
            Role::K | Role::V => (config.kv_dim(), hidden),
            Role::O => (hidden, config.q_dim()),
            Role::Gate | Role::Up => (ffn, hidden),
            Role::Down => (hidden, ffn),
        }
    }
}

/// A tensor's name in reports: `embedding`, `layers.3.q`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    role: Role,
    layer: u16,
}

/// The name of a tensor.
pub fn name(role: Role, layer: u16) -> Name {
    Name { role, layer }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.layer != NO_LAYER {
            write!(f, "layers.{}.", self.layer)?;
        }
        f.write_str(self.role.name())
    }
}

/// Every tensor of a model in the order of its records: `(role, layer)`.
pub fn order(config: &Config) -> impl Iterator<Item = (Role, u16)> + use<> {
    let outer = [Role::Embedding, Role::Head, Role::FinalNorm];
    let tied = config.tied == 1;
    let layers = config.layers as u16;
    let outer = outer
        .into_iter()
        .filter(move |&role| !(tied && role == Role::Head))
        .map(|role| (role, NO_LAYER));
    outer
        .chain((0..layers).flat_map(|layer| LAYER_ROLES.into_iter().map(move |role| (role, layer))))
}

/// Position of a tensor's record.
pub fn index(config: &Config, role: Role, layer: u16) -> usize {
    let outer = 3 - config.tied as usize;
    match role {
        Role::Embedding => 0,
        Role::Head => 1,
        Role::FinalNorm => outer - 1,
        role => {
            let within =
                LAYER_ROLES.iter().position(|&r| r == role).expect("every other role is a layer's");
            outer + usize::from(layer) * LAYER_ROLES.len() + within
        }
    }
}

/// Records that a model has.
pub fn count(config: &Config) -> usize {
    3 - config.tied as usize + config.layers as usize * LAYER_ROLES.len()
}

/// One tensor in the `TENSORS` section: 64 bytes, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Record {
    /// The [`Role`]'s number.
    pub role: u16,
    /// Layer from 0, or [`NO_LAYER`].
    pub layer: u16,
    /// The [`crate::Type`]'s number.
    pub kind: u8,
    /// Columns that share a scale: 16 or 32, 0 for unquantized types.
    pub group: u8,
    /// Zero.
    pub reserved: u16,
    /// Output width.
    pub rows: u32,
    /// Input width.
    pub cols: u32,
    /// First byte, counted from the start of the `WEIGHTS` section; a multiple of 64.
    pub offset: u64,
    /// Bytes from one tile to the next; larger than a tile where two tensors interleave. 0 for
    /// norms.
    pub stride: u64,
    /// What the 4-bit codes stand for; zeros for other types.
    pub table: [i8; 16],
    /// Root of the error power over the weights' power, as measured when the file was made.
    pub relative_error: f32,
    /// Zero.
    pub reserved2: [u32; 3],
}

const _: () = assert!(size_of::<Record>() == 64);

impl Record {
    /// Checks that this is the record of `role` and `layer` in a model of this shape.
    pub fn check(&self, config: &Config, role: Role, layer: u16) -> Result<()> {
        let (rows, cols) = role.shape(config);
        let name = role.name();
        ensure!(
            self.role == role as u16 && self.layer == layer,
            Code::Corrupt,
            "the tensor table is out of order at {name}"
        );
        ensure!(
            self.rows as usize == rows && self.cols as usize == cols,
            Code::WrongShape,
            "tensor {name} is {} × {}, the model needs {rows} × {cols}",
            self.rows,
            self.cols
        );
        Ok(())
    }
}
