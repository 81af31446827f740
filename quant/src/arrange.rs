//! How each tensor is stored and where it lies in the `WEIGHTS` section.
//!
//! The order is that of a forward pass, so that decoding streams the file from front to back: the
//! layers, the final norm, the head, and the embedding last, which is the head too when tied.
//! Query, key and value lie back to back; the tiles of quantized gate and up matrices take turns,
//! so that one thread has both halves of a SwiGLU product at hand.

use crate::format::{ALIGN, TILE_ROWS, Type};
use crate::quantize::Scheme;
use crate::tensor::{self, LAYER_ROLES, NO_LAYER, Record};
use crate::{Config, Role};
use bytemuck::Zeroable;

/// How a tensor is stored in a file of this kind.
///
/// Norms are always F32. The vocabulary matrices of quantized files, which decide the logits, are
/// Q8 in two planes. In `q4` files the value projections (small, and the most sensitive) are Q8.
pub fn scheme(kind: Type, role: Role) -> Scheme {
    let is_vocabulary = matches!(role, Role::Embedding | Role::Head);
    match kind {
        _ if role.is_norm() => Scheme::F32,
        Type::F32 => Scheme::F32,
        Type::Bf16 => Scheme::BF16,
        _ if is_vocabulary => Scheme::Q8_PLANES,
        Type::Q8 | Type::Q8Planes => Scheme::Q8,
        Type::Q4 if role == Role::V => Scheme::Q8,
        Type::Q4 => Scheme::Q4,
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

/// Tensors of one shape and scheme that are written together, their tiles taking turns.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The tensors: one, or gate and up.
    pub tensors: Vec<(Role, u16)>,
    /// How they are stored.
    pub scheme: Scheme,
}

impl Arrangement {
    /// The arrangement of a model of this shape.
    pub fn new(config: &Config, kind: Type) -> Self {
        let records = vec![Record::zeroed(); tensor::count(config)];
        let mut all = Self { records, steps: Vec::new(), bytes: 0 };
        let interleave = kind.is_quantized();
        for layer in 0..config.layers as u16 {
            for role in LAYER_ROLES {
                match role {
                    Role::Gate if interleave => {
                        all.place(config, kind, vec![(Role::Gate, layer), (Role::Up, layer)]);
                    }
                    Role::Up if interleave => {}
                    role => all.place(config, kind, vec![(role, layer)]),
                }
            }
        }
        all.place(config, kind, vec![(Role::FinalNorm, NO_LAYER)]);
        if config.tied == 0 {
            all.place(config, kind, vec![(Role::Head, NO_LAYER)]);
        }
        all.place(config, kind, vec![(Role::Embedding, NO_LAYER)]);
        all
    }

    fn place(&mut self, config: &Config, kind: Type, tensors: Vec<(Role, u16)>) {
        let (first, _) = tensors[0];
        let scheme = scheme(kind, first);
        let (rows, cols) = first.shape(config);
        let tile_bytes = scheme.layout(cols).bytes as u64;
        let stride = if first.is_norm() { 0 } else { tile_bytes * tensors.len() as u64 };
        let start = self.bytes;
        for (i, &(role, layer)) in tensors.iter().enumerate() {
            let record = Record {
                role: role as u16,
                layer,
                kind: scheme.kind() as u8,
                group: scheme.group() as u8,
                rows: rows as u32,
                cols: cols as u32,
                offset: start + i as u64 * tile_bytes,
                stride,
                table: *scheme.table(),
                ..Record::zeroed()
            };
            self.bytes += tensor_bytes(&record, role, &scheme);
            self.records[tensor::index(config, role, layer)] = record;
        }
        self.steps.push(Step { tensors, scheme });
    }
}

/// Bytes of a tensor with its padding.
pub(crate) fn tensor_bytes(record: &Record, role: Role, scheme: &Scheme) -> u64 {
    let (rows, cols) = (record.rows as usize, record.cols as usize);
    let bytes = match role.is_norm() {
        true => (cols * size_of::<f32>()).next_multiple_of(ALIGN),
        false => rows.div_ceil(TILE_ROWS) * scheme.layout(cols).stored_bytes(),
    };
    bytes as u64
}
