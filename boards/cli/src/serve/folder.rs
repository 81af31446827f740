//! A folder of saved texts: bounded, and intact whenever its owner dies.
//!
//! A file is one text: how many tokens it has (`u32`), the tokens, and its state as the library
//! saves it. It is called `GROUP-TOKENS.prefix`: digests of what a state depends on besides its
//! text, and of the tokens. A new one is written as `unfinished` and then renamed. Files with other
//! names are nobody's business here.

use crate::chat::shared_prefix;
use crate::{errors, units};
use kinglet::{Code, Error, Result};
use kinglet_quant::system;
use sha2::{Digest, Sha256};
use std::cmp::Reverse;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

const EXTENSION: &str = "prefix";
const UNFINISHED: &str = "unfinished";
/// Hexadecimal digits of the two digests in a name.
const GROUP_DIGITS: usize = 16;
const TOKENS_DIGITS: usize = 32;

/// A folder that one server owns.
pub struct Folder {
    path: PathBuf,
    group: String,
    /// What all files together may take.
    limit_bytes: u64,
    entries: Mutex<Vec<Entry>>,
    /// Locked as long as this lives.
    _lock: File,
}

/// A file of the folder.
struct Entry {
    name: String,
    bytes: u64,
    used: SystemTime,
    /// Nothing for a file of another group.
    tokens: Vec<u32>,
}

/// A kept text that begins like another one.
pub struct Found {
    /// The name of its file.
    pub name: String,
    /// What the file takes.
    pub bytes: u64,
    /// Tokens that both begin with.
    pub shared: usize,
}

impl Folder {
    /// The folder at a path, made where there is none, with the texts that it has. `dependencies`
    /// is all that a state depends on besides its text.
    ///
    /// `Unwritable` and `Unreadable` where the system refuses, `BadArgument` where another server
    /// has the folder.
    pub fn open(path: &Path, dependencies: &[&[u8]], limit_bytes: u64) -> Result<Self> {
        system::make_private_folder(path).map_err(|cause| errors::unwritable(path, &cause))?;
        let lock = system::open_to_lock(path).map_err(|cause| errors::unreadable(path, &cause))?;
        lock.try_lock().map_err(|cause| match cause {
            TryLockError::WouldBlock => Error::new(
                Code::BadArgument,
                format_args!(
                    "another server keeps its texts in {}: give each a folder of its own",
                    path.display()
                ),
            ),
            TryLockError::Error(cause) => errors::unreadable(path, &cause),
        })?;
        let mut group = Sha256::new();
        for part in dependencies {
            group.update((part.len() as u64).to_le_bytes());
            group.update(part);
        }
        let mut group = units::hex(&group.finalize());
        group.truncate(GROUP_DIGITS);
        let folder = Self {
            path: path.to_owned(),
            group,
            limit_bytes,
            entries: Mutex::default(),
            _lock: lock,
        };
        // It is from a server that was killed.
        let _ = fs::remove_file(path.join(UNFINISHED));
        folder.list().map_err(|cause| errors::unreadable(path, &cause))?;
        for name in folder.make_room(0) {
            folder.remove(&name);
        }
        Ok(folder)
    }

    /// Reads the names and tokens of all files.
    fn list(&self) -> io::Result<()> {
        for file in fs::read_dir(&self.path)? {
            let file = file?;
            let Ok(name) = file.file_name().into_string() else { continue };
            let Some((group, digest)) = parts(&name) else { continue };
            let data = file.metadata()?;
            let tokens = match group == self.group {
                // What could never have been kept is not read.
                true if !self.has_room(data.len()) => None,
                true => read_tokens(&file.path()).filter(|tokens| digest_of(tokens) == digest),
                false => Some(Vec::new()),
            };
            match tokens {
                Some(tokens) => {
                    let used = data.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    self.lock().push(Entry { name, bytes: data.len(), used, tokens });
                }
                None => self.remove(&name),
            }
        }
        Ok(())
    }

    /// The kept text that begins most like this one.
    pub fn find(&self, tokens: &[u32]) -> Option<Found> {
        let entries = self.lock();
        let shared = |entry: &Entry| shared_prefix(&entry.tokens, tokens);
        let best = entries.iter().max_by_key(|entry| (shared(entry), Reverse(entry.bytes)))?;
        let shared = shared(best);
        (shared > 0).then(|| Found { name: best.name.clone(), bytes: best.bytes, shared })
    }

    /// What a file takes whose text has so many tokens, and whose state so many bytes.
    pub fn file_bytes(tokens: usize, state_bytes: usize) -> u64 {
        4 * (1 + tokens as u64) + state_bytes as u64
    }

    /// Whether a file of so many bytes can be kept at all.
    pub fn has_room(&self, bytes: u64) -> bool {
        bytes <= self.limit_bytes
    }

