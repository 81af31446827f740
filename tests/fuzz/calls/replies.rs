//! Calls that run the model, with callbacks that do what they must not.

use super::abi::{
    Candidate, Constraint, GenerateOptions, Generation, KINGLET_GENERATE_SLIDE, Reply,
};
use super::input::{Guarded, Input, Sized};
use super::library::{Handle, Library};
use super::tools::table;
use super::world::{Kind, OK, World};
use std::ffi::{c_char, c_void};
use std::ptr;

const BUSY: i32 = 407;

/// What callbacks do.
struct Watcher<'w> {
    library: &'w Library,
    session: Handle,
    /// Calls until they say to stop, or cancel.
    left: u32,
    /// What they do besides.
    deed: usize,
}

impl Watcher<'_> {
    fn answer(&mut self) -> i32 {
        let (library, session) = (self.library, self.session);
        let mut token = 0;
        // SAFETY: the session is the one that calls back; the place is right.
        let refused = unsafe {
            match self.deed {
                0 => (library.session_next)(session, &mut token),
                1 => (library.session_destroy)(session),
                2 => (library.session_fork)(session, session, 0),
                3 => (library.session_reset)(session),
                _ => BUSY,
            }
        };
        assert_eq!(refused, BUSY, "{}", self.deed);
        self.left = self.left.saturating_sub(1);
        if self.left == 0 && self.deed == 4 {
            // SAFETY: as above.
            assert_eq!(unsafe { (library.session_cancel)(session) }, OK);
        }
        i32::from(self.left == 0)
    }
}

unsafe extern "C" fn on_piece(
    user: *mut c_void,
    _token: u32,
    text: *const c_char,
    text_bytes: usize,
) -> i32 {
    // SAFETY: the text has as many bytes.
    let text = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), text_bytes) };
    assert!(str::from_utf8(text).is_ok());
    // SAFETY: the watcher that was given, which nobody else uses.
    unsafe { &mut *user.cast::<Watcher<'_>>() }.answer()
}

unsafe extern "C" fn on_reply_piece(
    user: *mut c_void,
    _reply: usize,
    token: u32,
    text: *const c_char,
    text_bytes: usize,
) -> i32 {
    // SAFETY: as above.
    unsafe { on_piece(user, token, text, text_bytes) }
}

/// A constraint that answers by a byte of its own, mostly rightly.
fn constraint(answers: &mut u8, input: &mut Input<'_>) -> Constraint {
    Constraint {
        struct_size: size_of::<Constraint>(),
        user: ptr::from_mut(answers).cast(),
        filter: if input.rarely(16) { None } else { Some(filter) },
        advance: if input.rarely(16) { None } else { Some(advance) },
        forced: if input.rarely(3) { Some(forced) } else { None },
        is_complete: if input.rarely(3) { Some(is_complete) } else { None },
    }
}

/// The next answer of the byte behind a constraint.
fn next(user: *mut c_void) -> u8 {
    // SAFETY: the byte that was given, which nobody else uses.
    let answers = unsafe { &mut *user.cast::<u8>() };
    *answers = answers.wrapping_mul(141).wrapping_add(89);
    *answers
}

unsafe extern "C" fn filter(user: *mut c_void, tokens: *mut u32, count: usize) -> usize {
    // SAFETY: as many tokens.
    let tokens = unsafe { std::slice::from_raw_parts_mut(tokens, count) };
    match next(user) {
        0..4 => count + 1,
        4..8 => usize::MAX,
        8..12 => {
            tokens.fill(u32::MAX);
            count
        }
        12..48 => 0,
        answer => {
            tokens.reverse();
            1 + count * usize::from(answer) / 512
        }
    }
}

unsafe extern "C" fn advance(user: *mut c_void, _token: u32) -> i32 {
    i32::from(next(user) < 24)
}

unsafe extern "C" fn forced(user: *mut c_void) -> u32 {
    match next(user) {
        0..8 => u32::MAX - 1,
        answer @ 8..100 => answer.into(),
        _ => u32::MAX,
    }
}

unsafe extern "C" fn is_complete(user: *mut c_void) -> i32 {
    i32::from(next(user) < 8)
}

