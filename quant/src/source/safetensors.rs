//! Weights in one or several safetensors files.

use super::blocks::Encoding;
use super::disk::{DiskFile, STAND_IN_BYTES, names_in, read_optional};
use super::hf_names;
use super::stored::Stored;
use crate::json::{self, Object};
use crate::{Code, Result, ensure, fail};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Longest header that the format allows.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Name of a file with all tensors.
const SINGLE: &str = "model.safetensors";
/// Name of the list of shards.
const INDEX: &str = "model.safetensors.index.json";
/// How the names of shards begin and end; between them is `-00001-of-00003`.
const SHARD: (&str, &str) = ("model-", ".safetensors");
/// Weights that other tools keep under these beginnings of names.
const OTHERS: [&str; 3] = ["pytorch_model", "consolidated", "tf_model"];

/// All tensors of a folder.
#[derive(Debug)]
pub(super) struct Shards {
    shards: Vec<Shard>,
    /// Where each tensor is, by the name that the model gives it: its shard, and its name there.
    places: BTreeMap<String, (usize, String)>,
}

/// One file of tensors.
#[derive(Debug)]
pub(super) struct Shard {
    file: DiskFile,
    metadata: Metadata,
    data_start: u64,
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
            || !shards_in(folder).is_empty()
    }

    /// Opens `model.safetensors`, or the shards that the index names, or all that are there.
    pub fn open(folder: &Path) -> Result<Self> {
        let names = if folder.join(SINGLE).exists() {
            BTreeSet::from([SINGLE.to_owned()])
        } else if let Some(text) = read_optional(&folder.join(INDEX))? {
            indexed(folder, &text)?
        } else {
            whole_set(folder)?
        };
        let shards = names.iter().map(|name| Shard::open(&folder.join(name)));
        let shards = shards.collect::<Result<Vec<_>>>()?;
        let mut places = BTreeMap::<String, (usize, String)>::new();
        for (index, name) in shards
            .iter()
            .enumerate()
            .flat_map(|(i, s)| s.names().into_iter().map(move |name| (i, name)))
        {
            hf_names::reject_packed(&name)?;
            if let Some((_, twin)) = places.insert(hf_names::plain(&name), (index, name.clone())) {
                ensure!(
                    twin == name,
                    Code::BadSource,
                    "the checkpoint has both {twin} and {name}, which name one tensor: save it \
                     again with one of them"
                );
            }
        }
        Ok(Self { shards, places })
    }

    /// Whether there is a tensor with this name.
    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// The tensor with this name and shape (norms: the last width alone).
    pub fn find(&self, name: &str, rows: usize, cols: usize) -> Result<Found<'_>> {
        let Some((index, own_name)) = self.places.get(name) else {
            let first = self.places.values().next().map_or("no tensor at all", |(_, name)| name);
            fail!(
                Code::MissingTensor,
                "the checkpoint has no tensor {name} (it begins with {first}): take the \
                 config.json that belongs to the weights, and all of their files"
            );
        };
        let shard = &self.shards[*index];
        let info = shard.metadata.info(own_name).expect("the name is the shard's own");
        // First, because packed weights have other shapes as well.
        let encoding = encoding(info, name)?;
        let fits = info.shape == [rows, cols] || (rows == 1 && info.shape == [cols]);
        ensure!(
            fits,
            Code::WrongShape,
            "tensor {name} has the shape {:?}, the model needs [{rows}, {cols}]",
            info.shape
        );
        Ok(Found { shard, info, encoding })
    }

    /// Whether some tensor's name passes a test.
    pub fn any_name(&self, test: impl Fn(&str) -> bool) -> bool {
        self.places.keys().any(|name| test(name))
    }

    /// Names and sizes of the files.
    pub fn origin(&self) -> String {
        let files = self.shards.iter();
        let files = files.map(|s| format!("{} ({} bytes)", s.file.name(), s.file.len()));
        files.collect::<Vec<_>>().join(", ")
    }
}

/// The files that the index names.
fn indexed(folder: &Path, text: &str) -> Result<BTreeSet<String>> {
    let map = Object::parse(INDEX, text)?.object("weight_map")?.unwrap_or_default();
    let mut names = BTreeSet::new();
    for (tensor, name) in map.members() {
        let Some(name) = name.as_str() else {
            fail!(Code::BadSource, "{INDEX} names no file for {tensor}: fetch it again");
        };
        let inside = Path::new(name).file_name().is_some_and(|file| file == name);
        ensure!(inside, Code::BadSource, "{INDEX} names {name}, which is outside the folder");
        ensure!(
            folder.join(name).exists(),
            Code::NotFound,
            "{INDEX} names {name}, which is not in {}: fetch it too",
            folder.display()
        );
        names.insert(name.to_owned());
    }
    ensure!(!names.is_empty(), Code::BadSource, "{INDEX} names no files: fetch it again");
    Ok(names)
}

/// All shards of a folder without an index.
fn whole_set(folder: &Path) -> Result<BTreeSet<String>> {
    let found = shards_in(folder);
    let counts: BTreeSet<u32> = found.values().map(|&(_, count)| count).collect();
    let Some(&count) = counts.first() else {
        let other = names_in(folder).into_iter().find(|name| {
            OTHERS.iter().any(|other| name.starts_with(other)) || name.ends_with(SHARD.1)
        });
        fail!(
            Code::NotFound,
            "{} has neither {SINGLE} nor {INDEX}{}: fetch the weights as safetensors, or save them \
             so with transformers",
            folder.display(),
            other.map_or(String::new(), |other| format!(" but {other}"))
        );
    };
    ensure!(
        counts.len() == 1,
        Code::BadSource,
        "{} has shards of several models: keep those of one",
        folder.display()
    );
    for number in 1..=count {
        ensure!(
            found.values().any(|&(own, _)| own == number),
            Code::NotFound,
            "{} lacks part {number} of the {count} parts of its weights: fetch all of them",
            folder.display()
        );
    }
    Ok(found.into_keys().collect())
}

/// Shards by name, with their number and how many they are.
fn shards_in(folder: &Path) -> BTreeMap<String, (u32, u32)> {
    let numbers = |name: &str| {
        let numbers = name.strip_prefix(SHARD.0)?.strip_suffix(SHARD.1)?;
        let (number, count) = numbers.split_once("-of-")?;
        Some((number.parse().ok()?, count.parse().ok()?))
    };
    let names = names_in(folder).into_iter();
    names.filter_map(|name| numbers(&name).map(|numbers| (name, numbers))).collect()
}

impl Shard {
    /// Opens a file and checks that its tensors lie within it.
    pub fn open(path: &Path) -> Result<Self> {
        Self::read(DiskFile::open(path)?)
    }

    /// [`Shard::open`] of a file that is open.
    pub fn read(file: DiskFile) -> Result<Self> {
        let mut begin = [0; STAND_IN_BYTES];
        let begin = &mut begin[..file.len().min(STAND_IN_BYTES as u64) as usize];
        file.read_at(0, begin)?;
        json::reject_stand_in(file.name(), begin)?;
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
