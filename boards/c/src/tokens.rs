//! Text to tokens and back, and conversations to text.

use crate::abi;
use crate::handle::{array, array_mut, put};
use crate::model::{Model, with};
use crate::status::Status;
use core::ffi::c_char;
use kinglet_core::tokenizer::{Specials, Tokenizer};
use kinglet_quant::{Code, Error, Result, ensure};

/// The tokens of a text of `text_bytes` bytes.
///
/// `flags` are `KINGLET_TOKENIZE_`. Writes up to `capacity` tokens and their number to `count`.
/// While it works it needs more room than the tokens: `text_bytes` are always enough for valid
/// UTF-8, three times as many for any bytes. `BufferTooSmall` when there was too little; `count` is
/// then what is always enough.
///
/// # Safety
///
/// Pointers must be null or point to what this says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_tokenize(
    model: *const Model,
    text: *const c_char,
    text_bytes: usize,
    flags: u32,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> Status {
    let work = |model: &Model| {
        // SAFETY: as promised by the caller.
        unsafe { put(count, 0, "the place for the count") }?;
        // SAFETY: as promised by the caller.
        let text: &[u8] = unsafe { array(text.cast(), text_bytes, "the text") }?;
        // SAFETY: as promised by the caller.
        let tokens = unsafe { array_mut(tokens, capacity, "the buffer for tokens") }?;
        let specials = match flags {
            0 => Specials::AsText,
            abi::KINGLET_TOKENIZE_CONTROL => Specials::Parse,
            _ => return Err(unknown_flags(flags)),
        };
        let outcome = model.tokenizer.encode(text, specials, tokens);
        let enough = || match core::str::from_utf8(text) {
            Ok(_) => text.len(),
            Err(_) => Tokenizer::max_tokens(text.len()),
        };
        let needed = outcome.as_ref().map_or_else(|_| enough(), |count| *count);
        // SAFETY: as promised by the caller.
        unsafe { put(count, needed, "the place for the count") }?;
        ensure!(
            outcome.is_ok(),
            Code::BufferTooSmall,
            "the text needs room for up to {needed} tokens, there is room for {capacity}"
        );
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { with(model, work) }
}

/// The bytes that tokens stand for, which are not always whole characters; no terminating zero.
///
/// `flags` are `KINGLET_DETOKENIZE_`. Writes up to `capacity` bytes and the number of all of them
/// to `text_bytes`. `BufferTooSmall` when they did not fit; then nothing is written to `text`.
///
/// # Safety
///
/// Pointers must be null or point to what this says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_detokenize(
    model: *const Model,
    tokens: *const u32,
    count: usize,
    flags: u32,
    text: *mut c_char,
    capacity: usize,
    text_bytes: *mut usize,
) -> Status {
    let work = |model: &Model| {
        // SAFETY: as promised by the caller.
        unsafe { put(text_bytes, 0, "the place for the length") }?;
        // SAFETY: as promised by the caller.
        let tokens = unsafe { array(tokens, count, "the tokens") }?;
        // SAFETY: as promised by the caller.
        let out: &mut [u8] = unsafe { array_mut(text.cast(), capacity, "the buffer for text") }?;
        if flags & !abi::KINGLET_DETOKENIZE_SKIP_CONTROL != 0 {
            return Err(unknown_flags(flags));
        }
        tokens.iter().try_for_each(|&token| check_token(model, token))?;
        let is_shown = |token: &u32| flags == 0 || !model.file.vocab().is_control(*token);
        let shown = || tokens.iter().copied().filter(is_shown).map(|t| model.tokenizer.decode(t));
        let needed = shown().map(<[u8]>::len).sum();
        // SAFETY: as promised by the caller.
        unsafe { put(text_bytes, needed, "the place for the length") }?;
        ensure_room(needed, out.len())?;
        shown().flatten().zip(out).for_each(|(byte, out)| *out = *byte);
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { with(model, work) }
}

/// The bytes that one token stands for, where they lie in the weight file, and what kind of token
/// it is.
///
/// Writes a pointer that is good until the model is closed to `text`, the number of bytes to
/// `text_bytes`, and `KINGLET_TOKEN_` flags to `kind`.
///
/// # Safety
///
/// Pointers must be null or point to what this says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_token_text(
    model: *const Model,
    token: u32,
    text: *mut *const c_char,
    text_bytes: *mut usize,
    kind: *mut u32,
) -> Status {
    let work = |model: &Model| {
        check_token(model, token)?;
        let bytes = model.tokenizer.decode(token);
        let is_end = model.file.config().eos_tokens().contains(&token);
        let is_control = model.file.vocab().is_control(token);
        let end = if is_end { abi::KINGLET_TOKEN_END } else { 0 };
        let control = if is_control { abi::KINGLET_TOKEN_CONTROL } else { 0 };
        // SAFETY: as promised by the caller.
        unsafe {
            put(text, bytes.as_ptr().cast(), "the place for the text")?;
            put(text_bytes, bytes.len(), "the place for the length")?;
            put(kind, end | control, "the place for the kind")
        }
    };
    // SAFETY: as promised by the caller.
    unsafe { with(model, work) }
}

