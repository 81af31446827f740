//! Where threads may run, as Linux tells it.

use std::fs;

/// The processors that a thread may run on: `thread-self`, or the first one of a process by its
/// number.
pub fn allowed(thread: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    line.trim().to_owned()
}
