//! Models: opened from a path, a file descriptor or memory, and closed.

use crate::abi::ModelInfo;
use crate::files;
use crate::handle::{self, Bytes, Handle, LastError, caught, check_apart};
use crate::place::{Keeper, Place};
use crate::status::Status;
use crate::tag::{Kind, Tag};
use crate::trust::Trust;
use crate::versioned;
use core::ffi::{c_char, c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use kinglet_core::tokenizer::Tokenizer;
use kinglet_quant::{Code, File, Result, ensure};

/// A model: a checked weight file in memory that is only read.
///
/// All functions of a model can be called from several threads at the same time, except that
/// `kinglet_model_close` must be the last.
// The tag comes first, so that foreign memory need not be longer than a tag to be told apart.
// cbindgen would show the fields if it understood this way of saying so.
#[cfg_attr(all(), repr(C))]
pub struct Model {
    tag: Tag,
    /// Sessions that use the file.
    sessions: AtomicUsize,
    pub(crate) last: LastError,
    /// Borrows from `weights`, or from memory that the caller keeps.
    pub(crate) file: File<'static>,
    pub(crate) tokenizer: Tokenizer<'static>,
    /// Whether the file was opened by what its signature says.
    pub(crate) is_signed: bool,
    _weights: Weights,
    keeper: Keeper,
}

const _: () = assert!(core::mem::offset_of!(Model, tag) == 0);

// SAFETY: the tag is at the start, see above.
unsafe impl Handle for Model {
    const KIND: Kind = Kind::Model;
    const NAME: &'static str = "model";
}

/// What keeps the file's bytes in memory.
pub(crate) enum Weights {
    /// The caller.
    Caller,
    /// A mapping, until this is dropped.
    #[cfg(feature = "std")]
    Mapped(#[expect(dead_code, reason = "only dropped")] kinglet::Mapping),
}

impl Model {
    /// One session more uses the model.
    pub(crate) fn retain(&self) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    /// One session less uses the model.
    pub(crate) fn release(&self) {
        self.sessions.fetch_sub(1, Ordering::Release);
    }
}

/// Where a constructor puts what it makes, and where it tells what went wrong.
pub(crate) struct Target {
    /// Whose signature is asked for; null for nobody's.
    pub trust: *const Trust,
    pub memory: *mut c_void,
    pub memory_bytes: usize,
    pub model: *mut *mut Model,
    pub message: *mut c_char,
    pub message_bytes: usize,
}

impl Target {
    /// Makes a model of what `open` makes of what `find` returns.
    ///
    /// # Safety
    ///
    /// The pointers are those that the functions below get; the bytes must stay for as long as the
    /// weights are kept.
    pub unsafe fn fill(
        &self,
        find: &dyn Fn() -> Result<(&'static [u8], Weights)>,
        open: &dyn Fn(&'static [u8]) -> Result<File<'static>>,
    ) -> Status {
        let result = handle::check_out(self.model, "the place for the model").and_then(|()| {
            caught(|| {
                self.check_apart(&[])?;
                // SAFETY: checked just now.
                unsafe { self.model.write(ptr::null_mut()) };
                let place = Place::new(self.memory, self.memory_bytes, size_of::<Model>())?;
                let (bytes, weights) = find()?;
                self.check_apart(bytes)?;
                let file = open(bytes)?;
                // SAFETY: the place has room for it; the bytes stay as promised.
                let model = unsafe { create(place, file, weights, !self.trust.is_null()) };
                // SAFETY: checked at the start.
                unsafe { self.model.write(model) };
                Ok(())
            })
        });
        let message = result.as_ref().err().map_or("", |error| error.message());
        // SAFETY: as promised by the caller.
        unsafe { handle::write_message(message, self.message, self.message_bytes) };
        Status::from(&result)
    }

    /// `BadArgument` when what is written to overlaps, or overlaps with the weight file.
    fn check_apart(&self, weights: &[u8]) -> Result<()> {
        check_apart(&[
            Bytes::of(self.memory.cast::<u8>(), self.memory_bytes, "the memory"),
            Bytes::of(self.model, 1, "the place for the model"),
            Bytes::of(self.message, self.message_bytes, "the buffer for the message"),
            Bytes::of(weights.as_ptr(), weights.len(), "the weight file"),
            // SAFETY: the caller's struct begins with its size.
            unsafe { handle::bytes_of(self.trust, "what is trusted") },
        ])
    }
}

/// Writes the handle to its place.
///
/// # Safety
///
/// The place must have room for a [`Model`], and the bytes must stay as long as the weights.
unsafe fn create(
    place: Place,
    file: File<'static>,
    weights: Weights,
    is_signed: bool,
) -> *mut Model {
    let handle = Model {
        tag: Tag::none(),
        sessions: AtomicUsize::new(0),
        last: LastError::none(),
        file,
        tokenizer: Tokenizer::new(file.vocab()),
        is_signed,
        _weights: weights,
        keeper: place.keeper,
    };
    // SAFETY: the place is aligned, large enough, and nobody else's.
    let model = unsafe { handle::open(place.start, handle) };
    log::info!("opened a model of {} bytes", file.len());
    model
}

/// Bytes of memory that a model's handle needs, when the caller gives it.
///
/// Threads: any number at once.
#[unsafe(no_mangle)]
pub extern "C" fn kinglet_model_bytes() -> usize {
    size_of::<Model>()
}

/// Opens a weight file by its path, on Windows in UTF-8, and maps it. Weights are not read before
/// they are used.
///
/// `memory` is where the handle will be: `kinglet_model_bytes` at a multiple of
/// `KINGLET_ALIGNMENT`, or null and 0 for memory of the library's. `message` gets a sentence about
/// a failure, cut to `message_bytes`, or may be null. The file must be neither modified nor
/// shortened while it is open, as it is read where the system has mapped it: to replace a file,
/// write another one and rename it.
///
/// Threads: any number at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_model_open_path(
    path: *const c_char,
    memory: *mut c_void,
    memory_bytes: usize,
    model: *mut *mut Model,
    message: *mut c_char,
    message_bytes: usize,
) -> Status {
    let trust = ptr::null();
    let target = Target { trust, memory, memory_bytes, model, message, message_bytes };
    // SAFETY: as promised by the caller; the bytes belong to the mapping.
    unsafe { target.fill(&|| files::map_path(path), &File::open) }
}

/// Opens a weight file that is part of an open file, `bytes` from `offset` on, and maps it; 0 bytes
/// are all to the end. The descriptor is only borrowed.
///
/// `offset` must be a multiple of 64. The rest is as for `kinglet_model_open_path`, also that the
/// file must be neither modified nor shortened. `KINGLET_STATUS_RESOURCE` on Windows, where
/// descriptors belong to one of several C runtimes.
///
/// Threads: any number at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_model_open_fd(
    fd: c_int,
    offset: u64,
    bytes: u64,
    memory: *mut c_void,
    memory_bytes: usize,
    model: *mut *mut Model,
    message: *mut c_char,
    message_bytes: usize,
) -> Status {
    let trust = ptr::null();
    let target = Target { trust, memory, memory_bytes, model, message, message_bytes };
    // SAFETY: as promised by the caller; the bytes belong to the mapping.
    unsafe { target.fill(&|| files::map_fd(fd, offset, bytes), &File::open) }
}

/// Opens a weight file that lies in memory, such as flash or a mapped partition. Nothing is copied:
/// the caller keeps the `bytes` at `data`, unchanged, until the model is closed.
///
/// `data` must start at a multiple of `KINGLET_ALIGNMENT`. The rest is as for
/// `kinglet_model_open_path`.
///
/// Threads: any number at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_model_open_memory(
    data: *const c_void,
    bytes: usize,
    memory: *mut c_void,
    memory_bytes: usize,
    model: *mut *mut Model,
    message: *mut c_char,
    message_bytes: usize,
) -> Status {
    let trust = ptr::null();
    let target = Target { trust, memory, memory_bytes, model, message, message_bytes };
    // SAFETY: as promised by the caller.
    let find = || unsafe { find_in_memory(data, bytes) };
    // SAFETY: as promised by the caller.
    unsafe { target.fill(&find, &File::open) }
}

/// The caller's bytes.
///
/// # Safety
///
/// The caller must keep the `bytes` at `data` until the model is closed.
pub(crate) unsafe fn find_in_memory(
    data: *const c_void,
    bytes: usize,
) -> Result<(&'static [u8], Weights)> {
    ensure!(!data.is_null(), Code::BadArgument, "the file is null");
    // SAFETY: as promised by the caller.
    let data: &'static [u8] = unsafe { handle::array(data.cast(), bytes, "the file") }?;
    Ok((data, Weights::Caller))
}

/// Closes a model; null is nothing. `KINGLET_STATUS_BUSY` while there are sessions of it.
///
/// A model in the library's memory is gone then, like memory after free(): nobody can find out that
/// a pointer to it is used once more. One in the caller's memory can be told to be closed.
///
/// Threads: the last call with this model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_model_close(model: *mut Model) -> Status {
    if model.is_null() {
        return Status::Ok;
    }
    // SAFETY: as promised by the caller.
    let result = caught(|| unsafe { close(model) });
    Status::from(&result)
}

