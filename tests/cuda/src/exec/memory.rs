//! Loads, stores and atomic operations (9.7.9.8 to 9.7.9.11, 9.7.13.7, 9.7.13.8).
//!
//! An access is checked for all its lanes before any of them is carried out.

mod decode;

pub use decode::{decode_atomic, decode_cvta, decode_load, decode_store};

use super::Context;
use super::control::{Recent, Warp};
use super::lanes::{LANES, Lanes, Row, Value, all, fill, widest};
use crate::fault::{Fault, code};
use crate::memory::{Origin, Range};
use crate::ptx::instruction::{Access, Address, Atomic, Base, Order};
use crate::ptx::types::Space::{self, Generic, Global, Local, Param, Shared};
use crate::ptx::types::Type;
use crate::races::Use;

impl Address {
    /// The addresses of all lanes.
    #[inline(always)]
    fn of(self, lanes: &Lanes) -> Row<u64> {
        let offset = self.offset as u64;
        match self.base {
            Base::Nothing => [offset; LANES],
            Base::Long(register) => {
                let row = &lanes.longs[usize::from(register)];
                all(|lane| row[lane].wrapping_add(offset))
            }
            Base::Word(register) => {
                let row = &lanes.words[usize::from(register)];
                all(|lane| u64::from(row[lane].wrapping_add(offset as u32)))
            }
        }
    }
}

/// What an access is, whatever it does with the bytes.
#[derive(Clone, Copy)]
struct Visit {
    space: Space,
    bytes: u64,
    is_write: bool,
    is_read: bool,
    order: Order,
    line: u32,
}

impl Access {
    fn visit(&self, is_write: bool, line: u32) -> Visit {
        let bytes = (self.kind.bytes() * self.registers.len()) as u64;
        Visit { space: self.space, bytes, is_write, is_read: !is_write, order: self.order, line }
    }

    /// Reads memory into registers.
    pub fn load(
        &self,
        warp: &mut Warp,
        context: &mut Context<'_>,
        mask: u32,
        line: u32,
    ) -> Result<(), Fault> {
        widest(|| {
            let addresses = self.address.of(&warp.lanes);
            visit(self.visit(false, line), addresses, warp, context, mask, |lanes, places, mask| {
                for (at, register) in self.registers.iter().enumerate() {
                    let offset = at * self.kind.bytes();
                    // SAFETY: `visit` has checked all bytes of the access in every lane.
                    unsafe { self.gather(lanes, *register, places, offset, mask) };
                }
            })
        })
    }

    /// Writes registers to memory.
    pub fn store(
        &self,
        warp: &mut Warp,
        context: &mut Context<'_>,
        mask: u32,
        line: u32,
    ) -> Result<(), Fault> {
        widest(|| {
            let addresses = self.address.of(&warp.lanes);
            visit(self.visit(true, line), addresses, warp, context, mask, |lanes, places, mask| {
                for (at, register) in self.registers.iter().enumerate() {
                    let offset = at * self.kind.bytes();
                    // SAFETY: `visit` has checked all bytes of the access in every lane.
                    unsafe { self.scatter(lanes, *register, places, offset, mask) };
                }
            })
        })
    }

    /// Reads a value in every lane of a mask.
    ///
    /// # Safety
    ///
    /// At `offset` from every place a value of the kind can be read.
    #[inline(always)]
    unsafe fn gather(
        &self,
        lanes: &mut Lanes,
        register: u16,
        places: &Row<u64>,
        offset: usize,
        mask: u32,
    ) {
        macro_rules! read {
            ($memory:ty => $value:ty) => {{
                let row = <$value>::row_mut(lanes, register);
                fill(row, mask, |lane| {
                    let place = (places[lane] as usize).wrapping_add(offset) as *const $memory;
                    // SAFETY: the caller says that a value can be read here.
                    (unsafe { place.read_unaligned() } as $value).write()
                });
            }};
        }
        match (self.kind.bytes(), self.kind.is_signed(), self.is_wide) {
            (1, false, false) => read!(u8 => u32),
            (1, true, false) => read!(i8 => i32),
            (2, false, false) => read!(u16 => u32),
            (2, true, false) => read!(i16 => i32),
            (4, _, false) => read!(u32 => u32),
            (1, false, true) => read!(u8 => u64),
            (1, true, true) => read!(i8 => i64),
            (2, false, true) => read!(u16 => u64),
            (2, true, true) => read!(i16 => i64),
            (4, false, true) => read!(u32 => u64),
            (4, true, true) => read!(i32 => i64),
            _ => read!(u64 => u64),
        }
    }