unsafe extern "C" fn on_progress(user: *mut c_void, done: usize, total: usize) -> i32 {
    assert!(done < total);
    // SAFETY: as above.
    unsafe { &mut *user.cast::<Watcher<'_>>() }.answer()
}

impl World<'_> {
    fn watcher(&self, session: Handle, input: &mut Input<'_>) -> Watcher<'_> {
        Watcher { library: self.library, session, left: input.byte().into(), deed: input.pick(12) }
    }

    pub fn prefill(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Session, input);
        let (base, spread) = (u32::from(input.byte()), 1 + input.pick(40) as u32);
        let mut tokens: Vec<u32> =
            (0..input.pick(40)).map(|_| base + u32::from(input.byte()) % spread).collect();
        if let Some(last) = tokens.last_mut().filter(|_| input.rarely(8)) {
            *last = input.edge(384);
        }
        let mut watcher = self.watcher(given.handle, input);
        let user = (&raw mut watcher).cast();
        let watch = if input.rarely(2) { Some(on_progress as _) } else { None };
        let library = self.library;
        let start = if input.rarely(24) { ptr::null() } else { tokens.as_ptr() };
        let count = if input.rarely(64) { usize::MAX / 2 } else { tokens.len() };
        // SAFETY: the watcher stays until it is taken away again; there are as many tokens, more
        // than memory can have are refused.
        let statuses = unsafe {
            [
                (library.session_set_progress)(given.handle, watch, user),
                (library.session_prefill)(given.handle, start, count),
                (library.session_set_progress)(given.handle, None, ptr::null_mut()),
            ]
        };
        for status in statuses {
            self.check_with(given, status);
        }
    }

    pub fn next(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Session, input);
        let mut token = 0;
        let place = if input.rarely(24) { ptr::null_mut() } else { &raw mut token };
        // SAFETY: the place is right or null.
        let status = unsafe { (self.library.session_next)(given.handle, place) };
        self.check_with(given, status);
    }

    pub fn set_deadline(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Session, input);
        let time = if input.rarely(2) { 0 } else { input.edge(20) };
        // SAFETY: nothing but the handle.
        let status = unsafe { (self.library.session_set_deadline)(given.handle, time) };
        self.check_with(given, status);
    }

    pub fn generate(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Session, input);
        let stops: Vec<*const c_char> = (0..input.pick(10))
            .map(|_| match input.pick(6) {
                0 => ptr::null(),
                1 => c"".as_ptr(),
                2 => c"e".as_ptr(),
                3 => c"\xFF".as_ptr(),
                _ => c"no such text".as_ptr(),
            })
            .collect();
        let most = 1 + u32::from(input.byte() / 8);
        let mut answers = input.byte();
        let constraint = constraint(&mut answers, input);
        let table = table(input);
        let [has_constraint, has_table] = [input.rarely(4), input.rarely(4)];
        // A text that goes on when the context is full ends with its tokens alone.
        let slides = input.rarely(4);
        let asks = input.rarely(3);
        let room = if asks { 512 * input.pick(4) } else { 0 };
        let mut candidates = Guarded::new(room * size_of::<Candidate>());
        let options = GenerateOptions {
            struct_size: 0,
            max_tokens: if slides { most } else { input.mostly(most, 8) },
            flags: if slides { KINGLET_GENERATE_SLIDE } else { 0 } | input.flags(1),
            stop: if input.rarely(24) { ptr::null() } else { stops.as_ptr() },
            stop_count: if input.rarely(4) { stops.len() } else { 0 },
            constraint: if has_constraint { &raw const constraint } else { ptr::null() },
            candidates: if asks { candidates.start().cast() } else { ptr::null_mut() },
            candidate_capacity: if input.rarely(32) { usize::MAX / 2 } else { room },
            top_count: input.edge(5),
            reserved: u32::from(input.rarely(64)),
            schema: if has_table { table.as_ptr().cast() } else { ptr::null() },
            schema_bytes: if has_table { table.len() } else { usize::from(input.rarely(64)) },
        };
        let mut options = Sized::new(options, input);
        let options = options.pointer::<GenerateOptions>(input).cast_const();
        // SAFETY: all numbers.
        let mut told = Sized::new(unsafe { std::mem::zeroed::<super::abi::Generation>() }, input);
        let told = told.pointer(input);
        let mut watcher = self.watcher(given.handle, input);
        let watch = if input.rarely(4) { None } else { Some(on_piece as _) };
        let user = (&raw mut watcher).cast();
        // SAFETY: the structs have as many bytes as they may claim to have, there are as many
        // stops, and the watcher stays.
        let status =
            unsafe { (self.library.session_generate)(given.handle, options, watch, user, told) };
        candidates.check();
        self.check_with(given, status);
    }

    /// Goes on with several texts, some of which may not be there or come twice.
    pub fn generate_all(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Session, input);
        let mut answers = input.byte();
        let constraint = constraint(&mut answers, input);
        let table = table(input);
        let [has_constraint, has_table] = [input.rarely(4), input.rarely(4)];
        let options = GenerateOptions {
            struct_size: size_of::<GenerateOptions>(),
            max_tokens: 1 + u32::from(input.byte() / 8),
            flags: input.flags(3),
            stop: ptr::null(),
            stop_count: 0,
            constraint: if has_constraint { &raw const constraint } else { ptr::null() },
            candidates: ptr::null_mut(),
            candidate_capacity: 0,
            top_count: 0,
            reserved: 0,
            schema: if has_table { table.as_ptr().cast() } else { ptr::null() },
            schema_bytes: if has_table { table.len() } else { usize::from(input.rarely(64)) },
        };
        let count = input.pick(10);
        // SAFETY: all numbers.
        let mut told = [unsafe { std::mem::zeroed::<Generation>() }; 10];
        told.iter_mut().for_each(|told| told.struct_size = size_of::<Generation>());
        let replies: Vec<Reply> = (0..count)
            .map(|number| Reply {
                text: if input.rarely(6) { input.edge(8) } else { number as u32 },
                reserved: u32::from(input.rarely(64)),
                options: if input.rarely(2) { ptr::null() } else { &raw const options },
                generation: if input.rarely(2) { ptr::null_mut() } else { &raw mut told[number] },
            })
            .collect();
        let mut watcher = self.watcher(given.handle, input);
        let watch = if input.rarely(4) { None } else { Some(on_reply_piece as _) };
        let user = (&raw mut watcher).cast();
        let start = if input.rarely(24) { ptr::null() } else { replies.as_ptr() };
        let count = if input.rarely(64) { usize::MAX / 2 } else { count };
        // SAFETY: there are as many replies, more than memory can have are refused, and what they
        // point to and the watcher stay.
        let status =
            unsafe { (self.library.session_generate_all)(given.handle, start, count, watch, user) };
        self.check_with(given, status);
    }

    /// Lets another thread call while a reply is generated.
    pub fn generate_twice(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Session, input);
        if !given.is_right {
            return;
        }
        let (library, session) = (self.library, given.handle.expose_provenance());
        let deeds: [usize; 6] = std::array::from_fn(|_| input.pick(6));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let session = ptr::with_exposed_provenance_mut(session);
                let (mut token, mut count, mut text) = (0, 0, [0; 100]);
                for deed in deeds {
                    // SAFETY: the session stays open; the places are right.
                    let status = unsafe {
                        match deed {
                            0 => (library.session_next)(session, &mut token),
                            1 => (library.session_rewind)(session, 3),
                            2 => (library.session_cancel)(session),
                            3 => (library.session_state_bytes)(session, &mut count),
                            4 => (library.session_message)(session, text.as_mut_ptr(), text.len()),
                            _ => (library.session_prefill)(session, [20, 21].as_ptr(), 2),
                        }
                    };
                    assert!(status != 601 && status != 411, "status {status}");
                }
            });
            // SAFETY: null is right everywhere here.
            let status = unsafe {
                (library.session_generate)(
                    given.handle,
                    ptr::null(),
                    None,
                    ptr::null_mut(),
                    ptr::null_mut(),
                )
            };
            self.check_with(given, status);
        });
    }
}
