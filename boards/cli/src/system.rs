//! What the operating system says about memory.

use std::fs;

/// The largest resident memory of this process so far, in bytes; 0 where Linux's `/proc` is absent.
pub fn peak_rss_bytes() -> u64 {
    proc_field("/proc/self/status", "VmHWM:").unwrap_or(0)
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
