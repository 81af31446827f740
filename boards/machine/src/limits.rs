//! What the system allows this process, and how it treats memory.

use crate::Root;
use crate::memory::groups;

/// Limits and settings that decide how fast a model can be and how large.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Processors that the control groups allow on average, such as 1.5.
    pub quota_cpus: Option<f64>,
    /// Bytes that the process may keep in memory with `mlock`; `None` without a limit.
    pub locked_bytes: Option<u64>,
    /// Bytes of addresses that the process may have; `None` without a limit.
    pub address_bytes: Option<u64>,
    /// Bytes of a page of memory.
    pub page_bytes: Option<u64>,
    /// When the kernel takes huge pages: `always`, `madvise` or `never`.
    pub huge_pages: Option<String>,
}

impl Limits {
    /// What the system says now.
    pub fn read(root: &Root) -> Self {
        let limits = root.text("/proc/self/limits").unwrap_or_default();
        let bytes = |name: &str| {
            let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
            rest.split_whitespace().next()?.parse().ok()
        };
        Self {
            quota_cpus: quota_cpus(root),
            locked_bytes: bytes("Max locked memory"),
            address_bytes: bytes("Max address space"),
            page_bytes: page_bytes(root),
            huge_pages: huge_pages(root),
        }
    }
}

/// The lowest quota of the control groups from this process's own up to the first.
pub(crate) fn quota_cpus(root: &Root) -> Option<f64> {
    let unified = groups(root, "", "/sys/fs/cgroup").into_iter().filter_map(|folder| {
        let text = root.text(&format!("{folder}/cpu.max"))?;
        let (quota, period) = text.split_once(' ')?;
        Some(quota.parse::<f64>().ok()? / period.trim().parse::<f64>().ok()?)
    });
    let older = groups(root, "cpu", "/sys/fs/cgroup/cpu").into_iter().filter_map(|folder| {
        // −1 stands for no quota.
        let quota = root.number::<f64>(&format!("{folder}/cpu.cfs_quota_us"))?;
        Some(quota / root.number::<f64>(&format!("{folder}/cpu.cfs_period_us"))?)
    });
    unified.chain(older).filter(|cpus| cpus.is_finite() && *cpus > 0.0).reduce(f64::min)
}

fn page_bytes(root: &Root) -> Option<u64> {
    let text = root.text("/proc/self/smaps")?;
    let line = text.lines().find_map(|line| line.strip_prefix("KernelPageSize:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The word in brackets of `always [madvise] never`.
fn huge_pages(root: &Root) -> Option<String> {
    let text = root.text("/sys/kernel/mm/transparent_hugepage/enabled")?;
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read(files: &[(&str, &str)]) -> Limits {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        for (path, text) in files {
            fs::create_dir_all(root.path(path).parent().unwrap()).unwrap();
            fs::write(root.path(path), text).unwrap();
        }
        Limits::read(&root)
    }

    #[test]
    fn limits_of_a_process_are_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
            Max locked memory         8388608              8388608              bytes\n\
            Max address space         unlimited            unlimited            bytes\n";
        let smaps = "aaaa0000-aaab0000 r-xp 0 00:00 0 /bin/a\nKernelPageSize:       16 kB\n";
        let found = read(&[
            ("/proc/self/limits", text),
            ("/proc/self/smaps", smaps),
            ("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
        ]);
        assert_eq!((found.locked_bytes, found.address_bytes), (Some(8 << 20), None));
        assert_eq!(found.page_bytes, Some(16 << 10));
        assert_eq!(found.huge_pages.as_deref(), Some("madvise"));
        assert_eq!(read(&[]), Limits::default());
    }

    #[test]
    fn the_lowest_quota_of_all_groups_counts() {
        let unified = ("/proc/self/cgroup", "0::/a/b\n");
        let quota = |files: &[(&str, &str)]| read(&[&[unified], files].concat()).quota_cpus;
        assert_eq!(quota(&[]), None);
        assert_eq!(quota(&[("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n")]), None);
        let (above, below) =
            (("/sys/fs/cgroup/a/cpu.max", "150000 100000"), ("/sys/fs/cgroup/a/b/cpu.max", "4 1"));
        assert_eq!(quota(&[above, below]), Some(1.5));
        let older = [
            ("/proc/self/cgroup", "3:cpu,cpuacct:/a\n"),
            ("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "50000"),
            ("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
        ];
        assert_eq!(read(&older).quota_cpus, Some(0.5));
    }
}
