//! Texts of sessions: forgotten, shared, saved.

use crate::handle::{Bytes, array, array_mut, check_apart, put};
use crate::session::{SessionHandle, Work, with};
use crate::status::Status;
use core::ffi::c_void;
use kinglet_quant::{Code, Result, ensure};

/// Forgets the whole text.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_reset(session: *mut SessionHandle) -> Status {
    // SAFETY: as promised by the caller.
    unsafe { with(session, |work, _| work.text().rewind(0)) }
}

/// Keeps the first `count` tokens of the text. `KINGLET_STATUS_BAD_ARGUMENT` when there are fewer.
///
/// The session can go on with the reply at once, as also after `kinglet_session_fork`, `_copy_text`
/// and `_restore`: what is needed of the last token is computed again.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_rewind(
    session: *mut SessionHandle,
    count: usize,
) -> Status {
    // SAFETY: as promised by the caller.
    unsafe { with(session, |work, _| work.text().rewind(count)) }
}

/// Replaces the session's text by the first `count` tokens of another session's, without computing
/// them again. The sampling stays the session's own.
///
/// `KINGLET_STATUS_STATE_MISMATCH` when the sessions have different models or types of keys and
/// values, `KINGLET_STATUS_BAD_ARGUMENT` when the other text is shorter,
/// `KINGLET_STATUS_CONTEXT_FULL` when this context is, `KINGLET_STATUS_BUSY` when either session is
/// in use. The text is unchanged then.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_fork(
    session: *mut SessionHandle,
    source: *mut SessionHandle,
    count: usize,
) -> Status {
    let copy = |work: &mut Work, _: &SessionHandle| {
        let mut outcome = Ok(());
        // SAFETY: as promised by the caller.
        let status = unsafe {
            with(source, |source, _| {
                outcome = work.text().copy_from(&mut source.text(), count);
                Ok(())
            })
        };
        let code = if status == Status::Busy { Code::Busy } else { Code::BadHandle };
        ensure!(status == Status::Ok, code, "the session to fork is in use, or is none");
        outcome
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, copy) }
}

/// Replaces the session's text by the first `count` tokens of another text of the same session, so
/// that several go on from one prompt. The sampling stays the text's own.
///
/// `KINGLET_STATUS_BAD_ARGUMENT` when there is no such text or it is shorter; nothing changes then.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_copy_text(
    session: *mut SessionHandle,
    source: u32,
    count: usize,
) -> Status {
    // SAFETY: as promised by the caller.
    unsafe { with(session, |work, _| work.texts.copy(source as usize, work.number, count)) }
}

/// Writes the tokens of the text, up to `capacity`, and the number of all of them to `count`.
/// `KINGLET_STATUS_BUFFER_TOO_SMALL` when they did not fit; then nothing is written to `tokens`.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_tokens(
    session: *mut SessionHandle,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> Status {
    let work = |work: &mut Work, session: &SessionHandle| {
        check_apart(&[
            Bytes::of(tokens, capacity, "the buffer for tokens"),
            Bytes::of(count, 1, "the place for the count"),
            session.memory(),
        ])?;
        let length = work.texts.tokens(work.number).len();
        // SAFETY: as promised by the caller.
        unsafe { put(count, length, "the place for the count") }?;
        // SAFETY: as promised by the caller.
        let out = unsafe { array_mut(tokens, capacity, "the buffer for tokens") }?;
        ensure!(
            length <= out.len(),
            Code::BufferTooSmall,
            "the text has {length} tokens, there is room for {capacity}"
        );
        out[..length].copy_from_slice(work.texts.tokens(work.number));
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, work) }
}

/// Bytes that `kinglet_session_save` needs for the text as it is now.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_state_bytes(
    session: *mut SessionHandle,
    bytes: *mut usize,
) -> Status {
    let work = |work: &mut Work, session: &SessionHandle| {
        check_apart(&[Bytes::of(bytes, 1, "the place for the bytes"), session.memory()])?;
        // SAFETY: as promised by the caller.
        unsafe { put(bytes, 0, "the place for the bytes") }?;
        // SAFETY: as promised by the caller.
        unsafe { put(bytes, work.text().state_bytes(), "the place for the bytes") }
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, work) }
}

/// Writes the text, its keys and values, and how many random numbers were drawn for it to a buffer
/// of `capacity` bytes, and the bytes written to `bytes`. `KINGLET_STATUS_BUFFER_TOO_SMALL`.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_save(
    session: *mut SessionHandle,
    buffer: *mut c_void,
    capacity: usize,
    bytes: *mut usize,
) -> Status {
    let work = |work: &mut Work, session: &SessionHandle| -> Result<()> {
        check_apart(&[
            Bytes::of(buffer.cast::<u8>(), capacity, "the buffer"),
            Bytes::of(bytes, 1, "the place for the bytes"),
            session.memory(),
        ])?;
        // SAFETY: as promised by the caller.
        unsafe { put(bytes, 0, "the place for the bytes") }?;
        // SAFETY: as promised by the caller.
        let out: &mut [u8] = unsafe { array_mut(buffer.cast(), capacity, "the buffer") }?;
        let draws = work.samplings[work.number].draws;
        let written = work.text().save(draws, out)?;
        // SAFETY: as promised by the caller.
        unsafe { put(bytes, written, "the place for the bytes") }
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, work) }
}

/// Replaces the text by a saved one. With the sampling that the saved session had, it goes on as
/// that one would have.
///
/// `KINGLET_STATUS_STATE_MISMATCH` for a state of another model, context or type of keys and
/// values, `KINGLET_STATUS_UNKNOWN_VERSION` for one of a later library, `KINGLET_STATUS_TRUNCATED`
/// and `KINGLET_STATUS_CORRUPT` for altered bytes; the text is unchanged then.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_restore(
    session: *mut SessionHandle,
    state: *const c_void,
    bytes: usize,
) -> Status {
    let work = |work: &mut Work, session: &SessionHandle| {
        check_apart(&[Bytes::of(state.cast::<u8>(), bytes, "the state"), session.memory()])?;
        // SAFETY: as promised by the caller.
        let state: &[u8] = unsafe { array(state.cast(), bytes, "the state") }?;
        work.samplings[work.number].draws = work.text().restore(state)?;
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, work) }
}