    /// Keeps a text; those that have not been used for longest make room. What it begins with needs
    /// no files of its own any more.
    ///
    /// `DiskFull` and `Unwritable`; then nothing is kept.
    pub fn keep(&self, tokens: &[u32], state: &[u8]) -> Result<()> {
        let bytes = Self::file_bytes(tokens.len(), state.len());
        for name in self.make_room(bytes) {
            self.remove(&name);
        }
        let name = format!("{}-{}.{EXTENSION}", self.group, digest_of(tokens));
        let unfinished = self.path.join(UNFINISHED);
        let written = write(&unfinished, tokens, state)
            .and_then(|()| fs::rename(&unfinished, self.path.join(&name)));
        if let Err(cause) = written {
            let _ = fs::remove_file(&unfinished);
            return Err(errors::unwritable(&self.path, &cause));
        }
        let is_covered = |entry: &Entry| entry.name == name || is_beginning(&entry.tokens, tokens);
        let covered: Vec<String> =
            self.lock().extract_if(.., |entry| is_covered(entry)).map(|entry| entry.name).collect();
        for other in covered.iter().filter(|other| **other != name) {
            self.remove(other);
        }
        let used = SystemTime::now();
        self.lock().push(Entry { name, bytes, used, tokens: tokens.to_vec() });
        Ok(())
    }

    /// The state of a file, which counts as used now. A file without one is removed.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.read_state(name);
        if state.is_none() {
            self.remove(name);
        }
        state
    }

    fn read_state(&self, name: &str) -> Option<Vec<u8>> {
        let mut file = File::open(self.path.join(name)).ok()?;
        let used = SystemTime::now();
        // What fails here changes only which file goes first.
        let _ = file.set_modified(used);
        if let Some(entry) = self.lock().iter_mut().find(|entry| entry.name == name) {
            entry.used = used;
        }
        let length = file.metadata().ok().map(|data| data.len()).filter(|&n| self.has_room(n))?;
        let before = Self::file_bytes(read_number(&mut file)? as usize, 0);
        let mut state = vec![0; usize::try_from(length.checked_sub(before)?).ok()?];
        file.seek(SeekFrom::Start(before)).ok()?;
        file.read_exact(&mut state).ok()?;
        Some(state)
    }

    /// Removes a file, which may be gone.
    pub fn remove(&self, name: &str) {
        self.lock().retain(|entry| entry.name != name);
        let _ = fs::remove_file(self.path.join(name));
    }

    /// What all files take together.
    pub fn bytes(&self) -> u64 {
        self.lock().iter().map(|entry| entry.bytes).sum()
    }

    /// The files that must go for another one of so many bytes, longest unused first.
    fn make_room(&self, bytes: u64) -> Vec<String> {
        let mut entries = self.lock();
        entries.sort_by_key(|entry| entry.used);
        let mut all: u64 = bytes + entries.iter().map(|entry| entry.bytes).sum::<u64>();
        let is_too_much = |entry: &&Entry| {
            let goes = all > self.limit_bytes;
            all -= entry.bytes;
            goes
        };
        entries.iter().take_while(is_too_much).map(|entry| entry.name.clone()).collect()
    }

    /// Every change of the list is whole, so a panic elsewhere leaves it usable.
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a text begins with another, which has tokens.
fn is_beginning(beginning: &[u32], text: &[u32]) -> bool {
    !beginning.is_empty() && text.starts_with(beginning)
}

/// Group and digest in the name of a file; `None` for one that is not of this kind.
fn parts(name: &str) -> Option<(&str, &str)> {
    let (group, digest) = name.strip_suffix(EXTENSION)?.strip_suffix('.')?.split_once('-')?;
    let is_hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    (is_hex(group, GROUP_DIGITS) && is_hex(digest, TOKENS_DIGITS)).then_some((group, digest))
}

fn digest_of(tokens: &[u32]) -> String {
    let mut digest = Sha256::new();
    tokens.iter().for_each(|token| digest.update(token.to_le_bytes()));
    let mut digits = units::hex(&digest.finalize());
    digits.truncate(TOKENS_DIGITS);
    digits
}

fn write(path: &Path, tokens: &[u32], state: &[u8]) -> io::Result<()> {
    let mut start = Vec::with_capacity(4 * (1 + tokens.len()));
    start.extend_from_slice(&(tokens.len() as u32).to_le_bytes());
    tokens.iter().for_each(|token| start.extend_from_slice(&token.to_le_bytes()));
    let mut file = system::make_private_file(path)?;
    file.write_all(&start)?;
    file.write_all(state)?;
    // Where power is lost, a file under its final name would else be empty.
    file.sync_data()
}

fn read_number(file: &mut File) -> Option<u32> {
    let mut bytes = [0; 4];
    file.read_exact(&mut bytes).ok()?;
    Some(u32::from_le_bytes(bytes))
}

/// The tokens that a file begins with; `None` for one that is too short for them.
fn read_tokens(path: &Path) -> Option<Vec<u32>> {
    let mut file = File::open(path).ok()?;
    let count = u64::from(read_number(&mut file)?);
    if file.metadata().ok()?.len() < 4 * (1 + count) {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(4 * count).ok()?];
    file.read_exact(&mut bytes).ok()?;
    let (tokens, _) = bytes.as_chunks::<4>();
    Some(tokens.iter().map(|&token| u32::from_le_bytes(token)).collect())
}
