//! The shared library, loaded as a program in C would load it, and its functions.

use super::abi::{
    Call, Candidate, GenerateOptions, Generation, LogSink, Message, ModelInfo, OnPiece, OnProgress,
    OnReplyPiece, Reply, Sampling, SessionInfo, SessionOptions,
};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use trust::{SignatureInfo, Trust};

#[path = "../../../boards/c/src/trust.rs"]
pub mod trust;

/// A status.
pub type Status = i32;
/// A model or a session, or what is none.
pub type Handle = *mut c_void;

/// A library that was opened, never to be closed.
struct Opened(*mut c_void);

impl Opened {
    fn new(folder: &Path) -> Self {
        let path = folder.join("libkinglet.so");
        let path = CString::new(path.into_os_string().into_encoded_bytes()).unwrap();
        // SAFETY: the path ends with a zero; what the library does when loaded is what it does in
        // every program.
        let opened = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!opened.is_null(), "{path:?} cannot be opened");
        Self(opened)
    }

    fn find(&self, name: &CStr) -> *mut c_void {
        // SAFETY: the library stays open, the name ends with a zero.
        let found = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!found.is_null(), "the library lacks {name:?}");
        found
    }
}

macro_rules! functions {
    ($($name:ident($($argument:ty),*) -> $result:ty;)+) => {
        /// Every function of the library.
        pub struct Library {
            $(pub $name: unsafe extern "C" fn($($argument),*) -> $result,)+
        }

        impl Library {
            /// The names of the functions without their prefix.
            pub const NAMES: &[&str] = &[$(stringify!($name)),+];

            /// Loads the library that lies in a folder.
            pub fn load(folder: &Path) -> Self {
                let opened = Opened::new(folder);
                let find = |name: &str| {
                    opened.find(&CString::new(format!("kinglet_{name}")).unwrap())
                };
                Self {
                    $(
                        // SAFETY: the type is that of the function's declaration in kinglet.h.
                        $name: unsafe {
                            std::mem::transmute::<
                                *mut c_void,
                                unsafe extern "C" fn($($argument),*) -> $result,
                            >(find(stringify!($name)))
                        },
                    )+
                }
            }
        }
    };
}

functions! {
    abi_version() -> u32;
    version() -> *const c_char;
    status_text(i32) -> *const c_char;
    log_to(*const LogSink) -> Status;
    model_bytes() -> usize;
    model_open_path(
        *const c_char, *mut c_void, usize, *mut Handle, *mut c_char, usize
    ) -> Status;
    model_open_fd(
        c_int, u64, u64, *mut c_void, usize, *mut Handle, *mut c_char, usize
    ) -> Status;
    model_open_memory(
        *const c_void, usize, *mut c_void, usize, *mut Handle, *mut c_char, usize
    ) -> Status;
    model_open_signed_path(
        *const c_char, *const Trust, *mut c_void, usize, *mut Handle, *mut c_char, usize
    ) -> Status;
    model_open_signed_fd(
        c_int, u64, u64, *const Trust, *mut c_void, usize, *mut Handle, *mut c_char, usize
    ) -> Status;
    model_open_signed_memory(
        *const c_void, usize, *const Trust, *mut c_void, usize, *mut Handle, *mut c_char, usize
    ) -> Status;
    model_describe_signature(Handle, *mut SignatureInfo) -> Status;
    model_close(Handle) -> Status;
    model_describe(Handle, *mut ModelInfo) -> Status;
    model_verify(Handle) -> Status;
    model_message(Handle, *mut c_char, usize) -> Status;
    tokenize(Handle, *const c_char, usize, u32, *mut u32, usize, *mut usize) -> Status;
    detokenize(Handle, *const u32, usize, u32, *mut c_char, usize, *mut usize) -> Status;
    token_text(Handle, u32, *mut *const c_char, *mut usize, *mut u32) -> Status;
    chat_render(Handle, *const Message, usize, u32, *mut c_char, usize, *mut usize) -> Status;
    chat_tokens(Handle, *const Message, usize, u32, *mut u32, usize, *mut usize) -> Status;
    tools_tokens(
        Handle, *const c_void, usize, *const Message, usize, u32, *mut u32, usize, *mut usize
    ) -> Status;
    tools_calls(
        *const c_void, usize, *const c_char, usize, *mut Call, usize, *mut usize, *mut u32
    ) -> Status;
    session_choose_tier(
        Handle, *mut SessionOptions, u32, u32, *mut c_char, usize
    ) -> Status;
    session_bytes(Handle, *const SessionOptions, *mut usize) -> Status;
    session_new(
        Handle, *const SessionOptions, *mut c_void, usize, *mut Handle, *mut c_char, usize
    ) -> Status;
    session_destroy(Handle) -> Status;
    session_describe(Handle, *mut SessionInfo) -> Status;
    session_message(Handle, *mut c_char, usize) -> Status;
    session_cancel(Handle) -> Status;
    session_set_sampling(Handle, *const Sampling) -> Status;
    session_set_deadline(Handle, u32) -> Status;
    session_set_progress(Handle, OnProgress, *mut c_void) -> Status;
    session_prefill(Handle, *const u32, usize) -> Status;
    session_next(Handle, *mut u32) -> Status;
    session_generate(
        Handle, *const GenerateOptions, OnPiece, *mut c_void, *mut Generation
    ) -> Status;
    session_generate_all(Handle, *const Reply, usize, OnReplyPiece, *mut c_void) -> Status;
    session_select(Handle, u32) -> Status;
    session_copy_text(Handle, u32, usize) -> Status;
    session_logits(Handle, *mut *const f32, *mut usize) -> Status;
    session_embed(Handle, *const u32, usize, u32, *mut f32, usize) -> Status;
    session_top(Handle, *mut Candidate, usize, *mut usize) -> Status;
    session_reset(Handle) -> Status;
    session_rewind(Handle, usize) -> Status;
    session_fork(Handle, Handle, usize) -> Status;
    session_tokens(Handle, *mut u32, usize, *mut usize) -> Status;
    session_state_bytes(Handle, *mut usize) -> Status;
    session_save(Handle, *mut c_void, usize, *mut usize) -> Status;
    session_restore(Handle, *const c_void, usize) -> Status;
}
