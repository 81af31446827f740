//! Memory of the processor's that the device copies from and to by itself.

use super::require_room;
use crate::cuda::device::Device;
use crate::cuda::transfer::Range;
use core::ptr::{self, NonNull};
use core::slice;
use kinglet_quant::{Code, Error, Result};
use std::sync::Arc;

/// Page-locked memory of the processor's, freed when this is dropped.
///
/// Copies go on while the program does. So whoever wants to see the bytes waits first.
#[derive(Debug)]
pub(crate) struct Pinned {
    device: Arc<Device>,
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the memory belongs to this value alone, and the driver may be called from any thread.
unsafe impl Send for Pinned {}

impl Pinned {
    /// Takes as many bytes, all 0, for `what`. `Resource` when there are not enough. Makes the
    /// device's context the calling thread's.
    pub fn new(device: &Arc<Device>, bytes: usize, what: &str) -> Result<Self> {
        device.enter()?;
        require_room(device, bytes, what)?;
        let cuda = device.cuda();
        let mut start = ptr::null_mut();
        // SAFETY: the function writes an address to where it is told.
        let status = unsafe { (cuda.driver().cuMemHostAlloc)(&mut start, bytes.max(1), 0) };
        cuda.check(status, format_args!("take {bytes} bytes of page-locked memory for {what}"))?;
        let Some(start) = NonNull::new(start.cast::<u8>()) else {
            let message = format_args!("the driver gave no page-locked memory for {what}");
            return Err(Error::new(Code::Internal, message));
        };
        // SAFETY: the driver gave at least as many bytes to this function alone.
        unsafe { start.write_bytes(0, bytes) };
        Ok(Self { device: Arc::clone(device), start, bytes })
    }

    /// The bytes, when the device has done what was asked of it so far. The thread must have
    /// entered the device.
    pub fn bytes(&mut self) -> Result<&mut [u8]> {
        self.device.synchronize()?;
        // SAFETY: `new` took and wrote as many bytes, which only this borrow reaches: the device
        // is done, and every other way to it needs a borrow or is unsafe.
        Ok(unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) })
    }

    /// Copies the bytes from `first` on to all of `target`, in the order of the stream. The thread
    /// must have entered the device.
    ///
    /// # Panics
    ///
    /// When there are not as many bytes, or when `target` is another device's.
    pub fn send(&self, first: usize, target: Range<'_>) -> Result<()> {
        self.check(first, target);
        // SAFETY: `check` has compared the places. Whoever wants to change the bytes, or to free
        // them, waits for the stream first.
        unsafe { target.copy_from_host(self.start.as_ptr().add(first)) }
    }

    /// Copies all of `source` to the bytes from `first` on, in the order of the stream. The thread
    /// must have entered the device.
    ///
    /// # Panics
    ///
    /// When there are not as many bytes, or when `source` is another device's.
    pub fn receive(&mut self, first: usize, source: Range<'_>) -> Result<()> {
        self.check(first, source);
        // SAFETY: `check` has compared the places. Whoever wants to see the bytes, or to free
        // them, waits for the stream first.
        unsafe { source.copy_to_host(self.start.as_ptr().add(first)) }
    }

    fn check(&self, first: usize, range: Range<'_>) {
        assert!(range.is_of(&self.device), "the memory is of another device");
        let fits = first.checked_add(range.bytes()).is_some_and(|end| end <= self.bytes);
        assert!(fits, "{} bytes from {first} on, of {}", range.bytes(), self.bytes);
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.device.settle();
        // What fails here cannot be mended: the memory goes back with the context.
        // SAFETY: the memory was taken for `self`, and the device has finished with it.
        let _ = unsafe { (self.device.cuda().driver().cuMemFreeHost)(self.start.as_ptr().cast()) };
    }
}