/// The text of a conversation, by the model's own template; no terminating zero. Tokenize it with
/// `KINGLET_TOKENIZE_CONTROL`.
///
/// `flags` are `KINGLET_CHAT_`. Writes up to `capacity` bytes and the number of all of them to
/// `text_bytes`. `BufferTooSmall` when they did not fit; then nothing is written to `text`.
/// `NoChatTemplate` when the model has none. This is the one function that takes memory from the
/// heap, and gives it back before it returns; without an operating system it returns `Resource`.
///
/// # Safety
///
/// Pointers must be null or point to what this says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_chat_render(
    model: *const Model,
    messages: *const abi::Message,
    count: usize,
    flags: u32,
    text: *mut c_char,
    capacity: usize,
    text_bytes: *mut usize,
) -> Status {
    let work = |model: &Model| {
        // SAFETY: as promised by the caller.
        unsafe { put(text_bytes, 0, "the place for the length") }?;
        // SAFETY: as promised by the caller.
        let messages = unsafe { array(messages, count, "the messages") }?;
        // SAFETY: as promised by the caller.
        let out: &mut [u8] = unsafe { array_mut(text.cast(), capacity, "the buffer for text") }?;
        if flags & !abi::KINGLET_CHAT_REPLY_NEXT != 0 {
            return Err(unknown_flags(flags));
        }
        // SAFETY: as promised by the caller.
        let rendered = unsafe { render(model, messages, flags != 0) }?;
        // SAFETY: as promised by the caller.
        unsafe { put(text_bytes, rendered.len(), "the place for the length") }?;
        ensure_room(rendered.len(), out.len())?;
        out[..rendered.len()].copy_from_slice(rendered.as_bytes());
        Ok(())
    };
    // SAFETY: as promised by the caller.
    unsafe { with(model, work) }
}

/// # Safety
///
/// The texts of the messages must end with a zero.
#[cfg(feature = "std")]
unsafe fn render(
    model: &Model,
    messages: &[abi::Message],
    is_reply_next: bool,
) -> Result<std::string::String> {
    use kinglet::template::{Message, Template};
    let template = Template::of(&model.file)?;
    let read = |message: &abi::Message| {
        // SAFETY: as promised by the caller.
        let role = unsafe { crate::handle::text(message.role, "a role") }?;
        // SAFETY: as promised by the caller.
        let content = unsafe { crate::handle::text(message.content, "a message") }?;
        Ok(Message { role: role.to_owned().into(), content: content.into() })
    };
    let messages: Result<std::vec::Vec<_>> = messages.iter().map(read).collect();
    template.render(&messages?, is_reply_next)
}

/// # Safety
///
/// None is needed.
#[cfg(not(feature = "std"))]
unsafe fn render(
    _model: &Model,
    _messages: &[abi::Message],
    _is_reply_next: bool,
) -> Result<&'static str> {
    kinglet_quant::fail!(Code::Resource, "this build renders no templates: write the text yourself")
}

fn check_token(model: &Model, token: u32) -> Result<()> {
    let vocabulary = model.file.config().vocab_size;
    ensure!(
        token < vocabulary,
        Code::TokenOutOfRange,
        "token {token} is not in the vocabulary of {vocabulary}"
    );
    Ok(())
}

fn ensure_room(needed: usize, room: usize) -> Result<()> {
    ensure!(
        needed <= room,
        Code::BufferTooSmall,
        "the text has {needed} bytes, there is room for {room}"
    );
    Ok(())
}

fn unknown_flags(flags: u32) -> Error {
    Error::new(Code::BadArgument, format_args!("there are no flags {flags:#x}"))
}
