//! Initialization, errors and devices.

use super::{Out, no_handle};
use crate::fault::{Fault, code};
use crate::state::{State, call, call_initialized};
use std::ffi::{CStr, c_char};

/// `cuInit`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuInit(flags: u32) -> i32 {
    call(|state| match (flags, state.board.has_device()) {
        (0, true) => {
            state.is_initialized = true;
            Ok(())
        }
        (0, false) => Err(code::NO_DEVICE.into()),
        _ => Err(code::INVALID_VALUE.into()),
    })
}

/// `cuDriverGetVersion`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(version: Out<i32>) -> i32 {
    call(|state| version.give(state.board.driver))
}

/// Codes, names and sentences.
const ERRORS: [(i32, &CStr, &CStr); 31] = [
    (code::SUCCESS, c"CUDA_SUCCESS", c"no error"),
    (code::INVALID_VALUE, c"CUDA_ERROR_INVALID_VALUE", c"invalid argument"),
    (code::OUT_OF_MEMORY, c"CUDA_ERROR_OUT_OF_MEMORY", c"out of memory"),
    (code::NOT_INITIALIZED, c"CUDA_ERROR_NOT_INITIALIZED", c"initialization error"),
    (code::NO_DEVICE, c"CUDA_ERROR_NO_DEVICE", c"no CUDA-capable device is detected"),
    (code::INVALID_DEVICE, c"CUDA_ERROR_INVALID_DEVICE", c"invalid device ordinal"),
    (code::INVALID_IMAGE, c"CUDA_ERROR_INVALID_IMAGE", c"device kernel image is invalid"),
    (code::INVALID_CONTEXT, c"CUDA_ERROR_INVALID_CONTEXT", c"invalid device context"),
    (code::NO_BINARY_FOR_GPU, c"CUDA_ERROR_NO_BINARY_FOR_GPU", c"no kernel image for the device"),
    (code::INVALID_PTX, c"CUDA_ERROR_INVALID_PTX", c"a PTX JIT compilation failed"),
    (
        code::UNSUPPORTED_PTX_VERSION,
        c"CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
        c"the provided PTX was compiled with an unsupported toolchain.",
    ),
    (code::FILE_NOT_FOUND, c"CUDA_ERROR_FILE_NOT_FOUND", c"file not found"),
    (code::INVALID_HANDLE, c"CUDA_ERROR_INVALID_HANDLE", c"invalid resource handle"),
    (code::ILLEGAL_STATE, c"CUDA_ERROR_ILLEGAL_STATE", c"the operation cannot be performed now"),
    (code::NOT_FOUND, c"CUDA_ERROR_NOT_FOUND", c"named symbol not found"),
    (code::NOT_READY, c"CUDA_ERROR_NOT_READY", c"device not ready"),
    (code::ILLEGAL_ADDRESS, c"CUDA_ERROR_ILLEGAL_ADDRESS", c"an illegal memory access"),
    (
        code::LAUNCH_OUT_OF_RESOURCES,
        c"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
        c"too many resources requested for launch",
    ),
    (
        code::HOST_MEMORY_ALREADY_REGISTERED,
        c"CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED",
        c"part or all of the requested memory range is already mapped",
    ),
    (
        code::HOST_MEMORY_NOT_REGISTERED,
        c"CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED",
        c"pointer does not correspond to a registered memory region",
    ),
    (code::MISALIGNED_ADDRESS, c"CUDA_ERROR_MISALIGNED_ADDRESS", c"misaligned address"),
    (code::LAUNCH_FAILED, c"CUDA_ERROR_LAUNCH_FAILED", c"unspecified launch failure"),
    (
        code::COOPERATIVE_LAUNCH_TOO_LARGE,
        c"CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE",
        c"too many blocks in cooperative launch",
    ),
    (code::NOT_SUPPORTED, c"CUDA_ERROR_NOT_SUPPORTED", c"operation not supported"),
    (
        code::STREAM_CAPTURE_UNSUPPORTED,
        c"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
        c"operation not permitted when stream is capturing",
    ),
    (
        code::STREAM_CAPTURE_INVALIDATED,
        c"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
        c"operation failed due to a previous error during capture",
    ),
    (code::UNKNOWN, c"CUDA_ERROR_UNKNOWN", c"unknown error"),
    (205, c"CUDA_ERROR_MAP_FAILED", c"mapping of buffer object failed"),
    (221, c"CUDA_ERROR_JIT_COMPILER_NOT_FOUND", c"PTX JIT compiler library not found"),
    (800, c"CUDA_ERROR_NOT_PERMITTED", c"operation not permitted"),
    (803, c"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", c"system has unsupported driver combination"),
];

