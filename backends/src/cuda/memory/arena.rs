//! A block of the device's memory.

use super::require_room;
use crate::cuda::device::Device;
use crate::cuda::transfer::Range;
use kinglet_quant::Result;
use std::sync::Arc;

/// A block of the device's memory, freed when this is dropped.
#[derive(Debug)]
pub(crate) struct Arena {
    device: Arc<Device>,
    pointer: u64,
    bytes: usize,
}

impl Arena {
    /// Takes as many bytes, all 0, for `what`. `Resource` when there are not enough. Makes the
    /// device's context the calling thread's.
    pub fn new(device: &Arc<Device>, bytes: usize, what: &str) -> Result<Self> {
        let arena = Self::unset(device, bytes, what)?;
        arena.range().fill(0)?;
        Ok(arena)
    }

    /// Takes as many bytes, whatever is in them.
    pub(super) fn unset(device: &Arc<Device>, bytes: usize, what: &str) -> Result<Self> {
        device.enter()?;
        require_room(device, bytes, what)?;
        let mut pointer = 0;
        // Nothing is something that the driver does not give.
        // SAFETY: the function writes an address to where it is told.
        let status = unsafe { (device.cuda().driver().cuMemAlloc_v2)(&mut pointer, bytes.max(1)) };
        let cuda = device.cuda();
        cuda.check(status, format_args!("take {bytes} bytes of the device's memory for {what}"))?;
        Ok(Self { device: Arc::clone(device), pointer, bytes })
    }

    /// Where the device has it, a multiple of 256.
    pub fn pointer(&self) -> u64 {
        self.pointer
    }

    /// All of it.
    pub fn range(&self) -> Range<'_> {
        // SAFETY: the block lives as long as the borrow of `self`, and is of this device.
        unsafe { Range::new(&self.device, self.pointer, self.bytes) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.device.settle();
        // What fails here cannot be mended: the block goes back with the context.
        // SAFETY: the block was taken for `self`, and the device has finished with it.
        let _ = unsafe { (self.device.cuda().driver().cuMemFree_v2)(self.pointer) };
    }
}
