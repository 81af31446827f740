//! The head of a GGUF file, versions 2 and 3: metadata and the tensor directory.
//!
//! Before memory is allocated for a number that the file states, the file is known to be that long.

use super::blocks::Encoding;
use super::disk::{self, DiskFile, STAND_IN_BYTES};
use super::ggml_types::GgmlType;
use crate::{Code, Result, ensure, fail, json};
use std::collections::BTreeMap;
use std::io::{BufReader, Read};

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
    Floats(Vec<f32>),
    Skipped,
}

/// One tensor of the directory.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    /// Widths, innermost first.
    pub dims: Vec<u64>,
    /// The `ggml_type`'s number.
    pub encoding: u32,
    /// First byte, counted from the start of its file's data.
    pub offset: u64,
    /// The file that it is in, of those that a model was split into.
    pub part: usize,
}

/// What stands in front of a file's tensor data.
#[derive(Debug)]
pub(super) struct Head {
    pub metadata: BTreeMap<String, Value>,
    /// In the file's order.
    pub tensors: Vec<(String, Tensor)>,
    /// Where the tensor data begins.
    pub data_start: u64,
}

impl Head {
    /// Parses the head of a file. `BadSource`, `Truncated`, or what reading fails with.
    pub fn read(file: &DiskFile) -> Result<Self> {
        reject_others(file)?;
        let mut reader = Reader { input: file.reader(), at: 0, end: file.len() };
        let _magic: [u8; 4] = reader.array()?;
        let version = reader.u32()?;
        ensure!(
            !matches!(version.swap_bytes(), 2 | 3),
            Code::BadSource,
            "{} is in big-endian order: take the usual little-endian file, or turn it with \
             `gguf-convert-endian FILE little` of the Python package gguf",
            file.name()
        );
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
            Some(Value::Integer(n)) if (1..=1 << 20).contains(n) && n.count_ones() == 1 => {
                *n as u64
            }
            Some(_) => fail!(
                Code::BadSource,
                "general.alignment in {} is no power of two: convert the model again",
                file.name()
            ),
        };
        let data_bytes = check_offsets(file, &tensors, alignment)?;
        let data_start = reader.at.next_multiple_of(alignment);
        check_length(file, data_start, data_bytes, alignment)?;
        Ok(Self { metadata, tensors, data_start })
    }
}

/// Fails for files that are no GGUF.
fn reject_others(file: &DiskFile) -> Result<()> {
    let mut begin = [0; STAND_IN_BYTES];
    let begin = &mut begin[..file.len().min(STAND_IN_BYTES as u64) as usize];
    file.read_at(0, begin)?;
    json::reject_stand_in(file.name(), begin)?;
    ensure!(
        begin.starts_with(b"GGUF"),
        Code::BadSource,
        "{} is no GGUF file: name a .gguf file, or a folder with config.json",
        file.name()
    );
    Ok(())
}

/// Fails unless each tensor begins where the one before it ends, as llama.cpp demands. The bytes
/// that all of them take, without the padding behind the last.
fn check_offsets(file: &DiskFile, tensors: &[(String, Tensor)], alignment: u64) -> Result<u64> {
    let (mut expected, mut data_bytes) = (0_u64, 0);
    for (name, tensor) in tensors {
        let Some(kind) = GgmlType::of(tensor.encoding) else {
            fail!(
                Code::UnsupportedTensorType,
                "tensor {name} in {} has the type {}, which GGUF does not define: fetch the file \
                 again",
                file.name(),
                tensor.encoding
            );
        };
        ensure!(
            tensor.offset == expected,
            Code::BadSource,
            "tensor {name} in {} lies at byte {} of the data, where {expected} belongs: the file \
             was written wrongly, convert the model again",
            file.name(),
            tensor.offset
        );
        let elements = tensor.dims.iter().try_fold(1_u64, |all, &width| all.checked_mul(width));
        let end = elements.and_then(|elements| kind.size(elements));
        let end = end.and_then(|bytes| expected.checked_add(bytes));
        let padded = end.and_then(|end| end.checked_next_multiple_of(alignment));
        let (Some(end), Some(padded)) = (end, padded) else {
            fail!(
                Code::WrongShape,
                "tensor {name} in {} has the widths {:?}, which are no whole blocks of {}",
                file.name(),
                tensor.dims,
                kind.name
            );
        };
        (expected, data_bytes) = (padded, end);
    }
    Ok(data_bytes)
}

/// Fails for a file that ends before its data does, and for one with more bytes than padding
/// explains: then the data lies elsewhere than the alignment says.
fn check_length(file: &DiskFile, start: u64, data_bytes: u64, alignment: u64) -> Result<()> {
    let end = start.saturating_add(data_bytes);
    ensure!(
        end <= file.len(),
        Code::Truncated,
        "{} ends too early: it has {} of {end} bytes, fetch it again",
        file.name(),
        file.len()
    );
    ensure!(
        file.len() - end < alignment,
        Code::BadSource,
        "{} has {} bytes more than its tensors take: its data is aligned otherwise than \
         general.alignment says ({alignment}), convert the model again",
        file.name(),
        file.len() - end
    );
    Ok(())
}

impl Tensor {
    /// `(rows, cols)`; one row for vectors. Widths of 1 behind those change nothing.
    pub fn shape(&self) -> Option<(u64, u64)> {
        match self.dims[..] {
            [cols] => Some((1, cols)),
            [cols, rows] | [cols, rows, 1] | [cols, rows, 1, 1] => Some((rows, cols)),
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
    input: BufReader<disk::Reader<'a>>,
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

    /// An array of integers of this kind, skipped where one is too large for any use here.
    fn integers(&mut self, kind: u32, count: u64) -> Result<Value> {
        let (mut all, mut fits) = (Vec::new(), true);
        for _ in 0..count {
            match self.value(kind)? {
                Value::Integer(value) if i32::try_from(value).is_ok() => all.push(value as i32),
                _ => fits = false,
            }
        }
        Ok(if fits { Value::Integers(all) } else { Value::Skipped })
    }

    fn list(&mut self) -> Result<Value> {
        let kind = self.u32()?;
        let count = self.count(MAX_ELEMENTS, "elements in one array")?;
        Ok(match kind {
            8 => Value::Texts((0..count).map(|_| self.string()).collect::<Result<_>>()?),
            4 | 5 | 10 | 11 => self.integers(kind, count)?,
            6 => {
                let all = (0..count).map(|_| self.array().map(f32::from_le_bytes));
                Value::Floats(all.collect::<Result<_>>()?)
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
        let twice = metadata.insert(key.clone(), value).is_some();
        ensure!(
            !twice,
            Code::BadSource,
            "the GGUF file has the entry {key} twice: convert the model again"
        );
    }
    Ok(metadata)
}

fn read_tensors(reader: &mut Reader<'_>, count: u64) -> Result<Vec<(String, Tensor)>> {
    let mut tensors = Vec::new();
    for _ in 0..count {
        let name = reader.string()?;
        let dim_count = reader.u32()?;
        ensure!(dim_count <= 4, Code::BadSource, "tensor {name} has {dim_count} dimensions");
        let dims = (0..dim_count).map(|_| reader.u64()).collect::<Result<_>>()?;
        let (encoding, offset) = (reader.u32()?, reader.u64()?);
        tensors.push((name, Tensor { dims, encoding, offset, part: 0 }));
    }
    Ok(tensors)
}
