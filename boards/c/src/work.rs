//! What sessions do: prompts, tokens, replies, logits.

use crate::abi::{self, Candidate, GenerateOptions, Generation, Sampling};
use crate::clock::{Clock, Deadline};
use crate::handle::{self, Bytes, User, array, array_mut, check_apart, check_out, put};
use crate::reply::Reply;
use crate::session::{Session, Work, with};
use crate::status::Status;
use crate::text::Choice;
use core::ffi::{c_char, c_void};
use core::ops::ControlFlow;
use kinglet_backends::lookahead::Counts;
use kinglet_core::piece::{Cut, Piece, PieceStream};
use kinglet_core::stop::MAX_STOPS;
use kinglet_core::{sample, top};
use kinglet_quant::{Code, Result, ensure, fail};

const _: () = assert!(abi::KINGLET_MAX_STOP == MAX_STOPS);

/// Tokens that count as recent unless told otherwise.
const DEFAULT_WINDOW: usize = 64;

/// Chooses tokens in this way from now on, from the start of the seed's random sequence. `sampling`
/// may be null.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_set_sampling(
    session: *mut Session,
    sampling: *const Sampling,
) -> Status {
    let work = |work: &mut Work, _: &Session| {
        // SAFETY: as promised by the caller.
        let choice = unsafe { read_choice(sampling, work.text.model().config().vocab_size) }?;
        work.text.set_choice(choice);
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, work) }
}

/// # Safety
///
/// As for [`abi::read`]; the bias must have as many entries as it says.
unsafe fn read_choice(sampling: *const Sampling, vocabulary: u32) -> Result<Choice> {
    // SAFETY: as promised by the caller.
    let given = unsafe { abi::read(sampling) }?;
    ensure!(given.reserved == 0, Code::BadArgument, "the reserved field is not zero");
    // SAFETY: as promised by the caller.
    let bias = unsafe { array(given.logit_bias, given.logit_bias_count, "the logit bias") }?;
    let mut logit_bias = heapless::Vec::<(u32, f32), { abi::KINGLET_MAX_LOGIT_BIAS }>::new();
    for entry in bias {
        let Ok(()) = logit_bias.push((entry.token, entry.bias)) else {
            fail!(
                Code::BadArgument,
                "a bias of {} tokens: at most {} are supported",
                bias.len(),
                abi::KINGLET_MAX_LOGIT_BIAS
            );
        };
    }
    let or_one = |value: f32| if value == 0.0 { 1.0 } else { value };
    let window = given.repetition_window as usize;
    let sampling = sample::Sampling {
        logit_bias: &logit_bias,
        repetition_penalty: or_one(given.repetition_penalty),
        repetition_window: if window == 0 { DEFAULT_WINDOW } else { window },
        temperature: given.temperature,
        top_k: given.top_k as usize,
        top_p: or_one(given.top_p),
        min_p: given.min_p,
        seed: given.seed,
    };
    Choice::new(&sampling, vocabulary)
}

/// Gives every later call of `kinglet_session_prefill` and `kinglet_session_generate` this many
/// milliseconds; 0 for as many as it takes. Time is looked at before a token and before a batch of
/// a prompt. `KINGLET_STATUS_RESOURCE` without an operating system, when the options had no clock.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_set_deadline(
    session: *mut Session,
    milliseconds: u32,
) -> Status {
    let work = |work: &mut Work, _: &Session| {
        // Fails now, rather than in the middle of a reply.
        Deadline::after(&work.clock, milliseconds)?;
        work.deadline_ms = milliseconds;
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, work) }
}

/// Tells the function how far prompts are; null tells nobody.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_set_progress(
    session: *mut Session,
    on_progress: abi::OnProgress,
    user: *mut c_void,
) -> Status {
    let work = |work: &mut Work, _: &Session| {
        work.on_progress = on_progress;
        work.on_progress_user = User(user);
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, work) }
}

/// Appends a prompt to the text.
///
/// `KINGLET_STATUS_PROMPT_TOO_LONG`, `KINGLET_STATUS_TOKEN_OUT_OF_RANGE` and
/// `KINGLET_STATUS_BAD_ARGUMENT` leave the text unchanged. After `KINGLET_STATUS_INTERRUPTED` and
/// `KINGLET_STATUS_DEADLINE_PASSED` it has the tokens that were taken until then, see
/// `kinglet_session_describe`; the rest of the prompt can be appended later.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_prefill(
    session: *mut Session,
    tokens: *const u32,
    count: usize,
) -> Status {
    let work = |work: &mut Work, session: &Session| {
        check_apart(&[Bytes::of(tokens, count, "the prompt"), session.memory()])?;
        // SAFETY: as promised by the caller.
        let tokens = unsafe { array(tokens, count, "the prompt") }?;
        let deadline = Deadline::after(&work.clock, work.deadline_ms)?;
        let Work { text, clock, on_progress, on_progress_user: user, .. } = work;
        text.prefill(tokens, &mut |done| {
            go_on(session)?;
            deadline.check(clock)?;
            // SAFETY: the caller has given the function for this use, with this argument.
            let answer = on_progress.map_or(0, |f| unsafe { f(user.0, done, count) });
            ensure!(answer == 0, Code::Interrupted, "the progress callback said to stop");
            Ok(())
        })
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, work) }
}

