//! Calls of functions that take a table of functions, and the tables.

use super::abi::{Call, Message};
use super::input::{Guarded, Input};
use super::models::text;
use super::world::{Kind, OK, World};
use kinglet::tools::{Choice, Tools};
use std::ffi::{CString, c_char};
use std::ops::Range;
use std::ptr;
use std::sync::OnceLock;

/// What replies can be, whole and cut.
const REPLIES: [&str; 5] = [
    "<tool_call>[{\"name\": \"set\", \"arguments\": {\"on\": true}}, {\"name\": \"read\", \
     \"arguments\": {}}]</tool_call>",
    "<tool_call>[]</tool_call>",
    "<tool_call>[{\"name\": \"set\", \"arguments\": {\"a\": \"}]\\\"\"",
    "<tool",
    "Hello",
];

/// What `kinglet compile-schema` makes of an array or of functions, mostly as it is.
pub fn table(input: &mut Input<'_>) -> Vec<u8> {
    static TABLES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    let tables = TABLES.get_or_init(|| {
        let array = r#"{"type": "array", "items": {"enum": ["ab", 12]}, "maxItems": 3}"#;
        let functions = r#"[{"name": "read"}, {"name": "set", "parameters": {"type": "object",
            "properties": {"on": {"type": "boolean"}}, "required": ["on"]}}]"#;
        let functions = Tools::from_json(functions).unwrap().table(Choice::Auto, 1).unwrap();
        [kinglet::schema::compile(array, 1).unwrap(), functions]
    });
    let mut table = tables[input.pick(tables.len())].clone();
    if input.rarely(2) {
        let at = usize::from(input.byte()) * table.len() / 256;
        table[at] = input.byte();
    }
    table.truncate(if input.rarely(16) { input.byte().into() } else { table.len() });
    table
}

impl World<'_> {
    /// Tokens of a conversation with functions.
    pub fn talk_with_functions(&mut self, input: &mut Input<'_>) {
        let given = self.handle(Kind::Model, input);
        let table = table(input);
        let contents: Vec<CString> = (0..input.pick(7))
            .map(|_| text(input).iter().copied().filter(|&byte| byte != 0).collect::<Vec<u8>>())
            .map(|bytes| CString::new(bytes).unwrap())
            .collect();
        let role = |input: &mut Input<'_>| match input.pick(8) {
            0 => ptr::null(),
            1 => c"function".as_ptr(),
            2 => c"system".as_ptr(),
            3 => c"assistant".as_ptr(),
            4 | 5 => c"tool".as_ptr(),
            _ => c"user".as_ptr(),
        };
        let messages: Vec<Message> = contents
            .iter()
            .map(|content| Message { role: role(input), content: content.as_ptr() })
            .collect();
        let room = input.mostly(1500, 4).min(1500) as usize;
        let mut tokens = Guarded::new(4 * room);
        let mut count = usize::MAX;
        let start = if input.rarely(24) { ptr::null() } else { table.as_ptr() };
        let table_bytes = if input.rarely(64) { usize::MAX } else { table.len() };
        // SAFETY: the texts end with zeros, the buffers have as many elements, or null says so;
        // more than memory can have are refused.
        let status = unsafe {
            (self.library.tools_tokens)(
                given.handle,
                start.cast(),
                table_bytes,
                messages.as_ptr(),
                messages.len(),
                input.flags(1),
                tokens.start().cast(),
                room,
                &mut count,
            )
        };
        self.check_with(given, status);
        tokens.check();
        assert!(status != OK || count <= room);
    }

    /// Calls of a reply.
    pub fn read_calls(&mut self, input: &mut Input<'_>) {
        let table = table(input);
        let reply = match input.pick(8) {
            0 => input.take(64),
            _ => REPLIES[input.pick(REPLIES.len())].as_bytes(),
        };
        let room = input.pick(4);
        let mut calls = Guarded::new(room * size_of::<Call>());
        let (mut count, mut in_words) = (usize::MAX, u32::MAX);
        let start = if input.rarely(24) { ptr::null() } else { reply.as_ptr().cast::<c_char>() };
        // A reply where its calls will be.
        let is_in_place = input.rarely(32) && (1..=calls.bytes().len()).contains(&reply.len());
        let start = if is_in_place { calls.start().cast_const().cast() } else { start };
        let place = if input.rarely(24) { ptr::null_mut() } else { &raw mut in_words };
        // SAFETY: the buffers have as many elements, or null says so.
        let status = unsafe {
            (self.library.tools_calls)(
                table.as_ptr().cast(),
                table.len(),
                start,
                reply.len(),
                calls.start().cast(),
                room,
                &mut count,
                place,
            )
        };
        self.check(status);
        calls.check();
        if status != OK {
            return;
        }
        assert!(count <= room && in_words <= 1 && !is_in_place);
        let whole = reply.as_ptr_range();
        for number in 0..count {
            // SAFETY: as many calls were written.
            let call = unsafe { calls.start().cast::<Call>().add(number).read_unaligned() };
            let name = part(call.name, call.name_bytes);
            let arguments = part(call.arguments, call.arguments_bytes);
            let is_ordered = whole.start < name.start && name.end < arguments.start;
            assert!(is_ordered && arguments.end < whole.end);
        }
    }
}

/// The memory of a text.
fn part(start: *const c_char, bytes: usize) -> Range<*const u8> {
    let start = start.cast::<u8>();
    start..start.wrapping_add(bytes)
}