unsafe fn close(model: *mut Model) -> Result<()> {
    // SAFETY: as promised by the caller.
    let handle = unsafe { handle::check(model) }?;
    let sessions = handle.sessions.load(Ordering::Acquire);
    ensure!(sessions == 0, Code::Busy, "{sessions} sessions of the model are open");
    // SAFETY: as promised by the caller.
    unsafe { handle::close(model) }?;
    // SAFETY: the handle was open until now, and nobody else uses it. What keeps its memory is
    // moved out with it and dropped last.
    unsafe { ptr::from_ref::<Model>(handle).read() }.into_keeper().give_back();
    Ok(())
}

impl Model {
    /// Drops everything but what keeps the handle's own memory.
    fn into_keeper(self) -> Keeper {
        self.keeper
    }
}

/// What a model is. `info->struct_size` must be set.
///
/// Threads: any number at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_model_describe(
    model: *const Model,
    info: *mut ModelInfo,
) -> Status {
    // SAFETY: as promised by the caller.
    unsafe { with(model, |model| fill_info(&model.file, info)) }
}

/// # Safety
///
/// As for [`versioned::fill`].
unsafe fn fill_info(file: &File<'_>, info: *mut ModelInfo) -> Result<()> {
    let config = file.config();
    let own = ModelInfo {
        struct_size: size_of::<ModelInfo>(),
        file_bytes: file.len(),
        read_bytes_per_token: file.read_bytes_per_token(),
        vocabulary: config.vocab_size,
        max_context: config.max_context,
        longest_token_bytes: file.vocab().longest_token_bytes() as u32,
        has_chat_template: u32::from(file.frame()?.is_some()),
        fingerprint: file.fingerprint(),
        embedding_size: config.hidden,
        reserved: 0,
    };
    // SAFETY: as promised by the caller.
    unsafe { versioned::fill(info, &own) }
}

