//! What the operating system says about memory and processors.

use kinglet_machine::Root;
use std::fs;

/// Names a recorded tree of a board to read instead of this machine's `/proc` and `/sys`.
const ROOT_VARIABLE: &str = "KINGLET_ROOT";

/// Where the files of the system lie: here, unless tests name a recorded tree.
pub fn root() -> Root {
    std::env::var_os(ROOT_VARIABLE).map_or_else(Root::here, Root::at)
}

/// The largest resident memory of this process so far, in bytes; 0 where Linux's `/proc` is absent.
pub fn peak_rss_bytes() -> u64 {
    proc_field("/proc/self/status", "VmHWM:").unwrap_or(0)
}

/// Starts [`peak_rss_bytes`] anew from what is resident now, where the system allows it.
pub fn reset_peak_rss() {
    // A refusal leaves the peak of the whole run, which is still true of the process.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The name of the processor; empty where the system gives none.
pub fn cpu_name() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    line.trim_start_matches([' ', '\t', ':']).trim().to_owned()
}

/// Memory that can be had without swapping, in bytes.
pub fn available_bytes() -> Option<u64> {
    proc_field("/proc/meminfo", "MemAvailable:")
}

fn proc_field(file: &str, field: &str) -> Option<u64> {
    parse_kb(&fs::read_to_string(file).ok()?, field)
}

/// The bytes behind `field` in text such as `VmHWM:     1234 kB`.
fn parse_kb(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kb: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kb.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_kb() {
        let text = "VmPeak:\t 10 kB\nVmHWM:\t    1234 kB\nThreads:\t1\n";
        assert_eq!(parse_kb(text, "VmHWM:"), Some(1234 * 1024));
        assert_eq!(parse_kb(text, "Threads:"), None);
        assert_eq!(parse_kb(text, "VmRSS:"), None);
    }
}
