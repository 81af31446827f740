//! What an adapter's files hold.

use super::disk::DiskFile;
use super::lora::LowRank;
use super::stored::Stored;
use crate::{Code, Error, Result, Role};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::Path;

/// Bytes that are read at a time for a hash.
const HASHED: usize = 1 << 20;

/// What an adapter has for one tensor.
#[derive(Clone, Debug, Default)]
pub(super) struct Update {
    /// The weights that it was trained on, kept because the vocabulary might have grown.
    pub base: Option<Stored>,
    /// The tensor as a whole after training.
    pub whole: Option<Stored>,
    /// The update of low rank.
    pub low_rank: Option<LowRank>,
}

impl Update {
    /// Whether the tensor becomes another than the one that was trained on.
    pub fn changes(&self) -> bool {
        self.whole.is_some() || self.low_rank.is_some()
    }
}

/// What a reader found in an adapter's files.
pub(super) struct Found {
    pub file: DiskFile,
    /// Whether the embedding and the head were trained as one matrix.
    pub keeps_tie: bool,
    pub updates: HashMap<(Role, u16), Update>,
    pub sha256: [u8; 32],
}

/// SHA-256 of a text and of a whole file.
pub(super) fn hash(text: &str, file: &DiskFile) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
    let mut buffer = vec![0; HASHED];
    let mut at = 0;
    while at < file.len() {
        let count = (file.len() - at).min(HASHED as u64);
        file.read_at(at, &mut buffer[..count as usize])?;
        hash.update(&buffer[..count as usize]);
        at += count;
    }
    Ok(hash.finalize().into())
}

/// The message for a path that is an adapter where a model is needed.
pub(super) fn no_model(path: &Path, base: Option<&str>) -> Error {
    let path = path.display();
    let base = base.unwrap_or("BASE");
    Error::new(
        Code::BadArgument,
        format_args!(
            "{path} is an adapter, not a model: merge it into the model that it was trained on, \
             `kinglet convert {base} --lora {path} -o OUT`"
        ),
    )
}
