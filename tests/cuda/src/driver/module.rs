//! Modules and their kernels.

use super::{Out, Text, no_handle};
use crate::board::{Board, USUAL_SHARED};
use crate::fault::{Fault, code};
use crate::memory::Origin;
use crate::ptx;
use crate::state::{Function, State, call_in_context};
use std::ffi::c_void;

/// Checks what a module asks for, as the driver does before it reads anything else.
fn check(board: &Board, header: &ptx::Header) -> Result<(), Fault> {
    let ptx::Header { version, target, is_exact } = *header;
    if version > board.ptx {
        let text = format!(".version is {version} tenths, the driver knows {}", board.ptx);
        return Err(Fault::new(code::UNSUPPORTED_PTX_VERSION, text));
    }
    if target > board.capability || is_exact && target != board.capability {
        let text = format!(".target is sm_{target}, the device is sm_{}", board.capability);
        return Err(Fault::new(code::NO_BINARY_FOR_GPU, text));
    }
    Ok(())
}

fn load(state: &mut State, text: &str) -> Result<u64, Fault> {
    let replaced = state.module.clone();
    let text = replaced.as_deref().unwrap_or(text);
    if !text.contains(".version") {
        return Err(Fault::new(code::INVALID_IMAGE, "a module is no PTX"));
    }
    check(&state.board, &ptx::header(text)?)?;
    let memory = &mut state.memory;
    let module = ptx::parse(text, &mut |data| {
        let start = memory.allocate(data.len().max(1) as u64, Origin::Module)?;
        // SAFETY: the allocation has as many bytes.
        unsafe { (start as *mut u8).copy_from_nonoverlapping(data.as_ptr(), data.len()) };
        Ok(start)
    })?;
    let handle = state.handle();
    state.modules.insert(handle, module);
    Ok(handle)
}

/// `cuModuleLoadData`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleLoadData(module: Out<u64>, image: Text) -> i32 {
    call_in_context(|state| module.give(load(state, &image.read()?)?))
}

/// `CU_JIT_ERROR_LOG_BUFFER`, and behind it its size.
const ERROR_LOG: u32 = 5;

/// `cuModuleLoadDataEx`: of its options, only the log of errors means anything here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleLoadDataEx(
    module: Out<u64>,
    image: Text,
    count: u32,
    options: *const u32,
    values: *const *mut c_void,
) -> i32 {
    let option = |wanted: u32| {
        (0..count as usize).find_map(|at| {
            // SAFETY: the caller gives as many options and values as it says.
            unsafe { (*options.add(at) == wanted).then(|| *values.add(at)) }
        })
    };
    let (log, size) = (option(ERROR_LOG), option(ERROR_LOG + 1));
    call_in_context(|state| {
        let loaded = image.read().and_then(|text| load(state, &text));
        if let (Err(fault), Some(log), Some(size)) = (&loaded, log, size) {
            // SAFETY: the caller gives a log of the size that it says.
            unsafe { give(&fault.text, log.cast(), size as usize) };
        }
        module.give(loaded?)
    })
}

/// Writes as much of a text as there is room for, and a zero.
///
/// # Safety
///
/// There are `room` bytes at `place`.
unsafe fn give(text: &str, place: *mut u8, room: usize) {
    let Some(most) = room.checked_sub(1) else { return };
    let count = text.len().min(most);
    // SAFETY: the caller promises that the bytes are there.
    unsafe {
        place.copy_from_nonoverlapping(text.as_ptr(), count);
        place.add(count).write(0);
    }
}

/// `cuModuleLoad`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleLoad(module: Out<u64>, path: Text) -> i32 {
    call_in_context(|state| {
        let text = std::fs::read_to_string(path.read()?);
        let text = text.map_err(|error| Fault::new(code::FILE_NOT_FOUND, error.to_string()))?;
        module.give(load(state, &text)?)
    })
}

/// `cuModuleUnload`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleUnload(module: u64) -> i32 {
    call_in_context(|state| {
        let known = state.modules.remove(&module).ok_or_else(|| no_handle("module", module))?;
        for (start, _) in known.globals.into_values() {
            state.memory.free(start, Origin::Module)?;
        }
        Ok(())
    })
}

