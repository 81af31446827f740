//! GGUF files: their metadata and tensors, of all parts where a model was split.

use super::disk::DiskFile;
use super::gguf_head::Head;
pub(crate) use super::gguf_head::{Tensor, Value};
use super::gguf_parts;
use super::stored::Stored;
use crate::config::NO_TOKEN;
use crate::{Code, Result, ensure, fail};
use std::collections::BTreeMap;
use std::path::Path;

/// A GGUF file, or all parts of one.
#[derive(Debug)]
pub(crate) struct Gguf {
    parts: Vec<Part>,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Tensor>,
}

/// One file and where its tensor data begins.
#[derive(Debug)]
struct Part {
    file: DiskFile,
    data_start: u64,
}

impl Gguf {
    /// Parses the head of a file, and of all other parts where it is a part of a model. `NotFound`
    /// when one is missing, `BadSource`, `Truncated`, or what reading fails with.
    pub fn open(path: &Path) -> Result<Self> {
        let file = DiskFile::open(path)?;
        let head = Head::read(&file)?;
        let mut gguf =
            Self { parts: Vec::new(), metadata: BTreeMap::new(), tensors: BTreeMap::new() };
        let split = |head: &Head, key: &str| match head.metadata.get(key) {
            Some(Value::Integer(number)) => *number,
            _ => 0,
        };
        let count = split(&head, "split.count");
        if count <= 1 {
            gguf.add(file, head)?;
            return Ok(gguf);
        }
        let paths = gguf_parts::parts(path);
        ensure!(
            paths.len() as i128 == count,
            Code::BadSource,
            "{} is one of {count} parts: give all of them the names NAME-00001-of-{count:05}.gguf \
             and so on in one folder",
            file.name()
        );
        for (number, path) in (0..).zip(&paths) {
            ensure!(
                path.exists(),
                Code::NotFound,
                "{} is one of {count} parts, and {} is missing: fetch it too",
                file.name(),
                path.display()
            );
            let part = DiskFile::open(path)?;
            let head = Head::read(&part)?;
            ensure!(
                split(&head, "split.count") == count && split(&head, "split.no") == number,
                Code::BadSource,
                "{} is not the part that its name says: fetch it again",
                part.name()
            );
            gguf.add(part, head)?;
        }
        Ok(gguf)
    }

    /// Adds a file; of the metadata, that of the first counts.
    fn add(&mut self, file: DiskFile, head: Head) -> Result<()> {
        let part = self.parts.len();
        for (name, tensor) in head.tensors {
            let twice = self.tensors.insert(name.clone(), Tensor { part, ..tensor }).is_some();
            ensure!(
                !twice,
                Code::BadSource,
                "{} has the tensor {name} a second time: convert the model again",
                file.name()
            );
        }
        if self.parts.is_empty() {
            self.metadata = head.metadata;
        }
        self.parts.push(Part { file, data_start: head.data_start });
        Ok(())
    }

    /// The file that the metadata is in.
    pub fn file(&self) -> &DiskFile {
        &self.parts[0].file
    }

    /// All files that the tensors are in.
    pub fn files(&self) -> impl Iterator<Item = &DiskFile> {
        self.parts.iter().map(|part| &part.file)
    }

    /// The file itself, for reading what is [`Gguf::stored`]. `BadSource` when there are several.
    pub fn into_file(mut self) -> Result<DiskFile> {
        ensure!(
            self.parts.len() == 1,
            Code::BadSource,
            "{} is one of several parts: put them together with `llama-gguf-split --merge`",
            self.file().name()
        );
        Ok(self.parts.remove(0).file)
    }

    /// The matrix or vector with this name, which the file has.
    pub fn stored(&self, name: &str) -> Result<Stored> {
        let tensor = self.tensor(name).expect("the file has the tensor");
        let widths = tensor.shape().map(|(rows, cols)| (usize::try_from(rows), cols.try_into()));
        let Some((Ok(rows), Ok(cols))) = widths else {
            fail!(
                Code::WrongShape,
                "tensor {name} in {} has the widths {:?}: only matrices can be merged",
                self.file().name(),
                tensor.dims
            );
        };
        let offset = self.parts[tensor.part].data_start.saturating_add(tensor.offset);
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

    /// Fills `buffer` from byte `offset` of a tensor on.
    pub fn read_tensor(&self, tensor: &Tensor, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let part = &self.parts[tensor.part];
        let start = part.data_start.saturating_add(tensor.offset);
        part.file.read_at(start.saturating_add(offset), buffer)
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

    /// Whether a switch is on.
    pub fn flag(&self, key: &str) -> bool {
        self.get(key) == Some(&Value::Bool(true))
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
            Some(Value::Integers(_)) => fail!(
                Code::UnsupportedArchitecture,
                "{key} in {} differs by layer, which Kinglet does not support",
                self.file().name()
            ),
            Some(_) => self.no_number(key),
        }
    }

    /// A number that the model cannot do without.
    pub fn required(&self, key: &str) -> Result<u64> {
        match self.unsigned(key)? {
            Some(n) => Ok(n),
            None => self.missing(key),
        }
    }

    /// A token; [`NO_TOKEN`] where the file has none or one that no vocabulary has.
    pub fn token(&self, key: &str, vocab_size: u32) -> u32 {
        match self.get(key) {
            Some(Value::Integer(n)) if (0..i128::from(vocab_size)).contains(n) => *n as u32,
            _ => NO_TOKEN,
        }
    }

    /// A real number, if the file has it.
    pub fn float(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(x)) => Ok(Some(*x)),
            Some(Value::Integer(n)) => Ok(Some(*n as f64)),
            Some(_) => self.no_number(key),
        }
    }

    /// A real number that the model cannot do without.
    pub fn required_float(&self, key: &str) -> Result<f64> {
        match self.float(key)? {
            Some(x) => Ok(x),
            None => self.missing(key),
        }
    }

    fn missing<T>(&self, key: &str) -> Result<T> {
        fail!(
            Code::BadSource,
            "{} lacks the entry {key}: convert the model again",
            self.file().name()
        )
    }

    fn no_number<T>(&self, key: &str) -> Result<T> {
        fail!(
            Code::BadSource,
            "{key} in {} is no number: convert the model again",
            self.file().name()
        )
    }
}
