//! The library itself: versions, texts of numbers, and where the log goes.

use crate::abi::{self, KINGLET_ABI_VERSION, LogSink};
use crate::status::Status;
use crate::versioned;
use core::ffi::{CStr, c_char};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use kinglet_quant::{Code, Result, ensure, fail};
use log::{Level, LevelFilter, Log, Metadata, Record};

/// The longest line of the log.
const LINE_BYTES: usize = 512;

/// The version of the interface that this library has, `KINGLET_ABI_VERSION` of its header.
///
/// What was compiled for a version works with every library of that version or a higher one.
///
/// Threads: any number at once.
#[unsafe(no_mangle)]
pub extern "C" fn kinglet_abi_version() -> u32 {
    KINGLET_ABI_VERSION
}

/// The version of the library, such as "0.1.0".
///
/// Threads: any number at once.
#[unsafe(no_mangle)]
pub extern "C" fn kinglet_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => panic!("a version has no zeros"),
        };
    VERSION.as_ptr()
}

/// What a status means; never null, also for numbers that are no status.
///
/// Threads: any number at once.
#[unsafe(no_mangle)]
pub extern "C" fn kinglet_status_text(status: i32) -> *const c_char {
    Status::text(status).as_ptr()
}

/// Sends the log of the whole process's Kinglet to a function; null silences it, as at the start.
///
/// `sink` must stay as it is until another one is set and no call of Kinglet is under way. This is
/// the one setting that is not a handle's. `KINGLET_STATUS_RESOURCE` when the program that this
/// library is linked into has given the `log` facade to something else.
///
/// Threads: one at a time in the process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_log_to(sink: *const LogSink) -> Status {
    // SAFETY: as promised by the caller.
    Status::from(&unsafe { set_sink(sink) })
}

/// Where the log goes; null for nowhere.
static SINK: AtomicPtr<LogSink> = AtomicPtr::new(ptr::null_mut());

unsafe fn set_sink(sink: *const LogSink) -> Result<()> {
    let mut filter = LevelFilter::Off;
    if !sink.is_null() {
        // SAFETY: as promised by the caller.
        let read = unsafe { versioned::read(sink) }?;
        ensure!(read.on_log.is_some(), Code::BadArgument, "the log sink has no function");
        ensure!(read.reserved == 0, Code::BadArgument, "the reserved field is not zero");
        filter = match read.level {
            abi::KINGLET_LOG_ERROR => LevelFilter::Error,
            abi::KINGLET_LOG_WARNING => LevelFilter::Warn,
            abi::KINGLET_LOG_INFO => LevelFilter::Info,
            abi::KINGLET_LOG_DEBUG => LevelFilter::Debug,
            level => fail!(Code::BadArgument, "there is no log level {level}"),
        };
    }
    static IS_OURS: AtomicBool = AtomicBool::new(false);
    // The second time it is refused, because it is there.
    let is_set = log::set_logger(&Forward).is_ok();
    let is_ours = IS_OURS.fetch_or(is_set, Ordering::AcqRel) || is_set;
    ensure!(is_ours, Code::Resource, "the program logs to somewhere else already");
    SINK.store(sink.cast_mut(), Ordering::Release);
    log::set_max_level(filter);
    Ok(())
}

/// Hands records of the `log` facade on to the sink.
struct Forward;

impl Log for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        let sink = SINK.load(Ordering::Acquire);
        if sink.is_null() || !self.enabled(record.metadata()) {
            return;
        }
        // SAFETY: the caller keeps the sink while it is set, and it was read once before.
        let (on_log, user) = unsafe { ((*sink).on_log, (*sink).user) };
        let level = match record.level() {
            Level::Error => abi::KINGLET_LOG_ERROR,
            Level::Warn => abi::KINGLET_LOG_WARNING,
            Level::Info => abi::KINGLET_LOG_INFO,
            Level::Debug | Level::Trace => abi::KINGLET_LOG_DEBUG,
        };
        let mut line = heapless::String::<LINE_BYTES>::new();
        // What does not fit is left out.
        let _ = core::fmt::write(&mut line, *record.args());
        if let Some(on_log) = on_log {
            // SAFETY: the caller has given the function for this use, with this argument.
            unsafe { on_log(user, level, line.as_ptr().cast(), line.len()) };
        }
    }

    fn flush(&self) {}
}