/// `cuModuleGetFunction`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleGetFunction(function: Out<u64>, module: u64, name: Text) -> i32 {
    call_in_context(|state| {
        let name = name.read()?;
        let known = state.modules.get(&module).ok_or_else(|| no_handle("module", module))?;
        let kernel = known
            .kernels
            .get(&name)
            .cloned()
            .ok_or_else(|| Fault::new(code::NOT_FOUND, format!("there is no kernel {name}")))?;
        let handle = state.handle();
        let most_dynamic = USUAL_SHARED - kernel.shared_bytes.min(USUAL_SHARED as usize) as i32;
        state.functions.insert(handle, Function { kernel, most_dynamic });
        function.give(handle)
    })
}

/// `cuModuleGetGlobal`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleGetGlobal_v2(
    start: Out<u64>,
    bytes: Out<usize>,
    module: u64,
    name: Text,
) -> i32 {
    call_in_context(|state| {
        let known = state.modules.get(&module).ok_or_else(|| no_handle("module", module))?;
        let (address, size) = *known.globals.get(&name.read()?).ok_or(code::NOT_FOUND)?;
        if start.is_there() {
            start.give(address)?;
        }
        if bytes.is_there() { bytes.give(size as usize) } else { Ok(()) }
    })
}

fn function(state: &State, handle: u64) -> Result<&Function, Fault> {
    state.functions.get(&handle).ok_or_else(|| no_handle("function", handle))
}

/// `cuFuncGetAttribute`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuFuncGetAttribute(value: Out<i32>, number: i32, handle: u64) -> i32 {
    call_in_context(|state| {
        let known = function(state, handle)?;
        value.give(match number {
            0 => known.kernel.most_threads as i32,
            1 => known.kernel.shared_bytes as i32,
            3 => known.kernel.local_bytes as i32,
            4 => 32,
            8 => known.most_dynamic,
            _ => 0,
        })
    })
}

/// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`
const MOST_DYNAMIC: i32 = 8;

/// `cuFuncSetAttribute`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuFuncSetAttribute(handle: u64, number: i32, value: i32) -> i32 {
    call_in_context(|state| {
        let limit = state.board.block_shared;
        let known =
            state.functions.get_mut(&handle).ok_or_else(|| no_handle("function", handle))?;
        if number == MOST_DYNAMIC {
            if value < 0 || value > limit - known.kernel.shared_bytes as i32 {
                let text = format!("{value} bytes of shared memory, a block has {limit}");
                return Err(Fault::new(code::INVALID_VALUE, text));
            }
            known.most_dynamic = value;
        }
        Ok(())
    })
}

/// `cuFuncSetCacheConfig`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuFuncSetCacheConfig(handle: u64, _config: u32) -> i32 {
    call_in_context(|state| function(state, handle).map(|_| ()))
}

/// Blocks that a multiprocessor can hold; registers are not counted.
pub fn blocks_per_processor(
    board: &Board,
    function: &Function,
    threads: u32,
    dynamic: usize,
) -> i32 {
    let reserved = board.attribute(111).unwrap_or(0) as usize;
    let shared = function.kernel.shared_bytes + dynamic + reserved;
    let by_shared = (board.processor_shared as usize).checked_div(shared).unwrap_or(16);
    let by_threads = board.processor_threads as u32 / threads.max(1).next_multiple_of(32);
    (by_shared as i32).min(by_threads as i32).min(16)
}

/// `cuOccupancyMaxActiveBlocksPerMultiprocessor`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    blocks: Out<i32>,
    handle: u64,
    threads: i32,
    dynamic: usize,
) -> i32 {
    call_in_context(|state| {
        let known = function(state, handle)?;
        blocks.give(blocks_per_processor(&state.board, known, threads as u32, dynamic))
    })
}

/// `cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    blocks: Out<i32>,
    handle: u64,
    threads: i32,
    dynamic: usize,
    _flags: u32,
) -> i32 {
    // SAFETY: the caller has given what the other function wants.
    unsafe { cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, handle, threads, dynamic) }
}
