//! The GGUF container, versions 2 and 3: metadata and the tensor directory.
//!
//! Before memory is allocated for a number that the file states, the file is known to be that long.

use super::blocks::Encoding;
use super::disk::DiskFile;
use super::stored::Stored;
use crate::{Code, Result, ensure, fail};
use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::Path;

/// Metadata entries, and tensors, that a file may have.
const MAX_ENTRIES: u64 = 1 << 16;
/// Elements that a metadata array may have.
const MAX_ELEMENTS: u64 = 1 << 24;
/// Bytes that a string may have: chat templates and licences are far shorter.
const MAX_STRING: u64 = 1 << 20;
/// The file's default alignment of tensor data.
const DEFAULT_ALIGNMENT: u64 = 32;

/// A metadata value; numbers are widened, arrays that no reader here asks for are skipped.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Integer(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<i32>),
    Skipped,
}

/// One tensor of the directory.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    /// Widths, innermost first.
    pub dims: Vec<u64>,
    /// The `ggml_type`'s number.
    pub encoding: u32,
    /// First byte, counted from the start of the data.
    pub offset: u64,
}

/// A parsed GGUF file.
#[derive(Debug)]
pub(crate) struct Gguf {
    file: DiskFile,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Tensor>,
    data_start: u64,
}

impl Gguf {
    /// Parses the head of a file. `BadSource`, `Truncated`, or what reading fails with.
    pub fn open(path: &Path) -> Result<Self> {
        let file = DiskFile::open(path)?;
        let mut reader = Reader { input: file.reader(), at: 0, end: file.len() };
        let magic: [u8; 4] = if file.len() < 4 { [0; 4] } else { reader.array()? };
        ensure!(
            &magic == b"GGUF",
            Code::BadSource,
            "{} is no GGUF file: name a .gguf file, or a folder with config.json",
            file.name()
        );
        let version = reader.u32()?;
        ensure!(
            version == 2 || version == 3,
            Code::BadSource,
            "{} has GGUF version {version}: 2 and 3 can be read",
            file.name()
        );
        let tensor_count = reader.count(MAX_ENTRIES, "tensors")?;
        let entry_count = reader.count(MAX_ENTRIES, "metadata entries")?;
        let metadata = read_metadata(&mut reader, entry_count)?;
        let tensors = read_tensors(&mut reader, tensor_count)?;
        let alignment = match metadata.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(Value::Integer(n)) if (1..=1 << 20).contains(n) => *n as u64,
            Some(_) => fail!(Code::BadSource, "{} has a senseless alignment", file.name()),
        };
        let data_start = reader.at.next_multiple_of(alignment);
        Ok(Self { file, metadata, tensors, data_start })
    }

    /// The file that the tensors are in.
    pub fn file(&self) -> &DiskFile {
        &self.file
    }

    /// The file itself, for reading what is [`Gguf::stored`].
    pub fn into_file(self) -> DiskFile {
        self.file
    }

    /// The matrix or vector with this name, which the file has.
    pub fn stored(&self, name: &str) -> Result<Stored> {
        let tensor = self.tensor(name).expect("the file has the tensor");
        let widths = tensor.shape().map(|(rows, cols)| (usize::try_from(rows), cols.try_into()));
        let Some((Ok(rows), Ok(cols))) = widths else {
            fail!(
                Code::WrongShape,
                "tensor {name} in {} has the widths {:?}: only matrices can be merged",
                self.file.name(),
                tensor.dims
            );
        };
        let offset = self.data_start.saturating_add(tensor.offset);
        Stored::new(offset, tensor.encoding(name)?, rows, cols, name)
    }

    /// The tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Names of all tensors.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Fills `buffer` from byte `offset` of the tensor data on.
    pub fn read_data(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.file.read_at(self.data_start.saturating_add(offset), buffer)
    }

    /// A metadata value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// A text, if the file has it.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether the file holds an adapter instead of a model.
    pub fn is_adapter(&self) -> bool {
        self.text("general.type") == Some("adapter")
    }

    /// A number that is not negative, if the file has it.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Integer(n)) if u64::try_from(*n).is_ok() => Ok(Some(*n as u64)),
            // Some writers store one number for each layer.
            Some(Value::Integers(all)) if all.iter().all(|n| *n >= 0 && *n == all[0]) => {
                Ok(all.first().map(|&n| n as u64))
            }
            Some(_) => fail!(Code::BadSource, "{key} in {} is no number", self.file.name()),
        }
    }

    /// A number that the model cannot do without.
    pub fn required(&self, key: &str) -> Result<u64> {
        match self.unsigned(key)? {
            Some(n) => Ok(n),
            None => fail!(Code::BadSource, "{} lacks the entry {key}", self.file.name()),
        }
    }

    /// A real number, if the file has it.
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.get(key) {
            Some(Value::Float(x)) => Some(*x),
            Some(Value::Integer(n)) => Some(*n as f64),
            _ => None,
        }
    }
}

