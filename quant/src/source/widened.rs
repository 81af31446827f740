//! Models whose widths do not fill the blocks of the format: zeros fill them up, and the model
//! computes what it did.
//!
//! A head keeps its two halves, each with zeros behind it. RMSNorm takes the mean over more
//! channels, so its epsilon shrinks as the mean does, and the gains make up for it.

use crate::format::BLOCK;
use crate::{Config, Role};
use std::ops::Range;

/// Widths of heads are multiples of this.
const HEAD_STEP: u32 = 16;
/// Larger numbers are left as they are, for [`Config::check`] to refuse.
const MAX_WIDTH: u32 = 1 << 20;

/// The shape with widths that the format has.
pub(super) fn widened(stored: &Config) -> Config {
    let block = BLOCK as u32;
    let up = |width: u32, to: u32| match width {
        0..MAX_WIDTH => width.next_multiple_of(to),
        _ => width,
    };
    let heads = stored.heads.min(MAX_WIDTH);
    let fills = |dim: &u32| (u64::from(heads) * u64::from(*dim)).is_multiple_of(block.into());
    let head_dim = match stored.head_dim {
        dim if dim % 2 == 0 && dim < MAX_WIDTH => {
            let least = up(dim, HEAD_STEP);
            [least, least + HEAD_STEP].into_iter().find(fills).unwrap_or(least)
        }
        dim => dim,
    };
    let hidden = up(stored.hidden, block);
    let mut config = Config { hidden, head_dim, ffn: up(stored.ffn, block), ..*stored };
    if head_dim != stored.head_dim {
        config.bare_head_dim = stored.head_dim;
    }
    config.rms_eps = stored.rms_eps * share(stored, &config) as f32;
    config
}

/// How many of the channels of the residual stream are the model's.
fn share(stored: &Config, wide: &Config) -> f64 {
    f64::from(stored.hidden) / f64::from(wide.hidden.max(1))
}

/// What the rows or the columns of a tensor are.
#[derive(Clone, Copy)]
enum Axis {
    /// As many as the checkpoint has.
    Same,
    /// Widened behind the last.
    Behind(usize),
    /// Parts of so many, each widened to so many: heads, or halves of heads.
    Parts(usize, usize),
}

impl Axis {
    /// The one of the checkpoint; none for a zero.
    fn stored(self, index: usize) -> Option<usize> {
        match self {
            Self::Same => Some(index),
            Self::Behind(count) => (index < count).then_some(index),
            Self::Parts(stored, wide) => {
                let within = index % wide;
                (within < stored).then_some(index / wide * stored + within)
            }
        }
    }
}

/// A model as its checkpoint has it, and as the file will.
#[derive(Clone, Copy, Debug)]
pub(super) struct Widths<'a> {
    pub stored: &'a Config,
    pub wide: &'a Config,
}

