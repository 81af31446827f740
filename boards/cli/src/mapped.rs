//! What the command says when a file that it has mapped is not there any more.

use signal_hook::consts::SIGBUS;
use signal_hook::low_level;
use std::fs::File;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;

const MESSAGE: &[u8] =
    b"error: a file in use, such as the model, was cut short or overwritten, or \
its disk failed: to replace a model write a new file beside it and rename that (error 102)\n";

/// Names the cause where reading a mapped page fails, which would end the command by a signal
/// without a word.
pub fn explain_lost_files() {
    // SAFETY: the action takes no lock, allocates nothing, and does not return.
    let registered = unsafe { low_level::register(SIGBUS, explain) };
    registered.expect("the signal may be handled");
}

fn explain() {
    // SAFETY: standard error is open or not, and writing to it is all that is done; it is not
    // closed, as the file is never dropped.
    let mut stderr = ManuallyDrop::new(unsafe { File::from_raw_fd(2) });
    // Nothing can be done about a closed standard error.
    let _ = stderr.write_all(MESSAGE);
    low_level::exit(1);
}
