//! The kernels, as the driver compiles them for the device.

use super::device::Device;
use core::ffi::{CStr, c_void};
use core::ptr::{null_mut, without_provenance_mut};
use cudarc::driver::sys::{CUfunction, CUjit_option, CUmodule};
use kinglet_quant::{Code, Error, Result};
use std::ffi::CString;
use std::string::String;
use std::sync::Arc;

/// Bytes of what the compiler can say. An error's message shows less.
const LOG_BYTES: usize = 1024;
/// Characters of it that an error's message shows.
const LOG_SHOWN: usize = 120;

/// The kernels, compiled for a device; unloaded when this is dropped.
#[derive(Debug)]
pub(crate) struct Module {
    device: Arc<Device>,
    handle: CUmodule,
}

// SAFETY: the driver may be called with a module from any thread.
unsafe impl Send for Module {}
// SAFETY: as above; nothing changes a module once it is loaded.
unsafe impl Sync for Module {}

/// A kernel of a [`Module`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Function(CUfunction);

// SAFETY: the driver may be called with a function from any thread.
unsafe impl Send for Function {}
// SAFETY: as above; nothing can be done through a shared reference that a copy could not.
unsafe impl Sync for Function {}

impl Module {
    /// Has the driver compile kernels in PTX, or take them from its cache. Makes the device's
    /// context the calling thread's.
    pub fn load(device: &Arc<Device>, text: &str) -> Result<Self> {
        let cuda = device.cuda();
        let text = CString::new(text).map_err(|_| {
            Error::new(Code::Internal, format_args!("the text of the kernels has a 0 in it"))
        })?;
        device.enter()?;
        let mut log = [0_u8; LOG_BYTES];
        let mut options = [
            CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
            CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
        ];
        let mut values: [*mut c_void; 2] =
            [log.as_mut_ptr().cast(), without_provenance_mut(LOG_BYTES)];
        let mut handle = null_mut();
        // SAFETY: the text ends with a 0, the options have as many values, the log has as many
        // bytes, and the function writes a handle to where it is told.
        let status = unsafe {
            (cuda.driver().cuModuleLoadDataEx)(
                &mut handle,
                text.as_ptr().cast(),
                options.len() as u32,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        cuda.check(status, format_args!("compile the kernels{}", said(&log)))?;
        Ok(Self { device: Arc::clone(device), handle })
    }

    /// The kernel of a name.
    pub fn function(&self, name: &CStr) -> Result<Function> {
        let cuda = self.device.cuda();
        self.device.enter()?;
        let mut function = null_mut();
        // SAFETY: the module is loaded, the name ends with a 0, and the function writes a handle
        // to where it is told.
        let status = unsafe {
            (cuda.driver().cuModuleGetFunction)(&mut function, self.handle, name.as_ptr())
        };
        cuda.check(status, format_args!("find the kernel {}", name.to_string_lossy()))?;
        Ok(Function(function))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        self.device.settle();
        // What fails here cannot be mended: the module goes with the context.
        // SAFETY: the module was loaded for `self`, and the device runs none of its kernels.
        let _ = unsafe { (self.device.cuda().driver().cuModuleUnload)(self.handle) };
    }
}

impl Device {
    /// Has the device run a kernel in so many blocks of so many threads, each block with so many
    /// bytes of shared memory beside what the kernel declares. The thread must have entered the
    /// device.
    ///
    /// # Safety
    ///
    /// `parameters` must point to a value for each of the kernel's, in order and of its type. The
    /// module of the kernel must stay loaded, and all memory that the kernel is led to by them
    /// must be the device's to use so, until the stream has come so far; where launches are
    /// captured, whenever the graph is launched.
    pub unsafe fn launch(
        &self,
        Function(function): Function,
        grid: [u32; 3],
        block: u32,
        shared_bytes: u32,
        parameters: &mut [*mut c_void],
    ) -> Result<()> {
        let [x, y, z] = grid;
        let (values, stream) = (parameters.as_mut_ptr(), self.stream());
        let launch = self.cuda().driver().cuLaunchKernel;
        // SAFETY: the caller promises it. The driver copies the parameters before it returns.
        let status = unsafe {
            launch(function, x, y, z, block, 1, 1, shared_bytes, stream, values, null_mut())
        };
        self.cuda().check(status, format_args!("launch a kernel"))
    }
}

/// What the compiler says, in brackets and on one line; nothing when it says nothing.
fn said(log: &[u8]) -> String {
    let text = CStr::from_bytes_until_nul(log).map_or(log, CStr::to_bytes);
    let text = String::from_utf8_lossy(text);
    let words = text.split_whitespace().flat_map(|word| [" ", word]).skip(1);
    let line: String = words.flat_map(str::chars).take(LOG_SHOWN).collect();
    if line.is_empty() { line } else { std::format!(" ({line})") }
}

#[cfg(test)]
mod tests {
    use super::{LOG_SHOWN, said};

    #[test]
    fn the_log_becomes_a_line() {
        assert_eq!(said(b"\0rest"), "");
        assert_eq!(said(b" ptxas\n fatal  : no\n\0rest"), " (ptxas fatal : no)");
        assert_eq!(said(&[b'x'; 1000]).len(), LOG_SHOWN + " ()".len());
    }
}
