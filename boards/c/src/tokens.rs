//! Text to tokens and back, and conversations to text and to tokens.

use crate::abi;
use crate::handle::{self, Bytes, array, array_mut, check_apart, put};
use crate::model::{Model, with};
use crate::status::Status;
use core::ffi::c_char;
use kinglet_core::chat;
use kinglet_core::tokenizer::{Specials, Tokenizer};
use kinglet_quant::file::TextKey;
use kinglet_quant::{Code, Error, Result, ensure, fail};

/// The tokens of a text of `text_bytes` bytes.
///
/// `flags` are `KINGLET_TOKENIZE_`. Writes up to `capacity` tokens and their number to `count`.
/// While it works it needs more room than the tokens: `text_bytes` are always enough for valid
/// UTF-8, three times as many for any bytes. `KINGLET_STATUS_BUFFER_TOO_SMALL` when there was too
/// little; `count` is then what is always enough.
///
/// Some models, none of SmolLM's, begin every text with a token of its own or with a space: these
/// come first, and need room for two tokens more.
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
            Ok(_) => text.len() + model.tokenizer.put_before(),
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

/// The text of a conversation, by the model's own template; no terminating zero.
///
/// For eyes, and for conversations whose every message you trust: control tokens of the template
/// and those that somebody has typed look alike in the text, and `kinglet_tokenize` with
/// `KINGLET_TOKENIZE_CONTROL` finds both. `kinglet_chat_tokens` tells them apart.
///
/// `flags` are `KINGLET_CHAT_`. Writes up to `capacity` bytes and the number of all of them to
/// `text_bytes`. `KINGLET_STATUS_BUFFER_TOO_SMALL` when they did not fit; `text` then has a part of
/// them. `KINGLET_STATUS_NO_CHAT_TEMPLATE` when the model has none. `KINGLET_STATUS_BAD_SOURCE`
/// when the weight file has a template but no frame, which is what this library renders: the file
/// was made by an earlier version (convert the model again), or the template is one of the few that
/// cannot be reduced to a frame (use the command or the Rust library).
/// `KINGLET_STATUS_BAD_ARGUMENT` when the template refuses the conversation; roles are `system`,
/// `user` and `assistant`.
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
        let out = Bytes::of(text, capacity, "the buffer for text");
        let length = Bytes::of(text_bytes, 1, "the place for the length");
        // SAFETY: as promised by the caller.
        let messages = unsafe { read_messages(messages, count, None, [out, length]) }?;
        // SAFETY: as promised by the caller.
        unsafe { put(text_bytes, 0, "the place for the length") }?;
        // SAFETY: as promised by the caller.
        let out: &mut [u8] = unsafe { array_mut(text.cast(), capacity, "the buffer for text") }?;
        let is_reply_next = read_chat_flags(flags)?;
        let mut length = 0;
        with_conversation(model, None, messages, is_reply_next, |frame, conversation| {
            for piece in frame.pieces(conversation)? {
                if let Some(place) = out.get_mut(length..length + piece.text.len()) {
                    place.copy_from_slice(piece.text.as_bytes());
                }
                length += piece.text.len();
            }
            Ok(())
        })?;
        // SAFETY: as promised by the caller.
        unsafe { put(text_bytes, length, "the place for the length") }?;
        ensure_room(length, capacity)
    };
    // SAFETY: as promised by the caller.
    unsafe { with(model, work) }
}

/// The tokens of a conversation, by the model's own template: what a session is given to reply.
///
/// Safe for messages from anywhere: control tokens such as `<|im_end|>` are found in the template's
/// own texts only, and those that are spelled out in a message are split like any text. Otherwise
/// the tokens are those of the text that `kinglet_chat_render` has.
///
/// A conversation goes on with the tokens of all its messages, the last reply among them. Those at
/// their beginning that the session's text has, which `kinglet_session_tokens` tells, are kept by
/// `kinglet_session_rewind`, and the rest is the next prompt. The token that ended the reply, which
/// is not part of the text, comes with the rest.
///
/// `flags` are `KINGLET_CHAT_`. Writes the tokens, at most `capacity`, and their number to
/// `token_count`. While it works it needs more room than the tokens, five entries for every four
/// bytes of the text: `KINGLET_STATUS_BUFFER_TOO_SMALL` when there was less; `token_count` is then
/// what is enough. All of the buffer may be overwritten. Other failures are those of
/// `kinglet_chat_render`.
///
/// Threads: any number at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_chat_tokens(
    model: *const Model,
    messages: *const abi::Message,
    count: usize,
    flags: u32,
    tokens: *mut u32,
    capacity: usize,
    token_count: *mut usize,
) -> Status {
    let work = |model: &Model| {
        // SAFETY: as promised by the caller.
        unsafe {
            let out = (tokens, capacity, token_count);
            conversation_tokens(model, None, (messages, count), flags, out)
        }
    };
    // SAFETY: as promised by the caller.
    unsafe { with(model, work) }
}

