//! What a sequence of calls works on: files, handles of all kinds, states, and what must hold after
//! every call.

use super::abi::{KINGLET_ABI_VERSION, LogSink};
use super::input::{Guarded, Input, Sized};
use super::library::{Handle, Library, Status};
use kinglet_tests::aligned::Aligned;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::Mutex;

/// How often functions returned each status.
#[derive(Default)]
pub struct Tally(Mutex<BTreeMap<Status, u64>>);

impl Tally {
    fn count(&self, status: Status) {
        *self.0.lock().unwrap().entry(status).or_default() += 1;
    }

    /// Calls whose status was looked at.
    pub fn calls(&self) -> u64 {
        self.0.lock().unwrap().values().sum()
    }

    /// Statuses and how often they came.
    pub fn statuses(&self) -> BTreeMap<Status, u64> {
        self.0.lock().unwrap().clone()
    }
}

/// Bytes of memory that is no handle.
const FOREIGN_BYTES: usize = 4096;

pub const OK: Status = 0;
pub const BAD_HANDLE: Status = 411;
const INTERNAL: Status = 601;

unsafe extern "C" fn on_log(user: *mut c_void, level: u32, text: *const c_char, bytes: usize) {
    // SAFETY: the text has as many bytes.
    let text = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), bytes) };
    assert!(str::from_utf8(text).is_ok() && (1..=4).contains(&level) && !user.is_null());
}

/// Handles that were closed, in the same memory, which are known as such.
const MOST_CLOSED: usize = 50;

/// A place for a handle.
pub struct Slot {
    /// The caller's memory; none for a handle in the library's.
    pub memory: Option<Guarded>,
    /// The newest one. It stays when it is closed, if the memory does: to use one in the library's
    /// own memory is undefined then, as `kinglet.h` says.
    pub handle: Handle,
    /// Those before it in the same memory of the caller's.
    pub closed: Vec<Handle>,
    pub is_open: bool,
    /// The model of a session.
    pub model: usize,
}

impl Slot {
    fn new() -> Self {
        Self { memory: None, handle: ptr::null_mut(), closed: Vec::new(), is_open: false, model: 0 }
    }

    /// The memory of the handle that was closed last, for another one; not for ever, since 57
    /// handles are told apart.
    pub fn take_memory(&mut self, least: usize) -> Option<Guarded> {
        assert!(!self.is_open);
        let is_long = |memory: &mut Guarded| memory.bytes().len() >= least;
        self.memory.take_if(|memory| self.closed.len() < MOST_CLOSED && is_long(memory))
    }

    /// Takes note that a handle was made, in memory that `take_memory` gave when `is_used`.
    pub fn open(&mut self, memory: Option<Guarded>, handle: Handle, is_used: bool) {
        if is_used {
            self.closed.push(self.handle);
        } else {
            self.closed.clear();
        }
        (self.memory, self.handle, self.is_open) = (memory, handle, true);
    }

    /// Takes note that the handle was closed.
    pub fn close(&mut self) {
        self.is_open = false;
        if self.memory.is_none() {
            self.handle = ptr::null_mut();
        }
    }
}

/// Whether a function wants a model or a session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Model,
    Session,
}

/// What to hand to a function, and whether it is a handle.
#[derive(Clone, Copy)]
pub struct Given {
    pub handle: Handle,
    pub is_right: bool,
    pub slot: usize,
}

pub struct World<'w> {
    pub library: &'w Library,
    /// Weight files.
    pub files: &'w [Aligned],
    /// Altered files of models that are open.
    pub altered: Vec<Option<Aligned>>,
    pub models: Vec<Slot>,
    pub sessions: Vec<Slot>,
    pub states: Vec<Vec<u8>>,
    foreign: Aligned,
    /// Where the log goes.
    sink: Option<Sized>,
    tally: &'w Tally,
}

impl<'w> World<'w> {
    pub fn new(library: &'w Library, files: &'w [Aligned], tally: &'w Tally) -> Self {
        Self {
            library,
            files,
            altered: vec![None, None],
            models: (0..2).map(|_| Slot::new()).collect(),
            sessions: (0..3).map(|_| Slot::new()).collect(),
            states: Vec::new(),
            foreign: Aligned::zeroed(FOREIGN_BYTES),
            sink: None,
            tally,
        }
    }

