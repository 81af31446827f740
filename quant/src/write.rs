//! The writer of weight files.
//!
//! Everything goes to a temporary file beside the output, which takes the output's name only when
//! it is complete and on the disk. Until then, whatever had that name stays as it was.

use crate::config::Config;
use crate::file::{
    self, Header, MAGIC, SECTION_ALIGN, SECTIONS, Section, SectionKind, TextKey, VERSION,
    VERSION_WITH_FEATURES,
};
use crate::partial;
use crate::signature::{self, Signature};
use crate::tensor::{self, Record};
use crate::{Code, Error, Result, ensure, fail};
use bytemuck::Zeroable;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Bytes of each write, at multiples of it: Linux then keeps the file in huge pages, which saves a
/// reader of the mapped file most of its page faults and address translations.
const WRITE_BYTES: usize = 2 << 20;

/// Whether a weight file can be written to `output`, which is left as it is: to be asked before
/// long work. `Unwritable` as [`Writer::create`] has it.
pub fn check_output(output: &Path) -> Result<()> {
    check_replaceable(output)?;
    let output = &fs::canonicalize(output).unwrap_or_else(|_| output.to_owned());
    partial::file(output).map(drop).map_err(|e| unwritable(output, &e))
}

/// A weight file in the making; dropping it removes all traces.
#[derive(Debug)]
pub struct Writer {
    temporary: NamedTempFile,
    /// Not yet written, less than [`WRITE_BYTES`].
    pending: Vec<u8>,
    output: PathBuf,
    config: Config,
    vocab: Vec<u8>,
    text: Vec<u8>,
    weights_start: u64,
    weights_bytes: u64,
    weights_hash: Sha256,
}

impl Writer {
    /// Starts a file of this model. `vocab` and `text` are whole sections.
    ///
    /// `Unwritable` when the folder cannot be written to, or when `output` exists and is neither
    /// empty nor a weight file.
    pub fn create(output: &Path, config: &Config, vocab: Vec<u8>, text: Vec<u8>) -> Result<Self> {
        check_replaceable(output)?;
        // Through a link the file behind it is replaced, not the link.
        let output = &fs::canonicalize(output).unwrap_or_else(|_| output.to_owned());
        let temporary = partial::file(output).map_err(|e| unwritable(output, &e))?;
        let mut writer = Self {
            temporary,
            pending: Vec::with_capacity(WRITE_BYTES),
            output: output.clone(),
            config: *config,
            vocab,
            text,
            weights_start: 0,
            weights_bytes: 0,
            weights_hash: Sha256::new(),
        };
        writer.weights_start = writer.front_sections()[SECTIONS.len() - 1].offset;
        // The place of the sections before the weights.
        writer.append(&vec![0; writer.weights_start as usize])?;
        Ok(writer)
    }

    /// Bytes of the `WEIGHTS` section so far.
    pub fn weights_bytes(&self) -> u64 {
        self.weights_bytes
    }

    /// Appends to the `WEIGHTS` section.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.weights_hash.update(bytes);
        self.weights_bytes += bytes.len() as u64;
        self.append(bytes)
    }

    /// Writes the sections before the weights and gives the file its name. Returns its bytes.
    ///
    /// `records` are those of [`tensor::order`].
    pub fn finish(mut self, records: &[Record]) -> Result<u64> {
        assert_eq!(records.len(), tensor::count(&self.config));
        let mut sections = self.front_sections();
        let bodies: [&[u8]; 4] = [
            bytemuck::bytes_of(&self.config),
            bytemuck::cast_slice(records),
            &self.vocab,
            &self.text,
        ];
        for (section, body) in sections.iter_mut().zip(bodies) {
            section.sha256 = Sha256::digest(body).into();
        }
        let weights = sections.last_mut().expect("there are sections");
        weights.bytes = self.weights_bytes;
        weights.sha256 = self.weights_hash.clone().finalize().into();
        let file_bytes = self.weights_start + self.weights_bytes;
        let mut header = Header {
            magic: MAGIC,
            version: version(&self.config),
            sections: sections.len() as u32,
            file_bytes,
            ..Header::zeroed()
        };
        header.sha256 = file::header_hash(&header, &sections);
        // Everything before the weights at once, the padding between sections included.
        let mut front = vec![0; sections[SECTIONS.len() - 1].offset as usize];
        front[..size_of::<Header>()].copy_from_slice(bytemuck::bytes_of(&header));
        let table: &[u8] = bytemuck::cast_slice(&sections);
        front[size_of::<Header>()..][..table.len()].copy_from_slice(table);
        for (section, body) in sections.iter().zip(bodies) {
            front[section.offset as usize..][..body.len()].copy_from_slice(body);
        }
        write_all(&mut self.temporary, &self.output, &self.pending)?;
        self.temporary.as_file().rewind().map_err(|e| unwritable(&self.output, &e))?;
        write_all(&mut self.temporary, &self.output, &front)?;
        persist(self.temporary, &self.output)?;
        Ok(file_bytes)
    }

    /// The section table without hashes, and without the weights' length.
    fn front_sections(&self) -> [Section; SECTIONS.len()] {
        let mut offset = SECTION_ALIGN;
        SECTIONS.map(|(kind, _)| {
            let bytes = match kind {
                SectionKind::Config => size_of::<Config>(),
                SectionKind::Tensors => tensor::count(&self.config) * size_of::<Record>(),
                SectionKind::Vocab => self.vocab.len(),
                SectionKind::Text => self.text.len(),
                SectionKind::Weights => 0,
            } as u64;
            let section = Section { kind: kind as u32, offset, bytes, ..Section::zeroed() };
            offset = (offset + bytes).next_multiple_of(SECTION_ALIGN);
            section
        })
    }

    /// Writes `bytes` behind what was written so far, whole pieces of [`WRITE_BYTES`] at a time.
    fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(WRITE_BYTES - self.pending.len()));
            self.pending.extend(now);
            bytes = later;
            if self.pending.len() == WRITE_BYTES {
                write_all(&mut self.temporary, &self.output, &self.pending)?;
                self.pending.clear();
            }
        }
        Ok(())
    }
}