/// Writes the tokens of a conversation, maybe with functions of a table: see
/// [`kinglet_chat_tokens`].
///
/// # Safety
///
/// As for the pointers of [`kinglet_chat_tokens`].
pub(crate) unsafe fn conversation_tokens(
    model: &Model,
    functions: Option<(chat::Functions<'_>, Bytes<'_>)>,
    (messages, count): (*const abi::Message, usize),
    flags: u32,
    (tokens, capacity, token_count): (*mut u32, usize, *mut usize),
) -> Result<()> {
    let out = Bytes::of(tokens, capacity, "the buffer for tokens");
    let length = Bytes::of(token_count, 1, "the place for the count");
    let (functions, table) = functions.unzip();
    // SAFETY: as promised by the caller.
    let messages = unsafe { read_messages(messages, count, table, [out, length]) }?;
    // SAFETY: as promised by the caller.
    unsafe { put(token_count, 0, "the place for the count") }?;
    // SAFETY: as promised by the caller.
    let out = unsafe { array_mut(tokens, capacity, "the buffer for tokens") }?;
    let is_reply_next = read_chat_flags(flags)?;
    let (mut room, mut needed) = (0, 0);
    with_conversation(model, functions, messages, is_reply_next, |frame, conversation| {
        room = chat::room(&model.tokenizer, chat::text_bytes(frame, conversation)?);
        needed = room;
        if room <= capacity {
            needed = chat::encode(&model.tokenizer, frame, conversation, out)?;
        }
        Ok(())
    })?;
    // SAFETY: as promised by the caller.
    unsafe { put(token_count, needed, "the place for the count") }?;
    ensure!(
        room <= capacity,
        Code::BufferTooSmall,
        "the conversation needs room for {room} tokens, there is room for {capacity}"
    );
    Ok(())
}

/// Messages that were read once, so that reading them again does not fail.
#[derive(Clone, Copy)]
struct Messages<'a>(&'a [abi::Message]);

/// # Safety
///
/// There must be as many messages, whose texts end with a zero, and they must stay as they are for
/// the lifetime of the result, which nobody ensures for what lies in `written`: `BadArgument` then.
unsafe fn read_messages<'a>(
    messages: *const abi::Message,
    count: usize,
    table: Option<Bytes>,
    written: [Bytes; 2],
) -> Result<Messages<'a>> {
    let [out, length] = written;
    let given = Bytes::of(messages, count, "the messages");
    check_apart(&[given, table.unwrap_or(Bytes::NONE), out, length])?;
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
    Ok(Messages(messages))
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

/// Whether a reply is next.
fn read_chat_flags(flags: u32) -> Result<bool> {
    match flags {
        0 => Ok(false),
        abi::KINGLET_CHAT_REPLY_NEXT => Ok(true),
        _ => Err(unknown_flags(flags)),
    }
}

/// Calls `work` with the model's frame and a conversation.
fn with_conversation(
    model: &Model,
    functions: Option<chat::Functions<'_>>,
    messages: Messages<'_>,
    is_reply_next: bool,
    work: impl for<'c> FnOnce(&chat::Frame<'c>, &chat::Conversation<'c>) -> Result<()>,
) -> Result<()> {
    let Some(frame) = model.file.frame()? else {
        ensure!(
            model.file.text(TextKey::ChatTemplate).is_some(),
            Code::NoChatTemplate,
            "the model has no chat template: take an -instruct model"
        );
        fail!(
            Code::BadSource,
            "the weight file has a chat template without a frame: convert the model again; where \
             that makes no frame either, use the command or the Rust library"
        );
    };
    let message = |index: usize| {
        // SAFETY: `read_messages` has read the same texts, which stay as they are.
        let message = unsafe { read_message(&messages.0[index]) };
        message.unwrap_or_else(|_| panic!("read before"))
    };
    let count = messages.0.len();
    work(&frame, &chat::Conversation { count, message: &message, is_reply_next, functions })
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
