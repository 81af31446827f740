//! What is in the making beside its output, as `.NAME.RANDOM.partial`. Its maker holds a lock on
//! it, so that the next one can tell what a killed one has left, and removes that.

use crate::system;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use tempfile::{Builder, NamedTempFile, TempDir};

const SUFFIX: &str = ".partial";

/// A folder that is removed when this is dropped.
#[derive(Debug)]
pub struct Folder {
    folder: TempDir,
    // Closing the file releases the lock, also when the process is killed.
    _lock: File,
}

impl Folder {
    /// Makes a folder beside `output`.
    pub fn new(output: &Path) -> io::Result<Self> {
        let (folder, lock) = locked(
            output,
            |builder, beside| builder.tempdir_in(beside),
            |folder| system::open_to_lock(folder.path()),
        )?;
        Ok(Self { folder, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Makes a file beside `output`, to be renamed to it once it is whole.
pub fn file(output: &Path) -> io::Result<NamedTempFile> {
    let file = locked(
        output,
        |builder, beside| {
            system::set_usual_permissions(builder);
            builder.tempfile_in(beside)
        },
        |file: &NamedTempFile| file.as_file().try_clone(),
    )?;
    Ok(file.0)
}

/// The folder that a path lies in.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Removes what is abandoned, makes something new, and locks it.
fn locked<T: AsRef<Path>>(
    output: &Path,
    make: impl Fn(&mut Builder<'_, '_>, &Path) -> io::Result<T>,
    open: impl Fn(&T) -> io::Result<File>,
) -> io::Result<(T, File)> {
    let (prefix, beside) = (prefix(output), parent(output));
    remove_abandoned(beside, &prefix);
    loop {
        let made = make(Builder::new().prefix(&prefix).suffix(SUFFIX), beside)?;
        let lock = open(&made)?;
        // Where the file system has no locks, nobody takes it for abandoned either.
        let _ = lock.lock();
        // Another maker may have come before the lock.
        if made.as_ref().exists() {
            return Ok((made, lock));
        }
    }
}

fn prefix(output: &Path) -> String {
    format!(".{}.", output.file_name().unwrap_or_default().to_string_lossy())
}

/// Removes everything with this prefix that nobody holds a lock on.
fn remove_abandoned(folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix(prefix)?.strip_suffix(SUFFIX));
        if random.is_none_or(|random| random.contains('.')) {
            continue;
        }
        let Ok(kind) = entry.file_type() else { continue };
        if !kind.is_file() && !kind.is_dir() {
            continue;
        }
        let path = entry.path();
        let Ok(file) = system::open_to_lock(&path) else { continue };
        if file.try_lock().is_ok() {
            // Whoever may not remove it leaves it to others.
            let _ = if kind.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_abandoned_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("a.kinglet");
        let names = || {
            let entries = fs::read_dir(folder.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let others = [".a.kinglet.x.y.partial", ".b.kinglet.xyz.partial", "a.kinglet.xyz.partial"];
        for name in others {
            fs::write(folder.path().join(name), "other").unwrap();
        }
        fs::write(folder.path().join(".a.kinglet.old.partial"), "killed").unwrap();
        fs::create_dir(folder.path().join(".a.kinglet.older.partial")).unwrap();
        fs::write(folder.path().join(".a.kinglet.older.partial/x"), "killed").unwrap();
        let living = file(&output).unwrap();
        let made = Folder::new(&output).unwrap();
        assert!(living.path().exists() && made.path().exists());
        // On Windows what is locked in place of a folder lies beside it.
        let is_lock = |name: &std::ffi::OsString| name.to_string_lossy().ends_with(".lock");
        let there = names().into_iter().filter(|name| !is_lock(name)).count();
        assert_eq!(there, others.len() + 2, "{:?}", names());
        drop((living, made));
        let mut expected = others.map(std::ffi::OsString::from);
        expected.sort();
        assert_eq!(names(), expected);
    }
}
