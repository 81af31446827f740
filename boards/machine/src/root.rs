//! The folder below which the files of the system lie.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Below it a running system has its files. On Windows nothing is ever found below the null device.
const HERE: &str = if cfg!(windows) { "NUL" } else { "/" };

/// Where `/proc`, `/sys` and `/etc` are: the machine's own, or a recorded tree of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// This machine's own.
    pub fn here() -> Self {
        Self(HERE.into())
    }

    /// A tree of files that stands for a machine.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// Whether these are this machine's own files, so that system calls speak of the same machine.
    pub fn is_here(&self) -> bool {
        self.0 == Path::new(HERE)
    }

    /// Where the file is that a running system calls `path`, such as `/proc/meminfo`.
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// The text of a file; bytes that are not UTF-8 are replaced, and the zeros that end strings of
    /// a device tree become line breaks.
    pub fn read(&self, path: &str) -> io::Result<String> {
        let bytes = fs::read(self.path(path))?;
        Ok(String::from_utf8_lossy(&bytes).replace('\0', "\n").trim_end().to_owned())
    }

    /// The text of a file; `None` where it cannot be read.
    pub fn text(&self, path: &str) -> Option<String> {
        self.read(path).ok()
    }

    /// The number that a file holds alone; `None` where it holds none.
    pub fn number<T: FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.trim().parse().ok()
    }

    /// The names in a folder, sorted; none where it cannot be read.
    pub fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_below_the_root() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("proc/device-tree")).unwrap();
        fs::write(folder.path().join("proc/device-tree/compatible"), "a,b\0c,d\0").unwrap();
        fs::write(folder.path().join("proc/count"), " 12\n").unwrap();
        let root = Root::at(folder.path());
        assert_eq!(root.text("/proc/device-tree/compatible").as_deref(), Some("a,b\nc,d"));
        assert_eq!(root.number::<u64>("/proc/count"), Some(12));
        assert_eq!(root.number::<u64>("/proc/device-tree/compatible"), None);
        assert_eq!(root.names("/proc"), ["count", "device-tree"]);
        assert!(root.names("/sys").is_empty() && root.text("/proc").is_none());
        assert!(!root.is_here() && Root::here().is_here());
    }
}
