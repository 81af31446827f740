//! Finished layers on disk, so that a calibrated conversion that was interrupted can continue.

use crate::calibrate::gptq::Errors;
use crate::{Code, Error, Result};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Bytes of a SHA-256.
const HASH: usize = 32;

/// A layer as it goes into the file, and the errors of its tensors.
#[derive(Debug, PartialEq)]
pub(super) struct Layer {
    pub bytes: Vec<u8>,
    pub errors: Vec<Errors>,
}

/// Where layers are kept.
#[derive(Debug)]
pub(super) struct Kept {
    folder: PathBuf,
}

impl Kept {
    /// Layers in a folder that exists.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn path(&self, layer: u16) -> PathBuf {
        self.folder.join(format!("layer-{layer}"))
    }

    /// A layer that was saved whole: `[bytes][errors][SHA-256 of these]`.
    pub fn load(&self, layer: u16, bytes: usize, tensors: usize) -> Option<Layer> {
        let all = fs::read(self.path(layer)).ok()?;
        let (body, hash) = all.split_at_checked(all.len().checked_sub(HASH)?)?;
        let (layer, errors) = body.split_at_checked(bytes)?;
        let is_whole =
            errors.len() == tensors * size_of::<Errors>() && hash == &Sha256::digest(body)[..];
        is_whole.then(|| Layer {
            bytes: layer.to_vec(),
            errors: errors
                .chunks_exact(size_of::<Errors>())
                .map(bytemuck::pod_read_unaligned)
                .collect(),
        })
    }

    /// Saves a layer under its name once it is whole.
    pub fn save(&self, number: u16, layer: &Layer) -> Result<()> {
        let path = self.path(number);
        let errors: &[u8] = bytemuck::cast_slice(&layer.errors);
        let write = || {
            let mut file = NamedTempFile::new_in(&self.folder)?;
            let mut hash = Sha256::new();
            for part in [&layer.bytes[..], errors] {
                hash.update(part);
                file.write_all(part)?;
            }
            file.write_all(&hash.finalize())?;
            file.persist(&path).map_err(|error| error.error)
        };
        let written: std::io::Result<_> = write();
        written.map(drop).map_err(|error| {
            Error::new(Code::Unwritable, format_args!("cannot write {}: {error}", path.display()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_layers_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(folder.path());
        let layer = Layer { bytes: vec![3; 640], errors: vec![Errors::default(); 9] };
        kept.save(4, &layer).unwrap();
        assert_eq!(kept.load(4, 640, 9).unwrap(), layer);
        assert_eq!(kept.load(5, 640, 9), None);
        assert_eq!(kept.load(4, 704, 9), None);
        assert_eq!(kept.load(4, 640, 8), None);
        let path = folder.path().join("layer-4");
        let mut bytes = fs::read(&path).unwrap();
        bytes[100] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(kept.load(4, 640, 9), None);
        fs::write(&path, [0; 7]).unwrap();
        assert_eq!(kept.load(4, 640, 9), None);
    }
}
