//! A model and its sessions through the functions of the interface, in an interpreter that sees
//! every access: `tests/miri` names a model in `KINGLET_MIRI_MODEL`, a tiny one, since a product
//! takes thousands of times as long. What all functions do is proved by `tests/c`.

use crate::abi::{Call, Candidate, KINGLET_ALIGNMENT, Message, RunPart, SessionOptions};
use crate::model::{self, Model};
use crate::replies;
use crate::session::{self, SessionHandle};
use crate::signed;
use crate::state;
use crate::status::Status;
use crate::tools;
use crate::trust::Trust;
use crate::work;
use core::ffi::{CStr, c_char, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

const VARIABLE: &str = "KINGLET_MIRI_MODEL";
/// A key that has signed nothing here.
const KEY: &CStr = c"RWRMRnxKeFH07NQaiYnoqbSphZF/8G46tBYPQ4SoJIVhnISrHAdyrrxF";
const PROMPT: [u32; 2] = [40, 41];
/// More than a session takes.
const SESSION_BYTES: usize = 1 << 18;

/// Memory of the caller's, whose bytes are any.
#[derive(Clone)]
#[repr(align(64))]
struct Line([u8; KINGLET_ALIGNMENT]);

fn take(bytes: usize) -> Vec<Line> {
    vec![Line([0xA5; KINGLET_ALIGNMENT]); bytes.div_ceil(KINGLET_ALIGNMENT)]
}

/// Runs the parts of a pass on two threads.
unsafe extern "C" fn run_parts(_: *mut c_void, parts: usize, run: RunPart, context: *mut c_void) {
    let (next, context) = (AtomicUsize::new(0), crate::handle::User(context));
    let work = || {
        let context = &context;
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part >= parts {
                return;
            }
            // SAFETY: the library's function with its context, while this function runs.
            unsafe { run.unwrap()(context.0, part) };
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
}

/// Keeps a reply's first token, which ends it.
unsafe extern "C" fn keep(user: *mut c_void, token: u32, _: *const c_char, _: usize) -> i32 {
    // SAFETY: the token that `use_session` has lent.
    unsafe { user.cast::<u32>().write(token) };
    1
}

/// A session in this memory.
unsafe fn make(model: *const Model, memory: *mut Line) -> *mut SessionHandle {
    let options = SessionOptions {
        struct_size: size_of::<SessionOptions>(),
        context: 8,
        batch: 2,
        threads: 2,
        kv: 0,
        flags: 0,
        reserved: 0,
        tier: c"scalar".as_ptr(),
        run_parts: Some(run_parts),
        run_parts_user: ptr::null_mut(),
        clock: None,
        clock_user: ptr::null_mut(),
        texts: 2,
        reserved_texts: 0,
        memory_budget_bytes: 0,
    };
    let (mut bytes, mut session) = (0, ptr::null_mut());
    // SAFETY: all places are right, and the memory is as long as is said.
    unsafe {
        assert_eq!(session::kinglet_session_bytes(model, &options, &mut bytes), Status::Ok);
        assert!(bytes <= SESSION_BYTES, "{bytes} bytes");
        let memory = memory.cast();
        let none = ptr::null_mut();
        let status =
            session::kinglet_session_new(model, &options, memory, bytes, &mut session, none, 0);
        assert_eq!(status, Status::Ok);
    }
    session
}

/// What a session says behind the prompt, saved, forked and read meanwhile.
unsafe fn use_session(session: *mut SessionHandle, twin: *mut SessionHandle) {
    let (mut tokens, mut logits, mut count) = ([0; 2], ptr::null(), 0);
    let mut top = [Candidate { token: 0, log_probability: 0.0 }; 3];
    // SAFETY: the sessions are open, and all places are right.
    unsafe {
        let status = work::kinglet_session_prefill(session, PROMPT.as_ptr(), PROMPT.len());
        assert_eq!(status, Status::Ok);
        assert_eq!(work::kinglet_session_logits(session, &mut logits, &mut count), Status::Ok);
        assert!(core::slice::from_raw_parts(logits, count).iter().all(|x| x.is_finite()));
        let status = work::kinglet_session_top(session, top.as_mut_ptr(), 3, &mut count);
        assert_eq!((status, count), (Status::Ok, 3));
        assert_eq!(work::kinglet_session_next(session, &mut tokens[0]), Status::Ok);
        assert_eq!(tokens[0], top[0].token);
        assert_eq!(state::kinglet_session_fork(twin, session, 3), Status::Ok);
        assert_eq!(state::kinglet_session_state_bytes(session, &mut count), Status::Ok);
        let mut saved = take(count);
        let start = saved.as_mut_ptr().cast::<c_void>();
        assert_eq!(state::kinglet_session_save(session, start, count, &mut count), Status::Ok);
        assert_eq!(state::kinglet_session_reset(session), Status::Ok);
        assert_eq!(state::kinglet_session_restore(session, start, count), Status::Ok);
        assert_eq!(work::kinglet_session_next(session, &mut tokens[1]), Status::Ok);
        let mut again = 0;
        assert_eq!(work::kinglet_session_next(twin, &mut again), Status::Ok);
        assert_eq!(tokens[1], again);
        // The same once more in another text of the session, streamed.
        assert_eq!(session::kinglet_session_select(twin, 1), Status::Ok);
        assert_eq!(state::kinglet_session_copy_text(twin, 0, 3), Status::Ok);
        let (options, told) = (ptr::null(), ptr::null_mut());
        let user = (&raw mut again).cast();
        let status = replies::kinglet_session_generate(twin, options, Some(keep), user, told);
        assert_eq!((status, tokens[1]), (Status::Ok, again));
    }
}

/// A table of functions, of which replies are `[f({})]`.
fn functions() -> Vec<u8> {
    let texts = ["", "", "\n", "told", "<", "|", ">", "[", "", "(", ")", "", "]"].join("\u{1F}");
    let words = texts.len().div_ceil(4) as u32;
    // The automaton of a single byte.
    let mut table = b"KSCHEMA\n".to_vec();
    table.extend([1, 2, 1, words, 1, 1 | 1 << 31].into_iter().flat_map(u32::to_le_bytes));
    table.extend(b"[[\x01\0");
    table.extend(texts.bytes());
    table.resize(table.len().next_multiple_of(4), 0);
    table
}

/// Tells a model of functions, and reads a call of one.
unsafe fn use_functions(model: *const Model) {
    let table = functions();
    let (start, bytes) = (table.as_ptr().cast::<c_void>(), table.len());
    let messages = [(c"user", c"Hi"), (c"tool", c"1"), (c"tool", c"2")]
        .map(|(role, content)| Message { role: role.as_ptr(), content: content.as_ptr() });
    let (mut tokens, mut count, mut in_words) = ([0; 256], 0, 0);
    let reply = "[f({\"a\": \"}\"})]";
    let mut call = [const { MaybeUninit::<Call>::uninit() }; 2];
    // SAFETY: the model is open, all places are right, and the texts end with zeros.
    unsafe {
        let (messages, out) = (messages.as_ptr(), tokens.as_mut_ptr());
        let status =
            tools::kinglet_tools_tokens(model, start, bytes, messages, 3, 0, out, 256, &mut count);
        assert_eq!(status, Status::Ok);
        assert!((3..256).contains(&count), "{count} tokens");
        let status = tools::kinglet_tools_calls(
            start,
            bytes,
            reply.as_ptr().cast(),
            reply.len(),
            call.as_mut_ptr().cast(),
            2,
            &mut count,
            &mut in_words,
        );
        assert_eq!((status, count, in_words), (Status::Ok, 1, 0));
        let Call { name, name_bytes, arguments, arguments_bytes } = call[0].assume_init();
        assert_eq!(core::slice::from_raw_parts(name.cast::<u8>(), name_bytes), b"f");
        let arguments = core::slice::from_raw_parts(arguments.cast::<u8>(), arguments_bytes);
        assert_eq!(arguments, b"{\"a\": \"}\"}");
    }
}

#[test]
fn sessions_live_and_end_in_the_callers_memory() {
    let path = std::env::var_os(VARIABLE).expect("tests/miri names a model");
    let bytes = std::fs::read(path).unwrap();
    let mut data = take(bytes.len());
    for (line, bytes) in data.iter_mut().zip(bytes.chunks(KINGLET_ALIGNMENT)) {
        line.0[..bytes.len()].copy_from_slice(bytes);
    }
    let mut place = take(model::kinglet_model_bytes());
    let (mut own, mut twins) = (take(SESSION_BYTES), take(SESSION_BYTES));
    // One pointer for all rounds: a closed handle must stay readable.
    let (own, twins) = (own.as_mut_ptr(), twins.as_mut_ptr());
    let mut model = ptr::null_mut();
    let none = ptr::null_mut();
    // SAFETY: the memory is as long as is said and stays, and the handles are those of this test.
    unsafe {
        let (start, room) = (place.as_mut_ptr().cast(), model::kinglet_model_bytes());
        let data = data.as_ptr().cast();
        let trust = Trust {
            struct_size: size_of::<Trust>(),
            key: KEY.as_ptr(),
            model_id: c"bird".as_ptr(),
            reserved: 0,
            least_version: 1,
            flags: 0,
            reserved_flags: 0,
        };
        let status = signed::kinglet_model_open_signed_memory(
            data,
            bytes.len(),
            &trust,
            start,
            room,
            &mut model,
            none,
            0,
        );
        assert_eq!((status, model), (Status::NotSigned, ptr::null_mut()));
        let status =
            model::kinglet_model_open_memory(data, bytes.len(), start, room, &mut model, none, 0);
        assert_eq!(status, Status::Ok);
        use_functions(model);
        let mut closed = ptr::null_mut();
        for round in 0..2 {
            let (session, twin) = (make(model, own), make(model, twins));
            assert_eq!(state::kinglet_session_reset(closed), Status::BadHandle);
            if round == 0 {
                use_session(session, twin);
            }
            assert_eq!(model::kinglet_model_close(model), Status::Busy);
            assert_eq!(session::kinglet_session_destroy(twin), Status::Ok);
            assert_eq!(session::kinglet_session_destroy(session), Status::Ok);
            assert_eq!(session::kinglet_session_destroy(session), Status::BadHandle);
            closed = session;
        }
        assert_eq!(model::kinglet_model_close(model), Status::Ok);
        assert_eq!(model::kinglet_model_verify(model), Status::BadHandle);
    }
}
