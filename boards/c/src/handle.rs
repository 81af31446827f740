//! Pointers from outside: what they are checked for, who may use what they point to, and what the
//! last failure was.

use crate::abi::KINGLET_ALIGNMENT;
use crate::status::Status;
use crate::tag::{self, Kind, Tag};
use crate::versioned;
use core::cell::UnsafeCell;
use core::ffi::{c_char, c_void};
use core::slice;
use core::sync::atomic::{AtomicBool, Ordering};
use kinglet_quant::{Code, Error, Result, ensure, fail};

/// What can be handed out as a pointer.
///
/// # Safety
///
/// The type must begin with its [`Tag`].
pub(crate) unsafe trait Handle: Sized {
    /// What no other type of handle has.
    const KIND: Kind;
    /// What it is called in messages.
    const NAME: &'static str;
}

/// Puts a handle into its memory, and returns the pointer to hand out.
///
/// # Safety
///
/// `place` must be a multiple of [`KINGLET_ALIGNMENT`], have room for the handle and be nobody
/// else's.
pub(crate) unsafe fn open<H: Handle>(place: *mut u8, handle: H) -> *mut H {
    const { assert!(align_of::<H>() <= KINGLET_ALIGNMENT) };
    let place = place.cast::<H>();
    // SAFETY: the memory is aligned and long enough for a tag, an integer that is valid whatever it
    // is.
    let generation = unsafe { (*place.cast::<Tag>()).next_generation() };
    // SAFETY: there is room for the handle, which begins with its tag.
    unsafe {
        place.write(handle);
        (*place.cast::<Tag>()).set(H::KIND, generation);
    }
    tag::mark(place, generation)
}

/// The handle at `pointer`, or `BadHandle`.
///
/// # Safety
///
/// `pointer` must be null, or point to memory that can be read from the multiple of
/// [`KINGLET_ALIGNMENT`] below it on; and a handle must stay for `'a`. That there is one is checked
/// here.
pub(crate) unsafe fn check<'a, H: Handle>(pointer: *const H) -> Result<&'a H> {
    // SAFETY: as promised by the caller.
    let (handle, _) = unsafe { find(pointer) }?;
    Ok(handle)
}

/// The handle at `pointer`, which is closed from now on, or `BadHandle`.
///
/// # Safety
///
/// As for [`check`].
pub(crate) unsafe fn close<H: Handle>(pointer: *const H) -> Result<()> {
    // SAFETY: as promised by the caller.
    let (handle, generation) = unsafe { find(pointer) }?;
    // SAFETY: a handle begins with its tag.
    let tag = unsafe { &*core::ptr::from_ref(handle).cast::<Tag>() };
    ensure!(tag.close(H::KIND, generation), Code::BadHandle, "the {} is being closed", H::NAME);
    Ok(())
}

/// # Safety
///
/// As for [`check`].
unsafe fn find<'a, H: Handle>(pointer: *const H) -> Result<(&'a H, usize)> {
    ensure!(!pointer.is_null(), Code::BadHandle, "the {} is null", H::NAME);
    let Some((place, generation)) = tag::place(pointer) else {
        fail!(Code::BadHandle, "the {} is not a pointer that Kinglet has made", H::NAME);
    };
    // SAFETY: aligned and readable. Only the tag is looked at, an integer and so valid whatever it
    // is.
    let is_handle = unsafe { (*place.cast::<Tag>()).is(H::KIND, generation) };
    ensure!(is_handle, Code::BadHandle, "the {} was closed, or is none", H::NAME);
    // SAFETY: only a handle at this very place has this tag.
    Ok((unsafe { &*place }, generation))
}

/// Runs what can fail, and turns a broken invariant into `Internal` where that is possible.
pub(crate) fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    #[cfg(feature = "std")]
    {
        use std::panic::{AssertUnwindSafe, catch_unwind};
        log_panics();
        // Whatever was half done belongs to a handle, which refuses all further work.
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            fail!(Code::Internal, "Kinglet has failed, which is a fault of its own: report it")
        })
    }
    #[cfg(not(feature = "std"))]
    work()
}

/// Sends the sentences of panics to the log, which is silent by default.
///
/// No input is known to make the library panic; but a broken invariant must not write to standard
/// error either, which is what the standard library does unless told otherwise. Told it can be only
/// for all of a program; here that is the library's own copy of it, which nobody else uses.
#[cfg(feature = "std")]
fn log_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|panic| log::error!("{panic}"))));
}

/// A flag that one holder at a time can take.
pub(crate) struct Lock(AtomicBool);

/// Gives the flag back.
pub(crate) struct Held<'l>(&'l AtomicBool);

