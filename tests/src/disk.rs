//! A disk that is small enough to fill it up.

use std::path::Path;
use std::process::Command;

/// A small file system in memory, gone when dropped.
pub struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    /// Mounts one of `bytes` bytes; `None` where that is not allowed.
    pub fn mount(folder: &'a Path, bytes: u64) -> Option<Self> {
        let size = format!("size={bytes}");
        let mut mount = Command::new("mount");
        let status =
            mount.args(["-t", "tmpfs", "-o", &size, "kinglet"]).arg(folder).output().ok()?;
        status.status.success().then_some(Self(folder))
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "the file system stays mounted");
    }
}
