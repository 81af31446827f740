//! Calls of functions that want a session, or make one.

use super::abi::{
    Candidate, KINGLET_SESSION_PIN_THREADS, KINGLET_SESSION_SPECULATE, LogitBias, RunPart,
    Sampling, SessionInfo, SessionOptions,
};
use super::input::{Guarded, Input, Sized};
use super::world::{BAD_HANDLE, Given, Kind, OK, World};
use sha2::{Digest, Sha256};
use std::ffi::{c_char, c_void};
use std::ptr;

/// Sessions that need more are made in memory that is too small, or not at all.
const MOST_BYTES: usize = 16 << 20;
/// States that are kept.
const MOST_STATES: usize = 4;
/// Bytes of a state in front of its checksum, and behind it.
const STATE_HEADER: (usize, usize) = (64, 96);

const TIERS: [*const c_char; 6] = [
    ptr::null(),
    ptr::null(),
    c"scalar".as_ptr(),
    c"avx2".as_ptr(),
    c"neon".as_ptr(),
    c"no such tier".as_ptr(),
];

/// Runs the parts of a pass in an order that `user` says, some twice and some never.
unsafe extern "C" fn run_parts(
    user: *mut c_void,
    parts: usize,
    run_part: RunPart,
    context: *mut c_void,
) {
    let run_part = run_part.unwrap();
    // SAFETY: the library's own function with its own context.
    let run = |part| unsafe { run_part(context, part) };
    match user.addr() {
        0 => (0..parts).for_each(run),
        1 => (0..parts).rev().for_each(run),
        2 => {}
        3 => (0..2 * parts + 70).map(|part| part / 2).for_each(run),
        _ => run(usize::MAX),
    }
}

/// A clock that goes on by a millisecond with every look, or backwards.
unsafe extern "C" fn clock(user: *mut c_void) -> u64 {
    thread_local!(static NOW: std::cell::Cell<u64> = const { std::cell::Cell::new(1 << 40) });
    let step = if user.is_null() { 1 } else { u64::MAX };
    NOW.replace(NOW.get().wrapping_add(step))
}

fn options(input: &mut Input<'_>) -> SessionOptions {
    let has_hook = input.rarely(4);
    SessionOptions {
        struct_size: 0,
        context: input.mostly(64, 6),
        batch: input.mostly(8, 6),
        threads: if input.rarely(16) || has_hook { input.edge(2) } else { 1 },
        kv: input.flags(1),
        flags: input.flags(KINGLET_SESSION_SPECULATE) & !KINGLET_SESSION_PIN_THREADS,
        reserved: u32::from(input.rarely(64)),
        tier: if input.rarely(4) { TIERS[input.pick(TIERS.len())] } else { ptr::null() },
        run_parts: if has_hook { Some(run_parts) } else { None },
        run_parts_user: ptr::without_provenance_mut(input.pick(5)),
        clock: if input.rarely(3) { Some(clock) } else { None },
        clock_user: ptr::without_provenance_mut(input.pick(2)),
        texts: if input.rarely(2) { input.edge(8) } else { 0 },
        reserved_texts: u32::from(input.rarely(64)),
        memory_budget_bytes: if input.rarely(16) { input.pick(256) << 14 } else { 0 },
    }
}