impl Lock {
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Takes the flag unless somebody has it.
    pub fn try_take(&self) -> Option<Held<'_>> {
        // Lazily: one that nobody gets would give back what another one holds.
        (!self.0.swap(true, Ordering::Acquire)).then(|| Held(&self.0))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The last failure of a handle.
pub(crate) struct LastError {
    lock: Lock,
    error: UnsafeCell<Option<Error>>,
}

impl LastError {
    pub fn none() -> Self {
        Self { lock: Lock::new(), error: UnsafeCell::new(None) }
    }

    /// Remembers a failure and returns its number. One that comes while another thread reads or
    /// writes the last one is not remembered.
    pub fn keep<T>(&self, result: Result<T>) -> Status {
        let status = Status::from(&result);
        if let (Err(error), Some(_held)) = (result, self.lock.try_take()) {
            // SAFETY: whoever holds the lock is alone.
            unsafe { *self.error.get() = Some(error) };
        }
        status
    }

    /// Writes the sentence of the last failure, or an empty one.
    ///
    /// # Safety
    ///
    /// As for [`write_message`].
    pub unsafe fn copy(&self, buffer: *mut c_char, capacity: usize) {
        let Some(_held) = self.lock.try_take() else {
            // SAFETY: as promised by the caller.
            return unsafe { write_message("", buffer, capacity) };
        };
        // SAFETY: whoever holds the lock is alone.
        let message = unsafe { &*self.error.get() }.as_ref().map_or("", Error::message);
        // SAFETY: as promised by the caller.
        unsafe { write_message(message, buffer, capacity) };
    }
}

/// Writes a text and a terminating zero, cut to the buffer; nothing without a buffer.
///
/// # Safety
///
/// `buffer` must be null or have room for `capacity` bytes.
pub(crate) unsafe fn write_message(text: &str, buffer: *mut c_char, capacity: usize) {
    if buffer.is_null() || capacity == 0 {
        return;
    }
    let text = &text[..text.floor_char_boundary(capacity - 1)];
    // SAFETY: the text has fewer than `capacity` bytes.
    unsafe {
        buffer.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), text.len());
        buffer.add(text.len()).write(0);
    }
}

/// The caller's array; null is one of no elements.
///
/// # Safety
///
/// `start` must be null or point to `count` elements, which nobody changes for `'a`.
pub(crate) unsafe fn array<'a, T>(start: *const T, count: usize, what: &str) -> Result<&'a [T]> {
    check_array(start, count, what)?;
    if start.is_null() || !start.is_aligned() {
        return Ok(&[]);
    }
    // SAFETY: neither null nor misaligned nor longer than memory can be; the rest is promised.
    Ok(unsafe { slice::from_raw_parts(start, count) })
}

/// The caller's array to write to; null is one of no elements.
///
/// # Safety
///
/// `start` must be null or point to `count` elements, which nobody else uses for `'a`.
pub(crate) unsafe fn array_mut<'a, T>(
    start: *mut T,
    count: usize,
    what: &str,
) -> Result<&'a mut [T]> {
    check_array(start, count, what)?;
    if start.is_null() || !start.is_aligned() {
        return Ok(&mut []);
    }
    // SAFETY: as for `array`.
    Ok(unsafe { slice::from_raw_parts_mut(start, count) })
}

/// Checks an array before any of it is used.
pub(crate) fn check_array<T>(start: *const T, count: usize, what: &str) -> Result<()> {
    ensure!(count == 0 || !start.is_null(), Code::BadArgument, "{what} is null");
    ensure!(count == 0 || start.is_aligned(), Code::BadArgument, "{what} is not aligned");
    let most = isize::MAX as usize / size_of::<T>();
    ensure!(count <= most, Code::BadArgument, "{what} has {count} elements: more than memory");
    Ok(())
}

/// A part of memory that a call was given, or works in.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'w> {
    start: usize,
    count: usize,
    what: &'w str,
}

impl<'w> Bytes<'w> {
    /// No memory.
    pub const NONE: Self = Self { start: 0, count: 0, what: "nothing" };

    /// The memory of `count` elements.
    pub fn of<T>(start: *const T, count: usize, what: &'w str) -> Self {
        let count = if start.is_null() { 0 } else { count.saturating_mul(size_of::<T>()) };
        Self { start: start.addr(), count, what }
    }

    fn has(&self, address: usize) -> bool {
        address.checked_sub(self.start).is_some_and(|offset| offset < self.count)
    }
}

