//! What a user reads when the command itself is wrong.

use kinglet_quant::{Code, Error, Result};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Mutex, PoisonError};

/// What the first panic of the process said, and where.
static FIRST: Mutex<Option<String>> = Mutex::new(None);

/// Does the work. A panic, on whichever thread, ends it with `Internal` and what to report.
pub fn caught(work: impl FnOnce() -> Result<()>) -> Result<()> {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        first().get_or_insert_with(|| described(panic));
        // Whoever asks for a trace of calls gets all that Rust tells.
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
            usual(panic);
        }
    }));
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    let cause = first().take();
    match (result, cause) {
        (Ok(Err(error)), Some(cause)) if error.code() == Code::Internal => Err(fault(&cause)),
        (Ok(result), _) => result,
        (Err(_), cause) => Err(fault(&cause.unwrap_or_default())),
    }
}

fn first() -> std::sync::MutexGuard<'static, Option<String>> {
    FIRST.lock().unwrap_or_else(PoisonError::into_inner)
}

fn described(panic: &PanicHookInfo<'_>) -> String {
    let message = panic.payload_as_str().unwrap_or("no message");
    match panic.location() {
        Some(place) => format!("{message}, at {}:{}", place.file(), place.line()),
        None => message.to_owned(),
    }
}

fn fault(cause: &str) -> Error {
    Error::new(
        Code::Internal,
        format_args!(
            "Kinglet itself is wrong here: please report the command, what `kinglet doctor` says, \
             and this: {cause}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinglet_quant::fail;

    // One test, since a process has one hook.
    #[test]
    fn panics_become_errors_that_say_what_to_report() {
        let text = |error: Error| (error.code(), error.message().to_owned());
        let (code, message) = text(caught(|| panic!("{} and {}", 1, 2)).unwrap_err());
        assert_eq!(code, Code::Internal);
        assert!(message.contains("kinglet doctor"), "{message}");
        assert!(message.contains("1 and 2, at ") && message.contains("panics.rs:"), "{message}");
        // Of another thread whose end was noticed.
        let noticed = caught(|| {
            assert!(std::thread::spawn(|| panic!("elsewhere")).join().is_err());
            fail!(Code::Internal, "the engine has failed")
        });
        assert!(text(noticed.unwrap_err()).1.contains("elsewhere"));
        // What is no fault of the program stays what it is.
        let plain = caught(|| fail!(Code::NotFound, "no file"));
        assert_eq!(text(plain.unwrap_err()), (Code::NotFound, "no file".to_owned()));
        assert!(caught(|| Ok(())).is_ok());
    }
}
