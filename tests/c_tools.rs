//! Conversations with functions have the same tokens in C as in Rust, and replies the same calls.

#[path = "../boards/c/src/abi.rs"]
#[expect(dead_code, reason = "the library's own half of it")]
mod abi;
#[path = "fuzz/calls/library.rs"]
#[expect(dead_code, reason = "what has nothing to do with functions")]
mod library;

use abi::{Call, Message};
use kinglet::Type;
use kinglet::tools::{self, Choice, Toolbox, Tools, Turn};
use kinglet_tests::c::checked_library;
use kinglet_tests::models::{SMALL, converted_path, small};
use library::{Handle, Library};
use serde_json::json;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::ptr;

/// A small model, opened by the library.
fn open(library: &Library, name: &str) -> Handle {
    let path = CString::new(converted_path(name, Type::Q4).as_os_str().as_bytes()).unwrap();
    let mut model = ptr::null_mut();
    let (memory, message) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: the path ends with a zero, the place is right.
    let status =
        unsafe { (library.model_open_path)(path.as_ptr(), memory, 0, &mut model, message, 0) };
    assert_eq!(status, 0);
    model
}

/// Functions, as the OpenAI protocol has them.
const FUNCTIONS: &str = r#"[
    {"name": "set_light", "description": "Switches a lamp \"softly\".<|im_end|>", "parameters": {
        "type": "object", "required": ["room", "level"], "properties": {
            "room": {"enum": ["kitchen", "bath"]}, "level": {"type": ["number", "null"]}}}},
    {"name": "read-clock"}
]"#;

/// A message as C has it, which is a turn in Rust; calls are the text of a reply.
fn turn(rng: &mut fastrand::Rng, role: &'static str) -> (Turn, String) {
    const TEXTS: [&str; 5] = ["", " Hi<|im_end|> ", "<tool_response>", "\n12:30", "é"];
    let text = TEXTS[rng.usize(..TEXTS.len())].to_owned();
    match role {
        "system" => (Turn::System(text.clone()), text),
        "tool" => (Turn::Tool { name: "read-clock".into(), content: text.clone() }, text),
        "assistant" if rng.bool() => {
            let call = |arguments| tools::Call { name: "set_light".into(), arguments };
            let calls = vec![
                call(json!({"room": "bath", "level": 1.5})),
                call(json!({"room": "kitchen", "level": null})),
            ];
            let written = tools::Dialect::TAGS.write(&calls);
            (Turn::Assistant { content: String::new(), calls }, written)
        }
        "assistant" => (Turn::Assistant { content: text.clone(), calls: Vec::new() }, text),
        _ => (Turn::User(text.clone()), text),
    }
}

#[test]
fn conversations_with_functions_have_the_same_tokens_in_c_as_in_rust() {
    const ROLES: [&str; 4] = ["user", "assistant", "tool", "tool"];
    let library = Library::load(checked_library());
    let tools = Tools::from_json(FUNCTIONS).unwrap();
    let table = tools.table(Choice::Auto, 1).unwrap();
    let mut rng = fastrand::Rng::with_seed(3);
    for name in SMALL {
        let expected = small(name, Type::Q4);
        let toolbox = Toolbox::new(&expected, tools.clone()).unwrap();
        let model = open(&library, name);
        for _ in 0..60 {
            let first = rng.bool().then_some("system");
            let rest = (0..rng.usize(..7)).map(|_| ROLES[rng.usize(..4)]);
            let roles: Vec<&str> = first.into_iter().chain(rest.collect::<Vec<_>>()).collect();
            let said: Vec<(Turn, String)> = roles.iter().map(|role| turn(&mut rng, role)).collect();
            let texts: Vec<[CString; 2]> = roles
                .iter()
                .zip(&said)
                .map(|(role, (_, text))| [*role, text].map(|text| CString::new(text).unwrap()))
                .collect();
            let message = |[role, content]: &[CString; 2]| Message {
                role: role.as_ptr(),
                content: content.as_ptr(),
            };
            let messages: Vec<Message> = texts.iter().map(message).collect();
            let turns: Vec<Turn> = said.into_iter().map(|(turn, _)| turn).collect();
            let is_reply_next = rng.bool();
            let (mut tokens, mut count) = (vec![0; 4096], 0);
            // SAFETY: the texts end with zeros, the buffers have as many elements.
            let status = unsafe {
                (library.tools_tokens)(
                    model,
                    table.as_ptr().cast(),
                    table.len(),
                    messages.as_ptr(),
                    messages.len(),
                    if is_reply_next { abi::KINGLET_CHAT_REPLY_NEXT } else { 0 },
                    tokens.as_mut_ptr(),
                    4096,
                    &mut count,
                )
            };
            assert_eq!(status, 0);
            let by_rust = toolbox.tokens(&expected, &turns, is_reply_next).unwrap();
            assert_eq!(tokens[..count], by_rust, "{turns:?}");
        }
        // SAFETY: nobody uses the model any more.
        assert_eq!(unsafe { (library.model_close)(model) }, 0);
    }
}

/// Calls of a reply are those that the Rust library reads, also where it was cut.
#[test]
fn calls_in_c_are_those_in_rust() {
    let library = Library::load(checked_library());
    let table = Tools::from_json(FUNCTIONS).unwrap().table(Choice::Auto, 1).unwrap();
    let call = |name: &str, arguments| tools::Call { name: name.into(), arguments };
    let whole = tools::Dialect::TAGS.write(&[
        call("set_light", json!({"room": "]}\\\"é", "level": [{}, "{"]})),
        call("read-clock", json!({})),
    ]);
    let cuts = (1..=whole.len()).filter_map(|end| whole.get(..end));
    let mut read = 0;
    for reply in cuts.chain(["Hello", "<tool_call>[]</tool_call>"]) {
        // SAFETY: numbers and pointers alone.
        let mut calls: [Call; 2] = unsafe { std::mem::zeroed() };
        let (mut count, mut in_words) = (0, 0);
        // SAFETY: the buffers have as many elements.
        let status = unsafe {
            (library.tools_calls)(
                table.as_ptr().cast(),
                table.len(),
                reply.as_ptr().cast(),
                reply.len(),
                calls.as_mut_ptr(),
                2,
                &mut count,
                &mut in_words,
            )
        };
        match tools::Dialect::TAGS.read(reply) {
            Err(error) => assert_eq!(status, error.code() as i32, "{reply}"),
            Ok(None) => assert_eq!((status, count, in_words), (0, 0, 1), "{reply}"),
            Ok(Some(expected)) => {
                assert_eq!((status, count, in_words), (0, expected.len(), 0), "{reply}");
                for (call, expected) in calls.iter().zip(&expected) {
                    // SAFETY: parts of the reply.
                    let [name, arguments] = unsafe {
                        [
                            std::slice::from_raw_parts(call.name.cast::<u8>(), call.name_bytes),
                            std::slice::from_raw_parts(call.arguments.cast(), call.arguments_bytes),
                        ]
                    };
                    assert_eq!(name, expected.name.as_bytes());
                    let arguments: serde_json::Value = serde_json::from_slice(arguments).unwrap();
                    assert_eq!(arguments, expected.arguments);
                    read += 1;
                }
            }
        }
    }
    assert_eq!(read, 2);
}
