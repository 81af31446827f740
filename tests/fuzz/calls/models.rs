//! Calls of functions that want a model, or make one.

use super::abi::{KINGLET_MAX_STOP, Message, ModelInfo};
use super::input::{Guarded, Input, Sized};
use super::library::trust::{KINGLET_TRUST_SKIP_WEIGHTS, SignatureInfo, Trust};
use super::world::{Kind, OK, World};
use kinglet_tests::aligned::Aligned;
use std::ffi::{CStr, CString, c_char};
use std::os::fd::AsRawFd;
use std::ptr;

const TEXTS: [&str; 6] = [
    "",
    "Once upon a time",
    "<|im_start|>user\nHi<|im_end|>\n",
    "\u{1F600} \u{301}\u{65e5}\u{672c} \u{a0}\t\n",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "1234567890 {{ x }} {% y %}",
];

/// Keys: of nobody, of somebody else, and in two ways of whoever has signed, see `c_fuzz.rs`.
const KEYS: [&CStr; 6] = [
    c"",
    c"untrusted comment: any\n",
    c"RWQCgG3dP+j0SzzfgvDVQ5KWq5IG0FlROwcZGBgkI2MDyMvIIRs5qMe3",
    c"RWRMRnxKeFH07NQaiYnoqbSphZF/8G46tBYPQ4SoJIVhnISrHAdyrrxF",
    c"RWRMRnxKeFH07NQaiYnoqbSphZF/8G46tBYPQ4SoJIVhnISrHAdyrrxF",
    c"untrusted comment: any\nRWRMRnxKeFH07NQaiYnoqbSphZF/8G46tBYPQ4SoJIVhnISrHAdyrrxF\n",
];

/// A text of the list, or any bytes.
pub fn text<'b>(input: &mut Input<'b>) -> &'b [u8] {
    match input.pick(8) {
        0 | 1 => input.take(64),
        _ => TEXTS[input.pick(TEXTS.len())].as_bytes(),
    }
}

