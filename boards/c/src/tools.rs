//! Functions that a model can call: conversations with them, and the calls of a reply.

use crate::abi;
use crate::handle::{Bytes, array, array_mut, caught, check_apart, check_out};
use crate::model::{Model, with};
use crate::status::Status;
use crate::tokens::conversation_tokens;
use core::ffi::{c_char, c_void};
use kinglet_core::calls::cut;
use kinglet_core::tools::Tools;
use kinglet_quant::{Code, Result, ensure, fail};

/// The tokens of a conversation in which the model can call functions: `kinglet_chat_tokens` with
/// what the model is told of them.
///
/// `tools` are `tools_bytes` of a table that `kinglet compile-schema --tools` has made of a list of
/// functions, at any address, such as in flash. One table serves all models whose template knows no
/// functions, such as SmolLM2's; for another template it is made with `--model`. The functions are
/// told in the system message, behind the conversation's own where its first message is one. Given
/// to `kinglet_generate_options.schema`, the table lets a reply be words, or calls of these
/// functions with arguments that their schemas allow, which `kinglet_tools_calls` finds. A reply
/// with calls becomes a message of the role `assistant` as it is, and what a function returned one
/// of the role `tool`, in the order of the calls. Nothing is allocated.
///
/// Of a file `functions.json` with
///
///     [{"name": "set_light", "description": "Switches a lamp.", "parameters": {
///       "type": "object", "required": ["room", "on"], "properties": {
///         "room": {"enum": ["kitchen", "bath"]}, "on": {"type": "boolean"}}}}]
///
/// the commands `kinglet compile-schema --tools functions.json -o functions.ktools` and `xxd -i
/// functions.ktools functions.h` make an array. With
///
///     #include "functions.h"
///     kinglet_message messages[3] = {{"user", "Light in the kitchen, please."}};
///     kinglet_tools_tokens(model, functions_ktools, functions_ktools_len, messages, 1,
///                          KINGLET_CHAT_REPLY_NEXT, tokens, capacity, &count);
///     options.schema = functions_ktools;
///     options.schema_bytes = functions_ktools_len;
///
/// the reply is words, or text such as
///
///     <tool_call>[{"name": "set_light", "arguments": {"room": "kitchen", "on": true}}]</tool_call>
///
/// The program does that and appends `{"assistant", reply}` and `{"tool", "done"}` to the messages;
/// the next reply tells the user. `boards/c/examples/calls.c` is such a program.
///
/// `KINGLET_STATUS_NOT_KINGLET`, `KINGLET_STATUS_UNKNOWN_VERSION`, `KINGLET_STATUS_TRUNCATED` or
/// `KINGLET_STATUS_CORRUPT` for a table that is none; other failures are those of
/// `kinglet_chat_tokens`.
///
/// Threads: any number at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_tools_tokens(
    model: *const Model,
    tools: *const c_void,
    tools_bytes: usize,
    messages: *const abi::Message,
    count: usize,
    flags: u32,
    tokens: *mut u32,
    capacity: usize,
    token_count: *mut usize,
) -> Status {
    let work = |model: &Model| {
        let table = Bytes::of(tools.cast::<u8>(), tools_bytes, TABLE);
        // SAFETY: as promised by the caller.
        unsafe {
            let Tools { functions, .. } = read_table(tools, tools_bytes)?;
            let functions = Some((functions, table));
            let out = (tokens, capacity, token_count);
            conversation_tokens(model, functions, (messages, count), flags, out)
        }
    };
    // SAFETY: as promised by the caller.
    unsafe { with(model, work) }
}

/// The calls of a reply, whose `reply_bytes` of text a table of functions has allowed: see
/// `kinglet_tools_tokens`.
///
/// Writes up to `capacity` calls and the number of all of them to `count`, and to `in_words` 1 for
/// a reply in words, which has no calls, else 0. A reply that says by an empty list that no
/// function helps has no calls either. `KINGLET_STATUS_BUFFER_TOO_SMALL` when the calls did not
/// fit; `KINGLET_STATUS_BAD_ARGUMENT` for a reply that ends within a call, because it was cut. For
/// the table the failures of `kinglet_tools_tokens`.
///
/// Threads: any number at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_tools_calls(
    tools: *const c_void,
    tools_bytes: usize,
    reply: *const c_char,
    reply_bytes: usize,
    calls: *mut abi::Call,
    capacity: usize,
    count: *mut usize,
    in_words: *mut u32,
) -> Status {
    let work = || {
        check_apart(&[
            Bytes::of(tools.cast::<u8>(), tools_bytes, TABLE),
            Bytes::of(reply, reply_bytes, "the reply"),
            Bytes::of(calls, capacity, "the buffer for calls"),
            Bytes::of(count, 1, "the place for the count"),
            Bytes::of(in_words, 1, "the place for the kind"),
        ])?;
        check_out(count, "the place for the count")?;
        check_out(in_words, "the place for the kind")?;
        // SAFETY: checked, and promised to be writable.
        unsafe {
            count.write(0);
            in_words.write(0);
        }
        // SAFETY: as promised by the caller.
        let Tools { dialect, .. } = unsafe { read_table(tools, tools_bytes) }?;
        // SAFETY: as promised by the caller.
        let reply: &[u8] = unsafe { array(reply.cast(), reply_bytes, "the reply") }?;
        // SAFETY: as promised by the caller.
        let out = unsafe { array_mut(calls, capacity, "the buffer for calls") }?;
        let Ok(reply) = core::str::from_utf8(reply) else {
            fail!(Code::BadArgument, "the reply is not UTF-8");
        };
        let Some(found) = dialect.calls(reply) else {
            // SAFETY: as above.
            unsafe { in_words.write(1) };
            return Ok(());
        };
        let mut needed = 0;
        for call in found {
            let Some(call) = call else {
                return Err(cut());
            };
            if let Some(place) = out.get_mut(needed) {
                *place = abi::Call {
                    name: call.name.as_ptr().cast(),
                    name_bytes: call.name.len(),
                    arguments: call.arguments.as_ptr().cast(),
                    arguments_bytes: call.arguments.len(),
                };
            }
            needed += 1;
        }
        // SAFETY: as above.
        unsafe { count.write(needed) };
        ensure!(
            needed <= capacity,
            Code::BufferTooSmall,
            "the reply has {needed} calls, there is room for {capacity}"
        );
        Ok(())
    };
    Status::from(&caught(work))
}

const TABLE: &str = "the table of functions";

/// # Safety
///
/// `table` must be null or point to as many bytes, which nobody changes for `'a`.
unsafe fn read_table<'a>(table: *const c_void, bytes: usize) -> Result<Tools<'a>> {
    // SAFETY: as promised by the caller.
    Tools::open(unsafe { array(table.cast(), bytes, TABLE) }?)
}
