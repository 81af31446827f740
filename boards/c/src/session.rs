//! Sessions: their memory, their life, and who may use them when.

use crate::abi::{self, KINGLET_ALIGNMENT, SessionInfo, SessionOptions};
use crate::clock::Clock;
use crate::handle::{self, Bytes, Handle, LastError, Lock, User, caught, check_apart, put};
use crate::model::{self, Model};
use crate::place::{Keeper, Place};
use crate::sampling::TextSampling;
use crate::status::Status;
use crate::tag::{Kind, Tag};
use crate::versioned;
use crate::workers::{Crew, Hook};
use core::cell::UnsafeCell;
use core::ffi::{c_char, c_void};
use core::ptr;
use core::slice;
use core::sync::atomic::{AtomicBool, Ordering};
use kinglet_backends::{AnyEngine, Backend};
use kinglet_core::draft::LOOKAHEAD_ROWS;
use kinglet_core::{KvType, Limits, Text, Texts, texts};
use kinglet_quant::{Code, Error, File, Result, ensure, fail};

/// The context that a session has unless told otherwise.
const DEFAULT_CONTEXT: u32 = 2048;
/// The batch that a session has unless told otherwise.
const DEFAULT_BATCH: u32 = 64;
/// Bytes of the handle in front of the session's buffers.
const HANDLE_BYTES: usize = size_of::<SessionHandle>().next_multiple_of(KINGLET_ALIGNMENT);

/// Bytes of what a session keeps of how tokens are chosen, between its handle and its buffers.
fn sampling_bytes(texts: usize) -> usize {
    (texts * size_of::<TextSampling>()).next_multiple_of(KINGLET_ALIGNMENT)
}

/// A model, the memory of one or several texts, and the threads that work on them.
///
/// One thread at a time can use a session: a second one gets `Busy`, and so does a callback that
/// uses the session which called it. `kinglet_session_cancel` alone can be called at any time.
// The tag comes first, so that foreign memory need not be longer than a tag to be told apart.
// cbindgen would show the fields if it understood this way of saying so.
#[cfg_attr(all(), repr(C))]
pub struct SessionHandle {
    tag: Tag,
    lock: Lock,
    cancelled: AtomicBool,
    last: LastError,
    /// For whoever holds the lock.
    work: UnsafeCell<Work>,
    model: *const Model,
    bytes: usize,
    keeper: Keeper,
}

const _: () = assert!(core::mem::offset_of!(SessionHandle, tag) == 0);

// SAFETY: the tag is at the start, see above.
unsafe impl Handle for SessionHandle {
    const KIND: Kind = Kind::SessionHandle;
    const NAME: &'static str = "session";
}

const _: () = assert!(abi::KINGLET_MAX_TEXTS == kinglet_core::plan::MAX_TEXTS);

/// What the functions of a session work with.
pub(crate) struct Work {
    pub texts: Texts<'static, AnyEngine<'static, Crew>>,
    /// The text that calls work on.
    pub number: usize,
    /// How the tokens of each text are chosen `[texts]`.
    pub samplings: &'static mut [TextSampling],
    pub clock: Clock,
    /// Milliseconds that a call may take; 0 for any.
    pub deadline_ms: u32,
    pub on_progress: abi::OnProgress,
    pub on_progress_user: User,
    /// Whether an invariant broke, so that nothing can be relied on.
    is_broken: bool,
}

impl Work {
    /// The text that calls work on.
    pub fn text(&mut self) -> Text<'_, 'static, AnyEngine<'static, Crew>> {
        self.texts.text(self.number)
    }
}

impl SessionHandle {
    /// Whether the session was cancelled, which the caller tells: the next one is not.
    pub(crate) fn take_cancelled(&self) -> bool {
        self.cancelled.swap(false, Ordering::AcqRel)
    }

    /// All of the session's memory, handle and buffers.
    pub(crate) fn memory(&self) -> Bytes<'static> {
        Bytes::of(ptr::from_ref(self).cast::<u8>(), self.bytes, "the session's memory")
    }
}

/// Does something with a session that nobody else uses at the moment.
///
/// # Safety
///
/// As for [`handle::check`].
pub(crate) unsafe fn with(
    session: *const SessionHandle,
    work: impl FnOnce(&mut Work, &SessionHandle) -> Result<()>,
) -> Status {
    // SAFETY: as promised by the caller.
    let session = match unsafe { handle::check(session) } {
        Ok(session) => session,
        Err(error) => return error.code().into(),
    };
    session.last.keep(locked(session, work))
}