impl World<'_> {
    /// Opens a file into a slot that is free: as it is, altered, cut, or what is no file.
    pub fn open(&mut self, input: &mut Input<'_>) {
        let slot = input.pick(self.models.len());
        if self.models[slot].is_open {
            return;
        }
        let file = input.pick(self.files.len());
        self.altered[slot] = input.rarely(4).then(|| alter(&self.files[file], input));
        let data = self.altered[slot].as_ref().unwrap_or(&self.files[file]).as_ref();
        let length = match input.pick(12) {
            0 => input.edge(data.len() as u32) as usize % (data.len() + 1),
            _ => data.len(),
        };
        let start = match input.pick(24) {
            0 => ptr::null(),
            1 => data.as_ptr().wrapping_byte_add(1),
            _ => data.as_ptr(),
        };
        let length = if start == data.as_ptr() { length } else { length.min(data.len() - 1) };
        // SAFETY: any number of threads may ask.
        let needed = unsafe { (self.library.model_bytes)() };
        let bytes = input.mostly(needed as u32, 12).min(1 << 16) as usize;
        let used = if input.rarely(2) { self.models[slot].take_memory(bytes) } else { None };
        let is_used = used.is_some();
        let memory = used.or_else(|| (!input.rarely(4)).then(|| Guarded::new(bytes)));
        self.open_at(slot, memory, is_used, start, length, input);
    }

    fn open_at(
        &mut self,
        slot: usize,
        mut memory: Option<Guarded>,
        is_used: bool,
        data: *const u8,
        length: usize,
        input: &mut Input<'_>,
    ) {
        let place = memory.as_mut().map_or(ptr::null_mut(), Guarded::start).cast();
        let place_bytes = memory.as_ref().map_or(0, |memory| memory.bytes().len());
        let (mut model, mut message) = (ptr::null_mut(), Guarded::new(input.pick(80)));
        let out = if input.rarely(24) { ptr::null_mut() } else { &raw mut model };
        let (text, room) = (message.start().cast(), message.bytes().len());
        let library = self.library;
        let mut trust = trust(input);
        let trust = trust.pointer::<Trust>(input);
        let status = match input.pick(8) {
            // SAFETY: the places have the bytes that are told, or are null; the file's bytes stay
            // until the model is closed, and the trust has as many as it may claim to have.
            1..4 => unsafe {
                let (open, data) = (library.model_open_signed_memory, data.cast());
                open(data, length, trust, place, place_bytes, out, text, room)
            },
            4 => self.open_fd(input, |fd, offset, bytes| {
                let open = library.model_open_signed_fd;
                // SAFETY: as above.
                unsafe { open(fd, offset, bytes, trust, place, place_bytes, out, text, room) }
            }),
            0 => self.open_fd(input, |fd, offset, bytes| {
                // SAFETY: the places have the bytes that are told, or are null.
                unsafe {
                    (library.model_open_fd)(fd, offset, bytes, place, place_bytes, out, text, room)
                }
            }),
            // SAFETY: as above, and the file's bytes stay until the model is closed.
            _ => unsafe {
                let open = library.model_open_memory;
                open(data.cast(), length, place, place_bytes, out, text, room)
            },
        };
        message.check();
        let slot = &mut self.models[slot];
        assert_eq!(status == OK, !model.is_null());
        if status == OK {
            slot.open(memory, model, is_used);
        } else if is_used {
            slot.memory = memory;
        }
        self.check(status);
    }

    /// Opens by a descriptor: of a file, or of something else.
    fn open_fd(&self, input: &mut Input<'_>, open: impl FnOnce(i32, u64, u64) -> i32) -> i32 {
        let bytes = self.files[0].as_ref();
        let file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut &file, bytes).unwrap();
        let offset = if input.rarely(4) { u64::from(input.edge(64)) } else { 0 };
        let length = if input.rarely(4) { input.edge(bytes.len() as u32).into() } else { 0 };
        match input.pick(12) {
            0 => open(-1, offset, length),
            1 => open(9999, offset, length),
            2 => open(std::fs::File::open("/").unwrap().as_raw_fd(), offset, length),
            _ => open(file.as_raw_fd(), offset, length),
        }
    }

    /// Opens a path that is none.
    pub fn open_wrong_path(&mut self, input: &mut Input<'_>) {
        let bytes: Vec<u8> = input.take(40).iter().copied().filter(|&byte| byte != 0).collect();
        let path = CString::new(bytes).unwrap();
        let path = if input.rarely(4) { ptr::null() } else { path.as_ptr() };
        let mut model = ptr::null_mut();
        // SAFETY: the path is null or ends with a zero, the other places are null or right.
        let status = unsafe {
            (self.library.model_open_path)(path, ptr::null_mut(), 0, &mut model, ptr::null_mut(), 0)
        };
        assert!(status != OK && model.is_null());
        self.check(status);
        let mut trust = trust(input);
        let (trust, none) = (trust.pointer(input), ptr::null_mut());
        // SAFETY: as above; the trust has as many bytes as it may claim to have.
        let status = unsafe {
            let open = self.library.model_open_signed_path;
            open(path, trust, none, 0, &mut model, ptr::null_mut(), 0)
        };
        assert!(status != OK && model.is_null());
        self.check(status);
    }

    pub fn close_model(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Model, input);
        let has_sessions =
            self.sessions.iter().any(|session| session.is_open && session.model == given.slot);
        // SAFETY: nobody else uses the model.
        let status = unsafe { (self.library.model_close)(given.handle) };
        if given.handle.is_null() {
            assert_eq!(status, OK);
        } else {
            self.check_with(given, status);
            assert_eq!(status == OK, given.is_right && !has_sessions);
        }
        if given.is_right && status == OK {
            self.models[given.slot].close();
        }
    }

    pub fn look_at_model(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Model, input);
        // SAFETY: all numbers.
        let mut info = Sized::new(unsafe { std::mem::zeroed::<ModelInfo>() }, input);
        // SAFETY: the struct has as many bytes as it may claim to have.
        let described = unsafe { (self.library.model_describe)(given.handle, info.pointer(input)) };
        self.check_with(given, described);
        // SAFETY: all numbers.
        let mut info = Sized::new(unsafe { std::mem::zeroed::<SignatureInfo>() }, input);
        let signed = self.library.model_describe_signature;
        // SAFETY: the struct has as many bytes as it may claim to have.
        self.check_with(given, unsafe { signed(given.handle, info.pointer(input)) });
        let mut message = Guarded::new(input.byte().into());
        let (text, room) = (message.start().cast(), message.bytes().len());
        // SAFETY: the buffer has as many bytes.
        let told = unsafe { (self.library.model_message)(given.handle, text, room) };
        self.check_with(given, told);
        message.check();
        if input.rarely(16) {
            // SAFETY: nothing but the handle.
            self.check_with(given, unsafe { (self.library.model_verify)(given.handle) });
        }
    }

    pub fn tokenize(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Model, input);
        let text = text(input);
        let start = if input.rarely(24) { ptr::null() } else { text.as_ptr().cast() };
        let flags = input.flags(1);
        let room = input.mostly(3 * text.len() as u32, 4).min(1000) as usize;
        let mut tokens = Guarded::new(4 * room);
        let mut count = usize::MAX;
        // A text where its tokens will be.
        let is_in_place = input.rarely(32) && (1..=4 * room).contains(&text.len());
        let start = if is_in_place { tokens.start().cast_const().cast() } else { start };
        // SAFETY: the buffers have as many elements, or null says so.
        let status = unsafe {
            (self.library.tokenize)(
                given.handle,
                start,
                if input.rarely(64) { usize::MAX } else { text.len() },
                flags,
                tokens.start().cast(),
                room,
                &mut count,
            )
        };
        self.check_with(given, status);
        tokens.check();
        assert!(status != OK || count <= room && !is_in_place);
    }

    pub fn detokenize(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Model, input);
        let tokens: Vec<u32> = (0..input.pick(40)).map(|_| input.edge(300)).collect();
        let flags = input.flags(1);
        let mut text = Guarded::new(input.edge(300).min(300) as usize);
        let mut bytes = usize::MAX;
        let (out, room) = (text.start().cast(), text.bytes().len());
        let count = if input.rarely(64) { usize::MAX / 2 } else { tokens.len() };
        let (start, place) = (tokens.as_ptr(), &raw mut bytes);
        let place = if input.rarely(24) { ptr::null_mut() } else { place };
        // SAFETY: the buffers have as many elements; more than memory can have are refused.
        let status = unsafe {
            (self.library.detokenize)(given.handle, start, count, flags, out, room, place)
        };
        self.check_with(given, status);
        text.check();
        for &token in &tokens {
            let (mut text, mut bytes, mut kind) = (ptr::null(), 0, 0);
            let place = if input.rarely(24) { ptr::null_mut() } else { &raw mut text };
            // SAFETY: the places are right or null.
            let status = unsafe {
                (self.library.token_text)(given.handle, token, place, &mut bytes, &mut kind)
            };
            self.check_with(given, status);
        }
    }

    pub fn render(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Model, input);
        let owned: Vec<CString> = (0..2 * input.pick(5))
            .map(|_| text(input).iter().copied().filter(|&byte| byte != 0).collect::<Vec<u8>>())
            .map(|bytes| CString::new(bytes).unwrap())
            .collect();
        let role = |input: &mut Input<'_>, any: &CString| match input.pick(8) {
            0 => ptr::null(),
            1 => any.as_ptr(),
            2 | 3 => c"system".as_ptr(),
            4 => c"assistant".as_ptr(),
            _ => c"user".as_ptr(),
        };
        let messages: Vec<Message> = owned
            .chunks(2)
            .map(|pair| Message { role: role(input, &pair[0]), content: pair[1].as_ptr() })
            .collect();
        let mut text = Guarded::new(input.edge(200).min(400) as usize);
        let (out, room) = (text.start().cast::<c_char>(), text.bytes().len());
        let mut bytes = 0;
        let flags = input.flags(1);
        // SAFETY: the texts end with zeros, the buffers have as many elements.
        let status = unsafe {
            (self.library.chat_render)(
                given.handle,
                messages.as_ptr(),
                messages.len(),
                flags,
                out,
                room,
                &mut bytes,
            )
        };
        self.check_with(given, status);
        text.check();
        assert!(status != OK || bytes <= room);
        let room = input.mostly(400, 4).min(1000) as usize;
        let mut tokens = Guarded::new(4 * room);
        let mut count = usize::MAX;
        // SAFETY: the texts end with zeros, the buffers have as many elements.
        let status = unsafe {
            (self.library.chat_tokens)(
                given.handle,
                messages.as_ptr(),
                messages.len(),
                flags,
                tokens.start().cast(),
                room,
                &mut count,
            )
        };
        self.check_with(given, status);
        tokens.check();
        assert!(status != OK || count <= room);
    }
}

