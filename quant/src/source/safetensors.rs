//! Weights in one or several safetensors files.

use super::blocks::Encoding;
use super::disk::{DiskFile, unreadable};
use super::stored::Stored;
use crate::{Code, Result, ensure, fail};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Longest header that the format allows.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Name of a file with all tensors.
const SINGLE: &str = "model.safetensors";
/// Name of the list of shards.
const INDEX: &str = "model.safetensors.index.json";

/// All tensors of a folder.
#[derive(Debug)]
pub(super) struct Shards {
    shards: Vec<Shard>,
}

/// One file of tensors.
#[derive(Debug)]
pub(super) struct Shard {
    file: DiskFile,
    metadata: Metadata,
    data_start: u64,
}

/// `model.safetensors.index.json`: which file each tensor is in.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Where a tensor is.
pub(super) struct Found<'a> {
    shard: &'a Shard,
    info: &'a TensorInfo,
    /// Number format of its elements.
    pub encoding: Encoding,
}

impl Shards {
    /// Whether a folder has a model's weights.
    pub fn is_in(folder: &Path) -> bool {
        [SINGLE, INDEX].iter().any(|name| folder.join(name).exists())
    }

    /// Opens `model.safetensors`, or the shards that the index names.
    pub fn open(folder: &Path) -> Result<Self> {
        let single = folder.join(SINGLE);
        let index = folder.join(INDEX);
        if single.exists() || !index.exists() {
            ensure!(
                single.exists(),
                Code::NotFound,
                "{} has neither {SINGLE} nor {INDEX}: fetch the weights as safetensors",
                folder.display()
            );
            return Ok(Self { shards: vec![Shard::open(&single)?] });
        }
        let text = std::fs::read_to_string(&index).map_err(|e| unreadable(&index, &e))?;
        let index: Index = match serde_json::from_str(&text) {
            Ok(index) => index,
            Err(e) => fail!(Code::BadSource, "{INDEX} cannot be parsed: {e}"),
        };
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        for name in &names {
            let inside = Path::new(name).file_name().is_some_and(|file| file == name.as_str());
            ensure!(inside, Code::BadSource, "{INDEX} names {name}, which is outside the folder");
        }
        let shards = names.iter().map(|name| Shard::open(&folder.join(name)));
        Ok(Self { shards: shards.collect::<Result<_>>()? })
    }

    /// The tensor with this name and shape (norms: the last width alone).
    pub fn find(&self, name: &str, rows: usize, cols: usize) -> Result<Found<'_>> {
        let mut hits = self.shards.iter().filter_map(|s| Some((s, s.metadata.info(name)?)));
        let Some((shard, info)) = hits.next() else {
            fail!(Code::MissingTensor, "the checkpoint has no tensor {name}");
        };
        let fits = info.shape == [rows, cols] || (rows == 1 && info.shape == [cols]);
        ensure!(
            fits,
            Code::WrongShape,
            "tensor {name} has the shape {:?}, the model needs [{rows}, {cols}]",
            info.shape
        );
        Ok(Found { shard, info, encoding: encoding(info, name)? })
    }

    /// Whether some tensor's name ends like this.
    pub fn any_name_ends_with(&self, end: &str) -> bool {
        let mut names = self.shards.iter().flat_map(|shard| shard.metadata.offset_keys());
        names.any(|name| name.ends_with(end))
    }

    /// Names and sizes of the files.
    pub fn origin(&self) -> String {
        let files = self.shards.iter();
        let files = files.map(|s| format!("{} ({} bytes)", s.file.name(), s.file.len()));
        files.collect::<Vec<_>>().join(", ")
    }
}

impl Shard {
    /// Opens a file and checks that its tensors lie within it.
    pub fn open(path: &Path) -> Result<Self> {
        Self::read(DiskFile::open(path)?)
    }

    /// [`Shard::open`] of a file that is open.
    pub fn read(file: DiskFile) -> Result<Self> {
        let mut length = [0; 8];
        file.read_at(0, &mut length)?;
        let header_bytes = u64::from_le_bytes(length);
        ensure!(
            header_bytes <= MAX_HEADER_BYTES && header_bytes <= file.len() - 8,
            Code::BadSource,
            "{} is no whole safetensors file: fetch it again",
            file.name()
        );
        let mut header = vec![0; header_bytes as usize];
        file.read_at(8, &mut header)?;
        let metadata: Metadata = match serde_json::from_slice(&header) {
            Ok(metadata) => metadata,
            Err(_) => {
                fail!(Code::BadSource, "the header of {} is damaged: fetch it again", file.name())
            }
        };
        let data_start = 8 + header_bytes;
        ensure!(
            data_start.checked_add(metadata.data_len() as u64).is_some_and(|end| end <= file.len()),
            Code::Truncated,
            "{} ends too early: fetch it again",
            file.name()
        );
        Ok(Self { file, metadata, data_start })
    }

    /// Names of all tensors, in the order of the alphabet.
    pub fn names(&self) -> BTreeSet<String> {
        self.metadata.offset_keys().into_iter().collect()
    }

    /// The matrix or vector with this name, which the file has.
    pub fn stored(&self, name: &str) -> Result<Stored> {
        let info = self.metadata.info(name).expect("the file has the tensor");
        let (rows, cols) = match info.shape[..] {
            [cols] => (1, cols),
            [rows, cols] => (rows, cols),
            _ => fail!(
                Code::WrongShape,
                "tensor {name} in {} has {} dimensions: only matrices can be merged",
                self.file.name(),
                info.shape.len()
            ),
        };
        let offset = self.data_start + info.data_offsets.0 as u64;
        Stored::new(offset, encoding(info, name)?, rows, cols, name)
    }

    /// The file itself, for reading what is [`Shard::stored`].
    pub fn into_file(self) -> DiskFile {
        self.file
    }
}

/// How the elements of a tensor are stored.
fn encoding(info: &TensorInfo, name: &str) -> Result<Encoding> {
    Ok(match info.dtype {
        Dtype::F32 => Encoding::F32,
        Dtype::F16 => Encoding::F16,
        Dtype::BF16 => Encoding::Bf16,
        other => fail!(
            Code::UnsupportedTensorType,
            "tensor {name} is stored as {other:?}: use a checkpoint in F32, F16 or BF16"
        ),
    })
}

impl Found<'_> {
    /// Appends `count` elements from element `first` on to `out`.
    pub fn load(&self, first: usize, count: usize, out: &mut Vec<f32>) -> Result<()> {
        let (_, element_bytes) = self.encoding.block();
        let mut buffer = vec![0; count * element_bytes];
        let offset = self.info.data_offsets.0 + first * element_bytes;
        self.shard.file.read_at(self.shard.data_start + offset as u64, &mut buffer)?;
        self.encoding.decode(&buffer, out);
        Ok(())
    }
}
