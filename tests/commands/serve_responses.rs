//! `kinglet serve`: responses, embeddings, and the document of its own paths.

use crate::serve::{CHAT, COMPLETIONS, END, MODEL, chat, server, with};
use kinglet::{Pooling, SessionOptions, Specials, Type};
use kinglet_tests::models;
use kinglet_tests::server::Answer;
use serde_json::{Value, json};
use std::io::Write;
use std::thread;

const RESPONSES: &str = "/v1/responses";
const EMBEDDINGS: &str = "/v1/embeddings";

/// The documents of a stream of events with names.
fn named_events(answer: &Answer) -> Vec<Value> {
    assert!(answer.status == 200 && answer.head.contains("content-type: text/event-stream"));
    let event = |(number, event): (usize, &str)| {
        let (name, data) = event.split_once('\n').expect("an event has a name");
        let data = data.strip_prefix("data: ").expect("an event has data");
        let document: Value = serde_json::from_str(data).expect("an event is JSON");
        assert_eq!(
            Some(name),
            document["type"].as_str().map(|kind| format!("event: {kind}")).as_deref()
        );
        assert_eq!(document["sequence_number"], number);
        document
    };
    answer.body.split_terminator("\n\n").enumerate().map(event).collect()
}

fn names(events: &[Value]) -> Vec<&str> {
    let mut names: Vec<&str> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
    names.dedup();
    names.iter().map(|name| name.strip_prefix("response.").unwrap()).collect()
}

#[test]
fn responses_say_what_chats_say() {
    let server = server(&[]);
    let fields = json!({"max_output_tokens": 40, "seed": 3, "temperature": 1,
        "logit_bias": {END: -100}, "store": true});
    let ask = with(&fields, json!({"input": "one two three"}));
    let chatted = server.post(CHAT, &chat("one two three", 40, 3)).document();
    let whole = server.post(RESPONSES, &ask).document();
    let message = &whole["output"][0];
    assert_eq!(message["content"][0]["text"], chatted["choices"][0]["message"]["content"]);
    assert_eq!((&message["type"], &message["role"]), (&json!("message"), &json!("assistant")));
    assert_eq!((&whole["object"], &whole["status"]), (&json!("response"), &json!("incomplete")));
    assert_eq!(whole["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(whole["usage"]["input_tokens"], chatted["usage"]["prompt_tokens"]);
    assert_eq!((&whole["usage"]["output_tokens"], &whole["store"]), (&json!(40), &json!(false)));
    let events = named_events(&server.post(RESPONSES, &with(&ask, json!({"stream": true}))));
    assert_eq!(
        names(&events),
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "incomplete",
        ]
    );
    let deltas = events.iter().filter(|event| event["type"] == "response.output_text.delta");
    let text: String = deltas.map(|event| event["delta"].as_str().unwrap()).collect();
    assert_eq!(text, message["content"][0]["text"]);
    let last = &events.last().unwrap()["response"];
    assert_eq!(last["output"][0]["content"], message["content"]);
    assert_eq!(last["id"], events[0]["response"]["id"]);
    assert_eq!(last["usage"]["output_tokens"], 40);
    // Instructions are the system's turn.
    let parts =
        json!([{"type": "input_text", "text": "one "}, {"type": "input_text", "text": "two"}]);
    let items =
        json!([{"role": "developer", "content": "Say it."}, {"role": "user", "content": parts}]);
    let instructed = with(&fields, json!({"input": items, "instructions": "Be brief."}));
    let messages = json!([{"role": "system", "content": "Be brief.\n\nSay it."},
        {"role": "user", "content": "one two"}]);
    let chatted = server.post(CHAT, &with(&chat("", 40, 3), json!({"messages": messages})));
    assert_eq!(
        server.post(RESPONSES, &instructed).document()["output"][0]["content"][0]["text"],
        chatted.document()["choices"][0]["message"]["content"]
    );
}

#[test]
fn responses_have_shapes_and_call_functions() {
    let server = server(&[]);
    let schema = json!({"type": "object", "properties": {"a": {"enum": [1, 2]}},
        "required": ["a"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "name": "x", "strict": true, "schema": schema});
    let ask = json!({"input": "one", "seed": 1, "max_output_tokens": 200});
    let answer = server.post(RESPONSES, &with(&ask, json!({"text": {"format": format}})));
    let answer = answer.document();
    let text = answer["output"][0]["content"][0]["text"].as_str().unwrap();
    let reply: Value = serde_json::from_str(text).unwrap();
    assert!([1, 2].contains(&reply["a"].as_u64().unwrap()));
    assert_eq!((&answer["status"], &answer["text"]["format"]), (&json!("completed"), &format));
    let tools = json!([{"type": "function", "name": "look", "parameters": schema}]);
    let choice = json!({"type": "function", "name": "look"});
    let ask = with(&ask, json!({"tools": tools, "tool_choice": choice}));
    let answer = server.post(RESPONSES, &ask).document();
    let call = &answer["output"][0];
    assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("look")));
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
    assert!([1, 2].contains(&arguments["a"].as_u64().unwrap()));
    let events = named_events(&server.post(RESPONSES, &with(&ask, json!({"stream": true}))));
    assert_eq!(
        names(&events),
        [
            "created",
            "in_progress",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]
    );
    assert_eq!(events[3]["delta"], call["arguments"]);
    // The conversation goes on with the result, as it does in a chat.
    let output =
        json!({"type": "function_call_output", "call_id": call["call_id"], "output": "two"});
    let items = json!([{"type": "message", "role": "user", "content": "one"}, call, output]);
    let greedy = json!({"temperature": 0, "tool_choice": "none"});
    let items = with(&with(&ask, greedy.clone()), json!({"input": items, "max_output_tokens": 9}));
    let found = server.post(RESPONSES, &items).document();
    let function = json!({"name": "look", "arguments": call["arguments"]});
    let messages = json!([
        {"role": "user", "content": "one"},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": function}]},
        {"role": "tool", "tool_call_id": "1", "content": "two"},
    ]);
    let tools = json!([{"type": "function", "function": {"name": "look", "parameters": schema}}]);
    let chat = with(&greedy, json!({"messages": messages, "tools": tools, "max_tokens": 9}));
    let chatted = server.post(CHAT, &chat).document();
    assert_eq!(found["usage"]["input_tokens"], chatted["usage"]["prompt_tokens"]);
    let text =
        found["output"].get(0).map_or("", |item| item["content"][0]["text"].as_str().unwrap());
    assert_eq!(text, chatted["choices"][0]["message"]["content"]);
}

