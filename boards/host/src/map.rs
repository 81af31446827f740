//! Files mapped read-only.

use kinglet_quant::{Code, Error, Result, ensure};
#[cfg(not(miri))]
use memmap2::{Mmap, MmapOptions};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

/// An interpreter maps no files: it gets a copy.
#[cfg(miri)]
type Mmap = memmap2::MmapMut;

/// A file, or a part of one, mapped read-only. The mapping does not move when this does.
#[derive(Debug)]
pub struct Mapping {
    map: Mmap,
}

impl Mapping {
    /// Maps a whole file. `NotFound`, `Unreadable`. The file must be neither modified nor shortened
    /// while it is mapped.
    pub fn open(path: &Path) -> Result<Self> {
        let cannot = |error: io::Error| {
            let code = match error.kind() {
                ErrorKind::NotFound => Code::NotFound,
                _ => Code::Unreadable,
            };
            Error::new(code, format_args!("cannot open {}: {error}", path.display()))
        };
        // Opening a pipe would wait for whoever writes to it.
        ensure!(
            path.metadata().map_err(cannot)?.is_file(),
            Code::Unreadable,
            "{} is a folder, a pipe or a device, not a file: save it in one first",
            path.display()
        );
        let file = File::open(path).map_err(cannot)?;
        Self::of(&file, 0, None)
    }

    /// Maps `bytes` of an open file from `offset` on, by default all to its end; the file can be
    /// closed then. `Unreadable`, also for a part that reaches behind the end of the file, which
    /// must be neither modified nor shortened while it is mapped.
    pub fn of(file: &File, offset: u64, bytes: Option<u64>) -> Result<Self> {
        let cannot = |error: io::Error| {
            Error::new(Code::Unreadable, format_args!("cannot map the file: {error}"))
        };
        let size = file.metadata().map_err(cannot)?.len();
        let Some(rest) = size.checked_sub(offset) else {
            return Err(outside(offset, size));
        };
        let bytes = bytes.unwrap_or(rest);
        let length = usize::try_from(bytes).ok().filter(|_| bytes <= rest);
        let Some(length) = length else {
            return Err(outside(offset.saturating_add(bytes), size));
        };
        let map = map(file, offset, length).map_err(cannot)?;
        use_huge_pages(&map);
        Ok(Self { map })
    }

    /// What is mapped.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }
}

/// Maps a part of a file that is there.
#[cfg(not(miri))]
fn map(file: &File, offset: u64, length: usize) -> io::Result<Mmap> {
    let mut options = MmapOptions::new();
    options.offset(offset).len(length);
    // SAFETY: the mapping is read-only, and nobody writes to it here. That nobody else modifies or
    // shortens the file meanwhile is the documented duty of whoever opens it, as with every mapped
    // file: what others write to it shows here, also in a private mapping.
    unsafe { options.map(file) }
}

#[cfg(miri)]
fn map(mut file: &File, offset: u64, length: usize) -> io::Result<Mmap> {
    use std::io::{Read, Seek, SeekFrom};
    let mut map = Mmap::map_anon(length)?;
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut map)?;
    Ok(map)
}

fn outside(wanted: u64, size: u64) -> Error {
    let message = format_args!("byte {wanted} lies behind the end of the file of {size} bytes");
    Error::new(Code::Unreadable, message)
}

/// Asks for huge pages, where the kernel has them for mapped files: reading a mapped file of 93 MB
/// was 15% faster with them.
fn use_huge_pages(map: &Mmap) {
    #[cfg(all(target_os = "linux", not(miri)))]
    if let Err(error) = map.advise(memmap2::Advice::HugePage) {
        log::debug!("no huge pages for mapped files: {error}");
    }
    #[cfg(any(not(target_os = "linux"), miri))]
    let _ = map;
}
