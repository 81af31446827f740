//! The bytes that decide what a sequence does, and arguments made of them.

use super::abi::KINGLET_ALIGNMENT;
use kinglet_tests::aligned::Aligned;

/// Bytes that are read once; zeros behind their end.
pub struct Input<'b>(&'b [u8]);

impl<'b> Input<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    /// Whether all bytes were read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// One case of `count`.
    pub fn pick(&mut self, count: usize) -> usize {
        assert!(count <= 256);
        usize::from(self.byte()) * count / 256
    }

    pub fn number(&mut self) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// True in one case of `count`.
    pub fn rarely(&mut self, count: usize) -> bool {
        self.pick(count) == 1
    }

    /// A number that is at the edge of something, or small; any in the end.
    pub fn edge(&mut self, near: u32) -> u32 {
        match self.pick(8) {
            0 => 0,
            1 => 1,
            2 => near,
            3 => near.wrapping_add(1),
            4 => near.wrapping_sub(1),
            5 => u32::MAX,
            6 => self.number(),
            _ => self.byte().into(),
        }
    }

    /// `right` but for one case of `count`, where it is what [`Input::edge`] says.
    pub fn mostly(&mut self, right: u32, count: usize) -> u32 {
        if self.rarely(count) { self.edge(right) } else { right }
    }

    /// Nothing or `known`, rarely something else.
    pub fn flags(&mut self, known: u32) -> u32 {
        let right = known * self.pick(2) as u32;
        self.mostly(right, 16)
    }

    pub fn float(&mut self) -> f32 {
        const ODD: [f32; 8] = [
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            -1.0,
            f32::MAX,
            f32::MIN_POSITIVE,
            0.0,
            1.0,
        ];
        match self.pick(10) {
            0 => ODD[self.pick(ODD.len())],
            _ => f32::from(self.byte()) / 128.0,
        }
    }

    /// Bytes as they come.
    pub fn take(&mut self, most: usize) -> &'b [u8] {
        let count = (usize::from(self.byte()) * most / 255).min(self.0.len());
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }
}

/// What no function may change around its buffer.
const CANARY: u8 = 0xC5;
/// Bytes in front of a buffer and behind it.
const MARGIN: usize = KINGLET_ALIGNMENT;

/// A buffer to write to, between bytes that must stay.
pub struct Guarded {
    bytes: Aligned,
    length: usize,
}

impl Guarded {
    pub fn new(length: usize) -> Self {
        let mut bytes = Aligned::zeroed(length + 2 * MARGIN);
        bytes.as_mut().fill(CANARY);
        Self { bytes, length }
    }

    pub fn start(&mut self) -> *mut u8 {
        self.bytes.as_mut()[MARGIN..].as_mut_ptr()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes.as_ref()[MARGIN..][..self.length]
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes.as_mut()[MARGIN..][..self.length]
    }

    /// Fails when something was written outside of the buffer.
    pub fn check(&self) {
        let bytes = self.bytes.as_ref();
        let around = bytes[..MARGIN].iter().chain(&bytes[MARGIN + self.length..]);
        assert!(around.into_iter().all(|&byte| byte == CANARY), "written outside of a buffer");
    }
}

/// A struct with a size that may be wrong, in memory that is as large as any size it can claim.
pub struct Sized {
    memory: Aligned,
    offset: usize,
}

/// More than any struct may claim to have.
const LARGEST: usize = 4096;

impl Sized {
    /// `own` with its size, or another one; mostly aligned. `T` must begin with its size.
    pub fn new<T: Copy>(own: T, input: &mut Input<'_>) -> Self {
        let mut memory = Aligned::zeroed(LARGEST + 16);
        let offset = if input.rarely(32) { 1 + input.pick(7) } else { 0 };
        let right = size_of::<T>();
        let size = match input.pick(24) {
            0 => 0,
            1 => right - 8,
            2 => right + 8,
            3 => LARGEST - 1,
            4 => LARGEST,
            5 => usize::MAX,
            6 => input.byte().into(),
            _ => right,
        };
        let start = memory.as_mut()[offset..].as_mut_ptr();
        // SAFETY: the memory has room for it and for the size at its start.
        unsafe {
            start.cast::<T>().write_unaligned(own);
            start.cast::<usize>().write_unaligned(size);
        }
        if input.rarely(32) {
            memory.as_mut()[offset + right + input.pick(200)] = 1;
        }
        Self { memory, offset }
    }

    /// The struct, or null in rare cases.
    pub fn pointer<T>(&mut self, input: &mut Input<'_>) -> *mut T {
        if input.rarely(32) {
            return std::ptr::null_mut();
        }
        self.memory.as_mut()[self.offset..].as_mut_ptr().cast()
    }
}