/// `Interrupted` when the session was cancelled.
fn go_on(session: &Session) -> Result<()> {
    ensure!(!session.take_cancelled(), Code::Interrupted, "cancelled; the text so far stays");
    Ok(())
}

/// Chooses the next token, appends it to the text and writes it to `token`.
///
/// A token that ends a reply is appended as well: `kinglet_token_text` tells which do.
/// `KINGLET_STATUS_CONTEXT_FULL`, `KINGLET_STATUS_INTERRUPTED`; `KINGLET_STATUS_BAD_ARGUMENT` for
/// an empty text. The text is unchanged then.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_next(session: *mut Session, token: *mut u32) -> Status {
    let work = |work: &mut Work, session: &Session| {
        // SAFETY: as promised by the caller.
        unsafe { put(token, abi::KINGLET_NO_TOKEN, "the place for the token") }?;
        go_on(session)?;
        let chosen = work.text.next()?;
        // SAFETY: as promised by the caller.
        unsafe { put(token, chosen, "the place for the token") }
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, work) }
}

/// Goes on with the text until something ends it, and streams it.
///
/// `options`, `on_piece` and `generation` may be null. The token that ends a reply is not appended.
/// Cancellation, deadline and a full context are reasons to end, not failures. Tokens of a stop
/// string stay in the session's text, though they are not part of the reply.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_generate(
    session: *mut Session,
    options: *const GenerateOptions,
    on_piece: abi::OnPiece,
    user: *mut c_void,
    generation: *mut Generation,
) -> Status {
    let work = |work: &mut Work, session: &Session| {
        if !generation.is_null() {
            // SAFETY: as promised by the caller.
            unsafe { abi::fill(generation, &report()) }?;
        }
        // SAFETY: as promised by the caller.
        let given = unsafe { abi::read(options) }?;
        // SAFETY: as promised by the caller.
        let stops = unsafe { read_stops(&given) }?;
        let (mut told, user) = (report(), User(user));
        let outcome = generate(work, session, &given, &stops, &mut told, &mut |piece| {
            let token = piece.token.unwrap_or(abi::KINGLET_NO_TOKEN);
            let (text, bytes) = (piece.text.as_ptr().cast(), piece.text.len());
            // SAFETY: the caller has given the function for this use, with this argument.
            let answer = on_piece.map_or(0, |f| unsafe { f(user.0, token, text, bytes) });
            if answer == 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if !generation.is_null() {
            // SAFETY: as promised by the caller.
            unsafe { abi::fill(generation, &told) }?;
        }
        outcome
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, work) }
}

/// What nothing has done yet.
fn report() -> Generation {
    Generation {
        struct_size: size_of::<Generation>(),
        tokens: 0,
        stop_reason: 0,
        steps: 0,
        drafted: 0,
        accepted: 0,
        reserved: 0,
    }
}

/// The stop strings of the options.
///
/// # Safety
///
/// The options' array must be as long as it says, and its strings end with a zero.
unsafe fn read_stops<'a>(options: &GenerateOptions) -> Result<heapless::Vec<&'a str, MAX_STOPS>> {
    ensure!(
        options.flags & !abi::KINGLET_GENERATE_IGNORE_END == 0,
        Code::BadArgument,
        "there are no flags {:#x}",
        options.flags
    );
    ensure!(
        options.stop_count <= MAX_STOPS,
        Code::BadArgument,
        "{} stop strings: at most {MAX_STOPS} are supported",
        options.stop_count
    );
    // SAFETY: as promised by the caller.
    let strings: &[*const c_char] =
        unsafe { array(options.stop, options.stop_count, "the stop strings") }?;
    let mut stops = heapless::Vec::new();
    for &string in strings {
        // SAFETY: as promised by the caller.
        let stop = unsafe { handle::text(string, "a stop string") }?;
        stops.push(stop).expect("the number was checked");
    }
    Ok(stops)
}

/// Tells in `told` why it ended, and what it did also when it fails.
fn generate(
    work: &mut Work,
    session: &Session,
    options: &GenerateOptions,
    stops: &[&str],
    told: &mut Generation,
    on_piece: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>,
) -> Result<()> {
    let mut pieces = PieceStream::new(work.text.model(), stops)?;
    let deadline = Deadline::after(&work.clock, work.deadline_ms)?;
    let Work { text, clock, .. } = work;
    let most = if options.max_tokens == 0 { u32::MAX } else { options.max_tokens };
    let ends = options.flags & abi::KINGLET_GENERATE_IGNORE_END == 0;
    let mut reply = text.reply()?;
    let cut = loop {
        if let Some(reason) = reason_to_end(session, clock, deadline, &reply, told.tokens, most)? {
            told.stop_reason = reason;
            break None;
        }
        let token = reply.next((most - told.tokens - 1) as usize)?;
        count(&reply, told);
        if ends && pieces.is_end(token) {
            reply.take_back();
            told.stop_reason = abi::KINGLET_STOP_END_OF_TEXT;
            break None;
        }
        told.tokens += 1;
        if let Some(cut) = pieces.push(token, on_piece) {
            break Some(cut);
        }
    };
    match cut {
        Some(Cut::StopString) => told.stop_reason = abi::KINGLET_STOP_STRING,
        Some(Cut::Callback) => told.stop_reason = abi::KINGLET_STOP_CALLBACK,
        None => pieces.finish(on_piece),
    }
    Ok(())
}

/// Why there is no next token.
fn reason_to_end(
    session: &Session,
    clock: &Clock,
    deadline: Deadline,
    reply: &Reply<'_, '_>,
    tokens: u32,
    most: u32,
) -> Result<Option<u32>> {
    if tokens == most {
        return Ok(Some(abi::KINGLET_STOP_MAX_TOKENS));
    }
    if reply.is_full() {
        return Ok(Some(abi::KINGLET_STOP_CONTEXT_FULL));
    }
    if session.take_cancelled() {
        return Ok(Some(abi::KINGLET_STOP_CANCELLED));
    }
    match deadline.check(clock) {
        Err(error) if error.code() == Code::DeadlinePassed => Ok(Some(abi::KINGLET_STOP_DEADLINE)),
        result => result.map(|()| None),
    }
}

fn count(reply: &Reply<'_, '_>, told: &mut Generation) {
    let Counts { steps, drafted, accepted } = reply.counts();
    (told.steps, told.drafted, told.accepted) = (steps as u32, drafted as u32, accepted as u32);
}

/// All logits behind the text: writes a pointer to them and their number to `count`.
/// `KINGLET_STATUS_BAD_ARGUMENT` for an empty text.
///
/// They lie in the session's memory and are good until its next call: any one may compute there,
/// except for `kinglet_session_describe`, `_message`, `_cancel`, `_tokens` and `_top`. Copy what is
/// needed for longer.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_logits(
    session: *mut Session,
    logits: *mut *const f32,
    count: *mut usize,
) -> Status {
    let work = |work: &mut Work, _: &Session| {
        check_out(logits, "the place for the logits")?;
        check_out(count, "the place for the count")?;
        let found = work.text.logits()?;
        // SAFETY: checked just now.
        unsafe {
            put(logits, found.as_ptr(), "the place for the logits")?;
            put(count, found.len(), "the place for the count")
        }
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, work) }
}

