//! The processors of the machine, and which of them to use.

use crate::limits::quota_cpus;
use crate::{Binding, Root, affinity};
use kinglet_quant::{Code, Error, Result, fail};
use std::fmt;
use std::str::FromStr;

/// Where Linux tells about processors.
const FOLDER: &str = "/sys/devices/system/cpu";
/// Threads that a session has at most unless told otherwise.
const MAX_DEFAULT_THREADS: usize = 8;

/// A set of processors, written as `taskset` does: `0-3,6`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus(Vec<usize>);

impl Cpus {
    /// Those that the calling thread may run on and that have the highest capacity; empty where the
    /// operating system does not say.
    ///
    /// Linux names a capacity for each processor of a big.LITTLE board; where it does not, the
    /// highest clock frequency stands for it, and without that all count as equal. A capacity of at
    /// least 7/8 of the highest counts as the highest: chips of one design differ by less.
    pub fn fastest(root: &Root) -> Self {
        let Self(mut cpus) = Self::allowed(root);
        let capacities = |file: &str| -> Option<Vec<u64>> {
            cpus.iter().map(|cpu| root.number(&format!("{FOLDER}/cpu{cpu}/{file}"))).collect()
        };
        let capacities =
            capacities("cpu_capacity").or_else(|| capacities("cpufreq/cpuinfo_max_freq"));
        if let Some(capacities) = capacities {
            let highest = capacities.iter().copied().max().unwrap_or(0);
            let mut is_fast = capacities.iter().map(|capacity| capacity * 8 >= highest * 7);
            cpus.retain(|_| is_fast.next().expect("every processor has a capacity"));
        }
        Self(cpus)
    }

    /// Those that the calling thread may run on; of a recorded machine, those that are on.
    pub fn allowed(root: &Root) -> Self {
        if root.is_here() {
            return Self(affinity::allowed());
        }
        online(root).unwrap_or(Self(Vec::new()))
    }

    /// The numbers of the processors, ascending.
    pub fn numbers(&self) -> &[usize] {
        &self.0
    }

    /// Threads that a session on these processors has unless told otherwise: one on each, at least
    /// 1 and at most 8, and no more than the control groups give processors on average.
    pub fn default_threads(&self, root: &Root) -> usize {
        let quota = quota_cpus(root).map_or(usize::MAX, |cpus| cpus.ceil() as usize);
        self.0.len().min(quota).clamp(1, MAX_DEFAULT_THREADS)
    }

    /// Binds the calling thread to these processors for as long as it lives; a refusal costs speed
    /// only. [`crate::Binding`] can be released again.
    pub fn bind(&self) {
        affinity::bind(self);
    }

    /// `BadArgument` when the machine lacks one of them or has switched it off, when this process
    /// may not run on it, or when the system leaves no choice among its processors.
    pub fn check(&self, root: &Root) -> Result<()> {
        // Where the system does not say, a wrong number costs speed only.
        if let Some(online) = online(root) {
            self.check_within(&online, "there is no processor", "")?;
        }
        let allowed = Self::allowed(root);
        if allowed.0.is_empty() {
            return Ok(());
        }
        let advice = ", or start this process with another taskset or cpuset";
        self.check_within(&allowed, "this process may not run on processor", advice)?;
        if *self == allowed { Ok(()) } else { Binding::check() }
    }

    fn check_within(&self, known: &Self, problem: &str, advice: &str) -> Result<()> {
        match self.0.iter().find(|cpu| !known.0.contains(cpu)) {
            Some(cpu) => {
                fail!(Code::BadArgument, "{problem} {cpu}: choose among {known}{advice}")
            }
            None => Ok(()),
        }
    }

    /// The set with which worker `worker` of `count` is bound: a processor of its own where there
    /// are enough.
    pub fn share(&self, worker: usize, count: usize) -> Self {
        if count <= self.0.len() { Self(vec![self.0[worker]]) } else { self.clone() }
    }
}

impl FromStr for Cpus {
    type Err = Error;

    /// Reads a list of numbers and ranges. `BadArgument` for anything else.
    fn from_str(list: &str) -> Result<Self> {
        let mut cpus = Vec::new();
        for part in list.trim().split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (first.parse::<usize>(), last.parse::<usize>()) {
                (Ok(first), Ok(last)) if first <= last && last < affinity::MAX_CPUS => {
                    cpus.extend(first..=last);
                }
                _ => fail!(
                    Code::BadArgument,
                    "`{list}` names no processors: write a list such as 0-3,6"
                ),
            }
        }
        cpus.sort_unstable();
        cpus.dedup();
        Ok(Self(cpus))
    }
}

/// Writes numbers and ranges, as they are read.
impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, run) in self.0.chunk_by(|a, b| a + 1 == *b).enumerate() {
            let comma = if i > 0 { "," } else { "" };
            match run {
                [one] => write!(f, "{comma}{one}")?,
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [] => unreachable!("runs have members"),
            }
        }
        Ok(())
    }
}

/// Threads that a session uses unless told otherwise: see [`Cpus::fastest`] and
/// [`Cpus::default_threads`].
pub fn default_threads() -> usize {
    Cpus::fastest(&Root::here()).default_threads(&Root::here())
}

