//! The bytes of a weight file, as the device sees them.

use super::Arena;
use crate::cuda::device::Device;
use core::fmt;
use cudarc::driver::sys::{CU_MEMHOSTREGISTER_DEVICEMAP, CU_MEMHOSTREGISTER_READ_ONLY};
use kinglet_quant::{Error, Result};
use std::boxed::Box;
use std::sync::Arc;

/// What memory is registered in. Larger pages are whole numbers of these.
const PAGE_BYTES: usize = 4096;

/// The bytes of a weight file, made visible to the device: where they are, if it can see them.
#[derive(Debug)]
pub(crate) struct Weights<'a> {
    host: &'a [u8],
    pointer: u64,
    place: Place,
}

/// Who keeps the bytes visible.
#[derive(Debug)]
enum Place {
    Pages,
    Registered(#[expect(dead_code, reason = "only dropped")] Registration),
    Copied { arena: Arena, reason: CopyReason },
}

/// How the device sees the weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It sees all memory of the process.
    Pages,
    /// They are registered where they are.
    Registered,
    /// They are copied to its own memory.
    Copied(CopyReason),
}

/// Why the weights were copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyReason {
    /// The device has memory of its own, which is faster.
    OwnMemory,
    /// The device cannot see memory of the processor's.
    Unseen,
    /// The bytes do not start at a page of memory.
    Unaligned,
    /// The driver refuses to register the bytes.
    Refused(Box<Error>),
}

/// Memory of the processor's that is registered, until this is dropped.
#[derive(Debug)]
struct Registration {
    device: Arc<Device>,
    start: *mut u8,
    pointer: u64,
}

// SAFETY: the address is only compared by the driver, which may be called from any thread.
unsafe impl Send for Registration {}
// SAFETY: as above; nothing can be done through a shared reference.
unsafe impl Sync for Registration {}

impl<'a> Weights<'a> {
    /// Makes the bytes of a file visible. `Resource` when they must be copied and there is too
    /// little memory. Makes the device's context the calling thread's.
    pub fn new(device: &Arc<Device>, host: &'a [u8]) -> Result<Self> {
        device.enter()?;
        let attributes = device.attributes();
        let reason = if !attributes.integrated {
            CopyReason::OwnMemory
        } else if attributes.sees_pages {
            return Ok(Self { host, pointer: host.as_ptr().addr() as u64, place: Place::Pages });
        } else if !(attributes.sees_host && attributes.registers) {
            CopyReason::Unseen
        } else if !host.as_ptr().addr().is_multiple_of(PAGE_BYTES) {
            CopyReason::Unaligned
        } else {
            match Registration::new(device, host) {
                Ok(registration) => {
                    let pointer = registration.pointer;
                    return Ok(Self { host, pointer, place: Place::Registered(registration) });
                }
                Err(error) => CopyReason::Refused(Box::new(error)),
            }
        };
        let arena = Arena::unset(device, host.len(), "a copy of the weights")?;
        arena.range().write(host)?;
        Ok(Self { host, pointer: arena.pointer(), place: Place::Copied { arena, reason } })
    }

    /// Where the device sees a part of the file.
    ///
    /// # Panics
    ///
    /// When it is no part of the file.
    pub fn pointer_of(&self, part: &[u8]) -> u64 {
        let first = part.as_ptr().addr().checked_sub(self.host.as_ptr().addr());
        let first = first.filter(|first| {
            first.checked_add(part.len()).is_some_and(|end| end <= self.host.len())
        });
        let first = first.expect("a part of the file whose weights these are");
        self.pointer + first as u64
    }

    /// How the device sees the bytes.
    pub fn way(&self) -> Way {
        match &self.place {
            Place::Pages => Way::Pages,
            Place::Registered(_) => Way::Registered,
            Place::Copied { reason, .. } => Way::Copied(reason.clone()),
        }
    }

    /// How much memory a copy takes, 0 without one.
    pub fn copied_bytes(&self) -> usize {
        match &self.place {
            Place::Copied { arena, .. } => arena.range().bytes(),
            Place::Pages | Place::Registered(_) => 0,
        }
    }
}

impl Registration {
    fn new(device: &Arc<Device>, host: &[u8]) -> Result<Self> {
        let cuda = device.cuda();
        let mut flags = CU_MEMHOSTREGISTER_DEVICEMAP;
        if device.attributes().registers_read_only {
            flags |= CU_MEMHOSTREGISTER_READ_ONLY;
        }
        let start = host.as_ptr().cast_mut();
        // SAFETY: the bytes are there, and stay while `Weights` borrows them. Nobody writes to
        // them through the pointer: kernels only read weights.
        let status =
            unsafe { (cuda.driver().cuMemHostRegister_v2)(start.cast(), host.len(), flags) };
        cuda.check(status, format_args!("register the weights"))?;
        let mut registration = Self { device: Arc::clone(device), start, pointer: 0 };
        // SAFETY: the bytes are registered; the function writes an address to where it is told.
        let status = unsafe {
            (cuda.driver().cuMemHostGetDevicePointer_v2)(&mut registration.pointer, start.cast(), 0)
        };
        cuda.check(status, format_args!("find the registered weights"))?;
        Ok(registration)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.device.settle();
        // What fails here cannot be mended: the registration goes back with the context.
        // SAFETY: the bytes were registered for `self`, and the device has finished with them.
        let _ = unsafe { (self.device.cuda().driver().cuMemHostUnregister)(self.start.cast()) };
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pages => f.write_str("read where they are mapped"),
            Self::Registered => f.write_str("registered where they are mapped"),
            Self::Copied(reason) => write!(f, "copied, because {reason}"),
        }
    }
}

impl fmt::Display for CopyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnMemory => f.write_str("the device has memory of its own"),
            Self::Unseen => f.write_str("the device cannot see memory of the processor's"),
            Self::Unaligned => f.write_str("the file does not start at a page of memory"),
            Self::Refused(error) => f.write_str(error.message()),
        }
    }
}
