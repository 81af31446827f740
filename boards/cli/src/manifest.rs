//! What a checkpoint in the cache consists of, as it was when it had been fetched and verified.

use crate::{digest, errors, interrupt};
use kinglet_quant::Result;
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};

/// A checkpoint: a folder or a single file, and every file beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The checkpoint.
    pub checkpoint: PathBuf,
    files: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    sha256: String,
    bytes: u64,
    name: String,
}

/// How closely files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Whether they have their length.
    Lengths,
    /// Whether they have their SHA-256, for which they are read.
    Content,
}

impl Manifest {
    /// The manifest of a checkpoint, all of which is read.
    pub fn of(checkpoint: PathBuf) -> Result<Self> {
        let folder = match checkpoint.is_dir() {
            true => &checkpoint,
            false => checkpoint.parent().unwrap_or(&checkpoint),
        };
        let entries = fs::read_dir(folder).map_err(|cause| errors::unreadable(folder, &cause))?;
        let paths = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file());
        let mut files = Vec::new();
        for path in paths {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let data = fs::metadata(&path).map_err(|cause| errors::unreadable(&path, &cause))?;
            let sha256 = digest::sha256_file(&path, &mut |_| interrupt::check())?;
            files.push(Entry { sha256, bytes: data.len(), name: name.to_owned() });
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { checkpoint, files })
    }

    /// Reads what [`Manifest::text`] writes.
    pub fn parse(text: &str, home: &Path) -> Option<Self> {
        let mut lines = text.lines();
        let checkpoint = home.join(lines.next()?);
        let entry = |line: &str| {
            let (sha256, rest) = line.split_once(' ')?;
            let (bytes, name) = rest.split_once(' ')?;
            let is_name = !name.is_empty() && !name.contains(['/', '\\']);
            let bytes = bytes.parse().ok().filter(|_| is_name)?;
            Some(Entry { sha256: sha256.to_owned(), bytes, name: name.to_owned() })
        };
        let files: Vec<Entry> = lines.map(entry).collect::<Option<_>>()?;
        (!files.is_empty()).then_some(Self { checkpoint, files })
    }

    /// The files that are no longer what they were.
    pub fn damaged(&self, look: Look) -> Result<Vec<PathBuf>> {
        let folder = self.folder();
        let mut damaged = Vec::new();
        for Entry { sha256, bytes, name } in &self.files {
            let path = folder.join(name);
            let has_length = fs::metadata(&path).is_ok_and(|data| data.len() == *bytes);
            let is_whole = has_length
                && (look == Look::Lengths
                    || digest::sha256_file(&path, &mut |_| interrupt::check())? == *sha256);
            if !is_whole {
                damaged.push(path);
            }
        }
        Ok(damaged)
    }

    /// Where the files are, also once they are gone.
    fn folder(&self) -> &Path {
        let is_file = self.files.iter().any(|file| self.checkpoint.ends_with(&file.name));
        let parent = self.checkpoint.parent().filter(|_| is_file);
        parent.unwrap_or(&self.checkpoint)
    }

    /// As text, with the checkpoint's path below `home`: that first, then a line for each file.
    pub fn text(&self, home: &Path) -> String {
        let relative = self.checkpoint.strip_prefix(home).expect("it lies in the cache");
        let lines = self.files.iter();
        let lines = lines.map(|Entry { sha256, bytes, name }| format!("{sha256} {bytes} {name}\n"));
        iter::once(format!("{}\n", relative.display())).chain(lines).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_found() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("model");
        fs::create_dir(&place).unwrap();
        for (name, content) in [("a b.json", "{}"), ("weights", "0123456789")] {
            fs::write(place.join(name), content).unwrap();
        }
        for checkpoint in [place.clone(), place.join("weights")] {
            let made = Manifest::of(checkpoint).unwrap();
            let text = made.text(home.path());
            let read = Manifest::parse(&text, home.path()).unwrap();
            assert_eq!(read, made);
            assert!(read.damaged(Look::Content).unwrap().is_empty());
            fs::write(place.join("weights"), "0123456780").unwrap();
            assert!(read.damaged(Look::Lengths).unwrap().is_empty());
            assert_eq!(read.damaged(Look::Content).unwrap(), [place.join("weights")]);
            fs::write(place.join("weights"), "0123").unwrap();
            assert_eq!(read.damaged(Look::Lengths).unwrap(), [place.join("weights")]);
            fs::write(place.join("weights"), "0123456789").unwrap();
        }
        fs::remove_file(place.join("a b.json")).unwrap();
        let made = Manifest::of(place.clone()).unwrap();
        fs::remove_dir_all(&place).unwrap();
        assert_eq!(made.damaged(Look::Lengths).unwrap(), [place.join("weights")]);
    }

    #[test]
    fn what_is_no_manifest_is_none() {
        let hash = "0".repeat(64);
        for text in ["", "model", "model\n0", "model\nx y z", &format!("m\n{hash} 1 ../x")] {
            assert_eq!(Manifest::parse(text, Path::new("/")), None, "{text}");
        }
    }
}