/// Gives a text of an error; this is no call of the driver that could fail or be counted.
fn give_text(found: Option<&'static CStr>, place: Out<*const c_char>) -> i32 {
    let text = found.ok_or(Fault::from(code::INVALID_VALUE));
    let given = text.and_then(|text| place.give(text.as_ptr()));
    given.map_or_else(|fault| fault.code, |()| code::SUCCESS)
}

/// `cuGetErrorName`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorName(error: i32, name: Out<*const c_char>) -> i32 {
    give_text(ERRORS.iter().find(|(code, ..)| *code == error).map(|(_, name, _)| *name), name)
}

/// `cuGetErrorString`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorString(error: i32, text: Out<*const c_char>) -> i32 {
    give_text(ERRORS.iter().find(|(code, ..)| *code == error).map(|(.., text)| *text), text)
}

/// There is one device.
fn check(device: i32) -> Result<(), Fault> {
    if device == 0 { Ok(()) } else { Err(code::INVALID_DEVICE.into()) }
}

/// `cuDeviceGetCount`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetCount(count: Out<i32>) -> i32 {
    call_initialized(|_| count.give(1))
}

/// `cuDeviceGet`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGet(device: Out<i32>, ordinal: i32) -> i32 {
    call_initialized(|_| {
        check(ordinal)?;
        device.give(0)
    })
}

/// `cuDeviceGetName`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, size: i32, device: i32) -> i32 {
    call_initialized(|state| {
        check(device)?;
        let text = state.board.device.as_bytes();
        if name.is_null() || size < 1 {
            return Err(code::INVALID_VALUE.into());
        }
        let kept = text.len().min(size as usize - 1);
        // SAFETY: the caller gives room for `size` bytes.
        unsafe {
            name.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), kept);
            *name.add(kept) = 0;
        }
        Ok(())
    })
}

/// `cuDeviceTotalMem`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: Out<usize>, device: i32) -> i32 {
    call_initialized(|state| {
        check(device)?;
        bytes.give(state.memory.total as usize)
    })
}

/// `cuDeviceGetAttribute`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetAttribute(value: Out<i32>, number: i32, device: i32) -> i32 {
    call_initialized(|state| {
        check(device)?;
        let known = state.board.attribute(number);
        value.give(known.ok_or_else(|| {
            Fault::new(code::INVALID_VALUE, format!("the driver does not know attribute {number}"))
        })?)
    })
}

fn give_uuid(state: &State, uuid: Out<[u8; 16]>, device: i32) -> Result<(), Fault> {
    check(device)?;
    let mut bytes = *b"kinglet-stand-in";
    bytes[15] = state.board.capability as u8;
    uuid.give(bytes)
}

/// `cuDeviceGetUuid`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetUuid(uuid: Out<[u8; 16]>, device: i32) -> i32 {
    call_initialized(|state| give_uuid(state, uuid, device))
}

/// `cuDeviceGetUuid_v2`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetUuid_v2(uuid: Out<[u8; 16]>, device: i32) -> i32 {
    call_initialized(|state| give_uuid(state, uuid, device))
}

/// `cuDevicePrimaryCtxRetain`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: Out<u64>, device: i32) -> i32 {
    call_initialized(|state| {
        check(device)?;
        if state.context == 0 {
            state.context = state.handle();
        }
        context.give(state.context)
    })
}

/// `cuDevicePrimaryCtxRelease`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxRelease_v2(device: i32) -> i32 {
    call_initialized(|state| {
        check(device)?;
        if state.context == 0 { Err(no_handle("context", 0)) } else { Ok(()) }
    })
}
