//! How each tensor is stored and where it lies in the `WEIGHTS` section.
//!
//! The order is that of a forward pass, so that decoding streams the file from front to back: the
//! layers, the final norm, the head, and the embedding last, which is the head too when tied.
//! Query, key and value follow each other without a gap. The tiles of quantized gate and up
//! matrices alternate, so that one thread reads both halves of a SwiGLU product from one place.

use crate::config::FEATURE_ROTARY_FREQUENCIES;
use crate::format::{ALIGN, TILE_ROWS, Type};
use crate::quantize::Scheme;
use crate::tensor::{self, NO_LAYER, Record};
use crate::{Code, Config, Result, Role, ensure, fail};
use bytemuck::Zeroable;

/// What a file is made of, by the name that the command line has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Preset {
    /// Everything in 32-bit floats.
    F32,
    /// Everything in 16-bit brain floats.
    Bf16,
    /// Near-lossless: 8 bits, the vocabulary matrices in two planes.
    Q8,
    /// 5 bits; values and the vocabulary matrices in 8.
    Q5,
    /// 4 bits; values and the vocabulary matrices in 8.
    Q4,
    /// 4 bits, codes of a curved table, the vocabulary matrices too; values in 5.
    Q4s,
    /// 3 bits; keys in 4, values and the vocabulary matrices in 8.
    Q3,
}

impl Preset {
    /// All of them, from the largest file to the smallest.
    pub const ALL: [Self; 7] =
        [Self::F32, Self::Bf16, Self::Q8, Self::Q5, Self::Q4, Self::Q3, Self::Q4s];

    /// The name that the command line uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Q8 => "q8",
            Self::Q5 => "q5",
            Self::Q4 => "q4",
            Self::Q4s => "q4s",
            Self::Q3 => "q3",
        }
    }

    /// Whether weights are rounded to codes.
    pub fn is_quantized(self) -> bool {
        !matches!(self, Self::F32 | Self::Bf16)
    }
}

impl From<Type> for Preset {
    fn from(kind: Type) -> Self {
        match kind {
            Type::F32 => Self::F32,
            Type::Bf16 => Self::Bf16,
            Type::Q8 | Type::Q8Planes => Self::Q8,
            Type::Q5 => Self::Q5,
            Type::Q4 => Self::Q4,
            Type::Q3 => Self::Q3,
        }
    }
}

/// How the tensors of every class are stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    preset: Preset,
    /// Indexed as [`CLASSES`].
    schemes: [Scheme; CLASSES.len()],
}

/// The classes of matrices that a mix gives a scheme.
pub const CLASSES: [Role; 9] = [
    Role::Embedding,
    Role::Head,
    Role::Q,
    Role::K,
    Role::V,
    Role::O,
    Role::Gate,
    Role::Up,
    Role::Down,
];

impl<P: Into<Preset>> From<P> for Mix {
    fn from(preset: P) -> Self {
        let preset = preset.into();
        Self { preset, schemes: CLASSES.map(|role| preset_scheme(preset, role)) }
    }
}

impl Mix {
    /// What the mix began as.
    pub fn preset(&self) -> Preset {
        self.preset
    }

    /// How tensors of this role are stored; vectors are always F32.
    pub fn scheme(&self, role: Role) -> Scheme {
        let class = CLASSES.iter().position(|&class| class == role);
        class.map_or(Scheme::F32, |class| self.schemes[class])
    }

    /// Changes classes as a text says: `v=q5,gate=q4g32`.
    ///
    /// The classes are [`CLASSES`] by their names, the formats those of [`Scheme::name`]; without a
    /// width of groups a format has its usual one. `BadArgument` for anything else.
    pub fn change(&mut self, text: &str) -> Result<()> {
        for part in text.split(',') {
            let pair = part.split_once('=');
            let class = |name: &str| CLASSES.into_iter().find(|class| class.name() == name.trim());
            let found = pair
                .and_then(|(name, scheme)| Some((class(name)?, Scheme::from_name(scheme.trim())?)));
            let Some((role, scheme)) = found else {
                fail!(
                    Code::BadArgument,
                    "{part} is no class and format: write such as v=q5 or gate=q4g32, with the \
                     classes {} and the formats bf16, q8, q8p, q5, q4, q4t and q3",
                    CLASSES.map(Role::name).join(", ")
                );
            };
            ensure!(
                matches!(role, Role::Embedding | Role::Head) || scheme.kind() != Type::Q8Planes,
                Code::BadArgument,
                "two planes (q8p) are for embedding and head only: take q8 for {}",
                role.name()
            );
            self.set(role, scheme);
        }
        Ok(())
    }

    /// Stores tensors of this role differently. Panics for vectors.
    pub fn set(&mut self, role: Role, scheme: Scheme) {
        let class = CLASSES.iter().position(|&class| class == role);
        self.schemes[class.expect("vectors are always F32")] = scheme;
    }
}