impl Widths<'_> {
    /// The rows of the checkpoint that lie in some rows of the widened tensor.
    pub fn stored_rows(&self, role: Role, rows: Range<usize>) -> Range<usize> {
        let (axis, _) = self.axes(role);
        let mut stored = rows.filter_map(|row| axis.stored(row));
        match stored.next() {
            Some(first) => first..stored.next_back().unwrap_or(first) + 1,
            None => 0..0,
        }
    }

    /// Some rows of the widened tensor, from [`Widths::stored_rows`] of the checkpoint's.
    pub fn widen(&self, role: Role, rows: Range<usize>, stored: &[f32]) -> Vec<f32> {
        let (row_axis, col_axis) = self.axes(role);
        let (cols, wide_cols) = (role.shape(self.stored).1, role.shape(self.wide).1);
        let first = self.stored_rows(role, rows.clone()).start;
        // A gain stands for the mean over more channels, too.
        let gain = if role.is_norm() { share(self.stored, self.wide).sqrt() } else { 1.0 };
        let mut wide = vec![0.0; rows.len() * wide_cols];
        for (row, out) in rows.zip(wide.chunks_exact_mut(wide_cols)) {
            let Some(row) = row_axis.stored(row) else { continue };
            let values = &stored[(row - first) * cols..][..cols];
            for (col, out) in out.iter_mut().enumerate() {
                if let Some(col) = col_axis.stored(col) {
                    *out = (f64::from(values[col]) * gain) as f32;
                }
            }
        }
        wide
    }

    fn axes(&self, role: Role) -> (Axis, Axis) {
        let [dim, wide_dim] = [self.stored, self.wide].map(|config| config.head_dim as usize);
        let hidden = Axis::Behind(self.stored.hidden as usize);
        let ffn = Axis::Behind(self.stored.ffn as usize);
        let heads = Axis::Parts(dim, wide_dim);
        let halves = Axis::Parts(dim / 2, wide_dim / 2);
        match role {
            Role::Embedding | Role::Head => (Axis::Same, hidden),
            Role::FinalNorm | Role::AttnNorm | Role::FfnNorm => (Axis::Same, hidden),
            Role::OBias | Role::DownBias => (Axis::Same, hidden),
            Role::Q | Role::K => (halves, hidden),
            Role::V => (heads, hidden),
            Role::O => (hidden, heads),
            Role::Gate | Role::Up => (ffn, hidden),
            Role::Down => (hidden, ffn),
            Role::QBias | Role::KBias | Role::RotaryFrequencies => (Axis::Same, halves),
            Role::VBias => (Axis::Same, heads),
            Role::GateBias | Role::UpBias => (Axis::Same, ffn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;

    fn config(hidden: u32, heads: u32, head_dim: u32, ffn: u32) -> Config {
        let (kv_heads, rms_eps) = (1, 1e-5);
        Config { hidden, heads, kv_heads, head_dim, ffn, rms_eps, ..Config::zeroed() }
    }

    #[test]
    fn widths_become_multiples_of_blocks() {
        for ((hidden, heads, head_dim, ffn), wide) in [
            ((288, 6, 48, 768), (288, 48, 768)),
            ((64, 8, 8, 172), (64, 16, 192)),
            ((16, 4, 4, 64), (32, 16, 64)),
            ((576, 9, 64, 1536), (576, 64, 1536)),
            ((96, 3, 40, 96), (96, 64, 96)),
            ((96, 3, 48, 96), (96, 64, 96)),
            ((64, 2, 7, 32), (64, 7, 32)),
            ((u32::MAX, u32::MAX, u32::MAX - 1, u32::MAX), (u32::MAX, u32::MAX - 1, u32::MAX)),
        ] {
            let stored = config(hidden, heads, head_dim, ffn);
            let found = widened(&stored);
            assert_eq!((found.hidden, found.head_dim, found.ffn), wide, "{stored:?}");
            assert_eq!(found.attended_dim(), head_dim);
        }
    }

    #[test]
    fn rows_in_any_pieces_are_those_of_the_whole_tensor() {
        let stored = config(16, 3, 6, 20);
        let wide = widened(&stored);
        let widths = Widths { stored: &stored, wide: &wide };
        for role in crate::tensor::LAYER_ROLES {
            let (rows, cols) = role.shape(&stored);
            let values: Vec<f32> = (0..rows * cols).map(|value| value as f32 + 1.0).collect();
            let (wide_rows, wide_cols) = role.shape(&wide);
            let whole = widths.widen(role, 0..wide_rows, &values);
            let kept = whole.iter().filter(|&&value| value != 0.0).count();
            assert_eq!((whole.len(), kept), (wide_rows * wide_cols, values.len()), "{role:?}");
            for start in 0..wide_rows {
                let piece = start..wide_rows.min(start + 5);
                let from = widths.stored_rows(role, piece.clone());
                let from = &values[from.start * cols..from.end * cols];
                let found = widths.widen(role, piece.clone(), from);
                assert_eq!(found, whole[start * wide_cols..piece.end * wide_cols], "{role:?}");
            }
        }
    }
}