/// Does something with a session while nobody else can use it.
pub(crate) fn locked(
    session: &SessionHandle,
    work: impl FnOnce(&mut Work, &SessionHandle) -> Result<()>,
) -> Result<()> {
    let Some(_held) = session.lock.try_take() else {
        fail!(Code::Busy, "the session is in use, on another thread or by this callback's caller");
    };
    // SAFETY: whoever holds the lock is alone.
    let own = unsafe { &mut *session.work.get() };
    ensure!(!own.is_broken, Code::Internal, "the session has failed before: destroy it");
    let outcome = caught(|| work(own, session));
    own.is_broken = outcome.as_ref().is_err_and(|error| error.code() == Code::Internal);
    outcome
}

/// Options, checked and resolved.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub limits: Limits,
    pub backend: Backend,
    pub options: SessionOptions,
}

impl Request {
    /// # Safety
    ///
    /// As for [`versioned::read`]; the name of the tier must end with a zero.
    pub unsafe fn read(file: &File<'_>, options: *const SessionOptions) -> Result<Self> {
        // SAFETY: as promised by the caller.
        let options = unsafe { versioned::read(options) }?;
        let or = |value: u32, default: u32| if value == 0 { default } else { value } as usize;
        let batch = or(options.batch, DEFAULT_BATCH);
        let speculates = options.flags & abi::KINGLET_SESSION_SPECULATE != 0;
        let texts = or(options.texts, 1);
        let limits = Limits {
            texts,
            context: or(options.context, DEFAULT_CONTEXT.min(file.config().max_context)),
            batch,
            logit_rows: if speculates { LOOKAHEAD_ROWS.max(texts).min(batch) } else { texts },
            workers: or(options.threads, 1),
            kv: match options.kv {
                abi::KINGLET_KV_INT8 => KvType::Int8,
                abi::KINGLET_KV_F16 => KvType::F16,
                kv => fail!(Code::BadArgument, "there is no type {kv} of keys and values"),
            },
        };
        let known = abi::KINGLET_SESSION_PIN_THREADS | abi::KINGLET_SESSION_SPECULATE;
        ensure!(
            options.flags & !known == 0,
            Code::BadArgument,
            "there are no session flags {:#x}",
            options.flags
        );
        ensure!(
            (options.reserved, options.reserved_texts) == (0, 0),
            Code::BadArgument,
            "a reserved field is not zero"
        );
        let backend = if options.tier.is_null() {
            Backend::best()
        } else {
            // SAFETY: as promised by the caller.
            Backend::from_name(unsafe { handle::text(options.tier, "the tier") }?)?
        };
        Self { limits, backend, options }.within_budget(file)
    }

    /// Bytes of handle and buffers.
    pub fn bytes(&self, file: &File<'_>) -> Result<usize> {
        let buffers = self.backend.plan(file, &self.limits)?.total_bytes();
        match buffers.checked_add(HANDLE_BYTES + sampling_bytes(self.limits.texts)) {
            Some(bytes) => Ok(bytes),
            None => fail!(Code::BadArgument, "the session is larger than memory"),
        }
    }

    /// The workers that the options ask for.
    fn crew(&self) -> Result<Crew> {
        let user = User(self.options.run_parts_user);
        if let Some(hook) = Hook::new(self.options.run_parts, user, self.limits.workers) {
            return Ok(Crew::Hook(hook));
        }
        let is_pinned = self.options.flags & abi::KINGLET_SESSION_PIN_THREADS != 0;
        own_threads(self.limits.workers, is_pinned)
    }
}

#[cfg(feature = "std")]
fn own_threads(count: usize, is_pinned: bool) -> Result<Crew> {
    if count == 1 && !is_pinned {
        return Ok(Crew::Alone);
    }
    crate::reserve::check()?;
    Ok(Crew::Pool(kinglet::Pool::new(count, is_pinned)?))
}

#[cfg(not(feature = "std"))]
fn own_threads(count: usize, is_pinned: bool) -> Result<Crew> {
    let is_possible = count == 1 && !is_pinned;
    ensure!(is_possible, Code::Resource, "this build has no threads: give it a run_parts");
    Ok(Crew::Alone)
}

/// Bytes of memory that a session with these options needs. `options` may be null.
///
/// Threads: any number at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_bytes(
    model: *const Model,
    options: *const SessionOptions,
    bytes: *mut usize,
) -> Status {
    let work = |model: &Model| {
        // SAFETY: as promised by the caller.
        unsafe { put(bytes, 0, "the place for the bytes") }?;
        // SAFETY: as promised by the caller.
        let request = unsafe { Request::read(&model.file, options) }?;
        // SAFETY: as promised by the caller.
        unsafe { put(bytes, request.bytes(&model.file)?, "the place for the bytes") }
    };
    // SAFETY: as promised by the caller.
    unsafe { model::with(model, work) }
}

