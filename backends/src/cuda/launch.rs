//! A kernel that is about to run, and what it is given.

use super::device::Device;
use super::module::Function;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::null_mut;
use kinglet_quant::Result;

/// Parameters that a kernel has at most.
const PARAMETERS: usize = 8;

/// A kernel that is about to run. Nothing is allocated for it.
pub(super) struct Launch<'p> {
    device: &'p Device,
    grid: [u32; 3],
    threads: u32,
    parameters: [*mut c_void; PARAMETERS],
    count: usize,
    values: PhantomData<&'p ()>,
}

impl<'p> Launch<'p> {
    /// So many blocks of so many threads.
    ///
    /// # Safety
    ///
    /// What [`Launch::run`] is called with must be a kernel that takes exactly what
    /// [`Launch::with`] was given, in this order, and all memory that the kernel is led to by it
    /// must be the device's to use so, until the stream has come so far; where launches are
    /// captured, whenever the graph is launched.
    pub unsafe fn new(device: &'p Device, grid: [u32; 3], threads: u32) -> Self {
        let parameters = [null_mut(); PARAMETERS];
        Self { device, grid, threads, parameters, count: 0, values: PhantomData }
    }

    /// The next parameter.
    pub fn with<T: Copy>(mut self, value: &'p T) -> Self {
        self.parameters[self.count] = core::ptr::from_ref(value).cast_mut().cast();
        self.count += 1;
        self
    }

    /// Has the device run the kernel. The thread must have entered the device.
    pub fn run(mut self, function: Function) -> Result<()> {
        let parameters = &mut self.parameters[..self.count];
        // SAFETY: who made this promised it; the values are borrowed until here, where the driver
        // copies them.
        unsafe { self.device.launch(function, self.grid, self.threads, 0, parameters) }
    }
}