    /// Writes a value in every lane of a mask, in ascending order of lanes.
    ///
    /// # Safety
    ///
    /// At `offset` from every place a value of the kind can be written.
    #[inline(always)]
    unsafe fn scatter(
        &self,
        lanes: &Lanes,
        register: u16,
        places: &Row<u64>,
        offset: usize,
        mask: u32,
    ) {
        macro_rules! write {
            ($value:ty => $memory:ty) => {{
                let row = <$value>::row(lanes, register);
                for lane in (0..LANES).filter(|lane| mask >> lane & 1 == 1) {
                    let place = (places[lane] as usize).wrapping_add(offset) as *mut $memory;
                    // SAFETY: the caller says that a value can be written here.
                    unsafe { place.write_unaligned(row[lane] as $memory) };
                }
            }};
        }
        match (self.kind.bytes(), self.is_wide) {
            (1, false) => write!(u32 => u8),
            (2, false) => write!(u32 => u16),
            (4, false) => write!(u32 => u32),
            (1, true) => write!(u64 => u8),
            (2, true) => write!(u64 => u16),
            (4, true) => write!(u64 => u32),
            _ => write!(u64 => u64),
        }
    }
}

impl Atomic {
    /// Reads, changes and writes memory, in ascending order of lanes.
    pub fn run(
        &self,
        warp: &mut Warp,
        context: &mut Context<'_>,
        mask: u32,
        line: u32,
    ) -> Result<(), Fault> {
        let addresses = self.address.of(&warp.lanes);
        let bytes = self.kind.bytes() as u64;
        let (space, order) = (self.space, self.order);
        let access = Visit { space, bytes, is_write: true, is_read: true, order, line };
        visit(access, addresses, warp, context, mask, |lanes, places, mask| {
            for lane in (0..LANES).filter(|lane| mask >> lane & 1 == 1) {
                // SAFETY: `visit` has checked all bytes of the access in every lane.
                unsafe { self.update(lanes, places[lane], lane) };
            }
        })
    }

    /// Carries the operation out in one lane.
    ///
    /// # Safety
    ///
    /// At `place` a value of the kind can be read and written.
    unsafe fn update(&self, lanes: &mut Lanes, place: u64, lane: usize) {
        let wide = self.kind.is_wide();
        let [a, b] = self.sources.map(|register| {
            let register = usize::from(register);
            if wide { lanes.longs[register][lane] } else { lanes.words[register][lane].into() }
        });
        let old = if wide {
            let place = place as *mut u64;
            // SAFETY: the caller says that the value can be read and written.
            unsafe { place.replace((self.update)(place.read(), a, b)) }
        } else {
            let place = place as *mut u32;
            // SAFETY: the caller says that the value can be read and written.
            unsafe { place.replace((self.update)(place.read().into(), a, b) as u32) }.into()
        };
        match self.to.map(usize::from) {
            Some(to) if wide => lanes.longs[to][lane] = old,
            Some(to) => lanes.words[to][lane] = old as u32,
            None => {}
        }
    }
}

/// Checks an access and carries it out, where lanes use several spaces for each of them.
#[inline(always)]
fn visit(
    access: Visit,
    mut addresses: Row<u64>,
    warp: &mut Warp,
    context: &mut Context<'_>,
    mask: u32,
    mut act: impl FnMut(&mut Lanes, &Row<u64>, u32),
) -> Result<(), Fault> {
    if access.space != Generic {
        if mask != 0 {
            locate(access, &mut addresses, warp, context, mask)?;
            act(&mut warp.lanes, &addresses, mask);
        }
        return Ok(());
    }
    for space in [Global, Shared, Local, Param] {
        let is_here = |lane: &usize| Space::of_address(addresses[*lane]) == space;
        let here = (0..LANES).filter(is_here).fold(0, |mask, lane| mask | 1 << lane) & mask;
        if here != 0 {
            let mut places = addresses.map(|address| address.wrapping_sub(space.window()));
            locate(Visit { space, ..access }, &mut places, warp, context, here)?;
            act(&mut warp.lanes, &places, here);
        }
    }
    Ok(())
}

/// Makes addresses to the places in the process's memory that an access uses, after all checks.
/// Lanes outside of the mask get the place of one inside.
#[inline(always)]
fn locate(
    access: Visit,
    addresses: &mut Row<u64>,
    warp: &mut Warp,
    context: &mut Context<'_>,
    mask: u32,
) -> Result<(), Fault> {
    if mask != u32::MAX {
        let first = addresses[mask.trailing_zeros() as usize];
        fill(addresses, !mask, |_| first);
    }
    if addresses.iter().fold(0, |all, address| all | address) & (access.bytes - 1) != 0 {
        return Err(misaligned(addresses, access.bytes));
    }
    if context.settings.finds_races || context.settings.counts_accesses {
        watch(access, addresses, warp.index, context, mask)?;
    }
    let (base, size, stride) = match access.space {
        Global | Generic => return find_global(access, addresses, &mut warp.ranges, context),
        Shared => (context.shared.as_mut_ptr() as u64, context.shared.len(), 0),
        Local => {
            let size = warp.local.len() / LANES;
            (warp.local.as_mut_ptr() as u64, size, size)
        }
        Param => {
            let parameters = context.launch.parameters;
            (parameters.as_ptr() as u64, parameters.len(), 0)
        }
    };
    if !are_within(addresses, 0, size as u64, access.bytes) {
        return Err(outside(access, addresses, size as u64));
    }
    for (lane, address) in addresses.iter_mut().enumerate() {
        *address = address.wrapping_add(base).wrapping_add(lane.wrapping_mul(stride) as u64);
    }
    Ok(())
}