    fn slots(&self, kind: Kind) -> &[Slot] {
        match kind {
            Kind::Model => &self.models,
            Kind::Session => &self.sessions,
        }
    }

    /// A handle of `kind`, closed ones among them; rarely something else.
    pub fn handle(&mut self, kind: Kind, input: &mut Input<'_>) -> Given {
        let mut slot = input.pick(self.slots(kind).len());
        if !self.slots(kind)[slot].is_open && !input.rarely(12) {
            slot = self.slots(kind).iter().position(|slot| slot.is_open).unwrap_or(slot);
        }
        let Slot { handle, is_open, .. } = self.slots(kind)[slot];
        let own = Given { handle, is_right: is_open, slot };
        let wrong = |handle| Given { handle, is_right: false, slot };
        if !input.rarely(12) {
            return own;
        }
        match input.pick(7) {
            0 => wrong(ptr::null_mut()),
            1 => wrong(handle.wrapping_byte_add(1 + input.pick(7))),
            6 => {
                let closed = &self.slots(kind)[slot].closed;
                wrong(closed.get(input.pick(MOST_CLOSED)).copied().unwrap_or(ptr::null_mut()))
            }
            2 => {
                self.foreign.as_mut().fill(0);
                wrong(self.foreign.as_mut().as_mut_ptr().cast())
            }
            3 => {
                self.foreign.as_mut().fill_with(|| input.byte());
                wrong(self.foreign.as_mut().as_mut_ptr().cast())
            }
            4 => wrong(self.copy(kind, slot)),
            _ => {
                let other = if kind == Kind::Model { Kind::Session } else { Kind::Model };
                wrong(self.slots(other)[0].handle)
            }
        }
    }

    /// The bytes of a handle at another place.
    fn copy(&mut self, kind: Kind, slot: usize) -> Handle {
        let slots = if kind == Kind::Model { &self.models } else { &self.sessions };
        if let Some(memory) = &slots[slot].memory {
            let bytes = memory.bytes();
            let count = bytes.len().min(FOREIGN_BYTES);
            self.foreign.as_mut()[..count].copy_from_slice(&bytes[..count]);
        }
        self.foreign.as_mut().as_mut_ptr().cast()
    }

    /// Sends the log to somewhere else.
    pub fn set_log(&mut self, input: &mut Input<'_>) {
        // SAFETY: nothing is asked for.
        unsafe {
            assert_eq!((self.library.abi_version)(), KINGLET_ABI_VERSION);
            assert!(!CStr::from_ptr((self.library.version)()).is_empty());
        }
        let sink = LogSink {
            struct_size: 0,
            on_log: if input.rarely(4) { None } else { Some(on_log) },
            user: std::ptr::from_ref(self.tally).cast_mut().cast(),
            level: input.mostly(4, 2),
            reserved: 0,
        };
        let mut sink = Sized::new(sink, input);
        // SAFETY: the sink has as many bytes as it may claim to have, and stays if it is taken.
        let status = unsafe { (self.library.log_to)(sink.pointer(input)) };
        if self.check(status) == OK {
            self.sink = Some(sink);
        }
    }

    /// What holds for every status.
    pub fn check(&self, status: Status) -> Status {
        self.tally.count(status);
        assert_ne!(status, INTERNAL, "an invariant broke");
        // SAFETY: any number is allowed, and what comes is a string that stays.
        let text = unsafe { CStr::from_ptr((self.library.status_text)(status)) };
        assert!(text != c"no status of this library", "{status} is no status");
        for slot in self.models.iter().chain(&self.sessions) {
            slot.memory.iter().for_each(Guarded::check);
        }
        status
    }

    /// [`World::check`] for a function that got a handle.
    pub fn check_with(&self, given: Given, status: Status) -> Status {
        assert_eq!(status == BAD_HANDLE, !given.is_right, "status {status}");
        self.check(status)
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        let is_failing = std::thread::panicking();
        // SAFETY: null is nowhere.
        unsafe { (self.library.log_to)(std::ptr::null()) };
        for (slots, close) in [
            (&self.sessions, self.library.session_destroy),
            (&self.models, self.library.model_close),
        ] {
            for slot in slots.iter().filter(|slot| slot.is_open) {
                // SAFETY: the handle is open, and its sessions were destroyed before a model.
                let status = unsafe { close(slot.handle) };
                assert!(is_failing || status == OK, "status {status} at the end");
            }
        }
    }
}
