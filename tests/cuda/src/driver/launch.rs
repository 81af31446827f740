//! Launches of kernels.

use super::module::blocks_per_processor;
use super::no_handle;
use crate::exec;
use crate::fault::{Fault, code};
use crate::state::{Prepared, State, Work, call_in_context};
use std::ffi::c_void;

/// The arguments of a launch.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Arguments {
    /// The kernel's handle.
    pub function: u64,
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads of a block along each axis.
    pub block: [u32; 3],
    /// Bytes of shared memory beyond those that the kernel declares.
    pub dynamic: u32,
    /// The places of the values of its parameters.
    pub parameters: *const *const c_void,
    /// Another way to give them, which is not supported.
    pub extra: *const *const c_void,
}

/// Checks a launch and copies its parameters, as the driver does when it is called.
///
/// # Safety
///
/// There is a place for every parameter of the kernel.
pub unsafe fn prepare(
    state: &State,
    arguments: &Arguments,
    is_cooperative: bool,
) -> Result<Prepared, Fault> {
    let Arguments { function, grid, block, dynamic, parameters, extra } = *arguments;
    let known = state.functions.get(&function).ok_or_else(|| no_handle("function", function))?;
    let kernel = known.kernel.clone();
    if !extra.is_null() {
        return Err(Fault::new(code::NOT_SUPPORTED, "parameters in one buffer"));
    }
    if dynamic > known.most_dynamic as u32 {
        let text = format!(
            "kernel {}: {dynamic} bytes of dynamic shared memory, {} are allowed",
            kernel.name, known.most_dynamic
        );
        return Err(Fault::new(code::INVALID_VALUE, text));
    }
    let mut values = vec![0; kernel.parameter_bytes];
    if parameters.is_null() && !kernel.parameters.is_empty() {
        return Err(Fault::new(code::INVALID_VALUE, "there are no parameters"));
    }
    for (at, (offset, bytes)) in kernel.parameters.iter().enumerate() {
        let place = &mut values[*offset..offset + bytes];
        // SAFETY: the caller gives a place for every parameter.
        unsafe {
            let value = (*parameters.add(at)).cast::<u8>();
            value.copy_to_nonoverlapping(place.as_mut_ptr(), *bytes);
        }
    }
    if is_cooperative {
        let threads = block.iter().product();
        let most = blocks_per_processor(&state.board, known, threads, dynamic as usize);
        let most = most as u32 * state.board.processors as u32;
        if grid.iter().product::<u32>() > most {
            return Err(code::COOPERATIVE_LAUNCH_TOO_LARGE.into());
        }
    }
    let dynamic = dynamic as usize;
    let prepared = Prepared { kernel, grid, block, dynamic, parameters: values, is_cooperative };
    exec::check(&prepared.launch())?;
    if block[2] > 64 || grid[1].max(grid[2]) > 65_535 {
        return Err(Fault::new(code::INVALID_VALUE, "a grid or a block is too long"));
    }
    Ok(prepared)
}

fn launch(arguments: &Arguments, stream: u64, is_cooperative: bool) -> i32 {
    call_in_context(|state| {
        // SAFETY: the caller of the driver gives a place for every parameter.
        let prepared = unsafe { prepare(state, arguments, is_cooperative)? };
        state.enqueue(stream, Work::Kernel(prepared))
    })
}

/// `cuLaunchKernel`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuLaunchKernel(
    function: u64,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    dynamic: u32,
    stream: u64,
    parameters: *const *const c_void,
    extra: *const *const c_void,
) -> i32 {
    let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
    launch(&Arguments { function, grid, block, dynamic, parameters, extra }, stream, false)
}

/// `cuLaunchCooperativeKernel`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuLaunchCooperativeKernel(
    function: u64,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    dynamic: u32,
    stream: u64,
    parameters: *const *const c_void,
) -> i32 {
    let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
    let extra = std::ptr::null();
    launch(&Arguments { function, grid, block, dynamic, parameters, extra }, stream, true)
}