/// Writes a weight file with this signature to `output`, which may be where it was read from.
///
/// `Unwritable` as [`Writer::create`] has it, and `DiskFull`.
pub fn write_signed(file: &[u8], signature: &Signature, output: &Path) -> Result<()> {
    check_replaceable(output)?;
    let output = &fs::canonicalize(output).unwrap_or_else(|_| output.to_owned());
    let mut temporary = partial::file(output).map_err(|e| unwritable(output, &e))?;
    file.chunks(WRITE_BYTES).try_for_each(|part| write_all(&mut temporary, output, part))?;
    let place = io::SeekFrom::Start(signature::OFFSET as u64);
    temporary.as_file().seek(place).map_err(|e| unwritable(output, &e))?;
    write_all(&mut temporary, output, bytemuck::bytes_of(signature))?;
    persist(temporary, output)
}

/// Gives a file its name once all of it is on the disk.
fn persist(temporary: NamedTempFile, output: &Path) -> Result<()> {
    temporary.as_file().sync_all().map_err(|e| unwritable(output, &e))?;
    let folder = temporary.path().parent().map(Path::to_owned);
    temporary.persist(output).map_err(|e| unwritable(output, &e.error))?;
    // The name itself reaches the disk with the folder; not every file system can sync one.
    if let Some(Err(e)) = folder.map(|folder| fs::File::open(folder)?.sync_all()) {
        log::debug!("cannot sync the folder of {}: {e}", output.display());
    }
    Ok(())
}

fn write_all(file: &mut NamedTempFile, output: &Path, bytes: &[u8]) -> Result<()> {
    file.as_file_mut().write_all(bytes).map_err(|e| unwritable(output, &e))
}

/// The `TEXT` section with these texts; see [`TextKey`].
pub fn text_section(texts: &[(TextKey, &str)]) -> Vec<u8> {
    let mut section = Vec::new();
    for &(key, text) in texts {
        section.extend((key as u32).to_le_bytes());
        section.extend((text.len() as u32).to_le_bytes());
        section.extend(text.as_bytes());
        section.resize(section.len().next_multiple_of(4), 0);
    }
    section
}

/// The version of the file of a model of this shape.
fn version(config: &Config) -> u32 {
    let is_plain = config.features == 0 && config.bare_head_dim == 0;
    if is_plain { VERSION } else { VERSION_WITH_FEATURES }
}

/// The error for an output that cannot be written.
fn unwritable(output: &Path, error: &io::Error) -> Error {
    let folder = partial::parent(output);
    let (has_folder, folder) = (folder.exists(), folder.display());
    let output = output.display();
    match error.kind() {
        ErrorKind::NotFound if !has_folder => Error::new(
            Code::Unwritable,
            format_args!("{folder} does not exist: make this folder first"),
        ),
        ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            Error::new(
                Code::Unwritable,
                format_args!(
                    "cannot write {output}: {folder} takes no files from you; choose another place \
                     or its permissions"
                ),
            )
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::new(
            Code::DiskFull,
            format_args!("the disk is full: free some space to write {output}"),
        ),
        _ => Error::new(Code::Unwritable, format_args!("cannot write {output}: {error}")),
    }
}

/// Refuses to replace what no conversion has made.
fn check_replaceable(output: &Path) -> Result<()> {
    let metadata = match fs::metadata(output) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(unwritable(output, &e)),
    };
    if metadata.is_dir() {
        fail!(Code::Unwritable, "{} is a folder: name a file in it", output.display());
    }
    // Opening a pipe would wait for whoever writes to it.
    if !metadata.is_file() {
        fail!(Code::Unwritable, "{} is a device or a pipe: name a file", output.display());
    }
    let mut magic = [0; MAGIC.len()];
    let is_ours = metadata.len() == 0
        || fs::File::open(output).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
            && magic == MAGIC;
    ensure!(
        is_ours,
        Code::Unwritable,
        "{} exists and is no Kinglet file: choose another name",
        output.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disks_have_a_code_of_their_own() {
        let code = |kind: ErrorKind| unwritable(Path::new("a"), &kind.into()).code();
        assert_eq!(code(ErrorKind::StorageFull), Code::DiskFull);
        assert_eq!(code(ErrorKind::QuotaExceeded), Code::DiskFull);
        assert_eq!(code(ErrorKind::PermissionDenied), Code::Unwritable);
    }
}
