//! Events.

use super::{Out, no_handle};
use crate::fault::{Fault, code};
use crate::state::{Event, call_in_context};
use std::time::Instant;

/// `cuEventCreate`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventCreate(event: Out<u64>, _flags: u32) -> i32 {
    call_in_context(|state| {
        let handle = state.handle();
        state.events.insert(handle, Event::default());
        event.give(handle)
    })
}

/// `cuEventDestroy`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventDestroy_v2(event: u64) -> i32 {
    call_in_context(|state| {
        state.events.remove(&event).map(|_| ()).ok_or_else(|| no_handle("event", event))
    })
}

/// `cuEventRecord`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventRecord(event: u64, stream: u64) -> i32 {
    call_in_context(|state| {
        let origin = state.joined.get(&stream).copied().unwrap_or(stream);
        let capture = state.captures.contains_key(&origin).then_some(origin);
        let place = state.events.get_mut(&event).ok_or_else(|| no_handle("event", event))?;
        *place = Event { time: Some(Instant::now()), capture };
        Ok(())
    })
}

/// `cuEventSynchronize`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventSynchronize(event: u64) -> i32 {
    // SAFETY: the caller has given what the other function wants.
    unsafe { cuEventQuery(event) }
}

/// `cuEventQuery`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventQuery(event: u64) -> i32 {
    call_in_context(|state| {
        let known = state.events.get(&event).ok_or_else(|| no_handle("event", event))?;
        match known.capture {
            Some(_) => Err(Fault::new(code::STREAM_CAPTURE_UNSUPPORTED, "the event is captured")),
            None => Ok(()),
        }
    })
}

/// `cuEventElapsedTime`: the time of the interpreter, which says nothing about a device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventElapsedTime(milliseconds: Out<f32>, from: u64, to: u64) -> i32 {
    call_in_context(|state| {
        let time = |event: &u64| state.events.get(event).and_then(|event| event.time);
        match (time(&from), time(&to)) {
            (Some(from), Some(to)) => {
                milliseconds.give(to.saturating_duration_since(from).as_secs_f32() * 1e3)
            }
            _ => Err(no_handle("recorded event", from)),
        }
    })
}

/// `cuStreamWaitEvent`: a stream that waits for an event of a capture joins it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamWaitEvent(stream: u64, event: u64, _flags: u32) -> i32 {
    call_in_context(|state| {
        let known = state.events.get(&event).ok_or_else(|| no_handle("event", event))?;
        match known.capture {
            Some(origin) if origin != stream && state.captures.contains_key(&origin) => {
                state.joined.insert(stream, origin);
            }
            _ => {}
        }
        Ok(())
    })
}
