//! A file read by offset.
//!
//! Checkpoints are read, not mapped: the bytes of a mapping count as resident memory, which would
//! break the promise of converting in little memory, and a file that shrinks meanwhile is an error
//! here but a crash under a mapping.

use crate::{Code, Error, Result, ensure, fail};
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// An open file of known length.
#[derive(Debug)]
pub(crate) struct DiskFile {
    file: fs::File,
    name: String,
    bytes: u64,
}

/// Says which file or folder could not be read, and why.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::NotFound => Code::NotFound,
        _ => Code::Unreadable,
    };
    Error::new(code, format_args!("cannot read {}: {error}", path.display()))
}

/// The last part of a path, for messages and provenance.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

impl DiskFile {
    /// Opens a regular file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = fs::File::open(path).map_err(|e| unreadable(path, &e))?;
        let metadata = file.metadata().map_err(|e| unreadable(path, &e))?;
        ensure!(metadata.is_file(), Code::Unreadable, "{} is not a regular file", path.display());
        Ok(Self { file, name: file_name(path), bytes: metadata.len() })
    }

    /// The same file under another name in messages.
    pub fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// The file's name without its folder, unless it was given another.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of the file when it was opened.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Fills `buffer` from `offset` on. `Truncated` when the file ends before.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        ensure!(
            end.is_some_and(|end| end <= self.bytes),
            Code::Truncated,
            "{} ends too early: fetch it again",
            self.name
        );
        match self.file.read_exact_at(buffer, offset) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                fail!(Code::Truncated, "{} became shorter while it was read", self.name)
            }
            Err(e) => fail!(Code::Unreadable, "cannot read {}: {e}", self.name),
        }
    }

    /// A buffered reader from the start.
    pub fn reader(&self) -> io::BufReader<&fs::File> {
        io::BufReader::new(&self.file)
    }
}