/// The memory of a struct of any version, as long as it says itself; none for null.
///
/// # Safety
///
/// `given` must be null or point to a struct that begins with its size.
pub(crate) unsafe fn bytes_of<'w, T: versioned::Versioned>(
    given: *const T,
    what: &'w str,
) -> Bytes<'w> {
    // What is not aligned is refused where it is read or filled.
    let is_sized = !given.is_null() && given.is_aligned();
    // SAFETY: aligned; every struct begins with its size.
    let count = if is_sized { unsafe { given.cast::<usize>().read() } } else { 0 };
    Bytes::of(given.cast::<u8>(), count.min(versioned::SIZE_LIMIT), what)
}

/// `BadArgument` when two of them have a byte in common.
pub(crate) fn check_apart(all: &[Bytes<'_>]) -> Result<()> {
    for (index, one) in all.iter().enumerate() {
        for other in all[..index].iter().filter(|other| one.count > 0 && other.count > 0) {
            ensure!(
                !one.has(other.start) && !other.has(one.start),
                Code::BadArgument,
                "{} and {} overlap: give each memory of its own",
                other.what,
                one.what
            );
        }
    }
    Ok(())
}

/// Writes a result to where the caller wants it.
///
/// # Safety
///
/// `out` must be null or point to room for a `T`.
pub(crate) unsafe fn put<T>(out: *mut T, value: T, what: &str) -> Result<()> {
    check_out(out, what)?;
    // SAFETY: not null, and promised to be writable.
    unsafe { out.write(value) };
    Ok(())
}

/// Checks where a result will be written before any work is done for it.
pub(crate) fn check_out<T>(out: *const T, what: &str) -> Result<()> {
    ensure!(!out.is_null() && out.is_aligned(), Code::BadArgument, "{what} is null or not aligned");
    Ok(())
}

/// The caller's text that ends with a zero. `BadArgument` for null and for broken UTF-8.
///
/// # Safety
///
/// `text` must be null or point to bytes up to a zero, which nobody changes for `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str> {
    ensure!(!text.is_null(), Code::BadArgument, "{what} is null");
    // SAFETY: not null, and promised to end with a zero.
    let bytes = unsafe { core::ffi::CStr::from_ptr(text) };
    match bytes.to_str() {
        Ok(text) => Ok(text),
        Err(_) => fail!(Code::BadArgument, "{what} is not UTF-8"),
    }
}

/// A pointer of the caller's that is handed back to the caller's functions.
#[derive(Clone, Copy)]
pub(crate) struct User(pub *mut c_void);

// SAFETY: Kinglet does not look at what it points to; that the caller's functions can use it on
// every thread that they are called on is the caller's documented duty.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    struct Number {
        tag: Tag,
        value: u32,
    }

    // SAFETY: the tag is at the start.
    unsafe impl Handle for Number {
        const KIND: Kind = Kind::Model;
        const NAME: &'static str = "number";
    }

    #[repr(align(64))]
    struct Memory([u8; 128]);

    fn code<T>(result: Result<T>) -> Option<Code> {
        result.err().map(|error| error.code())
    }

    #[test]
    fn handles_follow_one_another_in_their_memory() {
        let mut memory = Memory([0xA5; 128]);
        let place = memory.0.as_mut_ptr();
        let mut closed: *const Number = core::ptr::null();
        for value in 0..9 {
            // SAFETY: the memory is aligned, long enough and this test's, and all pointers lie in
            // its first line.
            unsafe {
                let pointer = open(place, Number { tag: Tag::none(), value });
                assert_eq!(check(pointer).unwrap().value, value);
                assert_eq!(code(check(closed)), Some(Code::BadHandle));
                assert_eq!(
                    code(check(place.wrapping_add(8).cast::<Number>())),
                    Some(Code::BadHandle)
                );
                assert_eq!(code(close(closed)), Some(Code::BadHandle));
                assert_eq!(code(close(pointer)), None);
                assert_eq!(code(check(pointer)), Some(Code::BadHandle));
                closed = pointer;
            }
        }
    }

    #[test]
    fn memory_overlaps_in_one_byte_and_not_side_by_side() {
        let all = [0u8; 16];
        let bytes = |start: usize, count| Bytes::of(all[start..].as_ptr(), count, "a buffer");
        for (one, other, are_apart) in [
            (bytes(0, 4), bytes(4, 4), true),
            (bytes(0, 5), bytes(4, 4), false),
            (bytes(4, 4), bytes(0, 5), false),
            (bytes(2, 1), bytes(0, 8), false),
            (bytes(2, 0), bytes(0, 8), true),
            (Bytes::of(core::ptr::null::<u8>(), usize::MAX, "none"), bytes(0, 8), true),
            (bytes(0, usize::MAX), bytes(9, 1), false),
        ] {
            assert_eq!(check_apart(&[one, other]).is_ok(), are_apart);
            assert_eq!(check_apart(&[other, one]).is_ok(), are_apart);
        }
    }
}
