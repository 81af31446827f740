//! The processors that this process may use.

use std::fs;
use std::mem::MaybeUninit;

/// The processors that the process may run on and that have the highest capacity, ascending.
///
/// On big.LITTLE boards the kernel names each processor's capacity; where it does not, all count as
/// equal. Empty when the operating system does not say.
pub fn available_cpus() -> Vec<usize> {
    let allowed = allowed_cpus();
    let best = allowed.iter().map(|&cpu| capacity(cpu)).max().unwrap_or(0);
    allowed.into_iter().filter(|&cpu| capacity(cpu) == best).collect()
}

/// Threads that a session uses unless told otherwise: one per processor of highest capacity, at
/// most 8.
pub fn default_threads() -> usize {
    available_cpus().len().clamp(1, 8)
}

fn allowed_cpus() -> Vec<usize> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: the set is as large as the size given, and all zeros is a valid set.
    let (status, set) = unsafe {
        let size = size_of::<libc::cpu_set_t>();
        (libc::sched_getaffinity(0, size, set.as_mut_ptr()), set.assume_init())
    };
    if status != 0 {
        return Vec::new();
    }
    // SAFETY: every index is below the set's size.
    let is_set = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &set) };
    (0..libc::CPU_SETSIZE as usize).filter(is_set).collect()
}

/// The kernel's measure of a processor, 1024 for the fastest; 1024 where it gives none.
fn capacity(cpu: usize) -> u32 {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/cpu_capacity");
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024)
}

/// Binds the calling thread to one processor; a refusal costs speed only.
pub(crate) fn pin_to(cpu: usize) {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: all zeros is a valid set; `CPU_SET` stays within it (it checks the index).
    let status = unsafe {
        libc::CPU_SET(cpu, &mut *set.as_mut_ptr());
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set.as_ptr())
    };
    if status != 0 {
        log::debug!("could not bind a thread to processor {cpu}");
    }
}
