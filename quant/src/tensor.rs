//! Which tensors a model has, and the record that describes each in the `TENSORS` section.
//!
//! The records come in one fixed order, so a tensor is found by arithmetic: embedding, head (only
//! when untied), final norm, rotary frequencies (only where the model has its own), then those of
//! each layer: nine, and the biases that the model has.

use crate::config::{FEATURE_ATTENTION_BIAS, FEATURE_FFN_BIAS, FEATURE_ROTARY_FREQUENCIES};
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
    /// How fast each pair of a head turns, in radians for each position `[head_dim / 2]`.
    RotaryFrequencies = 3,
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
    /// Added to the queries `[heads × head_dim]`.
    QBias = 25,
    /// Added to the keys `[kv_heads × head_dim]`.
    KBias = 26,
    /// Added to the values `[kv_heads × head_dim]`.
    VBias = 27,
    /// Added to the attention output `[hidden]`.
    OBias = 28,
    /// Added to the output of gate `[ffn]`.
    GateBias = 29,
    /// Added to the output of up `[ffn]`.
    UpBias = 30,
    /// Added to the output of down `[hidden]`.
    DownBias = 31,
}

/// The tensors that every layer has, in the order of their records.
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

/// The biases of a layer behind them, in models with [`FEATURE_ATTENTION_BIAS`].
const ATTENTION_BIASES: [Role; 4] = [Role::QBias, Role::KBias, Role::VBias, Role::OBias];
/// The biases of a layer behind these, in models with [`FEATURE_FFN_BIAS`].
const FFN_BIASES: [Role; 3] = [Role::GateBias, Role::UpBias, Role::DownBias];

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
            Role::RotaryFrequencies => "rotary_frequencies",
            Role::QBias => "q_bias",
            Role::KBias => "k_bias",
            Role::VBias => "v_bias",
            Role::OBias => "o_bias",
            Role::GateBias => "gate_bias",
            Role::UpBias => "up_bias",
            Role::DownBias => "down_bias",
        }
    }

    /// Whether the tensor is the gain of a norm.
    pub fn is_norm(self) -> bool {
        matches!(self, Role::FinalNorm | Role::AttnNorm | Role::FfnNorm)
    }

    /// Whether the tensor is a vector of F32 (gains, biases, frequencies) instead of a matrix.
    pub fn is_vector(self) -> bool {
        self.is_norm() || self.of_bias().is_some() || self == Role::RotaryFrequencies
    }

    /// The matrix whose outputs this bias is added to; none for what is no bias.
    pub fn of_bias(self) -> Option<Role> {
        Some(match self {
            Role::QBias => Role::Q,
            Role::KBias => Role::K,
            Role::VBias => Role::V,
            Role::OBias => Role::O,
            Role::GateBias => Role::Gate,
            Role::UpBias => Role::Up,
            Role::DownBias => Role::Down,
            _ => return None,
        })
    }

    /// The bias of a matrix of a layer, in a model of this shape that has it.
    pub fn bias(self, config: &Config) -> Option<Role> {
        let (bias, feature) = match self {
            Role::Q => (Role::QBias, FEATURE_ATTENTION_BIAS),
            Role::K => (Role::KBias, FEATURE_ATTENTION_BIAS),
            Role::V => (Role::VBias, FEATURE_ATTENTION_BIAS),
            Role::O => (Role::OBias, FEATURE_ATTENTION_BIAS),
            Role::Gate => (Role::GateBias, FEATURE_FFN_BIAS),
            Role::Up => (Role::UpBias, FEATURE_FFN_BIAS),
            Role::Down => (Role::DownBias, FEATURE_FFN_BIAS),
            _ => return None,
        };
        config.has(feature).then_some(bias)
    }

    /// `(rows, cols)` in a model of this shape; one row for vectors.
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
            Role::RotaryFrequencies => (1, config.head_dim as usize / 2),
            Role::QBias => (1, config.q_dim()),
            Role::KBias | Role::VBias => (1, config.kv_dim()),
            Role::GateBias | Role::UpBias => (1, ffn),
            Role::OBias | Role::DownBias => (1, hidden),
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