/// Makes a session, which takes all of its memory now. `options` may be null.
///
/// `memory` is `kinglet_session_bytes` at a multiple of `KINGLET_ALIGNMENT`, the caller's until the
/// session is destroyed; or null and 0 for memory of the library's. `message` gets a sentence about
/// a failure, cut to `message_bytes`, or may be null. The model must stay open.
///
/// Threads: any number at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_new(
    model: *const Model,
    options: *const SessionOptions,
    memory: *mut c_void,
    memory_bytes: usize,
    session: *mut *mut SessionHandle,
    message: *mut c_char,
    message_bytes: usize,
) -> Status {
    let make = || {
        check_apart(&[
            Bytes::of(memory.cast::<u8>(), memory_bytes, "the memory"),
            Bytes::of(session, 1, "the place for the session"),
            Bytes::of(message, message_bytes, "the buffer for the message"),
        ])?;
        // SAFETY: as promised by the caller.
        unsafe { put(session, ptr::null_mut(), "the place for the session") }?;
        // SAFETY: as promised by the caller.
        let model: &Model = unsafe { handle::check(model) }?;
        check_apart(&[
            Bytes::of(memory.cast::<u8>(), memory_bytes, "the memory"),
            Bytes::of(ptr::from_ref(model), 1, "the model"),
        ])?;
        // SAFETY: as promised by the caller.
        let request = unsafe { Request::read(&model.file, options) }?;
        let bytes = request.bytes(&model.file)?;
        let place = Place::new(memory, memory_bytes, bytes)?;
        // SAFETY: the place has as many bytes, and nobody else uses them.
        let made = unsafe { create(model, &request, place, bytes) }?;
        // SAFETY: checked at the start.
        unsafe { session.write(made) };
        Ok(())
    };
    let result = caught(make);
    // SAFETY: as promised by the caller.
    unsafe {
        let text = result.as_ref().err().map_or("", Error::message);
        handle::write_message(text, message, message_bytes);
    }
    Status::from(&result)
}

/// # Safety
///
/// The place must have `bytes`, those of the request, and be nobody else's.
pub(crate) unsafe fn create(
    model: &Model,
    request: &Request,
    place: Place,
    bytes: usize,
) -> Result<*mut SessionHandle> {
    const { assert!(align_of::<TextSampling>() <= KINGLET_ALIGNMENT) };
    let texts = request.limits.texts;
    let before = HANDLE_BYTES + sampling_bytes(texts);
    // SAFETY: handle, samplings and buffers lie in the place one behind the other, so they do not
    // overlap. What the caller's memory holds before is any bytes, which are valid.
    let buffers = unsafe {
        slice::from_raw_parts_mut::<'static, u8>(place.start.add(before), bytes - before)
    };
    let plan = request.backend.plan(&model.file, &request.limits)?;
    texts::check_memory(&plan, buffers)?;
    let crew = request.crew()?;
    // SAFETY: as above; the start is aligned for samplings, and each is written before it is read.
    let samplings = unsafe {
        let start = place.start.add(HANDLE_BYTES).cast::<TextSampling>();
        (0..texts).for_each(|text| start.add(text).write(TextSampling::greedy()));
        slice::from_raw_parts_mut::<'static, TextSampling>(start, texts)
    };
    let (own, rest) = buffers.split_at_mut(plan.engine_bytes());
    let engine = AnyEngine::new(request.backend, crew, model.file, plan, own)?;
    let work = Work {
        texts: Texts::new(model.file, engine, rest),
        number: 0,
        samplings,
        clock: Clock::new(request.options.clock, User(request.options.clock_user)),
        deadline_ms: 0,
        on_progress: None,
        on_progress_user: User(ptr::null_mut()),
        is_broken: false,
    };
    let handle = SessionHandle {
        tag: Tag::none(),
        lock: Lock::new(),
        cancelled: AtomicBool::new(false),
        last: LastError::none(),
        work: UnsafeCell::new(work),
        model,
        bytes,
        keeper: place.keeper,
    };
    // SAFETY: the place is aligned, large enough, and nobody else's.
    let session = unsafe { handle::open(place.start, handle) };
    model.retain();
    log::info!("made a session of {bytes} bytes on {}", request.backend.name());
    Ok(session)
}

