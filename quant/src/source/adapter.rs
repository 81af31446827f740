//! Adapters (LoRA) that are merged into what a source loads.

#[cfg(test)]
mod tests;

use super::disk::DiskFile;
use super::lora::LowRank;
use super::update::{Found, Update};
use super::{gguf_lora, peft};
use crate::tensor::{self, NO_LAYER};
use crate::{Code, Config, Result, Role, ensure};
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

/// What an adapter is called and how strongly it is merged.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// The name of its folder or file.
    pub name: String,
    /// What its updates are multiplied by, beside the factor that the adapter asks for.
    pub scale: f64,
    /// Matrices with an update of low rank.
    pub matrices: usize,
    /// The lowest and the highest rank among them.
    pub ranks: (usize, usize),
    /// Tensors that it replaces by whole ones of its own.
    pub replaced: usize,
    /// SHA-256 of its files.
    pub sha256: [u8; 32],
}

impl fmt::Display for Merged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, scale, matrices, ranks: (lowest, highest), .. } = self;
        write!(f, "{name}: scale {scale}, {matrices} matrices of rank {lowest}")?;
        if lowest != highest {
            write!(f, " to {highest}")?;
        }
        if self.replaced > 0 {
            write!(f, ", {} tensors replaced", self.replaced)?;
        }
        f.write_str(", sha256 ")?;
        self.sha256.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An opened adapter.
#[derive(Debug)]
pub(super) struct Adapter {
    file: DiskFile,
    /// Whether a model whose head is its embedding must have a head of its own once this adapter is
    /// merged.
    pub unties: bool,
    updates: HashMap<(Role, u16), Update>,
    pub merged: Merged,
}

impl Adapter {
    /// Opens a PEFT folder or a GGUF file and checks that it fits a model of this shape.
    pub fn open(path: &Path, scale: f64, config: &Config) -> Result<Self> {
        ensure!(
            scale.is_finite() && scale != 0.0,
            Code::BadArgument,
            "an adapter cannot be merged with the scale {scale}: take a number other than 0, such \
             as 1 or 0.5"
        );
        ensure!(
            path.exists(),
            Code::NotFound,
            "{} does not exist: name an adapter's folder, or a GGUF file",
            path.display()
        );
        ensure!(
            path.extension().is_none_or(|end| end != "safetensors") || path.is_dir(),
            Code::BadArgument,
            "{} is a part of an adapter: name the folder that it lies in",
            path.display()
        );
        let found = match path.is_dir() {
            true => peft::open(path, scale, config)?,
            false => gguf_lora::open(path, scale, config)?,
        };
        let Found { file, keeps_tie, mut updates, sha256 } = found;
        let low_rank = || updates.values().filter_map(|update| update.low_rank.as_ref());
        let replaced = updates.values().filter(|update| update.whole.is_some()).count();
        ensure!(
            low_rank().count() + replaced > 0,
            Code::MissingTensor,
            "{} holds no update of any tensor: train and save the adapter again",
            file.name()
        );
        ensure!(
            scale == 1.0 || replaced == 0,
            Code::BadArgument,
            "{} replaces whole tensors, which no scale can apply to: leave =SCALE out",
            file.name()
        );
        let ranks = || low_rank().map(LowRank::rank);
        let merged = Merged {
            name: super::hf::name_of(path).replace(char::is_control, " "),
            scale,
            matrices: low_rank().count(),
            ranks: (ranks().min().unwrap_or(0), ranks().max().unwrap_or(0)),
            replaced,
            sha256,
        };
        let unties = config.tied == 1 && !tie(&mut updates, keeps_tie);
        Ok(Self { file, unties, updates, merged })
    }

    /// Fails when this adapter and another one change a tensor, and one of them replaces it.
    pub fn check_beside(&self, other: &Self) -> Result<()> {
        for (&(role, layer), update) in &self.updates {
            let Some(beside) = other.updates.get(&(role, layer)) else { continue };
            let replaces = update.whole.is_some() || beside.whole.is_some();
            ensure!(
                !(replaces && update.changes() && beside.changes()),
                Code::BadArgument,
                "{} and {} both change {}, and one of them replaces it: merge only one of them",
                other.file.name(),
                self.file.name(),
                tensor::name(role, layer)
            );
        }
        Ok(())
    }

    /// Replaces rows by those that the adapter was trained on, where it holds them.
    pub fn load_base(
        &self,
        role: Role,
        layer: u16,
        rows: Range<usize>,
        weights: &mut Vec<f32>,
    ) -> Result<()> {
        match self.updates.get(&(role, layer)).and_then(|update| update.base.as_ref()) {
            Some(base) => base.load(&self.file, rows, weights),
            None => Ok(()),
        }
    }

    /// Merges the adapter into rows of a tensor.
    pub fn merge(
        &self,
        role: Role,
        layer: u16,
        rows: Range<usize>,
        weights: &mut Vec<f32>,
    ) -> Result<()> {
        let Some(update) = self.updates.get(&(role, layer)) else { return Ok(()) };
        if let Some(whole) = &update.whole {
            whole.load(&self.file, rows.clone(), weights)?;
        }
        match &update.low_rank {
            Some(low_rank) => low_rank.add(&self.file, rows, weights),
            None => Ok(()),
        }
    }
}

/// Fits the updates of embedding and head to a model where both are one matrix. Whether they stay
/// one.
fn tie(updates: &mut HashMap<(Role, u16), Update>, keeps_tie: bool) -> bool {
    let [embedding, head] = [Role::Embedding, Role::Head].map(|role| (role, NO_LAYER));
    let changes = |key| updates.get(key).is_some_and(Update::changes);
    if keeps_tie && changes(&embedding) {
        updates.insert(head, updates[&embedding].clone());
        return true;
    }
    let stays = !changes(&embedding) && !changes(&head);
    // The weights that were trained on are one matrix, whichever of the two has them.
    let base = |key| updates.get(key).and_then(|update| update.base.clone());
    if let Some(base) = base(&embedding).or_else(|| base(&head)) {
        updates.entry(embedding).or_default().base = Some(base.clone());
        updates.entry(head).or_default().base = Some(base);
    }
    stays
}
