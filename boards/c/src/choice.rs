//! What computes a session, chosen before there is one: its memory depends on it.

use crate::abi::SessionOptions;
use crate::handle::{self, Bytes, check_apart};
use crate::model::{self, Model};
use crate::session::Request;
use crate::status::Status;
use core::ffi::c_char;
use core::fmt::{Display, Write};
use core::ptr;
use kinglet_backends::Backend;
use kinglet_quant::{Code, Result, ensure};

#[cfg(feature = "cuda")]
use {
    crate::abi::KINGLET_SESSION_PIN_THREADS,
    crate::place::Place,
    crate::session::{create, destroy, locked},
    kinglet::{Selection, Work, trial},
    std::time::{Duration, Instant},
};

/// The longest sentence about a choice.
const REASON_BYTES: usize = 512;

/// Chooses between the processor and an NVIDIA device for a session that does not exist yet, and
/// tells why in a sentence.
///
/// Where `options->tier` is null, a device that computes this model faster makes it `cuda`;
/// otherwise it stays null, which is the processor. A tier that is named stays, and is only checked
/// for. The options then give the same to `kinglet_session_bytes` and `kinglet_session_new`, which
/// choose nothing themselves:
///
///     kinglet_session_options options = {.struct_size = sizeof options};
///     char reason[256];
///     size_t bytes;
///     kinglet_session_choose_tier(model, &options, 0, 0, reason, sizeof reason);
///     fprintf(stderr, "%s\n", reason);
///     kinglet_session_bytes(model, &options, &bytes);
///
/// prints which of the two was faster in a trial, with the tokens per second of both; or what the
/// device lacks or how it failed, where the processor computes because of that; or that no driver
/// was found. In a build without CUDA it says so.
///
/// `prompt_tokens` and `new_tokens` are what the session is going to read and to generate, since
/// one of the two can be faster for prompts and the other for replies; 256 each when both are 0.
/// `reason` gets the sentence, cut to `reason_bytes` with its terminating zero, or may be null.
///
/// Where there is a device, this runs some 40 tokens on each of the two, with the options' threads,
/// `run_parts` and clock, but without binding threads. It takes memory for that and gives it back:
/// on the device as much as the session, so that one without the memory for it is not chosen. It
/// does all of that anew in every call: keep the options.
///
/// `KINGLET_STATUS_TIER_UNAVAILABLE` when the tier that is named is not there,
/// `KINGLET_STATUS_BAD_ARGUMENT` and `KINGLET_STATUS_BUDGET_TOO_SMALL` as for
/// `kinglet_session_bytes`; the options are unchanged then.
///
/// Threads: any number at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_choose_tier(
    model: *const Model,
    options: *mut SessionOptions,
    prompt_tokens: u32,
    new_tokens: u32,
    reason: *mut c_char,
    reason_bytes: usize,
) -> Status {
    let work = |model: &Model| {
        ensure!(
            !options.is_null() && options.is_aligned(),
            Code::BadArgument,
            "the options are null or not aligned: the tier is written to them"
        );
        check_apart(&[
            // SAFETY: as promised by the caller.
            unsafe { handle::bytes_of(options, "the options") },
            Bytes::of(reason, reason_bytes, "the buffer for the reason"),
            Bytes::of(ptr::from_ref(model), 1, "the model"),
        ])?;
        // SAFETY: as promised by the caller.
        let request = unsafe { Request::read(&model.file, options) }?;
        // Options that nothing can run are refused before anything is tried.
        request.bytes(&model.file)?;
        let mut text = heapless::String::<REASON_BYTES>::new();
        let tokens = [prompt_tokens, new_tokens];
        let backend = choose(model, &request, tokens, &mut |reason| {
            // What does not fit is left out.
            let _ = write!(text, "{reason}");
        })?;
        log::info!("{text}");
        // SAFETY: as promised by the caller.
        unsafe { handle::write_message(&text, reason, reason_bytes) };
        if request.options.tier.is_null() && !matches!(backend, Backend::Cpu(_)) {
            // SAFETY: the options were read, so they have this field, which every version has.
            unsafe { (&raw mut (*options).tier).write(c"cuda".as_ptr()) };
        }
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { model::with(model, work) }
}

/// The backend of a request for so many tokens of prompt and new ones, and why it is that one.
#[cfg(feature = "cuda")]
fn choose(
    model: &Model,
    request: &Request,
    tokens: [u32; 2],
    tell: &mut dyn FnMut(&dyn Display),
) -> Result<Backend> {
    let selection = if request.options.tier.is_null() {
        let work = match tokens.map(|count| count as usize) {
            [0, 0] => Work::default(),
            [prompt_tokens, new_tokens] => Work { prompt_tokens, new_tokens },
        };
        crate::reserve::check()?;
        Selection::by_trial(work, |device| {
            trial::race(device, &mut |backend| lap(model, request, backend))
        })
    } else {
        Selection::named(request.backend)
    };
    tell(&selection);
    Ok(selection.backend())
}

/// What a backend does with the tokens of a trial, in a session that is gone again afterwards.
///
/// Threads are not bound: that would bind the caller's beyond this call.
#[cfg(feature = "cuda")]
fn lap(model: &Model, request: &Request, backend: Backend) -> Result<trial::Lap> {
    let mut request = Request { backend, ..*request }.within_budget(&model.file)?;
    let limits = &mut request.limits;
    if let Backend::Cpu(_) = backend {
        limits.texts = 1;
        limits.context = trial::CONTEXT;
        limits.batch = limits.batch.min(trial::PROMPT);
        limits.logit_rows = 1;
    } else {
        // All of the session, so that a device without the memory for it fails here.
        limits.context = limits.context.max(trial::CONTEXT);
    }
    request.options.flags &= !KINGLET_SESSION_PIN_THREADS;
    let start = Instant::now();
    let bytes = request.bytes(&model.file)?;
    let place = Place::new(ptr::null_mut(), 0, bytes)?;
    // SAFETY: the place has as many bytes, and is nobody else's.
    let session = unsafe { create(model, &request, place, bytes) }?;
    let mut lap = None;
    // SAFETY: made just now.
    let outcome = locked(unsafe { handle::check(session) }?, |work, _| {
        lap = Some(trial::lap(&mut work.texts, &mut || match request.options.clock {
            Some(_) => work.clock.now_ms().map(Duration::from_millis),
            None => Ok(start.elapsed()),
        })?);
        Ok(())
    });
    // SAFETY: as above, and nobody else has it.
    unsafe { destroy(session) }?;
    outcome.map(|()| lap.expect("there is a lap where nothing failed"))
}

/// What a request says: this build has no devices to try.
#[cfg(not(feature = "cuda"))]
fn choose(
    _model: &Model,
    request: &Request,
    _tokens: [u32; 2],
    tell: &mut dyn FnMut(&dyn Display),
) -> Result<Backend> {
    let name = request.backend.name();
    if request.options.tier.is_null() {
        tell(&format_args!(
            "{name} is the fastest that this processor has: this build has no CUDA"
        ));
    } else {
        tell(&format_args!("{name} was asked for"));
    }
    Ok(request.backend)
}
