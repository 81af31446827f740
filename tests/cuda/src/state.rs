//! The state of the driver, and what every call does before and after its work.

use crate::board::Board;
use crate::counters::{Counters, Way};
use crate::exec::{self, Launch, Settings};
use crate::fault::{Fault, code};
use crate::memory::{Memory, Origin};
use crate::ptx::{Kernel, Module};
use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A kernel that a program has asked for.
#[derive(Clone, Debug)]
pub struct Function {
    /// The kernel.
    pub kernel: Arc<Kernel>,
    /// Bytes of shared memory that a launch may add.
    pub most_dynamic: i32,
}

/// A launch that can be carried out at any time.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub kernel: Arc<Kernel>,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic: usize,
    pub parameters: Vec<u8>,
    pub is_cooperative: bool,
}

impl Prepared {
    /// The launch as the interpreter wants it.
    pub fn launch(&self) -> Launch<'_> {
        Launch {
            kernel: &self.kernel,
            grid: self.grid,
            block: self.block,
            dynamic: self.dynamic,
            parameters: &self.parameters,
            is_cooperative: self.is_cooperative,
        }
    }
}

/// Work of a stream.
#[derive(Clone, Debug)]
pub enum Work {
    Kernel(Prepared),
    Copy {
        to: u64,
        from: u64,
        bytes: u64,
        way: Way,
    },
    /// `count` values of so many bytes.
    Fill {
        to: u64,
        value: u32,
        width: u64,
        count: u64,
    },
    Host {
        function: extern "C" fn(*mut c_void),
        data: u64,
    },
}

/// Work that is recorded.
#[derive(Debug, Default)]
pub struct Capture {
    pub work: Vec<Work>,
    /// Whether calls that wait or allocate are allowed meanwhile.
    pub is_relaxed: bool,
    pub is_broken: bool,
}

/// An event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Event {
    pub time: Option<Instant>,
    /// The stream in whose capture it was recorded.
    pub capture: Option<u64>,
}

/// Everything that the driver knows.
#[derive(Debug)]
pub struct State {
    pub board: Board,
    pub settings: Settings,
    pub memory: Memory,
    pub counters: Counters,
    pub is_initialized: bool,
    /// The primary context; 0 while there is none.
    pub context: u64,
    pub modules: HashMap<u64, Module>,
    pub functions: HashMap<u64, Function>,
    pub streams: HashMap<u64, ()>,
    pub events: HashMap<u64, Event>,
    pub captures: HashMap<u64, Capture>,
    /// Streams that have joined the capture of another.
    pub joined: HashMap<u64, u64>,
    pub graphs: HashMap<u64, Vec<Work>>,
    pub executables: HashMap<u64, Vec<Work>>,
    /// Nodes of graphs: the graph and the place in it.
    pub nodes: HashMap<u64, (u64, usize)>,
    pub calls: u64,
    /// The call that fails next, and how.
    pub failing: Option<(u64, i32)>,
    /// What is loaded in place of every module.
    pub module: Option<String>,
    /// What all calls return since a kernel has failed.
    pub broken: Option<i32>,
    pub last_fault: String,
    next_handle: u64,
}