/// Those that are switched on; `None` where the system does not say.
fn online(root: &Root) -> Option<Cpus> {
    root.text(&format!("{FOLDER}/online"))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A made-up `/sys/devices/system/cpu` with these files.
    fn sysfs(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        for (name, text) in files {
            let path = root.path(&format!("{FOLDER}/{name}"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        (folder, root)
    }

    fn fastest(cpus: &str, files: &[(&str, &str)]) -> String {
        let (_folder, root) = sysfs(&[&[("online", cpus)], files].concat());
        Cpus::fastest(&root).to_string()
    }

    #[test]
    fn lists_are_read_as_taskset_reads_them() {
        for (list, numbers) in [
            ("0", &[0][..]),
            ("0-3,6", &[0, 1, 2, 3, 6]),
            ("6,0-1,1", &[0, 1, 6]),
            ("4-4\n", &[4]),
            ("1023", &[1023]),
        ] {
            assert_eq!(list.parse::<Cpus>().unwrap().numbers(), numbers, "{list}");
        }
        for list in ["", ",", "1,", "a", "-1", "3-1", "0-", "1024", "0-99999999999", "0 1", "0x3"] {
            assert_eq!(list.parse::<Cpus>().unwrap_err().code(), Code::BadArgument, "{list}");
        }
        for list in ["0", "0-3,6", "1,3,5-7"] {
            assert_eq!(list.parse::<Cpus>().unwrap().to_string(), list);
        }
    }

    #[test]
    fn little_cores_are_left_out() {
        // Two clusters of four: RK3399 has its big cores behind, others before.
        let capacities = [
            ("cpu0/cpu_capacity", "485\n"),
            ("cpu1/cpu_capacity", "485\n"),
            ("cpu2/cpu_capacity", "1024\n"),
            ("cpu3/cpu_capacity", "1024\n"),
            // The frequency of a little core may well be the highest: it does not count here.
            ("cpu0/cpufreq/cpuinfo_max_freq", "2400000\n"),
        ];
        assert_eq!(fastest("0-3", &capacities), "2-3");
        assert_eq!(fastest("0-2", &capacities), "2");
        // Of those that the process may use, the fastest.
        assert_eq!(fastest("0-1", &capacities), "0-1");
    }

    #[test]
    fn frequencies_stand_for_capacities_that_are_not_named() {
        let frequencies = [
            ("cpu0/cpufreq/cpuinfo_max_freq", "2016000\n"),
            ("cpu1/cpufreq/cpuinfo_max_freq", "1416000\n"),
            ("cpu2/cpufreq/cpuinfo_max_freq", "1416000\n"),
            ("cpu3/cpufreq/cpuinfo_max_freq", "2016000\n"),
        ];
        assert_eq!(fastest("0-3", &frequencies), "0,3");
        // A capacity for some processors only says nothing about the others.
        let mixed = [&frequencies[..], &[("cpu1/cpu_capacity", "1024\n")]].concat();
        assert_eq!(fastest("0-3", &mixed), "0,3");
    }

    #[test]
    fn chips_of_one_design_count_as_equal() {
        let files = [
            ("cpu0/cpu_capacity", "430\n"),
            ("cpu1/cpu_capacity", "1000\n"),
            ("cpu2/cpu_capacity", "1024\n"),
        ];
        assert_eq!(fastest("0-2", &files), "1-2");
    }

    #[test]
    fn without_figures_all_count_as_equal() {
        assert_eq!(fastest("0-3", &[]), "0-3");
        assert_eq!(fastest("0-3", &[("cpu0/cpu_capacity", "1024\n")]), "0-3");
        assert_eq!(fastest("0-1", &[("cpu0/cpu_capacity", ""), ("cpu1/cpu_capacity", "1")]), "0-1");
    }

    #[test]
    fn processors_that_are_off_or_not_allowed_are_refused() {
        let (_folder, root) = sysfs(&[("online", "0-2,5\n")]);
        let check = |list: &str| list.parse::<Cpus>().unwrap().check(&root);
        assert!(check("0,2,5").is_ok());
        let error = check("0,3").unwrap_err();
        assert_eq!(error.code(), Code::BadArgument);
        assert!(error.message().contains("no processor 3") && error.message().contains("0-2,5"));
        // A system that does not say.
        let (_folder, silent) = sysfs(&[]);
        assert!("900".parse::<Cpus>().unwrap().check(&silent).is_ok());
        let within = "0-1".parse::<Cpus>().unwrap();
        let advice = ", or start this process with another taskset or cpuset";
        let problem = "this process may not run on processor";
        let error = "1-2".parse::<Cpus>().unwrap().check_within(&within, problem, advice);
        let said = "this process may not run on processor 2: choose among 0-1, or start";
        assert!(error.unwrap_err().message().starts_with(said));
    }

    #[test]
    fn threads_follow_from_processors() {
        let (_folder, free) = sysfs(&[]);
        for (list, threads) in [("5", 1), ("0-3", 4), ("0-7", 8), ("0-31", 8)] {
            assert_eq!(list.parse::<Cpus>().unwrap().default_threads(&free), threads);
        }
        assert_eq!(Cpus(Vec::new()).default_threads(&free), 1);
    }

    #[test]
    fn a_quota_lowers_the_number_of_threads() {
        for (quota, threads) in [("150000", 2), ("20000", 1), ("max", 4), ("900000", 4)] {
            let folder = tempfile::tempdir().unwrap();
            let write = |path: &str, text: &str| {
                let path = folder.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            };
            write("proc/self/cgroup", "0::/a\n");
            write("sys/fs/cgroup/a/cpu.max", &format!("{quota} 100000\n"));
            let cpus = "0-3".parse::<Cpus>().unwrap();
            assert_eq!(cpus.default_threads(&Root::at(folder.path())), threads);
        }
    }

    #[test]
    fn every_worker_has_a_processor_where_there_are_enough() {
        let cpus: Cpus = "2,4,6".parse().unwrap();
        assert_eq!(cpus.share(1, 3), Cpus(vec![4]));
        assert_eq!(cpus.share(1, 2), Cpus(vec![4]));
        assert_eq!(cpus.share(3, 4), cpus);
    }
}
