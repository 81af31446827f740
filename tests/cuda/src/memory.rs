//! Memory that kernels may use: allocations, registered ranges of the host, variables of modules.

use crate::fault::{Fault, code};
use std::alloc::{Layout, alloc, dealloc};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Every allocation begins at a multiple of this, as the driver promises.
const ALIGNMENT: usize = 256;

/// What an allocation holds before anything is written.
const FRESH: u8 = 0xCD;

/// Where a range comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `cuMemAlloc` and its relatives.
    Device,
    /// `cuMemHostAlloc`.
    Pinned,
    /// `cuMemHostRegister`: memory of the caller.
    Registered,
    /// Variables of a module.
    Module,
    /// Memory of the process, where the board can use all of it.
    Pageable,
}

/// A range that kernels may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first address.
    pub start: u64,
    /// The address behind the last.
    pub end: u64,
    /// Whether kernels may write.
    pub is_writable: bool,
    /// Where it comes from.
    pub origin: Origin,
}

impl Range {
    /// Whether it holds these bytes.
    pub fn holds(&self, address: u64, bytes: u64) -> bool {
        address >= self.start && address.checked_add(bytes).is_some_and(|end| end <= self.end)
    }

    fn bytes(&self) -> u64 {
        self.end - self.start
    }
}

/// All ranges of a device.
#[derive(Debug)]
pub struct Memory {
    ranges: BTreeMap<u64, Range>,
    /// Ranges of the process's own memory, where kernels may use all of it.
    pageable: Option<RefCell<Vec<Range>>>,
    /// Bytes that can be allocated in all.
    pub total: u64,
    /// Bytes allocated now.
    pub live: u64,
    /// Bytes allocated at most at the same time.
    pub peak: u64,
}

impl Memory {
    /// A device with so many bytes.
    pub fn new(total: u64, is_pageable: bool) -> Self {
        let pageable = is_pageable.then(RefCell::default);
        Self { ranges: BTreeMap::new(), pageable, total, live: 0, peak: 0 }
    }

    /// Allocates memory.
    pub fn allocate(&mut self, bytes: u64, origin: Origin) -> Result<u64, Fault> {
        if bytes == 0 {
            return Err(code::INVALID_VALUE.into());
        }
        if bytes > self.total.saturating_sub(self.live) {
            let text = format!("{bytes} bytes asked for, {} are left", self.total - self.live);
            return Err(Fault::new(code::OUT_OF_MEMORY, text));
        }
        let layout = layout(bytes)?;
        // SAFETY: the layout has at least two times ALIGNMENT bytes.
        let start = unsafe { alloc(layout) };
        if start.is_null() {
            return Err(code::OUT_OF_MEMORY.into());
        }
        // SAFETY: the allocation has this size.
        unsafe { start.write_bytes(FRESH, layout.size()) };
        let start = start as u64 + ALIGNMENT as u64;
        let range = Range { start, end: start + bytes, is_writable: true, origin };
        self.ranges.insert(start, range);
        self.live += bytes;
        self.peak = self.peak.max(self.live);
        Ok(start)
    }

    /// Frees what [`Self::allocate`] gave.
    pub fn free(&mut self, start: u64, origin: Origin) -> Result<(), Fault> {
        let is_this = |range: &&Range| range.origin == origin && origin != Origin::Registered;
        let Some(range) = self.ranges.get(&start).filter(is_this).copied() else {
            let text = format!("{start:#x} is no allocation of this kind");
            return Err(Fault::new(code::INVALID_VALUE, text));
        };
        self.ranges.remove(&start);
        self.live -= range.bytes();
        // SAFETY: `allocate` made it with the layout of so many bytes.
        unsafe { dealloc((start - ALIGNMENT as u64) as *mut u8, layout(range.bytes())?) };
        Ok(())
    }

    /// Registers memory of the caller.
    pub fn register(&mut self, start: u64, bytes: u64, is_writable: bool) -> Result<(), Fault> {
        let end = start.checked_add(bytes).filter(|_| bytes > 0 && start > 0);
        let end = end.ok_or(code::INVALID_VALUE)?;
        let before = self.ranges.range(..end).next_back();
        if before.is_some_and(|(_, range)| range.end > start) {
            return Err(code::HOST_MEMORY_ALREADY_REGISTERED.into());
        }
        let range = Range { start, end, is_writable, origin: Origin::Registered };
        self.ranges.insert(start, range);
        Ok(())
    }

    /// Ends a registration.
    pub fn unregister(&mut self, start: u64) -> Result<(), Fault> {
        match self.ranges.get(&start) {
            Some(range) if range.origin == Origin::Registered => {
                self.ranges.remove(&start);
                Ok(())
            }
            _ => Err(code::HOST_MEMORY_NOT_REGISTERED.into()),
        }
    }

    /// Allocations of an origin that are alive.
    pub fn count(&self, origin: Origin) -> usize {
        self.ranges.values().filter(|range| range.origin == origin).count()
    }

    /// Frees everything.
    pub fn clear(&mut self) {
        let all: Vec<Range> = self.ranges.values().copied().collect();
        for range in all {
            match range.origin {
                Origin::Registered | Origin::Pageable => drop(self.unregister(range.start)),
                origin => drop(self.free(range.start, origin)),
            }
        }
    }