impl World<'_> {
    /// Makes a session in a slot that is free.
    pub fn make(&mut self, input: &mut Input<'_>) {
        let slot = input.pick(self.sessions.len());
        if self.sessions[slot].is_open {
            return;
        }
        let model = self.handle(Kind::Model, input);
        let mut options = Sized::new(options(input), input);
        let options = options.pointer::<SessionOptions>(input);
        if input.rarely(4) {
            self.choose_tier(model, options, input);
        }
        let options = options.cast_const();
        let mut needed = 0;
        // SAFETY: the options have as many bytes as they may claim to have.
        let asked = unsafe { (self.library.session_bytes)(model.handle, options, &mut needed) };
        self.check_with(model, asked);
        let is_own = needed <= MOST_BYTES && input.rarely(4);
        let room = input.mostly(needed.min(MOST_BYTES) as u32, 6).min(MOST_BYTES as u32) as usize;
        let used = if input.rarely(2) { self.sessions[slot].take_memory(room) } else { None };
        let (is_used, is_own) = (used.is_some(), is_own && used.is_none());
        let mut memory = used.or_else(|| (!is_own).then(|| Guarded::new(room)));
        if !is_used {
            // What a buffer holds before must not matter.
            memory.iter_mut().for_each(|memory| memory.bytes_mut().fill(0xFF));
        }
        let place = memory.as_mut().map_or(ptr::null_mut(), Guarded::start).cast();
        let (mut session, mut message) = (ptr::null_mut(), Guarded::new(input.pick(200)));
        let out = if input.rarely(24) { ptr::null_mut() } else { &raw mut session };
        // SAFETY: as above, and the buffers have the bytes that are told.
        let status = unsafe {
            (self.library.session_new)(
                model.handle,
                options,
                place,
                if is_own { 0 } else { room },
                out,
                message.start().cast(),
                message.bytes().len(),
            )
        };
        message.check();
        assert_eq!(status == OK, !session.is_null());
        assert!(status != OK || (asked == OK && (is_own || needed <= room)));
        if status == OK {
            self.sessions[slot].open(memory, session, is_used);
            self.sessions[slot].model = model.slot;
        } else if is_used {
            self.sessions[slot].memory = memory;
        }
        self.check(status);
    }

    fn choose_tier(&mut self, model: Given, options: *mut SessionOptions, input: &mut Input<'_>) {
        let mut reason = Guarded::new(input.pick(200));
        let [prompt, new] = [input.edge(600), input.edge(600)];
        // SAFETY: the options have as many bytes as they may claim to have, and the buffer those
        // that are told.
        let status = unsafe {
            let (start, bytes) = (reason.start().cast(), reason.bytes().len());
            (self.library.session_choose_tier)(model.handle, options, prompt, new, start, bytes)
        };
        reason.check();
        self.check_with(model, status);
    }

    pub fn destroy(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Session, input);
        // SAFETY: nobody else uses the session.
        let status = unsafe { (self.library.session_destroy)(given.handle) };
        if given.handle.is_null() {
            assert_eq!(status, OK);
        } else {
            self.check_with(given, status);
        }
        if given.is_right {
            self.sessions[given.slot].close();
        }
    }

    pub fn look_at_session(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Session, input);
        // SAFETY: all numbers.
        let mut info = Sized::new(unsafe { std::mem::zeroed::<SessionInfo>() }, input);
        // SAFETY: the struct has as many bytes as it may claim to have.
        let status = unsafe { (self.library.session_describe)(given.handle, info.pointer(input)) };
        self.check_with(given, status);
        let mut message = Guarded::new(input.byte().into());
        let (text, room) = (message.start().cast(), message.bytes().len());
        // SAFETY: the buffer has as many bytes.
        let told = unsafe { (self.library.session_message)(given.handle, text, room) };
        self.check_with(given, told);
        message.check();
    }

    pub fn cancel(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Session, input);
        // SAFETY: nothing but the handle.
        self.check_with(given, unsafe { (self.library.session_cancel)(given.handle) });
    }

    pub fn set_sampling(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Session, input);
        let bias: Vec<LogitBias> = (0..input.pick(70))
            .map(|_| LogitBias { token: input.edge(200), bias: input.float() })
            .collect();
        let sampling = Sampling {
            struct_size: 0,
            logit_bias: if input.rarely(24) { ptr::null() } else { bias.as_ptr() },
            logit_bias_count: if input.rarely(4) { bias.len() } else { 0 },
            reserved: usize::from(input.rarely(64)),
            seed: input.number().into(),
            repetition_penalty: if input.rarely(3) { input.float() } else { 0.0 },
            repetition_window: input.edge(16),
            temperature: if input.rarely(2) { input.float() } else { 0.0 },
            top_k: input.edge(10),
            top_p: input.float(),
            min_p: input.float() / 8.0,
            presence_penalty: if input.rarely(3) { input.float() } else { 0.0 },
            frequency_penalty: if input.rarely(3) { input.float() } else { 0.0 },
            penalizes_prompt: u32::from(input.rarely(4)) + u32::from(input.rarely(64)),
            reserved_penalties: u32::from(input.rarely(64)),
        };
        let mut sampling = Sized::new(sampling, input);
        let sampling = sampling.pointer::<Sampling>(input).cast_const();
        // SAFETY: the struct has as many bytes as it may claim to have, and so has the bias.
        let status = unsafe { (self.library.session_set_sampling)(given.handle, sampling) };
        self.check_with(given, status);
    }

    pub fn read_logits(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Session, input);
        let (mut logits, mut count) = (ptr::null(), 0);
        let place = if input.rarely(24) { ptr::null_mut() } else { &raw mut logits };
        // SAFETY: the places are right or null.
        let status = unsafe { (self.library.session_logits)(given.handle, place, &mut count) };
        self.check_with(given, status);
        if status == OK {
            // SAFETY: as told; nobody uses the session meanwhile.
            let logits = unsafe { std::slice::from_raw_parts(logits, count) };
            std::hint::black_box(logits.iter().sum::<f32>());
        }
        let room = input.edge(300).min(2000) as usize;
        let mut out = Guarded::new(room * size_of::<Candidate>());
        // SAFETY: the buffer has room for as many.
        let status = unsafe {
            (self.library.session_top)(given.handle, out.start().cast(), room, &mut count)
        };
        self.check_with(given, status);
        out.check();
        assert!(status != OK || count <= room);
    }

    pub fn embed(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Session, input);
        let tokens: Vec<u32> = (0..input.pick(20)).map(|_| input.edge(100)).collect();
        let start = if input.rarely(24) { ptr::null() } else { tokens.as_ptr() };
        let room = input.edge(128).min(512) as usize;
        let mut out = Guarded::new(room * size_of::<f32>());
        let pooling = input.edge(1);
        // SAFETY: there are as many tokens, and the buffer has room for as many numbers.
        let status = unsafe {
            let place = out.start().cast();
            (self.library.session_embed)(given.handle, start, tokens.len(), pooling, place, room)
        };
        self.check_with(given, status);
        out.check();
    }

    pub fn rewind(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Session, input);
        let status = match input.pick(4) {
            // SAFETY: nothing but the handle.
            0 => unsafe { (self.library.session_reset)(given.handle) },
            // SAFETY: nothing but the handle.
            _ => unsafe { (self.library.session_rewind)(given.handle, input.edge(32) as usize) },
        };
        self.check_with(given, status);
    }

    pub fn choose_text(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Session, input);
        let (text, count) = (input.edge(3), input.edge(20) as usize);
        // SAFETY: nothing but the handle.
        let status = unsafe {
            match input.pick(2) {
                0 => (self.library.session_select)(given.handle, text),
                _ => (self.library.session_copy_text)(given.handle, text, count),
            }
        };
        self.check_with(given, status);
    }

    pub fn fork(&mut self, input: &mut Input<'_>) {
        let (to, from) = (self.handle(Kind::Session, input), self.handle(Kind::Session, input));
        let count = input.edge(20) as usize;
        // SAFETY: nothing but handles.
        let status = unsafe { (self.library.session_fork)(to.handle, from.handle, count) };
        assert_eq!(status == BAD_HANDLE, !(to.is_right && from.is_right), "status {status}");
        self.check(status);
    }

    pub fn read_tokens(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Session, input);
        let room = input.edge(64).min(2000) as usize;
        let mut tokens = Guarded::new(4 * room);
        let mut count = 0;
        let start = if input.rarely(24) { ptr::null_mut() } else { tokens.start() };
        // SAFETY: the buffer has room for as many, or is null.
        let status =
            unsafe { (self.library.session_tokens)(given.handle, start.cast(), room, &mut count) };
        self.check_with(given, status);
        tokens.check();
        assert!(status != OK || count <= room);
    }

    pub fn save(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Session, input);
        let mut needed = 0;
        // SAFETY: the place is right.
        let status = unsafe { (self.library.session_state_bytes)(given.handle, &mut needed) };
        self.check_with(given, status);
        let room = input.mostly(needed as u32, 4).min(1 << 22) as usize;
        let mut state = Guarded::new(room);
        let mut bytes = 0;
        // SAFETY: the buffer has as many bytes.
        let status = unsafe {
            (self.library.session_save)(given.handle, state.start().cast(), room, &mut bytes)
        };
        self.check_with(given, status);
        state.check();
        if status == OK {
            assert_eq!(bytes, needed);
            self.states.truncate(MOST_STATES - 1);
            self.states.insert(0, state.bytes()[..bytes].to_vec());
        }
    }

    /// Restores a state: as it was saved, altered, or altered with a checksum that is right.
    pub fn restore(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Session, input);
        if self.states.is_empty() {
            return;
        }
        let mut state = self.states[input.pick(self.states.len())].clone();
        if input.rarely(2) {
            for _ in 0..1 + input.pick(16) {
                let place = input.number() as usize % state.len();
                state[place] = input.byte();
            }
            if input.rarely(2) {
                let (head, body) = STATE_HEADER;
                let hash = Sha256::new().chain_update(&state[..head]);
                let hash = hash.chain_update(&state[body..]).finalize();
                state[head..body].copy_from_slice(&hash);
            }
        }
        let bytes = input.mostly(state.len() as u32, 8).min(state.len() as u32) as usize;
        // SAFETY: the state has as many bytes.
        let status =
            unsafe { (self.library.session_restore)(given.handle, state.as_ptr().cast(), bytes) };
        self.check_with(given, status);
    }
}