/// Whether from every address on so many bytes lie between `start` and `end`.
#[inline(always)]
fn are_within(addresses: &Row<u64>, start: u64, end: u64, bytes: u64) -> bool {
    let Some(last) = (end - start).checked_sub(bytes) else { return false };
    let outside = |address: &u64| u64::from(address.wrapping_sub(start) > last);
    addresses.iter().fold(0, |any, address| any | outside(address)) == 0
}

/// Checks that every lane uses memory that kernels may use. `recent` are ranges that the warp has
/// used.
#[inline(always)]
fn find_global(
    access: Visit,
    used: &Row<u64>,
    recent: &mut Recent,
    context: &Context<'_>,
) -> Result<(), Fault> {
    let known = recent.find(used[0]).filter(|range| range.is_writable || !access.is_write);
    if known.is_some_and(|range| are_within(used, range.start, range.end, access.bytes)) {
        return Ok(());
    }
    find_anew(access, used, recent, context)
}

/// Looks the ranges of all lanes up.
#[cold]
fn find_anew(
    access: Visit,
    used: &Row<u64>,
    recent: &mut Recent,
    context: &Context<'_>,
) -> Result<(), Fault> {
    let mut last: Option<Range> = None;
    for (lane, address) in used.iter().enumerate() {
        if last.is_none_or(|range| !range.holds(*address, access.bytes)) {
            let found = context.memory.find(*address, access.bytes, access.is_write);
            let found = found.map_err(|fault| fault.at(&format!("lane {lane}")))?;
            if recent.find(*address).is_none() {
                recent.keep(found);
            }
            last = Some(found);
        }
    }
    Ok(())
}

#[cold]
fn misaligned(used: &Row<u64>, bytes: u64) -> Fault {
    let lane = used.iter().position(|address| address & (bytes - 1) != 0).unwrap_or(0);
    let text = format!("lane {lane}: address {:#x} is no multiple of {bytes}", used[lane]);
    Fault::new(code::MISALIGNED_ADDRESS, text)
}

#[cold]
fn outside(access: Visit, used: &Row<u64>, size: u64) -> Fault {
    let is_outside = |address: &u64| *address > size || access.bytes > size - *address;
    let lane = used.iter().position(is_outside).unwrap_or(0);
    let verb = if access.is_write { "writes" } else { "reads" };
    let (space, address) = (access.space, used[lane]);
    let text =
        format!("lane {lane}: {verb} {} bytes at {address} of {size} ({space:?})", access.bytes);
    Fault::new(code::ILLEGAL_ADDRESS, text)
}

/// Counts an access and looks for races.
#[inline(never)]
fn watch(
    access: Visit,
    used: &Row<u64>,
    warp: u32,
    context: &mut Context<'_>,
    mask: u32,
) -> Result<(), Fault> {
    let active = || (0..LANES).filter(|lane| mask >> lane & 1 == 1);
    if context.settings.counts_accesses {
        let addresses: Vec<u64> = active().map(|lane| used[lane]).collect();
        match access.space {
            Global => {
                let first = addresses.first().and_then(|first| context.memory.known(*first));
                if access.is_read && first.is_some_and(|range| !range.is_writable) {
                    context.counters.count_constant(&addresses, access.bytes);
                }
                context.counters.count_global(&addresses, access.bytes, access.is_write);
            }
            Shared => context.counters.count_shared(&addresses, access.bytes),
            _ => {}
        }
    }
    if !context.settings.finds_races || !matches!(access.space, Global | Shared) {
        return Ok(());
    }
    for lane in active() {
        let place = Use {
            warp,
            block: context.block,
            address: used[lane],
            bytes: access.bytes,
            is_write: access.is_write,
            is_strong: access.order.is_strong,
            line: access.line,
        };
        let race = if access.space == Global {
            watch_global(access, place, context)
        } else if place.address + place.bytes <= context.shared.len() as u64 {
            context.shared_races.check(place)
        } else {
            None
        };
        if let Some(race) = race {
            return Err(Fault::new(code::LAUNCH_FAILED, format!("lane {lane}: {race}")));
        }
    }
    Ok(())
}

/// Looks for a race in global memory, and follows the order that the access makes.
fn watch_global(access: Visit, place: Use, context: &mut Context<'_>) -> Option<String> {
    let is_constant = |range: Range| !range.is_writable || range.origin == Origin::Module;
    if context.memory.known(place.address).is_none_or(is_constant) {
        return None;
    }
    let (races, order) = (&mut context.global_races, access.order);
    if order.releases {
        races.fence(place.block);
    }
    if order.is_strong && access.is_read {
        races.acquire(place.block, place.address);
    }
    if order.is_strong && access.is_write {
        races.release(place.block, place.address);
    }
    if order.acquires {
        races.fence(place.block);
    }
    races.check(place)
}

/// Whether values of a type can be used by atomic operations here.
fn is_atomic(kind: Type) -> bool {
    kind.bytes() >= 4 && !matches!(kind, Type::F16x2 | Type::Bf16x2)
}