/// Compares the checksums of the whole file, weights included, which reads all of it.
/// `KINGLET_STATUS_CORRUPT` when one is wrong.
///
/// Threads: any number at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_model_verify(model: *const Model) -> Status {
    // SAFETY: as promised by the caller.
    unsafe { with(model, |model| model.file.verify()) }
}

/// Writes the sentence about the model's last failure, cut to `capacity` bytes with the
/// terminating zero. With several threads the last failure can be another thread's.
///
/// Threads: any number at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_model_message(
    model: *const Model,
    buffer: *mut c_char,
    capacity: usize,
) -> Status {
    // SAFETY: as promised by the caller.
    match unsafe { handle::check(model) } {
        Ok(model) => {
            // SAFETY: as promised by the caller.
            unsafe { model.last.copy(buffer, capacity) };
            Status::Ok
        }
        Err(error) => error.code().into(),
    }
}

/// Does something with a model that several threads may use.
///
/// # Safety
///
/// As for [`handle::check`].
pub(crate) unsafe fn with(model: *const Model, work: impl FnOnce(&Model) -> Result<()>) -> Status {
    // SAFETY: as promised by the caller.
    match unsafe { handle::check(model) } {
        Ok(model) => model.last.keep(caught(|| work(model))),
        Err(error) => error.code().into(),
    }
}