thread_local! {
    /// The context that is current on a thread.
    pub static CURRENT: Cell<u64> = const { Cell::new(0) };
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

/// Handles of every state differ: those of an earlier one are invalid.
static NEXT_STATE: Mutex<u64> = Mutex::new(1);

impl State {
    /// A driver for a board.
    pub fn new(board: Board, total: u64) -> Self {
        let mut number = NEXT_STATE.lock().unwrap_or_else(PoisonError::into_inner);
        *number += 1;
        Self {
            board,
            settings: Settings::default(),
            memory: Memory::new(total, board.is_pageable),
            counters: Counters::default(),
            is_initialized: false,
            context: 0,
            modules: HashMap::new(),
            functions: HashMap::new(),
            streams: HashMap::new(),
            events: HashMap::new(),
            captures: HashMap::new(),
            joined: HashMap::new(),
            graphs: HashMap::new(),
            executables: HashMap::new(),
            nodes: HashMap::new(),
            calls: 0,
            failing: None,
            module: None,
            broken: None,
            last_fault: String::new(),
            next_handle: *number << 32,
        }
    }

    /// A new handle.
    pub fn handle(&mut self) -> u64 {
        self.next_handle += 16;
        self.next_handle
    }

    /// The counters, with what memory knows.
    pub fn counted(&self) -> Counters {
        let live = self.memory.count(Origin::Device) + self.memory.count(Origin::Pinned);
        Counters {
            live_allocations: live as u64,
            live_bytes: self.memory.live,
            peak_bytes: self.memory.peak,
            ..self.counters.clone()
        }
    }

    /// The capture that records the work of a stream.
    pub fn capture(&mut self, stream: u64) -> Option<&mut Capture> {
        let origin = self.joined.get(&stream).copied().unwrap_or(stream);
        self.captures.get_mut(&origin)
    }

    /// Fails while a capture forbids calls that wait or allocate, and breaks the capture.
    pub fn forbid_in_capture(&mut self) -> Result<(), Fault> {
        match self.captures.values_mut().find(|capture| !capture.is_relaxed) {
            Some(capture) => {
                capture.is_broken = true;
                let text = "a call that waits or allocates while a stream is captured";
                Err(Fault::new(code::STREAM_CAPTURE_UNSUPPORTED, text))
            }
            None => Ok(()),
        }
    }

    /// Enqueues work on a stream; without one, does it and waits.
    pub fn submit(&mut self, stream: Option<u64>, work: Work) -> Result<(), Fault> {
        let Some(stream) = stream else {
            self.forbid_in_capture()?;
            self.perform(&work);
            return Ok(());
        };
        self.enqueue(stream, work)
    }

    /// Records work, or does it at once: streams keep their order.
    pub fn enqueue(&mut self, stream: u64, work: Work) -> Result<(), Fault> {
        if stream > 2 && !self.streams.contains_key(&stream) {
            return Err(Fault::new(
                code::INVALID_HANDLE,
                format!("there is no stream {stream:#x}"),
            ));
        }
        match self.capture(stream) {
            Some(capture) => capture.work.push(work),
            None => self.perform(&work),
        }
        Ok(())
    }

    /// Does work. What goes wrong is what later calls return, as on a device.
    pub fn perform(&mut self, work: &Work) {
        let result = match work {
            Work::Kernel(prepared) => {
                let name = &prepared.kernel.name;
                if !self.counters.kernels.contains_key(name) {
                    self.counters.kernels.insert(name.clone(), Default::default());
                }
                match self.counters.kernels.get_mut(name) {
                    Some(counters) => {
                        exec::run(&prepared.launch(), &self.memory, self.settings, counters)
                    }
                    None => Ok(()),
                }
            }
            Work::Copy { to, from, bytes, way } => self.copy(*to, *from, *bytes, *way),
            Work::Fill { to, value, width, count } => self.fill(*to, *value, *width, *count),
            Work::Host { function, data } => {
                function(*data as *mut c_void);
                Ok(())
            }
        };
        if let Err(fault) = result {
            self.broken = Some(fault.code);
            self.note(&fault);
        }
    }

    /// Checks that the device has memory: it may have been freed since a graph was captured.
    fn check(&self, start: u64, bytes: u64) -> Result<(), Fault> {
        if bytes == 0 {
            return Ok(());
        }
        self.memory
            .find(start, bytes, false)
            .map(|_| ())
            .map_err(|fault| fault.at("a copy or fill"))
    }

    fn copy(&mut self, to: u64, from: u64, bytes: u64, way: Way) -> Result<(), Fault> {
        if way != Way::DeviceToHost {
            self.check(to, bytes)?;
        }
        if way != Way::HostToDevice {
            self.check(from, bytes)?;
        }
        self.counters.count_copy(way, bytes);
        // SAFETY: the device's side has been checked; of the host's side the caller of the driver
        // promises that it is there.
        unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes as usize) };
        Ok(())
    }

    fn fill(&mut self, to: u64, value: u32, width: u64, count: u64) -> Result<(), Fault> {
        self.check(to, width * count)?;
        let bytes = value.to_le_bytes();
        for at in 0..count {
            let place = (to + at * width) as *mut u8;
            // SAFETY: the range has been checked.
            unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), width as usize) };
        }
        Ok(())
    }

    /// Keeps what went wrong, for people.
    pub fn note(&mut self, fault: &Fault) {
        if !fault.text.is_empty() {
            self.last_fault = fault.text.clone();
        }
    }

    /// Counts a call, and fails if it is the one that is to fail.
    fn begin(&mut self) -> Result<(), Fault> {
        self.calls += 1;
        match self.failing {
            Some((at, code)) if at == self.calls => {
                self.failing = None;
                Err(code.into())
            }
            _ => Ok(()),
        }
    }

    /// Fails without a context, and after a kernel has failed.
    fn in_context(&self) -> Result<(), Fault> {
        if !self.is_initialized {
            return Err(code::NOT_INITIALIZED.into());
        }
        if let Some(code) = self.broken {
            return Err(code.into());
        }
        if self.context == 0 || CURRENT.get() != self.context {
            let text = "no context is current on this thread";
            return Err(Fault::new(code::INVALID_CONTEXT, text));
        }
        Ok(())
    }
}

fn lock() -> MutexGuard<'static, Option<State>> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn of_environment() -> State {
    State::new(Board::of_environment(), Board::memory_of_environment())
}

/// Uses the state outside of any call of the driver.
pub fn with<T>(use_state: impl FnOnce(&mut State) -> T) -> T {
    use_state(lock().get_or_insert_with(of_environment))
}

/// Begins again, with another board or with that of the environment.
pub fn reset(board: Option<Board>) {
    let board = board.unwrap_or_else(Board::of_environment);
    *lock() = Some(State::new(board, Board::memory_of_environment()));
}

fn enter(run: impl FnOnce(&mut State) -> Result<(), Fault>) -> i32 {
    with(|state| match state.begin().and_then(|()| run(state)) {
        Ok(()) => code::SUCCESS,
        Err(fault) => {
            state.note(&fault);
            fault.code
        }
    })
}

/// A call that needs no context.
pub fn call(run: impl FnOnce(&mut State) -> Result<(), Fault>) -> i32 {
    enter(run)
}

/// A call about devices: it needs `cuInit`.
pub fn call_initialized(run: impl FnOnce(&mut State) -> Result<(), Fault>) -> i32 {
    enter(|state| match state.is_initialized {
        true => run(state),
        false => Err(code::NOT_INITIALIZED.into()),
    })
}

/// A call that needs a context and a device that works.
pub fn call_in_context(run: impl FnOnce(&mut State) -> Result<(), Fault>) -> i32 {
    enter(|state| {
        state.in_context()?;
        run(state)
    })
}
