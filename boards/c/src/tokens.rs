//! Text to tokens and back, and conversations to text.

use crate::abi;
use crate::handle::{self, Bytes, array, array_mut, check_apart, put};
use crate::model::{Model, with};
use crate::status::Status;
use core::ffi::c_char;
use kinglet_core::chat;
use kinglet_core::tokenizer::{Specials, Tokenizer};
use kinglet_quant::config::NO_TOKEN;
use kinglet_quant::file::TextKey;
use kinglet_quant::{Code, Error, Result, ensure, fail};

/// The tokens of a text of `text_bytes` bytes.
///
/// `flags` are `KINGLET_TOKENIZE_`. Writes up to `capacity` tokens and their number to `count`.
/// While it works it needs more room than the tokens: `text_bytes` are always enough for valid
/// UTF-8, three times as many for any bytes. `KINGLET_STATUS_BUFFER_TOO_SMALL` when there was too
/// little; `count` is then what is always enough.
///
/// Threads: any number at once.
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
        check_apart(&[
            Bytes::of(text, text_bytes, "the text"),
            Bytes::of(tokens, capacity, "the buffer for tokens"),
            Bytes::of(count, 1, "the place for the count"),
        ])?;
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
/// to `text_bytes`. `KINGLET_STATUS_BUFFER_TOO_SMALL` when they did not fit; then nothing is
/// written to `text`.
///
/// Threads: any number at once.
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
        check_apart(&[
            Bytes::of(tokens, count, "the tokens"),
            Bytes::of(text, capacity, "the buffer for text"),
            Bytes::of(text_bytes, 1, "the place for the length"),
        ])?;
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
/// Threads: any number at once.
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
/// `text_bytes`. `KINGLET_STATUS_BUFFER_TOO_SMALL` when they did not fit; `text` then has a part of
/// them. `KINGLET_STATUS_NO_CHAT_TEMPLATE` when the model has none, `KINGLET_STATUS_BAD_SOURCE`
/// when its template uses more of Jinja than this library knows, `KINGLET_STATUS_BAD_ARGUMENT` when
/// it refuses the conversation. Takes 64 KiB of stack, 256 KiB with a template made to take it:
/// more than all other functions.
///
/// Threads: any number at once.
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
        let written = [
            Bytes::of(text, capacity, "the buffer for text"),
            Bytes::of(text_bytes, 1, "the place for the length"),
        ];
        let [out, length] = written;
        check_apart(&[Bytes::of(messages, count, "the messages"), out, length])?;
        // SAFETY: as promised by the caller.
        let messages = unsafe { array(messages, count, "the messages") }?;
        for message in messages {
            // SAFETY: as promised by the caller.
            let chat::Message { role, content } = unsafe { read_message(message) }?;
            for given in [role, content] {
                // With the zero at its end.
                let given = Bytes::of(given.as_ptr(), given.len() + 1, "a text of a message");
                check_apart(&[given, out])?;
                check_apart(&[given, length])?;
            }
        }
        // SAFETY: as promised by the caller.
        unsafe { put(text_bytes, 0, "the place for the length") }?;
        // SAFETY: as promised by the caller.
        let out: &mut [u8] = unsafe { array_mut(text.cast(), capacity, "the buffer for text") }?;
        if flags & !abi::KINGLET_CHAT_REPLY_NEXT != 0 {
            return Err(unknown_flags(flags));
        }
        let mut length = 0;
        render(model, messages, flags != 0, &mut |piece| {
            if let Some(place) = out.get_mut(length..length + piece.len()) {
                place.copy_from_slice(piece.as_bytes());
            }
            length += piece.len();
        })?;
        // SAFETY: as promised by the caller.
        unsafe { put(text_bytes, length, "the place for the length") }?;
        ensure_room(length, capacity)
    };
    // SAFETY: as promised by the caller.
    unsafe { with(model, work) }
}

/// # Safety
///
/// The texts of the message must end with a zero.
unsafe fn read_message<'a>(message: &abi::Message) -> Result<chat::Message<'a>> {
    // SAFETY: as promised by the caller.
    let (role, content) = unsafe {
        (handle::text(message.role, "a role")?, handle::text(message.content, "a message")?)
    };
    Ok(chat::Message { role, content })
}

/// Hands on the text of messages that were read before.
fn render(
    model: &Model,
    messages: &[abi::Message],
    is_reply_next: bool,
    emit: &mut dyn FnMut(&str),
) -> Result<()> {
    let Some(source) = model.file.text(TextKey::ChatTemplate) else {
        fail!(Code::NoChatTemplate, "the model has no chat template: take an -instruct model");
    };
    let config = model.file.config();
    let text = |token: u32| match token {
        NO_TOKEN => "",
        token => core::str::from_utf8(model.tokenizer.decode(token)).unwrap_or(""),
    };
    let message = |index: usize| {
        // SAFETY: the same texts were read before this function was called.
        unsafe { read_message(&messages[index]) }.expect("read before")
    };
    let chat = chat::Chat {
        count: messages.len(),
        message: &message,
        is_reply_next,
        bos: text(config.bos),
        eos: text(config.eos_tokens().first().copied().unwrap_or(NO_TOKEN)),
    };
    chat::render(source, &chat, emit)
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
