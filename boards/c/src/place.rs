//! The memory of a handle: the caller's, or the library's own where it can have any.

use crate::abi::KINGLET_ALIGNMENT;
use core::ffi::c_void;
use kinglet_quant::{Code, Result, ensure, fail};

/// Memory for a handle.
pub(crate) struct Place {
    /// Where it starts, a multiple of [`KINGLET_ALIGNMENT`].
    pub start: *mut u8,
    /// Who frees it.
    pub keeper: Keeper,
}

/// Who frees the memory of a handle.
pub(crate) enum Keeper {
    /// The caller.
    Caller,
    /// The library, when this is dropped.
    #[cfg(feature = "std")]
    Library(#[expect(dead_code, reason = "only dropped")] memmap2::MmapMut),
}

impl Keeper {
    /// Gives memory of the library's own back.
    pub fn give_back(self) {}
}

impl Place {
    /// Takes `needed` bytes: of the caller's memory, or of the system's when there is none.
    ///
    /// `BudgetTooSmall`, `Misaligned`, `Resource`.
    pub fn new(memory: *mut c_void, bytes: usize, needed: usize) -> Result<Self> {
        if memory.is_null() {
            ensure!(bytes == 0, Code::BadArgument, "the memory is null but has {bytes} bytes");
            return Self::own(needed);
        }
        ensure!(
            memory.addr().is_multiple_of(KINGLET_ALIGNMENT),
            Code::Misaligned,
            "memory must start at a multiple of {KINGLET_ALIGNMENT} bytes"
        );
        ensure!(
            bytes >= needed,
            Code::BudgetTooSmall,
            "{needed} bytes are needed, {bytes} are given: give more, or lower context or batch"
        );
        Ok(Self { start: memory.cast(), keeper: Keeper::Caller })
    }

    #[cfg(feature = "std")]
    fn own(needed: usize) -> Result<Self> {
        // Pages come zeroed and aligned, and `malloc` is left alone.
        match memmap2::MmapMut::map_anon(needed) {
            Ok(mut map) => Ok(Self { start: map.as_mut_ptr(), keeper: Keeper::Library(map) }),
            Err(error) => fail!(Code::Resource, "cannot take {needed} bytes: {error}"),
        }
    }

    #[cfg(not(feature = "std"))]
    fn own(needed: usize) -> Result<Self> {
        fail!(Code::Resource, "this build has no memory of its own: give it {needed} bytes")
    }
}