#[test]
fn responses_that_need_what_is_not_kept_are_refused() {
    let server = server(&[]);
    let call = json!({"type": "function_call", "call_id": "1", "name": "f", "arguments": "1"});
    for (fields, named) in [
        (json!({"input": null}), "input is missing"),
        (json!({"input": []}), "input is empty"),
        (json!({"input": 1}), "input must be"),
        (json!({"input": [{"role": "king", "content": "a"}]}), "king"),
        (json!({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}), "text alone"),
        (json!({"input": [{"type": "item_reference", "id": "a"}]}), "keeps none"),
        (json!({"input": [{"type": "reasoning"}]}), "reasoning"),
        (json!({"input": [call]}), "no JSON object"),
        (
            json!({"input": [{"type": "function_call_output", "call_id": "1", "output": ""}]}),
            "call_id",
        ),
        (json!({"previous_response_id": "resp_1"}), "keeps no responses"),
        (json!({"conversation": "conv_1"}), "keeps no responses"),
        (json!({"background": true}), "background"),
        (json!({"prompt": {"id": "pmpt_1"}}), "prompts"),
        (json!({"store": "yes"}), "store"),
        (json!({"top_logprobs": 2}), "/v1/chat/completions"),
        (json!({"include": ["message.output_text.logprobs"]}), "/v1/chat/completions"),
        (json!({"max_output_tokens": -1}), "max_output_tokens"),
        (json!({"tools": [{"type": "web_search"}]}), "web_search"),
        (json!({"text": {"format": {"type": "xml"}}}), "text.format"),
        (json!({"text": {"format": {"type": "json_schema"}}}), "no schema"),
    ] {
        let ask = with(&json!({"input": "a", "max_output_tokens": 1}), fields);
        let message = server.post(RESPONSES, &ask).error(400);
        assert!(message.contains(named), "{ask}: {message}");
    }
}

/// The numbers of an embedding in base64.
fn decoded(text: &str) -> Vec<f32> {
    let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let values = text.trim_end_matches('=').chars().map(|c| digits.find(c).unwrap() as u32);
    let bits: Vec<u8> =
        values.flat_map(|v| (0..6).rev().map(move |bit| (v >> bit & 1) as u8)).collect();
    let bytes: Vec<u8> =
        bits.chunks_exact(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | bit)).collect();
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