/// The tensors of a layer, in the order of their records.
pub fn layer_roles(config: &Config) -> impl Iterator<Item = Role> + use<> {
    let config = *config;
    (0..layer_count(&config)).map(move |within| layer_role(&config, within))
}

fn layer_role(config: &Config, within: usize) -> Role {
    let behind = within.saturating_sub(LAYER_ROLES.len());
    let attention = attention_bias_count(config);
    match () {
        () if within < LAYER_ROLES.len() => LAYER_ROLES[within],
        () if behind < attention => ATTENTION_BIASES[behind],
        () => FFN_BIASES[behind - attention],
    }
}

/// Every tensor of a model in the order of its records: `(role, layer)`.
pub fn order(config: &Config) -> impl Iterator<Item = (Role, u16)> + use<> {
    let config = *config;
    (0..count(&config)).map(move |place| at(&config, place))
}

/// The tensor whose record has this position.
fn at(config: &Config, place: usize) -> (Role, u16) {
    const OUTER: [Role; 4] =
        [Role::Embedding, Role::Head, Role::FinalNorm, Role::RotaryFrequencies];
    let Some(inner) = place.checked_sub(outer_count(config)) else {
        let skipped = if place > 0 { config.tied as usize } else { 0 };
        return (OUTER[place + skipped], NO_LAYER);
    };
    let of_layer = layer_count(config);
    (layer_role(config, inner % of_layer), (inner / of_layer) as u16)
}

/// Records of tensors that belong to no layer.
fn outer_count(config: &Config) -> usize {
    3 - config.tied as usize + usize::from(config.has(FEATURE_ROTARY_FREQUENCIES))
}

/// Records of the biases of attention in each layer.
fn attention_bias_count(config: &Config) -> usize {
    if config.has(FEATURE_ATTENTION_BIAS) { ATTENTION_BIASES.len() } else { 0 }
}

/// Records of each layer.
fn layer_count(config: &Config) -> usize {
    let of_ffn = if config.has(FEATURE_FFN_BIAS) { FFN_BIASES.len() } else { 0 };
    LAYER_ROLES.len() + attention_bias_count(config) + of_ffn
}

/// Position of a tensor's record in a model that has the tensor. Every step looks up many.
pub fn index(config: &Config, role: Role, layer: u16) -> usize {
    let behind = |first: Role| role as usize - first as usize;
    let within = match role {
        Role::Embedding => return 0,
        Role::Head => return 1,
        Role::FinalNorm => return 2 - config.tied as usize,
        Role::RotaryFrequencies => return outer_count(config) - 1,
        Role::QBias | Role::KBias | Role::VBias | Role::OBias => {
            LAYER_ROLES.len() + behind(Role::QBias)
        }
        Role::GateBias | Role::UpBias | Role::DownBias => {
            LAYER_ROLES.len() + attention_bias_count(config) + behind(Role::GateBias)
        }
        // Their numbers are in the order of records.
        _ => behind(Role::AttnNorm),
    };
    outer_count(config) + usize::from(layer) * layer_count(config) + within
}

/// Records that a model has.
pub fn count(config: &Config) -> usize {
    outer_count(config) + config.layers as usize * layer_count(config)
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
    /// vectors.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_lie_where_they_are_looked_up() {
        for (features, tied) in (0..8).flat_map(|features| [(features, 0), (features, 1)]) {
            let config = Config { features, tied, layers: 3, ..Config::zeroed() };
            for (place, (role, layer)) in order(&config).enumerate() {
                assert_eq!(index(&config, role, layer), place, "{role:?} of {features}");
            }
            assert_eq!(order(&config).count(), count(&config));
            let biases = layer_roles(&config).filter_map(|role| role.bias(&config));
            assert_eq!(biases.count(), layer_count(&config) - LAYER_ROLES.len());
        }
    }
}
