//! A device in use: its context, and the one stream that everything goes through in order.

use super::probe::Cuda;
use core::ptr::null_mut;
use cudarc::driver::sys::{CUcontext, CUdevice_attribute, CUstream, CUstream_flags};
use kinglet_quant::Result;
use std::sync::Arc;

/// A device in use. Everything that lives on it keeps it alive.
#[derive(Debug)]
pub(crate) struct Device {
    cuda: Cuda,
    attributes: Attributes,
    context: CUcontext,
    /// Null while there is none yet.
    stream: CUstream,
}

/// What matters of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// It has no memory but the processor's.
    pub integrated: bool,
    /// It can see memory of the processor's.
    pub sees_host: bool,
    /// Such memory can be registered where it is.
    pub registers: bool,
    /// And also where it can only be read.
    pub registers_read_only: bool,
    /// It sees all memory of the process without registering.
    pub sees_pages: bool,
    /// How many multiprocessors it has.
    pub multiprocessors: u32,
    /// The shared memory that a block can have, in bytes.
    pub shared_bytes: u32,
}

// SAFETY: the driver may be called from any thread. A context may be current on several threads at
// once, and functions that take a stream may be called from several.
unsafe impl Send for Device {}
// SAFETY: as above; the fields themselves do not change.
unsafe impl Sync for Device {}

impl Device {
    /// Takes the device's primary context, makes it the calling thread's, and makes a stream.
    pub fn open(cuda: Cuda) -> Result<Arc<Self>> {
        let mut context = null_mut();
        // SAFETY: the function writes a handle to where it is told, of a device that there is.
        let status =
            unsafe { (cuda.driver().cuDevicePrimaryCtxRetain)(&mut context, cuda.device()) };
        cuda.check(status, format_args!("open the device {}", cuda.name()))?;
        let attributes = Attributes::of(cuda);
        let mut device = Self { cuda, attributes, context, stream: null_mut() };
        device.enter()?;
        let flags = CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: the function writes a handle to where it is told; the context is current.
        let status = unsafe { (cuda.driver().cuStreamCreate)(&mut device.stream, flags) };
        cuda.check(status, format_args!("make a stream"))?;
        Ok(Arc::new(device))
    }

    /// Makes the device's context the calling thread's, and leaves it so. Whatever says that the
    /// thread must have entered the device fails otherwise.
    pub fn enter(&self) -> Result<()> {
        // SAFETY: the context is retained until `self` is dropped.
        let status = unsafe { (self.cuda.driver().cuCtxSetCurrent)(self.context) };
        self.cuda.check(status, format_args!("enter the device"))
    }

    /// Waits until everything that was asked of the device is done. The thread must have entered
    /// the device.
    pub fn synchronize(&self) -> Result<()> {
        // SAFETY: the stream lives as long as `self`.
        let status = unsafe { (self.cuda.driver().cuStreamSynchronize)(self.stream) };
        self.cuda.check(status, format_args!("finish the work on the device"))
    }

    /// Waits as [`Device::synchronize`] does, on a thread that need not have entered the device,
    /// whatever fails: for what is about to be freed.
    pub(super) fn settle(&self) {
        // Without the context or with a lost device, there is nothing left to wait for.
        let _ = self.enter().and_then(|()| self.synchronize());
    }

    /// What was found.
    pub fn cuda(&self) -> Cuda {
        self.cuda
    }

    /// What matters of the device.
    pub fn attributes(&self) -> Attributes {
        self.attributes
    }

    pub(super) fn stream(&self) -> CUstream {
        self.stream
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.settle();
        let driver = self.cuda.driver();
        // What fails here cannot be mended: the system takes everything back at the end of the
        // process.
        if !self.stream.is_null() {
            // SAFETY: the stream was made for `self`, and nothing uses it after this.
            let _ = unsafe { (driver.cuStreamDestroy_v2)(self.stream) };
        }
        // SAFETY: `open` retained it once, and whatever lived in the context held `self`.
        let _ = unsafe { (driver.cuDevicePrimaryCtxRelease_v2)(self.cuda.device()) };
    }
}

impl Attributes {
    fn of(cuda: Cuda) -> Self {
        use CUdevice_attribute::*;
        let number = |attribute| cuda.attribute(attribute).max(0) as u32;
        let is = |attribute| cuda.attribute(attribute) != 0;
        Self {
            integrated: is(CU_DEVICE_ATTRIBUTE_INTEGRATED),
            sees_host: is(CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY),
            registers: is(CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED),
            registers_read_only: is(CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED),
            sees_pages: is(CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS),
            multiprocessors: number(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
            shared_bytes: number(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK),
        }
    }
}