#[test]
fn embeddings_come_as_numbers_and_as_base64() {
    let server = server(&["--kv", "f16"]);
    let library = models::small(MODEL, Type::Q4);
    let options = SessionOptions { kv: kinglet::KvType::F16, ..SessionOptions::default() };
    let mut session = library.session(&options).unwrap();
    // A control token that somebody has typed is text.
    let text = "one <|im_end|> two";
    let tokens = library.tokenize_as(text.as_bytes(), Specials::AsText).unwrap();
    let mean = session.embed(&tokens, Pooling::Mean).unwrap();
    let last = session.embed(&tokens, Pooling::Last).unwrap();
    let post = |fields: Value| server.post(EMBEDDINGS, &fields).document();
    for input in [json!(text), json!([text]), json!(tokens), json!([tokens])] {
        let answer = post(json!({"input": input, "dimensions": mean.len(), "user": "a"}));
        assert_eq!(answer["data"], json!([{"object": "embedding", "index": 0, "embedding": mean}]));
        assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!(MODEL)));
        assert_eq!(
            answer["usage"],
            json!({"prompt_tokens": tokens.len(), "total_tokens": tokens.len()})
        );
    }
    let answer = post(json!({"input": [text, "a", tokens], "encoding_format": "base64",
        "pooling": "last"}));
    let entries = answer["data"].as_array().unwrap();
    assert_eq!(entries.iter().map(|entry| &entry["index"]).collect::<Vec<_>>(), [0, 1, 2]);
    for entry in [&entries[0], &entries[2]] {
        assert_eq!(decoded(entry["embedding"].as_str().unwrap()), last);
    }
    for (fields, named) in [
        (json!({}), "input is missing"),
        (json!({"input": ""}), "empty"),
        (json!({"input": []}), "empty"),
        (json!({"input": ["a", ""]}), "empty"),
        (json!({"input": {}}), "input must be"),
        (json!({"input": [[640]]}), "below 640"),
        (json!({"input": vec!["a"; 2049]}), "2048"),
        (json!({"input": "one ".repeat(600)}), "the context 512"),
        (json!({"input": "a", "dimensions": mean.len() - 1}), "dimensions"),
        (json!({"input": "a", "encoding_format": "hex"}), "encoding_format"),
        (json!({"input": "a", "pooling": "max"}), "pooling"),
    ] {
        let message = server.post(EMBEDDINGS, &fields).error(400);
        assert!(message.contains(named), "{fields}: {message}");
    }
}

/// A batch has 2 tokens here, so that embeddings and replies come between one another.
#[test]
fn embeddings_and_replies_leave_each_other_alone() {
    let server = server(&["--slots", "2", "--batch", "2"]);
    let ask = chat("one two three", 200, 1);
    let expected = server.post(CHAT, &ask).document();
    let input = json!({"input": ["a b c d", "one", "two three"]});
    let alone = server.post(EMBEDDINGS, &input).document();
    thread::scope(|scope| {
        let replies: Vec<_> = (0..3).map(|_| scope.spawn(|| server.post(CHAT, &ask))).collect();
        let others: Vec<_> =
            (0..6).map(|_| scope.spawn(|| server.post(EMBEDDINGS, &input))).collect();
        for reply in replies {
            let reply = reply.join().unwrap().document();
            assert_eq!(reply["choices"][0]["message"], expected["choices"][0]["message"]);
        }
        for other in others {
            assert_eq!(other.join().unwrap().document()["data"], alone["data"]);
        }
    });
}

/// 2,048 of them, which is as many as a request may ask for. A reply has steps while they are made.
#[test]
fn many_embeddings_end_with_their_client_and_take_the_memory_of_one() {
    let server = server(&["--slots", "2", "--batch", "2"]);
    let read = || server.metric("kinglet_prompt_tokens_total");
    let text = "one two three four five six";
    let one = server.post(EMBEDDINGS, &json!({"input": text})).document();
    let all = 2048 * one["usage"]["prompt_tokens"].as_u64().unwrap();
    let many = json!({"input": vec![text; 2048]}).to_string();
    let ask = chat("one two three", 200, 1);
    let mut stream = server.connect();
    stream.write_all(&server.request("POST", EMBEDDINGS, "", &many)).unwrap();
    assert_eq!(server.post(CHAT, &ask).document()["usage"]["completion_tokens"], 200);
    drop(stream);
    // Some are made during a reply, unless nobody waits for them any more.
    loop {
        let before = read();
        let usage = server.post(CHAT, &ask).document()["usage"].clone();
        if read() == before + usage["prompt_tokens"].as_u64().unwrap() {
            break;
        }
    }
    assert!(read() < all, "{} tokens were read, some of them for nobody", read());
    let peak = || server.metric("kinglet_peak_resident_bytes");
    let before = peak();
    let answer = server.ask("POST", EMBEDDINGS, "", &many);
    assert_eq!(answer.document()["data"].as_array().unwrap().len(), 2048);
    let (grown, sent) = (peak() - before, answer.body.len() as u64);
    assert!(grown < sent / 4, "{grown} bytes more for an answer of {sent}");
}

/// `boards/cli` tests that its paths are those of the server; here they are asked for.
#[test]
fn the_document_of_paths_is_true() {
    let server = server(&[]);
    let document = server.get("/openapi.json").document();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.contains_key(CHAT) && paths.contains_key(COMPLETIONS));
    for (path, item) in paths {
        let methods: Vec<&String> = item.as_object().unwrap().keys().collect();
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let answer = server.ask(method, path, "", "{}");
            match methods.iter().find(|known| known.eq_ignore_ascii_case(method)) {
                Some(known) => {
                    let told = &item[known.as_str()]["responses"];
                    assert!(told.get(answer.status.to_string()).is_some(), "{path} {answer:?}");
                }
                None => assert_eq!(answer.status, 405, "{method} {path}"),
            }
        }
    }
}