/// Ends a session and its threads; null is nothing. The memory is the caller's again, if it was.
/// `KINGLET_STATUS_BUSY` while another thread uses the session.
///
/// A session in the library's memory is gone then, as with `kinglet_model_close`.
///
/// Threads: the last call with this session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_destroy(session: *mut SessionHandle) -> Status {
    if session.is_null() {
        return Status::Ok;
    }
    // SAFETY: as promised by the caller.
    let result = caught(|| unsafe { destroy(session) });
    Status::from(&result)
}

/// # Safety
///
/// As for [`handle::check`].
pub(crate) unsafe fn destroy(session: *mut SessionHandle) -> Result<()> {
    // SAFETY: as promised by the caller.
    let handle = unsafe { handle::check(session) }?;
    let Some(held) = handle.lock.try_take() else {
        fail!(Code::Busy, "the session is in use");
    };
    // SAFETY: as promised by the caller.
    unsafe { handle::close(session) }?;
    // Nobody can take the lock any more, and its memory is about to go.
    core::mem::forget(held);
    // SAFETY: the handle was open until now, and nobody else uses it. What keeps its memory is
    // moved out with it.
    let SessionHandle { work, model, keeper, .. } =
        unsafe { ptr::from_ref::<SessionHandle>(handle).read() };
    drop(work);
    // SAFETY: the model counts its sessions and is not closed while there are any.
    unsafe { (*model).release() };
    keeper.give_back();
    Ok(())
}

/// What a session is, and how far its text is. `info->struct_size` must be set.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_describe(
    session: *const SessionHandle,
    info: *mut SessionInfo,
) -> Status {
    let work = |work: &mut Work, session: &SessionHandle| {
        let limits = work.texts.plan().limits();
        let own = SessionInfo {
            struct_size: size_of::<SessionInfo>(),
            bytes: session.bytes,
            tokens: work.texts.tokens(work.number).len() as u32,
            context: limits.context as u32,
            batch: limits.batch as u32,
            threads: limits.workers as u32,
            tier: name_in_c(work.texts.engine().backend().name()),
            texts: limits.texts as u32,
            text: work.number as u32,
            device_bytes: work.texts.engine().device_bytes(),
        };
        // SAFETY: as promised by the caller.
        check_apart(&[unsafe { handle::bytes_of(info, "the struct to fill") }, session.memory()])?;
        // SAFETY: as promised by the caller.
        unsafe { versioned::fill(info, &own) }
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, work) }
}

/// A name filled up with zeros, at least one.
fn name_in_c(name: &str) -> [c_char; 16] {
    let mut own = [0; 16];
    for (own, byte) in own[..15].iter_mut().zip(name.bytes()) {
        *own = byte as c_char;
    }
    own
}

/// Chooses the text that the session's later calls work on; the first one has the number 0.
/// `KINGLET_STATUS_BAD_ARGUMENT` when there are fewer, see `kinglet_session_options.texts`.
///
/// Threads: one at a time for a session; a second one gets `KINGLET_STATUS_BUSY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_select(session: *mut SessionHandle, text: u32) -> Status {
    let work = |work: &mut Work, _: &SessionHandle| {
        let texts = work.samplings.len();
        ensure!(
            (text as usize) < texts,
            Code::BadArgument,
            "there is no text {text}: the session has {texts}"
        );
        work.number = text as usize;
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { with(session, work) }
}

/// Writes the sentence about the session's last failure, cut to `capacity` bytes with the
/// terminating zero. Can be called while another thread uses the session.
///
/// Threads: any number at once, also while another one uses the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_message(
    session: *const SessionHandle,
    buffer: *mut c_char,
    capacity: usize,
) -> Status {
    // SAFETY: as promised by the caller.
    match unsafe { handle::check(session) } {
        Ok(session) => {
            // SAFETY: as promised by the caller.
            unsafe { session.last.copy(buffer, capacity) };
            Status::Ok
        }
        Err(error) => error.code().into(),
    }
}

/// Ends what the session does at its next look, before a token or a batch of a prompt; when it does
/// nothing, the next `kinglet_session_prefill`, `_next` or `_generate` ends at once. Where that is
/// not wanted any more, `kinglet_session_next` clears it: it returns `KINGLET_STATUS_INTERRUPTED`
/// and leaves the text as it is, and the call after it works.
///
/// Can be called from any thread and from signal handlers, at any time between the session's
/// creation and its destruction.
///
/// Threads: any number at once, also while another one uses the session, and signal handlers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_session_cancel(session: *const SessionHandle) -> Status {
    // SAFETY: as promised by the caller.
    match unsafe { handle::check(session) } {
        Ok(session) => {
            session.cancelled.store(true, Ordering::Release);
            Status::Ok
        }
        Err(error) => error.code().into(),
    }
}
