//! Memory: allocations, registrations, copies and fills.

use super::Out;
use crate::counters::Way;
use crate::fault::{Fault, code};
use crate::memory::Origin;
use crate::state::{State, Work, call_in_context};

/// Flags of registrations: for all contexts, mapped, of a device, read-only.
const REGISTER_FLAGS: u32 = 1 | 2 | 4 | REGISTER_READ_ONLY;
/// `CU_MEMHOSTREGISTER_READ_ONLY`
const REGISTER_READ_ONLY: u32 = 8;

/// `cuMemGetInfo`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) -> i32 {
    call_in_context(|state| {
        free.give(state.memory.total.saturating_sub(state.memory.live) as usize)?;
        total.give(state.memory.total as usize)
    })
}

fn allocate(bytes: usize, origin: Origin, place: Out<u64>) -> i32 {
    call_in_context(|state| {
        state.forbid_in_capture()?;
        place.give(state.memory.allocate(bytes as u64, origin)?)
    })
}

fn free(start: u64, origin: Origin) -> i32 {
    call_in_context(|state| {
        state.forbid_in_capture()?;
        if start == 0 { Ok(()) } else { state.memory.free(start, origin) }
    })
}

/// `cuMemAlloc`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAlloc_v2(place: Out<u64>, bytes: usize) -> i32 {
    allocate(bytes, Origin::Device, place)
}

/// `cuMemAllocAsync`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAllocAsync(place: Out<u64>, bytes: usize, _stream: u64) -> i32 {
    allocate(bytes, Origin::Device, place)
}

/// `cuMemAllocManaged`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAllocManaged(place: Out<u64>, bytes: usize, _flags: u32) -> i32 {
    allocate(bytes, Origin::Device, place)
}

/// `cuMemFree`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemFree_v2(start: u64) -> i32 {
    free(start, Origin::Device)
}

/// `cuMemFreeAsync`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemFreeAsync(start: u64, _stream: u64) -> i32 {
    free(start, Origin::Device)
}

/// `cuMemHostAlloc`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemHostAlloc(place: Out<u64>, bytes: usize, _flags: u32) -> i32 {
    allocate(bytes, Origin::Pinned, place)
}

/// `cuMemAllocHost`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAllocHost_v2(place: Out<u64>, bytes: usize) -> i32 {
    allocate(bytes, Origin::Pinned, place)
}

/// `cuMemFreeHost`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemFreeHost(start: u64) -> i32 {
    free(start, Origin::Pinned)
}

/// `cuMemHostRegister`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemHostRegister_v2(start: u64, bytes: usize, flags: u32) -> i32 {
    call_in_context(|state| {
        state.forbid_in_capture()?;
        let is_read_only = flags & REGISTER_READ_ONLY != 0;
        if flags & !REGISTER_FLAGS != 0 {
            return Err(code::INVALID_VALUE.into());
        }
        let registers_it = match is_read_only {
            false => state.board.registers,
            true => state.board.registers_read_only,
        };
        if !registers_it {
            return Err(Fault::new(code::NOT_SUPPORTED, "this board registers no such memory"));
        }
        state.memory.register(start, bytes as u64, !is_read_only)
    })
}

/// `cuMemHostUnregister`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemHostUnregister(start: u64) -> i32 {
    call_in_context(|state| {
        state.forbid_in_capture()?;
        state.memory.unregister(start)
    })
}

/// `cuMemHostGetDevicePointer`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemHostGetDevicePointer_v2(
    place: Out<u64>,
    start: u64,
    _flags: u32,
) -> i32 {
    call_in_context(|state| match state.memory.known(start).map(|range| range.origin) {
        Some(Origin::Pinned | Origin::Registered) => place.give(start),
        _ => Err(Fault::new(code::INVALID_VALUE, format!("{start:#x} is not of the host"))),
    })
}

/// Checks the device's side of a copy.
fn check(state: &State, address: u64, bytes: u64) -> Result<(), Fault> {
    let known = state.memory.known(address).is_some_and(|range| range.holds(address, bytes));
    if known || bytes == 0 {
        return Ok(());
    }
    let found = state.memory.find(address, bytes, false).map(|_| ());
    found.map_err(|fault| Fault::new(code::INVALID_VALUE, format!("a copy {}", fault.text)))
}

/// Enqueues a copy, or does it and waits.
fn copy(stream: Option<u64>, to: u64, from: u64, bytes: usize, way: Way) -> i32 {
    call_in_context(|state| {
        let bytes = bytes as u64;
        if way != Way::DeviceToHost {
            check(state, to, bytes)?;
        }
        if way != Way::HostToDevice {
            check(state, from, bytes)?;
        }
        let work = Work::Copy { to, from, bytes, way };
        state.submit(stream, work)
    })
}

/// `cuMemcpyHtoD`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyHtoD_v2(to: u64, from: u64, bytes: usize) -> i32 {
    copy(None, to, from, bytes, Way::HostToDevice)
}

/// `cuMemcpyHtoDAsync`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyHtoDAsync_v2(
    to: u64,
    from: u64,
    bytes: usize,
    stream: u64,
) -> i32 {
    copy(Some(stream), to, from, bytes, Way::HostToDevice)
}

/// `cuMemcpyDtoH`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoH_v2(to: u64, from: u64, bytes: usize) -> i32 {
    copy(None, to, from, bytes, Way::DeviceToHost)
}

/// `cuMemcpyDtoHAsync`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoHAsync_v2(
    to: u64,
    from: u64,
    bytes: usize,
    stream: u64,
) -> i32 {
    copy(Some(stream), to, from, bytes, Way::DeviceToHost)
}

/// `cuMemcpyDtoD`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) -> i32 {
    copy(None, to, from, bytes, Way::DeviceToDevice)
}

/// `cuMemcpyDtoDAsync`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoDAsync_v2(
    to: u64,
    from: u64,
    bytes: usize,
    stream: u64,
) -> i32 {
    copy(Some(stream), to, from, bytes, Way::DeviceToDevice)
}

/// Enqueues a fill, or does it and waits.
fn fill(stream: Option<u64>, to: u64, value: u32, width: u64, count: usize) -> i32 {
    call_in_context(|state| {
        let count = count as u64;
        check(state, to, count.saturating_mul(width))?;
        let work = Work::Fill { to, value, width, count };
        state.submit(stream, work)
    })
}

/// `cuMemsetD8`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemsetD8_v2(to: u64, value: u8, count: usize) -> i32 {
    fill(None, to, value.into(), 1, count)
}

/// `cuMemsetD8Async`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: u64) -> i32 {
    fill(Some(stream), to, value.into(), 1, count)
}

/// `cuMemsetD32`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemsetD32_v2(to: u64, value: u32, count: usize) -> i32 {
    fill(None, to, value, 4, count)
}

/// `cuMemsetD32Async`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemsetD32Async(to: u64, value: u32, count: usize, stream: u64) -> i32 {
    fill(Some(stream), to, value, 4, count)
}
