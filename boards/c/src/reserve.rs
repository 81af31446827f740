//! Memory for when the system has none.
//!
//! The standard library ends a process that it gets no memory for. Here it takes some to open files
//! and to start threads, little and bounded: what the system refuses comes from this reserve. What
//! needs it asks first whether all of it is there.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};
use kinglet_quant::{Code, Result, ensure};
use std::alloc::System;

/// Several times what it takes to start as many threads as a session can have. Until it is touched
/// it is no memory, only addresses.
const BYTES: usize = 1 << 20;

/// What is handed out front to back, and anew once all of it was given back.
#[repr(align(64))]
struct Reserve {
    memory: UnsafeCell<[u8; BYTES]>,
    /// Pieces handed out in the upper half, the end of the last one in the lower.
    state: AtomicU64,
}

// SAFETY: every byte belongs to one piece at a time, see `take`.
unsafe impl Sync for Reserve {}

static RESERVE: Reserve = Reserve { memory: UnsafeCell::new([0; BYTES]), state: AtomicU64::new(0) };

impl Reserve {
    fn start(&self) -> *mut u8 {
        self.memory.get().cast()
    }

    fn holds(&self, memory: *const u8) -> bool {
        (0..BYTES).contains(&memory.addr().wrapping_sub(self.start().addr()))
    }

    /// A piece behind the last one, or null.
    fn take(&self, layout: Layout) -> *mut u8 {
        let start = self.start().addr();
        let mut piece = 0;
        let taken = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            let end = start + (state as u32) as usize;
            piece = end.checked_next_multiple_of(layout.align())? - start;
            let end = piece.checked_add(layout.size()).filter(|&end| end <= BYTES)?;
            Some(((state >> 32) + 1) << 32 | end as u64)
        });
        match taken {
            // SAFETY: the piece ends within the memory.
            Ok(_) => unsafe { self.start().add(piece) },
            Err(_) => ptr::null_mut(),
        }
    }

    /// Takes a piece back.
    fn give_back(&self) {
        let given = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            let less = state.checked_sub(1 << 32)?;
            Some(if less >> 32 == 0 { 0 } else { less })
        });
        debug_assert!(given.is_ok());
    }
}

/// `Resource` while something lives in the reserve: who has to count on it cannot.
pub(crate) fn check() -> Result<()> {
    let is_whole = RESERVE.state.load(Ordering::Acquire) == 0;
    ensure!(is_whole, Code::Resource, "the system has no memory left");
    Ok(())
}

/// The system's memory, and where it has none the reserve.
struct SystemOrReserve;

#[global_allocator]
static ALLOCATOR: SystemOrReserve = SystemOrReserve;

// SAFETY: pieces of either come from there alone and go back to there; the contracts are the
// system allocator's, whose callers' promises are passed on.
unsafe impl GlobalAlloc for SystemOrReserve {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as promised by the caller.
        let memory = unsafe { System.alloc(layout) };
        if memory.is_null() { RESERVE.take(layout) } else { memory }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if RESERVE.holds(memory) {
            return RESERVE.give_back();
        }
        // SAFETY: as promised by the caller; it is not of the reserve.
        unsafe { System.dealloc(memory, layout) };
    }
}
