//! What sessions do: prompts, tokens, logits.

use crate::abi::{self, Candidate, Sampling};
use crate::chances::as_core;
use crate::clock::Deadline;
use crate::handle::{Bytes, User, array, array_mut, check_apart, check_out, put};
use crate::sampling::TextSampling;
use crate::session::{SessionHandle, Work, with};
use crate::status::Status;
use crate::versioned;
use core::ffi::c_void;
use kinglet_core::sample;
use kinglet_core::text::Pooling;
use kinglet_quant::{Code, Result, ensure, fail};

/// Tokens that count as recent unless told otherwise.
const DEFAULT_WINDOW: usize = 64;

/// Chooses tokens in this way from now on, from the start of the seed's random sequence. `sampling`
/// may be null.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_set_sampling(
    session: *mut SessionHandle,
    sampling: *const Sampling,
) -> Status {
    let work = |work: &mut Work, _: &SessionHandle| {
        // SAFETY: as promised by the caller.
        let choice = unsafe { read_sampling(sampling, work.texts.model().config().vocab_size) }?;
        work.samplings[work.number] = choice;
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, work) }
}

/// # Safety
///
/// As for [`versioned::read`]; the bias must have as many entries as it says.
unsafe fn read_sampling(sampling: *const Sampling, vocabulary: u32) -> Result<TextSampling> {
    // SAFETY: as promised by the caller.
    let given = unsafe { versioned::read(sampling) }?;
    ensure!(
        (given.reserved, given.reserved_penalties) == (0, 0),
        Code::BadArgument,
        "a reserved field is not zero"
    );
    ensure!(
        given.penalizes_prompt <= 1,
        Code::BadArgument,
        "penalizes_prompt is {}: give 0 or 1",
        given.penalizes_prompt
    );
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
        presence_penalty: given.presence_penalty,
        frequency_penalty: given.frequency_penalty,
        penalizes_prompt: given.penalizes_prompt == 1,
        seed: given.seed,
    };
    TextSampling::new(&sampling, vocabulary)
}

