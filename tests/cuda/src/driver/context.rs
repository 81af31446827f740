//! Contexts and streams.

use super::{Out, no_handle};
use crate::fault::{Fault, code};
use crate::state::{CURRENT, Work, call_in_context, call_initialized};
use std::ffi::c_void;

/// `cuCtxGetCurrent`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetCurrent(context: Out<u64>) -> i32 {
    call_initialized(|state| {
        let current = CURRENT.get();
        context.give(if current == state.context { current } else { 0 })
    })
}

/// `cuCtxSetCurrent`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxSetCurrent(context: u64) -> i32 {
    call_initialized(|state| {
        if context != 0 && context != state.context {
            return Err(Fault::new(code::INVALID_CONTEXT, "there is no such context"));
        }
        CURRENT.set(context);
        Ok(())
    })
}

/// `cuCtxGetDevice`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetDevice(device: Out<i32>) -> i32 {
    call_in_context(|_| device.give(0))
}

/// `cuCtxSynchronize`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxSynchronize() -> i32 {
    call_in_context(|state| state.forbid_in_capture())
}

/// `cuCtxSetFlags`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxSetFlags(_flags: u32) -> i32 {
    call_in_context(|_| Ok(()))
}

/// `cuCtxGetLimit`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetLimit(value: Out<usize>, _limit: u32) -> i32 {
    call_in_context(|_| value.give(1024))
}

/// `cuCtxSetLimit`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxSetLimit(_limit: u32, _value: usize) -> i32 {
    call_in_context(|_| Ok(()))
}

/// `cuCtxSetCacheConfig`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxSetCacheConfig(_config: u32) -> i32 {
    call_in_context(|_| Ok(()))
}

/// `cuCtxGetStreamPriorityRange`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetStreamPriorityRange(least: Out<i32>, most: Out<i32>) -> i32 {
    call_in_context(|_| {
        least.give(0)?;
        most.give(-5)
    })
}

/// `cuStreamCreate`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreate(stream: Out<u64>, _flags: u32) -> i32 {
    call_in_context(|state| {
        let handle = state.handle();
        state.streams.insert(handle, ());
        stream.give(handle)
    })
}

/// `cuStreamCreateWithPriority`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreateWithPriority(
    stream: Out<u64>,
    flags: u32,
    _priority: i32,
) -> i32 {
    // SAFETY: the caller has given what the other function wants.
    unsafe { cuStreamCreate(stream, flags) }
}

/// `cuStreamDestroy`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamDestroy_v2(stream: u64) -> i32 {
    call_in_context(|state| match state.streams.remove(&stream) {
        Some(()) => {
            state.captures.remove(&stream);
            Ok(())
        }
        None => Err(no_handle("stream", stream)),
    })
}

/// `cuStreamSynchronize`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamSynchronize(stream: u64) -> i32 {
    call_in_context(|state| match state.capture(stream) {
        Some(capture) => {
            capture.is_broken = true;
            Err(Fault::new(code::STREAM_CAPTURE_UNSUPPORTED, "a captured stream is waited for"))
        }
        None => Ok(()),
    })
}

/// `cuStreamQuery`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamQuery(stream: u64) -> i32 {
    // SAFETY: the caller has given what the other function wants.
    unsafe { cuStreamSynchronize(stream) }
}

/// `cuLaunchHostFunc`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuLaunchHostFunc(
    stream: u64,
    function: Option<extern "C" fn(*mut c_void)>,
    data: *mut c_void,
) -> i32 {
    call_in_context(|state| {
        let function = function.ok_or(code::INVALID_VALUE)?;
        state.enqueue(stream, Work::Host { function, data: data as u64 })
    })
}
