//! A thread started through Linux itself: the standard library would end the process where there is
//! no memory for its part of a thread.

use kinglet_quant::{Code, Result, fail};
use std::ffi::{CStr, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// The stack of a thread, of which it touches what it uses.
const STACK_BYTES: usize = 2 << 20;

/// The work of a thread, in memory that the joining thread frees: a thread that never calls the
/// allocator gets no arena of its own.
type Work = Box<dyn Fn() + Send + Sync>;

/// A thread that was started, to be joined.
pub(crate) struct Thread {
    id: libc::pthread_t,
    work: *mut Work,
}

// SAFETY: the work can be used and dropped on any thread.
unsafe impl Send for Thread {}
// SAFETY: nothing can be done with a shared one.
unsafe impl Sync for Thread {}

impl Thread {
    /// Starts a thread that does this work, which must not panic. `Resource` where the system has
    /// none left.
    pub fn start(name: &CStr, work: impl Fn() + Send + Sync + 'static) -> Result<Self> {
        let work: *mut Work = Box::into_raw(Box::new(Box::new(work)));
        // SAFETY: the work stays until the thread is joined.
        match unsafe { create(work) } {
            Ok(id) => {
                // SAFETY: the thread is not joined yet, the name ends with a zero. A name that is
                // refused only debuggers miss.
                unsafe { libc::pthread_setname_np(id, name.as_ptr()) };
                Ok(Self { id, work })
            }
            Err(error) => {
                // SAFETY: no thread has got it.
                drop(unsafe { Box::from_raw(work) });
                fail!(Code::Resource, "cannot start a thread: {error}; take fewer threads")
            }
        }
    }

    /// Waits for the thread's end.
    pub fn join(self) {
        // SAFETY: the thread was started and is joined once, as this takes `self`; then nobody uses
        // its work any more.
        unsafe {
            libc::pthread_join(self.id, ptr::null_mut());
            drop(Box::from_raw(self.work));
        }
    }
}

/// # Safety
///
/// The work must stay until the thread is joined.
unsafe fn create(work: *mut Work) -> io::Result<libc::pthread_t> {
    let (mut id, mut attributes) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    if cfg!(miri) {
        // It knows threads, but no attributes of them.
        // SAFETY: as below.
        unsafe {
            checked(libc::pthread_create(id.as_mut_ptr(), ptr::null(), run, work.cast()))?;
            return Ok(id.assume_init());
        }
    }
    // SAFETY: the attributes are used between their start and their end, and the thread's number is
    // read when there is one.
    unsafe {
        checked(libc::pthread_attr_init(attributes.as_mut_ptr()))?;
        // Refused, the system's own size is taken.
        libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK_BYTES);
        let status = libc::pthread_create(id.as_mut_ptr(), attributes.as_ptr(), run, work.cast());
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        checked(status)?;
        Ok(id.assume_init())
    }
}

fn checked(status: i32) -> io::Result<()> {
    if status == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(status)) }
}

extern "C" fn run(work: *mut c_void) -> *mut c_void {
    // SAFETY: `create` has handed it over, and it stays until this thread is joined.
    let work = unsafe { &*work.cast::<Work>() };
    work();
    ptr::null_mut()
}