/// Gives every later call of `kinglet_session_prefill`, `_generate` and `_generate_all` this many
/// milliseconds; 0 for as many as it takes. Time is looked at before a token and before a batch of
/// a prompt. `KINGLET_STATUS_RESOURCE` without an operating system, when the options had no clock.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_set_deadline(
    session: *mut SessionHandle,
    milliseconds: u32,
) -> Status {
    let work = |work: &mut Work, _: &SessionHandle| {
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
    session: *mut SessionHandle,
    on_progress: abi::OnProgress,
    user: *mut c_void,
) -> Status {
    let work = |work: &mut Work, _: &SessionHandle| {
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
/// `KINGLET_STATUS_BAD_ARGUMENT`, also for no tokens, leave the text unchanged. After
/// `KINGLET_STATUS_INTERRUPTED` and `KINGLET_STATUS_DEADLINE_PASSED` it has the tokens that were
/// taken until then, see `kinglet_session_describe`; the rest of the prompt can be appended later.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_prefill(
    session: *mut SessionHandle,
    tokens: *const u32,
    count: usize,
) -> Status {
    let work = |work: &mut Work, session: &SessionHandle| {
        check_apart(&[Bytes::of(tokens, count, "the prompt"), session.memory()])?;
        // SAFETY: as promised by the caller.
        let tokens = unsafe { array(tokens, count, "the prompt") }?;
        let deadline = Deadline::after(&work.clock, work.deadline_ms)?;
        let Work { texts, number, clock, on_progress, on_progress_user: user, .. } = work;
        texts.text(*number).prefill(tokens, &mut |done| {
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
fn go_on(session: &SessionHandle) -> Result<()> {
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
pub unsafe extern "C" fn kinglet_session_next(
    session: *mut SessionHandle,
    token: *mut u32,
) -> Status {
    let work = |work: &mut Work, session: &SessionHandle| {
        check_apart(&[Bytes::of(token, 1, "the place for the token"), session.memory()])?;
        // SAFETY: as promised by the caller.
        unsafe { put(token, abi::KINGLET_NO_TOKEN, "the place for the token") }?;
        go_on(session)?;
        let Work { texts, number, samplings, .. } = work;
        let choice = &mut samplings[*number];
        let mut sampler = choice.sampler();
        let outcome = texts.text(*number).next(&mut sampler);
        choice.draws = sampler.draws();
        let chosen = outcome?;
        // SAFETY: as promised by the caller.
        unsafe { put(token, chosen, "the place for the token") }
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, work) }
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
    session: *mut SessionHandle,
    logits: *mut *const f32,
    count: *mut usize,
) -> Status {
    let work = |work: &mut Work, session: &SessionHandle| {
        check_apart(&[
            Bytes::of(logits, 1, "the place for the logits"),
            Bytes::of(count, 1, "the place for the count"),
            session.memory(),
        ])?;
        check_out(logits, "the place for the logits")?;
        check_out(count, "the place for the count")?;
        let found = work.texts.logits(work.number)?;
        // SAFETY: checked just now.
        unsafe {
            put(logits, found.as_ptr(), "the place for the logits")?;
            put(count, found.len(), "the place for the count")
        }
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, work) }
}

/// Replaces the text by these tokens and writes what the model makes of it: the hidden states of
/// the tokens behind the final norm, pooled as `KINGLET_POOL_` says and scaled to a length of 1.
/// Needs room for `kinglet_model_info.embedding_size` numbers, which people compare by their
/// products.
///
/// `KINGLET_STATUS_BAD_ARGUMENT` for no tokens, `KINGLET_STATUS_BUFFER_TOO_SMALL`,
/// `KINGLET_STATUS_PROMPT_TOO_LONG`, `KINGLET_STATUS_TOKEN_OUT_OF_RANGE`.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_embed(
    session: *mut SessionHandle,
    tokens: *const u32,
    token_count: usize,
    pooling: u32,
    embedding: *mut f32,
    capacity: usize,
) -> Status {
    let work = |work: &mut Work, session: &SessionHandle| {
        check_apart(&[
            Bytes::of(tokens, token_count, "the tokens"),
            Bytes::of(embedding, capacity, "the buffer for the embedding"),
            session.memory(),
        ])?;
        // SAFETY: as promised by the caller.
        let tokens = unsafe { array(tokens, token_count, "the tokens") }?;
        // SAFETY: as promised by the caller.
        let out = unsafe { array_mut(embedding, capacity, "the buffer for the embedding") }?;
        let pooling = match pooling {
            abi::KINGLET_POOL_MEAN => Pooling::Mean,
            abi::KINGLET_POOL_LAST => Pooling::Last,
            _ => fail!(Code::BadArgument, "there is no pooling {pooling}"),
        };
        let size = work.texts.model().config().hidden as usize;
        ensure!(
            out.len() >= size,
            Code::BufferTooSmall,
            "an embedding has {size} numbers, there is room for {}",
            out.len()
        );
        work.text().embed(tokens, pooling, &mut out[..size])
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
    session: *mut SessionHandle,
    candidates: *mut Candidate,
    capacity: usize,
    count: *mut usize,
) -> Status {
    let work = |work: &mut Work, session: &SessionHandle| {
        check_apart(&[
            Bytes::of(candidates, capacity, "the buffer for candidates"),
            Bytes::of(count, 1, "the place for the count"),
            session.memory(),
        ])?;
        // SAFETY: as promised by the caller.
        unsafe { put(count, 0, "the place for the count") }?;
        // SAFETY: as promised by the caller.
        let out = unsafe { array_mut(candidates, capacity, "the buffer for candidates") }?;
        let found = work.text().top(as_core(out))?;
        // SAFETY: as promised by the caller.
        unsafe { put(count, found, "the place for the count") }
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, work) }
}
