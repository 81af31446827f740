//! Memory that stays where it is, on Linux, macOS and their kind.

use kinglet_quant::{Code, Result, fail};
use std::io;

/// Keeps every page of these mappings in memory as long as they are mapped, reading those that are
/// not there yet. `Resource` where the system refuses.
pub(crate) fn keep(mappings: [&[u8]; 2]) -> Result<()> {
    for bytes in mappings {
        // SAFETY: locking changes nothing that a program can see.
        if unsafe { libc::mlock(bytes.as_ptr().cast(), bytes.len()) } != 0 {
            let error = io::Error::last_os_error();
            let needed = mappings.iter().map(|bytes| bytes.len()).sum::<usize>();
            let message = "the system does not let this process keep";
            fail!(
                Code::Resource,
                "{message} {needed} bytes in memory ({error}): raise `ulimit -l`"
            );
        }
    }
    Ok(())
}
