//! Memory that the device sees, and whether there is enough of it.

mod arena;
mod pinned;
mod weights;

pub(crate) use arena::Arena;
pub(crate) use pinned::Pinned;
pub(crate) use weights::{Way, Weights};

use super::device::Device;
use kinglet_quant::{Code, Result, ensure};

/// Fails when a device that shares the processor's memory cannot get as much: the system would
/// rather end a program than refuse. Devices with memory of their own refuse by themselves.
fn require_room(device: &Device, bytes: usize, what: &str) -> Result<()> {
    if !device.attributes().integrated {
        return Ok(());
    }
    // What the driver says is free leaves out what the system can reclaim.
    let Some(available) = std::fs::read_to_string("/proc/meminfo").ok().and_then(available) else {
        return Ok(());
    };
    ensure!(
        bytes as u64 <= available,
        Code::Resource,
        "{what} needs {bytes} bytes of the memory that processor and device share, and {available} \
         are available: lower the context, close other programs, or choose a tier of the \
         processor with --tier"
    );
    Ok(())
}

/// The bytes that `/proc/meminfo` says are available.
fn available(meminfo: impl AsRef<str>) -> Option<u64> {
    let line = meminfo.as_ref().lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::available;

    #[test]
    fn available_memory_is_read() {
        let text =
            "MemTotal:       7802468 kB\nMemFree:          123 kB\nMemAvailable:   4567 kB\n";
        assert_eq!(available(text), Some(4567 * 1024));
        for text in ["", "MemAvailable:", "MemAvailable: many kB", "MemAvailable: 5"] {
            assert_eq!(available(text), None, "{text}");
        }
    }
}