/// Whom to trust.
fn trust(input: &mut Input<'_>) -> Sized {
    let key = if input.rarely(24) { ptr::null() } else { KEYS[input.pick(KEYS.len())].as_ptr() };
    let ids = [ptr::null(), c"bird".as_ptr(), c"bat".as_ptr(), c"a bird".as_ptr()];
    let own = Trust {
        struct_size: 0,
        key,
        model_id: if input.rarely(2) { ptr::null() } else { ids[input.pick(ids.len())] },
        reserved: input.mostly(0, 32) as usize,
        least_version: input.mostly(0, 4).into(),
        flags: input.flags(KINGLET_TRUST_SKIP_WEIGHTS),
        reserved_flags: input.mostly(0, 32),
    };
    Sized::new(own, input)
}

/// A copy of a file with some bytes altered, most of them where it says what it is.
fn alter(file: &Aligned, input: &mut Input<'_>) -> Aligned {
    let mut copy = Aligned::copy_of(file.as_ref());
    let bytes = copy.as_mut();
    for _ in 0..1 + input.pick(KINGLET_MAX_STOP) {
        let reach = if input.rarely(2) { bytes.len() } else { 4096.min(bytes.len()) };
        let place = input.number() as usize % reach;
        bytes[place] = if input.rarely(2) { input.byte() } else { bytes[place] ^ 0x80 };
    }
    copy
}
