//! Memory as the operating system tells it.

use crate::Root;

/// Control groups say "no limit" with a number near 2^63.
const UNLIMITED_BYTES: u64 = 1 << 60;

/// Bytes of memory of the machine, and what of it this process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All of the machine's.
    pub total_bytes: u64,
    /// What can be had without swapping, as Linux estimates it.
    pub available_bytes: u64,
    /// Swap that the machine has.
    pub swap_bytes: u64,
    /// The lowest limit of the control groups that this process is in.
    pub limit_bytes: Option<u64>,
}

impl Memory {
    /// What the system says now; `None` where Linux's `/proc` is absent.
    pub fn read(root: &Root) -> Option<Self> {
        let text = root.text("/proc/meminfo")?;
        Some(Self {
            total_bytes: bytes_of(&text, "MemTotal:")?,
            available_bytes: bytes_of(&text, "MemAvailable:")?,
            swap_bytes: bytes_of(&text, "SwapTotal:").unwrap_or(0),
            limit_bytes: limit_bytes(root),
        })
    }

    /// What a process may take in all: no more than what is available, nor than its groups allow.
    pub fn usable_bytes(&self) -> u64 {
        self.available_bytes.min(self.limit_bytes.unwrap_or(u64::MAX))
    }
}

/// What this process has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// Resident bytes, pages of mapped files among them.
    pub bytes: u64,
    /// The most there were so far.
    pub peak_bytes: u64,
    /// Those that are no pages of files: heap, stacks and the like.
    pub anonymous_bytes: u64,
}

impl Resident {
    /// What the system says now; zeros where Linux's `/proc` is absent.
    pub fn read(root: &Root) -> Self {
        let text = root.text("/proc/self/status").unwrap_or_default();
        let bytes = |field: &str| bytes_of(&text, field).unwrap_or(0);
        Self {
            bytes: bytes("VmRSS:"),
            peak_bytes: bytes("VmHWM:"),
            anonymous_bytes: bytes("RssAnon:"),
        }
    }
}

/// The lowest limit of the control groups from this process's own up to the first; `None` where
/// there is none, or none can be read.
fn limit_bytes(root: &Root) -> Option<u64> {
    let kinds = [
        ("", "/sys/fs/cgroup", "memory.max"),
        ("memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
    ];
    let limits = kinds.iter().flat_map(|(controller, mount, file)| {
        let folders = groups(root, controller, mount).into_iter();
        folders.filter_map(move |folder| root.number(&format!("{folder}/{file}")))
    });
    limits.filter(|&bytes: &u64| bytes < UNLIMITED_BYTES).min()
}

/// The folders of this process's control groups, from its own up to the first, for a controller of
/// the older hierarchies or, without a name, for the unified one.
pub(crate) fn groups(root: &Root, controller: &str, mount: &str) -> Vec<String> {
    let text = root.text("/proc/self/cgroup").unwrap_or_default();
    let own = text.lines().find_map(|line| {
        // Number, controllers, path; the unified hierarchy has no controllers.
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?);
        controllers.split(',').any(|name| name == controller).then_some(group)
    });
    let groups = std::iter::successors(own, |group| {
        group.trim_end_matches('/').rsplit_once('/').map(|(above, _)| above)
    });
    groups.map(|group| format!("{mount}{group}")).collect()
}

/// The bytes behind `field` in text such as `VmHWM:     1234 kB`.
fn bytes_of(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kb: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kb.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A tree with these files; 1 GiB of memory, half of it available.
    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        let own = "MemTotal:        1048576 kB\nMemFree: 9 kB\nMemAvailable:     524288 kB\n";
        for (path, text) in [&[("/proc/meminfo", own)], files].concat() {
            fs::create_dir_all(root.path(path).parent().unwrap()).unwrap();
            fs::write(root.path(path), text).unwrap();
        }
        (folder, root)
    }

    #[test]
    fn fields_are_read_in_kb() {
        let text = "VmPeak:\t 10 kB\nVmHWM:\t    1234 kB\nThreads:\t1\n";
        assert_eq!(bytes_of(text, "VmHWM:"), Some(1234 * 1024));
        assert_eq!(bytes_of(text, "Threads:"), None);
        assert_eq!(bytes_of(text, "VmRSS:"), None);
    }

    #[test]
    fn the_lowest_limit_of_all_groups_counts() {
        let usable = |files: &[(&str, &str)]| {
            let (_folder, root) = tree(files);
            Memory::read(&root).unwrap().usable_bytes()
        };
        assert_eq!(usable(&[]), 512 << 20);
        let unified = ("/proc/self/cgroup", "0::/a/b\n");
        assert_eq!(usable(&[unified, ("/sys/fs/cgroup/a/b/memory.max", "max\n")]), 512 << 20);
        assert_eq!(usable(&[unified, ("/sys/fs/cgroup/a/b/memory.max", "1048576\n")]), 1 << 20);
        let (above, below) =
            (("/sys/fs/cgroup/a/memory.max", "4096"), ("/sys/fs/cgroup/a/b/memory.max", "8192"));
        assert_eq!(usable(&[unified, above, below]), 4096);
        // Containers often see their own group as the first one.
        assert_eq!(usable(&[unified, ("/sys/fs/cgroup/memory.max", "12288")]), 12288);
        let older = ("/proc/self/cgroup", "5:cpu:/a\n4:memory,x:/a\n0::/\n");
        let file = "/sys/fs/cgroup/memory/a/memory.limit_in_bytes";
        assert_eq!(usable(&[older, (file, "65536\n")]), 65536);
        assert_eq!(usable(&[older, (file, "9223372036854771712\n")]), 512 << 20);
    }

    #[test]
    fn a_system_without_proc_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        assert_eq!(Memory::read(&root), None);
        assert_eq!(Resident::read(&root), Resident::default());
        let here = Resident::read(&Root::here());
        assert!(here.bytes > 0 && here.peak_bytes >= here.bytes);
        assert!((1..here.bytes).contains(&here.anonymous_bytes));
    }
}