    /// The range of the device's own bookkeeping that holds an address.
    pub fn known(&self, address: u64) -> Option<Range> {
        let (_, range) = self.ranges.range(..=address).next_back()?;
        range.holds(address, 1).then_some(*range)
    }

    /// The range that holds an access, or what is wrong with it.
    pub fn find(&self, address: u64, bytes: u64, is_write: bool) -> Result<Range, Fault> {
        let near = self.ranges.range(..=address).next_back().map(|(_, range)| *range);
        let held = near.filter(|range| range.holds(address, bytes));
        match held.or_else(|| self.find_pageable(address, bytes)) {
            Some(range) if !is_write || range.is_writable => Ok(range),
            Some(range) => {
                let text = format!(
                    "writes {bytes} bytes at {}, which is read-only",
                    place(range, address)
                );
                Err(Fault::new(code::ILLEGAL_ADDRESS, text))
            }
            None => {
                let verb = if is_write { "writes" } else { "reads" };
                let place = match near {
                    Some(range) => place(range, address),
                    None => "before every allocation".to_owned(),
                };
                let text = format!("{verb} {bytes} bytes at {address:#x}: {place}");
                Err(Fault::new(code::ILLEGAL_ADDRESS, text))
            }
        }
    }

    /// The mapping of the process that holds an access, where kernels may use such memory.
    fn find_pageable(&self, address: u64, bytes: u64) -> Option<Range> {
        let ranges = self.pageable.as_ref()?;
        let find = |ranges: &[Range]| ranges.iter().find(|r| r.holds(address, bytes)).copied();
        let found = find(&ranges.borrow());
        found.or_else(|| {
            ranges.replace(mappings());
            find(&ranges.borrow())
        })
    }

    /// Forgets which memory the process has: it may be another before the next launch.
    pub fn forget_mappings(&self) {
        if let Some(ranges) = &self.pageable {
            ranges.borrow_mut().clear();
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.clear();
    }
}

fn layout(bytes: u64) -> Result<Layout, Fault> {
    let size = usize::try_from(bytes).ok().and_then(|bytes| bytes.checked_add(2 * ALIGNMENT));
    let layout = size.and_then(|size| Layout::from_size_align(size, ALIGNMENT).ok());
    layout.ok_or_else(|| code::OUT_OF_MEMORY.into())
}

/// An address by the range below it.
fn place(range: Range, address: u64) -> String {
    let (offset, bytes, origin) = (address - range.start, range.bytes(), range.origin);
    format!("byte {offset} of {bytes} of a range ({origin:?})")
}

/// The process's readable mappings. Where the system does not tell, there are none.
fn mappings() -> Vec<Range> {
    let text = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut found: Vec<Range> = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(span), Some(rights)) = (words.next(), words.next()) else { continue };
        let Some((start, end)) = span.split_once('-') else { continue };
        let bounds = (u64::from_str_radix(start, 16), u64::from_str_radix(end, 16));
        let (Ok(start), Ok(end)) = bounds else { continue };
        if rights.starts_with('r') {
            let is_writable = rights.contains('w');
            found.push(Range { start, end, is_writable, origin: Origin::Pageable });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_outside_is_refused() {
        let mut memory = Memory::new(4096, false);
        let start = memory.allocate(100, Origin::Device).unwrap();
        assert!(memory.find(start, 4, true).is_ok());
        assert!(memory.find(start + 96, 4, true).is_ok());
        assert!(memory.find(start + 97, 4, false).is_err());
        assert!(memory.find(start - 1, 1, false).is_err());
        memory.free(start, Origin::Device).unwrap();
        assert!(memory.find(start, 4, false).is_err());
        assert_eq!((memory.live, memory.peak), (0, 100));
    }

    #[test]
    fn memory_ends() {
        let mut memory = Memory::new(1000, false);
        memory.allocate(600, Origin::Device).unwrap();
        let error = memory.allocate(401, Origin::Pinned).unwrap_err();
        assert_eq!(error.code, code::OUT_OF_MEMORY);
        assert!(memory.allocate(400, Origin::Pinned).is_ok());
    }

    #[test]
    fn registrations_do_not_overlap_and_may_be_read_only() {
        let mut memory = Memory::new(0, false);
        let host = [0u8; 64];
        let start = host.as_ptr() as u64;
        memory.register(start, 64, false).unwrap();
        let again = memory.register(start + 63, 10, true).unwrap_err();
        assert_eq!(again.code, code::HOST_MEMORY_ALREADY_REGISTERED);
        assert!(memory.find(start, 8, false).is_ok());
        assert!(memory.find(start, 8, true).is_err());
        memory.unregister(start).unwrap();
        assert!(memory.unregister(start).is_err());
    }

    #[test]
    fn boards_with_pageable_access_use_any_memory() {
        let host = [1u8; 64];
        let memory = Memory::new(0, true);
        assert!(memory.find(host.as_ptr() as u64, 64, true).is_ok());
        assert!(memory.find(8, 4, false).is_err());
    }
}
