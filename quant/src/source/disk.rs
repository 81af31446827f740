//! A file read by offset.
//!
//! Checkpoints are read, not mapped: the bytes of a mapping count as resident memory, which would
//! break the promise of converting in little memory, and a file that shrinks meanwhile is an error
//! here but a crash under a mapping.

use crate::{Code, Error, Result, ensure, fail, json, system};
use std::borrow::Cow;
use std::fs;
use std::io;
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

/// Bytes at the beginning of a file that tell what else lies in its place.
pub(crate) const STAND_IN_BYTES: usize = 64;

/// How a link into the hub's cache begins.
const CACHE_LINK: &str = "../../blobs/";
/// Bytes that such a link has at most.
const MAX_LINK_BYTES: u64 = 256;

/// The file itself where a path leads to a link of the hub's cache that was copied as a text, as
/// Git and some archives do; else the path.
fn followed(path: &Path) -> Cow<'_, Path> {
    let is_short = path.metadata().is_ok_and(|data| data.is_file() && data.len() < MAX_LINK_BYTES);
    let link = is_short.then(|| fs::read_to_string(path).ok()).flatten();
    let target = link.filter(|link| link.starts_with(CACHE_LINK)).and_then(|link| {
        let target = path.parent()?.join(link.trim_end());
        target.is_file().then_some(target)
    });
    target.map_or(Cow::Borrowed(path), Cow::Owned)
}

/// `Unreadable` for what is there and is no file: opening a pipe would wait for whoever writes to
/// it, and a device may have no end.
pub(crate) fn check_regular(path: &Path) -> Result<()> {
    let kind = match path.metadata() {
        Ok(data) if data.is_dir() => "folder",
        Ok(data) if !data.is_file() => "pipe or a device",
        // Whoever opens it says why that cannot be done.
        _ => return Ok(()),
    };
    fail!(Code::Unreadable, "{} is a {kind}, not a file: save it in one first", path.display())
}

/// The names of a folder's files and folders in the order of the alphabet; none where it cannot be
/// read.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The text of a file. `BadSource` when it is not UTF-8, or only stands for a file that was not
/// fetched.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    check_regular(path)?;
    let bytes = fs::read(followed(path)).map_err(|e| unreadable(path, &e))?;
    json::reject_stand_in(&file_name(path), &bytes)?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => fail!(
            Code::BadSource,
            "{} is not in UTF-8: save it in this encoding, or fetch it again",
            path.display()
        ),
    }
}

/// [`read_text`] of a file that need not be there.
pub(crate) fn read_optional(path: &Path) -> Result<Option<String>> {
    if path.try_exists().map_err(|e| unreadable(path, &e))? {
        read_text(path).map(Some)
    } else {
        Ok(None)
    }
}

/// The text of a file for people, which need not be there: what is not UTF-8 is taken for Latin-1,
/// and a folder of this name for nothing.
pub(crate) fn read_prose(path: &Path) -> Result<Option<String>> {
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = fs::read(followed(path)).map_err(|e| unreadable(path, &e))?;
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| error.as_bytes().iter().map(|&byte| char::from(byte)).collect());
    Ok(Some(text.trim_start_matches('\u{FEFF}').to_owned()))
}

impl DiskFile {
    /// Opens a regular file.
    pub fn open(path: &Path) -> Result<Self> {
        check_regular(path)?;
        let file = fs::File::open(followed(path)).map_err(|e| unreadable(path, &e))?;
        let metadata = file.metadata().map_err(|e| unreadable(path, &e))?;
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
        match system::read_exact_at(&self.file, buffer, offset) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                fail!(Code::Truncated, "{} became shorter while it was read", self.name)
            }
            Err(e) => fail!(Code::Unreadable, "cannot read {}: {e}", self.name),
        }
    }

    /// A buffered reader from the start.
    pub fn reader(&self) -> io::BufReader<Reader<'_>> {
        io::BufReader::new(Reader { file: self, offset: 0 })
    }
}

/// Reads a file from the start to where it ended when it was opened. The file's own position is no
/// help, since some systems move it with every [`DiskFile::read_at`].
pub(crate) struct Reader<'a> {
    file: &'a DiskFile,
    offset: u64,
}

impl io::Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.file.bytes.saturating_sub(self.offset);
        let count = buffer.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        system::read_exact_at(&self.file.file, &mut buffer[..count], self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}
