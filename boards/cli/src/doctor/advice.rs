//! What to do about each thing that costs speed or memory.

use super::machine::Machine;
use crate::units::Bytes;

/// Below this share of what the profile says, memory is slower than the board's can be.
const SLOW_SHARE: f64 = 0.7;
/// At this temperature boards begin to slow down.
const WARM_CELSIUS: f64 = 78.0;

/// A sentence for each.
pub fn advice(machine: &Machine, session_threads: usize, cuda_lack: Option<&str>) -> Vec<String> {
    let all = [
        governor(machine),
        quota(machine, session_threads),
        throttling(machine),
        warmth(machine),
        mode(machine),
        bandwidth(machine),
        huge_pages(machine),
        swap(machine),
        locking(machine),
        addresses(machine),
        group(machine),
        sensor(machine),
        cuda(machine, cuda_lack),
    ];
    all.into_iter().flatten().collect()
}

fn governor(machine: &Machine) -> Option<String> {
    let governor = machine.governor.as_deref()?;
    (governor != "performance").then(|| {
        format!(
            "the governor `{governor}` raises the clock only after a while: for short replies, \
             `echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor`"
        )
    })
}

fn quota(machine: &Machine, threads: usize) -> Option<String> {
    let quota = machine.quota_cpus.filter(|quota| *quota < threads as f64)?;
    let fitting = (quota as usize).max(1);
    Some(format!(
        "a control group allows {quota:.1} processors, and {threads} threads would wait for one \
         another: raise the quota, or take --threads {fitting}"
    ))
}

fn throttling(machine: &Machine) -> Option<String> {
    let flags = machine.throttle_flags.join(", ");
    (!flags.is_empty()).then(|| {
        format!(
            "the board has slowed itself down since it started ({flags}): a better power supply \
             helps against under-voltage, a heat sink or --cool against heat"
        )
    })
}

fn warmth(machine: &Machine) -> Option<String> {
    let celsius = machine.celsius.filter(|celsius| *celsius >= WARM_CELSIUS)?;
    Some(format!("the board is at {celsius:.0} °C and is about to slow down: cool it"))
}

fn mode(machine: &Machine) -> Option<String> {
    let mode = machine.power_mode.as_deref()?;
    (!mode.contains("MAXN")).then(|| {
        format!(
            "the power mode {mode} limits clocks: `sudo nvpmodel -q --verbose` lists others; the \
             fastest is not the one with the most tokens per joule"
        )
    })
}

fn bandwidth(machine: &Machine) -> Option<String> {
    let (read, expected) = (machine.read_bytes_per_second?, machine.expected_bytes_per_second?);
    (read < expected * SLOW_SHARE).then(|| {
        format!(
            "memory delivers {:.1} GB/s, and boards like this one {:.1}: decoding is slower by as \
             much; look for other programs, the governor and firmware updates",
            read / 1e9,
            expected / 1e9
        )
    })
}

fn huge_pages(machine: &Machine) -> Option<String> {
    (machine.huge_pages.as_deref()? == "never").then(|| {
        "huge pages are off, and reading weights can be slower for it: `echo madvise | sudo tee \
         /sys/kernel/mm/transparent_hugepage/enabled`"
            .to_owned()
    })
}

fn swap(machine: &Machine) -> Option<String> {
    let swap = machine.swap_bytes.filter(|bytes| *bytes > 0)?;
    Some(format!(
        "there are {} of swap: a model that does not fit gets slow instead of being refused; \
         --memory-budget or --mlock keep it out",
        Bytes(swap)
    ))
}

fn locking(machine: &Machine) -> Option<String> {
    let (limit, total) = (machine.locked_limit_bytes?, machine.total_bytes?);
    (limit < total / 2).then(|| {
        format!(
            "--mlock can keep {} only: raise `ulimit -l`, or LimitMEMLOCK= of a service",
            Bytes(limit)
        )
    })
}

fn addresses(machine: &Machine) -> Option<String> {
    let limit = machine.address_limit_bytes?;
    Some(format!(
        "`ulimit -v` allows {} of addresses, mapped files included: larger models are refused",
        Bytes(limit)
    ))
}

fn group(machine: &Machine) -> Option<String> {
    let limit = machine.group_limit_bytes.filter(|limit| Some(*limit) < machine.total_bytes)?;
    Some(format!(
        "a control group allows {} of {}, pages of files included: --memory-budget {limit} keeps \
         to it",
        Bytes(limit),
        Bytes(machine.total_bytes?)
    ))
}

fn sensor(machine: &Machine) -> Option<String> {
    machine.power_lack.as_ref().map(|lack| format!("energy cannot be measured: {lack}"))
}

/// Only boards with a GPU from NVIDIA are expected to have CUDA.
fn cuda(machine: &Machine, lack: Option<&str>) -> Option<String> {
    let lack = lack.filter(|_| machine.l4t.is_some())?;
    Some(format!("the GPU is not used: {lack}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinglet::{Cpus, Root};
    use std::fs;

    /// What is said about a tree with these files.
    fn said(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        for (path, text) in files {
            fs::create_dir_all(root.path(path).parent().unwrap()).unwrap();
            fs::write(root.path(path), text).unwrap();
        }
        let cpus: Cpus = "0-3".parse().unwrap();
        advice(&Machine::read(&root, &cpus), 4, Some("libcuda is missing"))
    }

    #[test]
    fn each_cause_has_its_sentence() {
        let memory =
            ("/proc/meminfo", "MemTotal: 4096 kB\nMemAvailable: 2048 kB\nSwapTotal: 8 kB\n");
        let cases: [(&[(&str, &str)], &str); 9] = [
            (&[("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "ondemand")], "ondemand"),
            (
                &[("/proc/self/cgroup", "0::/\n"), ("/sys/fs/cgroup/cpu.max", "150000 100000")],
                "--threads 1",
            ),
            (&[("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]")], "off"),
            (&[memory], "8.2 kB of swap"),
            (&[memory, ("/proc/self/limits", "Max locked memory 1024 1024 bytes")], "ulimit -l"),
            (&[("/proc/self/limits", "Max address space 4096 4096 bytes")], "ulimit -v"),
            (
                &[
                    memory,
                    ("/proc/self/cgroup", "0::/\n"),
                    ("/sys/fs/cgroup/memory.max", "1048576"),
                ],
                "--memory-budget 1048576",
            ),
            (
                &[
                    ("/sys/class/thermal/thermal_zone0/type", "cpu"),
                    ("/sys/class/thermal/thermal_zone0/temp", "81000"),
                ],
                "81 °C",
            ),
            (
                &[
                    ("/proc/cpuinfo", "CPU implementer : 0x41\n"),
                    ("/etc/nv_tegra_release", "# R36 (release), REVISION: 4.7, GCID: 1"),
                ],
                "the GPU is not used: libcuda is missing",
            ),
        ];
        for (files, part) in cases {
            let said = said(files);
            assert!(said.iter().any(|sentence| sentence.contains(part)), "{part}: {said:?}");
        }
    }

    #[test]
    fn nothing_is_said_without_a_cause() {
        // A machine without a power sensor is told so.
        let good = [("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance")];
        assert_eq!(said(&good).len(), 1);
    }
}