/// How a preset stores a matrix.
///
/// The vocabulary matrices, which decide the logits, are Q8 in two planes unless the smallest file
/// is wanted. Value projections, small and the most sensitive, have more bits than the rest, or
/// narrower groups. The smallest file has codes of a table, which are a fifth better and take more
/// computing: on the boards that it is for, memory is the limit.
fn preset_scheme(preset: Preset, role: Role) -> Scheme {
    let is_vocabulary = matches!(role, Role::Embedding | Role::Head);
    match preset {
        Preset::F32 => Scheme::F32,
        Preset::Bf16 => Scheme::BF16,
        Preset::Q5 | Preset::Q4s if role == Role::V => Scheme::Q5.with_group(16),
        Preset::Q4s => Scheme::Q4_CURVED,
        _ if is_vocabulary => Scheme::Q8_PLANES,
        Preset::Q8 => Scheme::Q8,
        _ if role == Role::V => Scheme::Q8,
        Preset::Q5 => Scheme::Q5,
        Preset::Q4 => Scheme::Q4,
        Preset::Q3 if role == Role::K => Scheme::Q4,
        Preset::Q3 => Scheme::Q3,
    }
}

/// The place of every tensor, known before any is read.
#[derive(Clone, Debug)]
pub(crate) struct Arrangement {
    /// One record for each tensor, in the order of [`tensor::order`]; errors are still 0.
    pub records: Vec<Record>,
    /// What to write, in file order.
    pub steps: Vec<Step>,
    /// Bytes of the section.
    pub bytes: u64,
}

/// Tensors of one shape that are written together, with alternating tiles.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The layer, or [`NO_LAYER`].
    pub layer: u16,
    /// The tensors, one, or gate and up, and how they are stored.
    pub tensors: Vec<(Role, Scheme)>,
    /// Bytes from one tile of a tensor to the next; 0 for vectors.
    pub stride: usize,
}

impl Arrangement {
    /// The arrangement of a model of this shape.
    pub fn new(config: &Config, mix: &Mix) -> Self {
        let records = vec![Record::zeroed(); tensor::count(config)];
        let mut all = Self { records, steps: Vec::new(), bytes: 0 };
        let is_quantized = |role| mix.scheme(role).kind().is_quantized();
        let interleave = is_quantized(Role::Gate) && is_quantized(Role::Up);
        for layer in 0..config.layers as u16 {
            for role in tensor::layer_roles(config) {
                match role {
                    Role::Gate if interleave => {
                        all.place(config, mix, layer, &[Role::Gate, Role::Up]);
                    }
                    Role::Up if interleave => {}
                    role => all.place(config, mix, layer, &[role]),
                }
            }
        }
        all.place(config, mix, NO_LAYER, &[Role::FinalNorm]);
        if config.has(FEATURE_ROTARY_FREQUENCIES) {
            all.place(config, mix, NO_LAYER, &[Role::RotaryFrequencies]);
        }
        if config.tied == 0 {
            all.place(config, mix, NO_LAYER, &[Role::Head]);
        }
        all.place(config, mix, NO_LAYER, &[Role::Embedding]);
        all
    }

    fn place(&mut self, config: &Config, mix: &Mix, layer: u16, roles: &[Role]) {
        let tensors: Vec<_> = roles.iter().map(|&role| (role, mix.scheme(role))).collect();
        let tile_bytes = |&(role, scheme): &(Role, Scheme)| match role.is_vector() {
            true => 0,
            false => scheme.layout(role.shape(config).1).bytes,
        };
        let stride = tensors.iter().map(tile_bytes).sum();
        let mut offset = self.bytes;
        for tensor in &tensors {
            let &(role, scheme) = tensor;
            let (rows, cols) = role.shape(config);
            let record = Record {
                role: role as u16,
                layer,
                kind: scheme.kind() as u8,
                group: scheme.group() as u8,
                rows: rows as u32,
                cols: cols as u32,
                offset,
                stride: stride as u64,
                table: *scheme.table(),
                ..Record::zeroed()
            };
            offset += tile_bytes(tensor) as u64;
            self.bytes += tensor_bytes(&record, role, &scheme);
            self.records[tensor::index(config, role, layer)] = record;
        }
        self.steps.push(Step { layer, tensors, stride });
    }
}

/// Bytes of a tensor with its padding.
pub(crate) fn tensor_bytes(record: &Record, role: Role, scheme: &Scheme) -> u64 {
    let (rows, cols) = (record.rows as usize, record.cols as usize);
    let bytes = match role.is_vector() {
        true => (cols * size_of::<f32>()).next_multiple_of(ALIGN),
        false => rows.div_ceil(TILE_ROWS) * scheme.layout(cols).stored_bytes(),
    };
    bytes as u64
}
