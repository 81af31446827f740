//! Fetching ahead of use what processors do not prefetch by themselves: what is not one stream, and
//! quantized weights once many tokens share them. For few tokens these are a stream fast enough.

use kinglet_quant::format::ALIGN;

/// Tokens of a product from which weights are read too slowly for the processor to prefetch them.
pub(crate) const SLOW_TOKENS: usize = 6;
/// How far ahead of rows in use others are fetched.
const DISTANCE: usize = 6 * 1024;

/// Fetches as many bytes as `rows` has from some way behind it.
#[inline(always)]
pub(crate) fn fetch_behind<T>(rows: &[T]) {
    let start = rows.as_ptr().cast::<u8>().wrapping_add(DISTANCE);
    let lines = size_of_val(rows).div_ceil(ALIGN);
    Ahead { start, lines }.fetch(0, lines);
}

/// Lines that are fetched one by one while something else is computed.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    start: *const u8,
    lines: usize,
}

impl Ahead {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self { start: bytes.as_ptr(), lines: bytes.len().div_ceil(ALIGN) }
    }

    /// Fetches lines `first..first + count`, unless there are none: one may lie behind the end.
    #[inline(always)]
    pub(crate) fn fetch(self, first: usize, count: usize) {
        if first < self.lines {
            for line in first..first + count {
                fetch_line(self.start.wrapping_add(line * ALIGN));
            }
        }
    }
}

/// Fetches a line into the second level of caches.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fetch_line(line: *const u8) {
    use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    // SAFETY: every x86-64 CPU has the instruction, and it accepts any address: it never faults and
    // changes nothing but the caches.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) };
}

/// Fetches a line into the second level of caches.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn fetch_line(line: *const u8) {
    // SAFETY: as on x86-64: a hint that accepts any address.
    unsafe {
        core::arch::asm!(
            "prfm pldl2keep, [{line}]",
            line = in(reg) line,
            options(readonly, nostack, preserves_flags),
        );
    }
}

/// WebAssembly has no instruction for it.
#[cfg(target_arch = "wasm32")]
#[inline(always)]
fn fetch_line(_line: *const u8) {}