/// The most probable next tokens, best first: writes up to `capacity` of them and their number to
/// `count`. `KINGLET_STATUS_BAD_ARGUMENT` for an empty text.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_top(
    session: *mut Session,
    candidates: *mut Candidate,
    capacity: usize,
    count: *mut usize,
) -> Status {
    let work = |work: &mut Work, session: &Session| {
        check_apart(&[
            Bytes::of(candidates, capacity, "the buffer for candidates"),
            Bytes::of(count, 1, "the place for the count"),
            session.memory(),
        ])?;
        // SAFETY: as promised by the caller.
        unsafe { put(count, 0, "the place for the count") }?;
        // SAFETY: as promised by the caller.
        let out = unsafe { array_mut(candidates, capacity, "the buffer for candidates") }?;
        // SAFETY: the two structs are the same, see below.
        let out: &mut [top::Candidate] =
            unsafe { core::slice::from_raw_parts_mut(out.as_mut_ptr().cast(), out.len()) };
        let found = work.text.top(out)?;
        // SAFETY: as promised by the caller.
        unsafe { put(count, found, "the place for the count") }
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, work) }
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<top::Candidate>() == size_of::<Candidate>());
    assert!(offset_of!(top::Candidate, token) == offset_of!(Candidate, token));
    assert!(offset_of!(top::Candidate, log_probability) == offset_of!(Candidate, log_probability));
};
