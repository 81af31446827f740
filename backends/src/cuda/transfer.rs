//! Parts of the device's memory, and copies from and to them.
//!
//! Everything here needs a thread that has entered the device, and goes through the device's
//! stream, in its order. What copies slices waits; [`crate::cuda::memory::Pinned`] does not.

use super::device::Device;
use core::{ops, ptr};
use kinglet_quant::Result;

/// A part of a block of the device's memory, which lives at least as long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range<'a> {
    device: &'a Device,
    pointer: u64,
    bytes: usize,
}

impl<'a> Range<'a> {
    /// As many bytes of the device's memory.
    ///
    /// # Safety
    ///
    /// They must be the device's, and taken for as long as `'a`.
    pub(super) unsafe fn new(device: &'a Device, pointer: u64, bytes: usize) -> Self {
        Self { device, pointer, bytes }
    }

    /// These bytes of it.
    ///
    /// # Panics
    ///
    /// When there are not as many.
    pub fn part(self, span: ops::Range<usize>) -> Self {
        let fits = span.start <= span.end && span.end <= self.bytes;
        assert!(fits, "bytes {span:?} of {}", self.bytes);
        Self { pointer: self.pointer + span.start as u64, bytes: span.len(), ..self }
    }

    /// How many bytes it has.
    pub fn bytes(self) -> usize {
        self.bytes
    }

    /// Sets every byte.
    pub fn fill(self, byte: u8) -> Result<()> {
        let (cuda, stream) = (self.device.cuda(), self.device.stream());
        // SAFETY: the bytes are the device's and taken, as who made `self` promised.
        let status =
            unsafe { (cuda.driver().cuMemsetD8Async)(self.pointer, byte, self.bytes, stream) };
        cuda.check(status, format_args!("fill memory of the device"))
    }

    /// Copies as many bytes from elsewhere on the device.
    ///
    /// # Panics
    ///
    /// When `source` has another number of bytes, shares some of these, or is another device's.
    pub fn copy_from(self, source: Range<'_>) -> Result<()> {
        assert!(source.is_of(self.device), "the memory is of another device");
        assert_eq!(source.bytes, self.bytes, "bytes to copy");
        let distance = self.pointer.abs_diff(source.pointer);
        assert!(distance >= self.bytes as u64, "source and target share bytes");
        let (cuda, stream) = (self.device.cuda(), self.device.stream());
        // SAFETY: both have as many bytes, the device's and taken, as who made them promised.
        let status = unsafe {
            (cuda.driver().cuMemcpyDtoDAsync_v2)(self.pointer, source.pointer, self.bytes, stream)
        };
        cuda.check(status, format_args!("copy on the device"))
    }

    /// Copies a slice here, and waits until that and all before is done.
    ///
    /// # Panics
    ///
    /// When the slice has another number of bytes.
    pub fn write(self, source: &[u8]) -> Result<()> {
        assert_eq!(source.len(), self.bytes, "bytes to copy");
        // SAFETY: the slice has as many bytes and stays borrowed until the copy is done. While
        // launches are captured, waiting fails and ends the capture, so that no graph copies.
        unsafe { self.copy_from_host(source.as_ptr()) }?;
        self.device.synchronize()
    }

    /// Copies all of this to a slice, and waits until that and all before is done.
    ///
    /// # Panics
    ///
    /// When the slice has another number of bytes.
    #[cfg(feature = "check")]
    pub fn read(self, target: &mut [u8]) -> Result<()> {
        assert_eq!(target.len(), self.bytes, "bytes to copy");
        // SAFETY: as in `write`.
        unsafe { self.copy_to_host(target.as_mut_ptr()) }?;
        self.device.synchronize()
    }

    /// Whether it is memory of this device.
    pub(super) fn is_of(self, device: &Device) -> bool {
        ptr::eq(self.device, device)
    }

    /// Copies as many bytes from the processor's memory, and does not wait.
    ///
    /// # Safety
    ///
    /// There must be as many bytes, which nobody changes or frees before the stream has come so
    /// far; where launches are captured, whenever the graph is launched.
    pub(super) unsafe fn copy_from_host(self, source: *const u8) -> Result<()> {
        let (cuda, stream) = (self.device.cuda(), self.device.stream());
        // SAFETY: of the processor's memory, the caller promises it; of the device's, who made
        // `self` did.
        let status = unsafe {
            (cuda.driver().cuMemcpyHtoDAsync_v2)(self.pointer, source.cast(), self.bytes, stream)
        };
        cuda.check(status, format_args!("copy to the device"))
    }

    /// Copies all to the processor's memory, and does not wait.
    ///
    /// # Safety
    ///
    /// There must be room for as many bytes, which nobody touches or frees before the stream has
    /// come so far; where launches are captured, whenever the graph is launched.
    pub(super) unsafe fn copy_to_host(self, target: *mut u8) -> Result<()> {
        let (cuda, stream) = (self.device.cuda(), self.device.stream());
        // SAFETY: of the processor's memory, the caller promises it; of the device's, who made
        // `self` did.
        let status = unsafe {
            (cuda.driver().cuMemcpyDtoHAsync_v2)(target.cast(), self.pointer, self.bytes, stream)
        };
        cuda.check(status, format_args!("copy from the device"))
    }
}