impl Tensor {
    /// `(rows, cols)`; one row for vectors.
    pub fn shape(&self) -> Option<(u64, u64)> {
        match self.dims[..] {
            [cols] => Some((1, cols)),
            [cols, rows] => Some((rows, cols)),
            _ => None,
        }
    }

    /// The number format, or an error that names the tensor.
    pub fn encoding(&self, name: &str) -> Result<Encoding> {
        Encoding::from_gguf(self.encoding, name)
    }
}

/// Reads little-endian values and knows how many bytes are left.
struct Reader<'a> {
    input: BufReader<&'a std::fs::File>,
    at: u64,
    end: u64,
}

impl Reader<'_> {
    fn reserve(&mut self, bytes: u64) -> Result<()> {
        ensure!(
            bytes <= self.end - self.at,
            Code::Truncated,
            "the GGUF file ends within its head: fetch it again"
        );
        self.at += bytes;
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.reserve(buffer.len() as u64)?;
        match self.input.read_exact(buffer) {
            Ok(()) => Ok(()),
            Err(e) => fail!(Code::Unreadable, "cannot read the GGUF file: {e}"),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn count(&mut self, max: u64, what: &str) -> Result<u64> {
        let count = self.u64()?;
        ensure!(count <= max, Code::BadSource, "the GGUF file claims {count} {what}");
        Ok(count)
    }

    fn string(&mut self) -> Result<String> {
        let length = self.count(MAX_STRING, "bytes of text in one string")?;
        ensure!(
            length <= self.end - self.at,
            Code::Truncated,
            "the GGUF file ends within a string: fetch it again"
        );
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(_) => fail!(Code::BadSource, "a string of the GGUF file is not UTF-8"),
        }
    }

    /// A value of the metadata type with this number.
    fn value(&mut self, kind: u32) -> Result<Value> {
        Ok(match kind {
            0 => Value::Integer(self.array::<1>()?[0].into()),
            1 => Value::Integer(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Integer(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Integer(self.u32()?.into()),
            5 => Value::Integer(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => Value::Bool(self.array::<1>()?[0] != 0),
            8 => Value::Text(self.string()?),
            9 => self.list()?,
            10 => Value::Integer(self.u64()?.into()),
            11 => Value::Integer(i64::from_le_bytes(self.array()?).into()),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            _ => fail!(Code::BadSource, "the GGUF file has metadata of unknown type {kind}"),
        })
    }

    fn list(&mut self) -> Result<Value> {
        let kind = self.u32()?;
        let count = self.count(MAX_ELEMENTS, "elements in one array")?;
        Ok(match kind {
            8 => Value::Texts((0..count).map(|_| self.string()).collect::<Result<_>>()?),
            4 | 5 => {
                Value::Integers((0..count).map(|_| Ok(self.u32()? as i32)).collect::<Result<_>>()?)
            }
            9 => fail!(Code::BadSource, "the GGUF file has nested arrays"),
            _ => {
                (0..count).try_for_each(|_| self.value(kind).map(drop))?;
                Value::Skipped
            }
        })
    }
}

fn read_metadata(reader: &mut Reader<'_>, count: u64) -> Result<BTreeMap<String, Value>> {
    let mut metadata = BTreeMap::new();
    for _ in 0..count {
        let key = reader.string()?;
        let kind = reader.u32()?;
        let value = reader.value(kind)?;
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn read_tensors(reader: &mut Reader<'_>, count: u64) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors = BTreeMap::new();
    for _ in 0..count {
        let name = reader.string()?;
        let dim_count = reader.u32()?;
        ensure!(dim_count <= 4, Code::BadSource, "tensor {name} has {dim_count} dimensions");
        let dims = (0..dim_count).map(|_| reader.u64()).collect::<Result<_>>()?;
        let tensor = Tensor { dims, encoding: reader.u32()?, offset: reader.u64()? };
        let twice = tensors.insert(name, tensor).is_some();
        ensure!(!twice, Code::BadSource, "the GGUF file has two tensors of one name");
    }
    Ok(tensors)
}
