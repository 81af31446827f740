//! `kinglet serve` as its clients see it.

use kinglet::{GenerateOptions, Sampling, SessionOptions, Type};
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models;
use kinglet_tests::server::{Answer, Server, rest};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use tempfile::TempDir;

/// A model with 512 positions, 640 tokens and a chat template.
pub const MODEL: &str = "gqa3-head64";
/// Its token that ends a text.
pub const END: &str = "2";

pub fn model() -> PathBuf {
    drop(models::small(MODEL, Type::Q4));
    models::converted_path(MODEL, Type::Q4)
}

pub fn server(args: &[&str]) -> Server {
    Server::start(&model(), &[&["--threads", "1", "-q"], args].concat())
}

/// A chat that goes on until it has its tokens.
pub fn chat(text: &str, tokens: u32, seed: u64) -> Value {
    json!({
        "messages": [{"role": "user", "content": text}], "max_tokens": tokens, "seed": seed,
        "temperature": 1.0, "logit_bias": {END: -100},
    })
}

/// A document with other fields on top.
pub fn with(document: &Value, fields: Value) -> Value {
    let mut document = document.clone();
    for (name, value) in fields.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
}

pub const CHAT: &str = "/v1/chat/completions";
pub const COMPLETIONS: &str = "/v1/completions";

fn text(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

#[test]
fn chats_are_answered_whole_and_in_a_stream() {
    let server = server(&[]);
    let models = server.get("/v1/models").document();
    assert_eq!(models["data"][0]["id"], MODEL);
    assert_eq!(server.get("/health").document()["status"], "ok");
    let ask = chat("one two three", 40, 3);
    let whole = server.post(CHAT, &ask).document();
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(whole["choices"][0]["message"]["role"], "assistant");
    assert_eq!(whole["usage"]["completion_tokens"], 40);
    let sum = whole["usage"]["prompt_tokens"].as_u64().unwrap() + 40;
    assert_eq!(whole["usage"]["total_tokens"], sum);
    let other = json!({"stream": true, "user": "somebody", "a_field": {"of": "the future"}});
    let events = server.post(CHAT, &with(&ask, other)).events();
    let (last, before) = events.split_last().unwrap();
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": null}));
    let mut streamed = String::new();
    for event in &before[1..] {
        let choice = &event["choices"][0];
        assert_eq!((&choice["finish_reason"], &event["id"]), (&Value::Null, &events[0]["id"]));
        streamed += choice["delta"]["content"].as_str().unwrap();
    }
    assert_eq!(last["choices"][0]["delta"], json!({}));
    assert_eq!(last["choices"][0]["finish_reason"], "length");
    assert_eq!(streamed, text(&whole));
    assert!(events.iter().all(|event| event.get("usage").is_none()), "nobody asked for it");
    let usage = json!({"stream": true, "stream_options": {"include_usage": true}});
    let events = server.post(CHAT, &with(&ask, usage)).events();
    let (last, before) = events.split_last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &json!(40)));
    assert!(before.iter().all(|event| event["usage"].is_null() && event.get("usage").is_some()));
}

/// Replies that are made in one pass, in any order, are what each is alone.
#[test]
fn clients_get_what_each_would_get_alone() {
    let asks: Vec<Value> = (0..12u32)
        .map(|number| {
            let words = "one two three ".repeat(number as usize * 3 % 7 + 1);
            chat(&words, 20 + number * 9, number.into())
        })
        .collect();
    let alone = server(&["--slots", "1"]);
    let expected: Vec<Value> = asks.iter().map(|ask| alone.post(CHAT, ask).document()).collect();
    let together = server(&["--slots", "3", "--batch", "16"]);
    thread::scope(|scope| {
        let together = &together;
        let ask = |ask| scope.spawn(move || together.post(CHAT, ask).document());
        let answers: Vec<_> = asks.iter().map(ask).collect();
        for (answer, expected) in answers.into_iter().zip(&expected) {
            assert_eq!(text(&answer.join().unwrap()), text(expected));
        }
    });
    // What the library makes of one of the prompts is the same text.
    let model = models::small(MODEL, Type::Q4);
    let mut session = model.session(&SessionOptions::default()).unwrap();
    let prompt = [30, 40, 50, 60];
    let sampling = Sampling {
        temperature: 0.7,
        top_p: 0.8,
        seed: 11,
        logit_bias: &[(2, -100.0)],
        ..Sampling::default()
    };
    let options = GenerateOptions { max_tokens: 50, sampling, ..GenerateOptions::default() };
    let mut made = String::new();
    session
        .generate(&prompt, &options, &mut |piece| {
            made.push_str(piece.text);
            ControlFlow::Continue(())
        })
        .unwrap();
    let ask = json!({
        "prompt": prompt, "max_tokens": 50, "temperature": 0.7, "top_p": 0.8, "seed": 11,
        "logit_bias": {END: -100},
    });
    assert_eq!(together.post(COMPLETIONS, &ask).document()["choices"][0]["text"], made);
}

/// A prompt is read two tokens at a time here, and a token of the other reply comes with each.
#[test]
fn replies_go_on_while_a_prompt_is_read() {
    const TOKENS: u32 = 200;
    let server = server(&["--slots", "2", "--batch", "2"]);
    let made = || server.metric("kinglet_reply_tokens_total");
    let ask = with(&chat("one", TOKENS, 1), json!({"stream": true})).to_string();
    let mut stream = server.connect();
    stream.write_all(&server.request("POST", CHAT, "", &ask)).unwrap();
    while made() == 0 {
        thread::yield_now();
    }
    let prompt: Vec<u32> = (20..500).collect();
    let ask = json!({"prompt": prompt, "max_tokens": 1, "logit_bias": {END: -100}});
    assert_eq!(server.post(COMPLETIONS, &ask).status, 200);
    assert_eq!(made(), u64::from(TOKENS) + 1, "240 chunks were read, and the reply has ended");
    assert_eq!(
        Answer::new(&rest(stream)).events().last().unwrap()["object"],
        "chat.completion.chunk"
    );
}

#[test]
fn what_texts_share_is_not_computed_again() {
    let server = server(&["--slots", "2"]);
    let reused = |ask: &Value| {
        let usage = server.post(CHAT, ask).document()["usage"].clone();
        let [all, reused] =
            [&usage["prompt_tokens"], &usage["prompt_tokens_details"]["cached_tokens"]]
                .map(|number| number.as_u64().unwrap());
        (all, reused)
    };
    let first = chat("one two three four five six seven", 8, 1);
    let (length, none) = reused(&first);
    assert_eq!(none, 0);
    assert_eq!(reused(&first), (length, length - 1), "the last token gives the reply's logits");
    let (_, other) = reused(&chat("something else altogether", 8, 1));
    assert!(other < length / 2);
    assert_eq!(reused(&first), (length, length - 1), "it is still in its slot");
    let several = server.post(CHAT, &with(&first, json!({"n": 3}))).document();
    let replies: Vec<&Value> = several["choices"].as_array().unwrap().iter().collect();
    assert_eq!(replies.len(), 3);
    assert_eq!(several["usage"]["completion_tokens"], 24);
    assert_ne!(replies[0]["message"], replies[1]["message"], "each has a seed of its own");
    assert_eq!(replies[0]["message"]["content"], text(&server.post(CHAT, &first).document()));
}

#[test]
fn replies_have_shapes_and_call_functions() {
    let server = server(&[]);
    let schema = json!({"type": "object", "properties": {"a": {"enum": [1, 2]}},
        "required": ["a"], "additionalProperties": false});
    let ask = chat("one", 60, 1);
    let ask = with(&ask, json!({"logit_bias": null, "temperature": 0.5}));
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let answer = server.post(CHAT, &with(&ask, json!({"response_format": format}))).document();
    let reply: Value = serde_json::from_str(text(&answer)).unwrap();
    assert!([1, 2].contains(&reply["a"].as_u64().unwrap()));
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let function = json!({"name": "look", "parameters": schema});
    let tools = json!([{"type": "function", "function": function}]);
    let named = json!({"type": "function", "function": {"name": "look"}});
    let ask = with(&ask, json!({"tools": tools, "tool_choice": "required", "max_tokens": 200}));
    // A random model calls now and then more than once.
    let calls = |seed: u32, several: bool| {
        let ask = with(
            &ask,
            json!({"seed": seed, "parallel_tool_calls": several,
            "temperature": 2, "top_p": 1}),
        );
        let answer = server.post(CHAT, &ask).document();
        let calls = &answer["choices"][0]["message"]["tool_calls"];
        calls.as_array().map_or(0, Vec::len)
    };
    let seed = (0..100).find(|&seed| calls(seed, true) > 1).expect("a reply with several calls");
    assert_eq!(calls(seed, false), 1);
    let ask = with(&ask, json!({"tool_choice": named, "max_tokens": 60}));
    let answer = server.post(CHAT, &ask).document();
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &Value::Null)
    );
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("look")));
    let arguments = call["function"]["arguments"].as_str().unwrap();
    let arguments: Value = serde_json::from_str(arguments).unwrap();
    assert!([1, 2].contains(&arguments["a"].as_u64().unwrap()));
    let events = server.post(CHAT, &with(&ask, json!({"stream": true}))).events();
    let calls: Vec<&Value> =
        events.iter().filter_map(|event| event["choices"][0]["delta"].get("tool_calls")).collect();
    assert!(calls.len() == 1 && calls[0][0]["index"] == 0, "{events:?}");
    assert!(events.iter().all(|event| !event["choices"][0]["delta"]["content"].is_string()));
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
    // The conversation goes on with the result.
    let parts = json!([{"type": "text", "text": "o"}, {"type": "text", "text": "ne"}]);
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": parts},
        choice["message"],
        {"role": "tool", "tool_call_id": call["id"], "content": "two"},
    ]);
    let go_on = with(&ask, json!({"messages": messages, "tool_choice": "none", "max_tokens": 5}));
    assert_eq!(server.post(CHAT, &go_on).document()["choices"][0]["message"]["role"], "assistant");
    let cut = server.post(CHAT, &with(&ask, json!({"max_tokens": 3}))).document();
    assert_eq!(cut["choices"][0]["finish_reason"], "length");
    assert_eq!(text(&cut), "", "the beginning of a call is no text");
}

/// What lm-eval's `local-completions` asks: the probabilities of a prompt's tokens.
#[test]
fn completions_echo_the_probabilities_of_their_prompt() {
    let server = server(&["--kv", "f16"]);
    let model = models::small(MODEL, Type::Q4);
    let options = SessionOptions { kv: kinglet::KvType::F16, ..SessionOptions::default() };
    let mut session = model.session(&options).unwrap();
    // The last one goes on as the model would.
    let mut greedy = vec![33, 44, 33, 44, 55];
    let options =
        GenerateOptions { max_tokens: 20, ignore_eos: true, ..GenerateOptions::default() };
    session
        .generate(&greedy.clone(), &options, &mut |piece| {
            greedy.extend(piece.token);
            ControlFlow::Continue(())
        })
        .unwrap();
    let prompts: Vec<Vec<u32>> =
        vec![(20..140).collect(), vec![33, 44, 33, 44, 55], (300..371).rev().collect(), greedy];
    let mut greedy_tokens = 0;
    let ask = json!({"prompt": prompts, "max_tokens": 1, "temperature": 0, "logprobs": 1,
        "echo": true, "seed": 1234});
    let answer = server.post(COMPLETIONS, &ask).document();
    for (prompt, choice) in prompts.iter().zip(answer["choices"].as_array().unwrap()) {
        let told = &choice["logprobs"];
        let length = prompt.len() + 1;
        for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            assert_eq!(told[list].as_array().unwrap().len(), length, "{list}");
        }
        assert_eq!(
            (&told["token_logprobs"][0], &told["top_logprobs"][0]),
            (&Value::Null, &Value::Null)
        );
        session.reset();
        let mut expected = Vec::new();
        session
            .score(prompt, &mut |index, logits| {
                if let Some(&next) = prompt.get(index + 1) {
                    let best = kinglet_core::sample::arg_max(logits);
                    expected.push((kinglet::score::log_likelihood(logits, next), best == next));
                }
            })
            .unwrap();
        for (index, (likelihood, is_greedy)) in expected.into_iter().enumerate() {
            let told_likelihood = told["token_logprobs"][index + 1].as_f64().unwrap();
            assert!((told_likelihood - likelihood).abs() < 1e-5, "{told_likelihood} {likelihood}");
            let top = &told["top_logprobs"][index + 1].as_object().unwrap();
            let best = top.values().next().unwrap();
            // This is how lm-eval finds it out.
            assert_eq!(told["token_logprobs"][index + 1] == *best, is_greedy);
            greedy_tokens += usize::from(is_greedy);
        }
    }
    assert!(greedy_tokens >= 20);
    // It takes the last entry for the reply's token, which is there also where it ends the text.
    let ended = with(&ask, json!({"logit_bias": {END: 100}}));
    for choice in server.post(COMPLETIONS, &ended).document()["choices"].as_array().unwrap() {
        let length = prompts[choice["index"].as_u64().unwrap() as usize].len();
        assert_eq!(choice["logprobs"]["token_logprobs"].as_array().unwrap().len(), length + 1);
    }
}

#[test]
fn completions_are_whole_and_in_a_stream() {
    let server = server(&[]);
    let ask = json!({"prompt": "one two", "max_tokens": 6, "logprobs": 1, "echo": true,
        "logit_bias": {END: -100}, "temperature": 0});
    let plain = server.post(COMPLETIONS, &json!({"prompt": "one", "max_tokens": 0, "echo": true}));
    assert_eq!(plain.document()["choices"][0]["text"], "one");
    let texts = json!({"prompt": ["one", "two"], "n": 2, "max_tokens": 4});
    assert_eq!(server.post(COMPLETIONS, &texts).document()["choices"].as_array().unwrap().len(), 4);
    let streamed = with(&ask, json!({"stream": true}));
    let whole = server.post(COMPLETIONS, &ask).document();
    let events = server.post(COMPLETIONS, &streamed).events();
    let all = |of: &dyn Fn(&Value) -> String| events.iter().map(of).collect::<String>();
    let text = all(&|event| event["choices"][0]["text"].as_str().unwrap().into());
    assert_eq!(text, whole["choices"][0]["text"]);
    let tokens =
        events.iter().filter_map(|event| event["choices"][0]["logprobs"]["tokens"].as_array());
    let tokens: Vec<&Value> = tokens.flatten().collect();
    let expected: Vec<&Value> =
        whole["choices"][0]["logprobs"]["tokens"].as_array().unwrap().iter().collect();
    assert_eq!(tokens, expected);
}

#[test]
fn stop_strings_and_tokens() {
    let server = server(&[]);
    let ask = chat("one two", 60, 5);
    let whole = server.post(CHAT, &ask).document();
    let stop: String = text(&whole).chars().skip(20).take(3).collect();
    let expected = text(&whole).split(&stop).next().unwrap().to_owned();
    let stopped = with(&ask, json!({"stop": [stop], "stream": true}));
    let events = server.post(CHAT, &stopped).events();
    let pieces = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    assert_eq!(pieces.collect::<String>(), expected);
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "stop");
    let told = with(&ask, json!({"logprobs": true, "top_logprobs": 2, "max_tokens": 4}));
    let told = server.post(CHAT, &told).document();
    let entries = told["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert!(entries.len() == 4 && entries[0]["top_logprobs"].as_array().unwrap().len() == 2);
    let tokens = server.post("/tokenize", &json!({"content": "one <|im_end|>"})).document();
    let text = server.post("/detokenize", &tokens).document();
    assert_eq!(text["content"], "one <|im_end|>");
}

#[test]
fn keys_hosts_and_origins_are_checked() {
    let home = TempDir::new().unwrap();
    let serve = |args: &[&str]| {
        let mut command = kinglet(home.path());
        command.arg("serve").arg(model()).args(args).stdin(Stdio::null());
        Said::by(&mut command)
    };
    serve(&["--listen", "0.0.0.0:0"]).fails(2, 404);
    serve(&["--memory-budget", "20MB"]).fails(2, 403);
    let short = home.path().join("short");
    std::fs::write(&short, "short\n").unwrap();
    serve(&["--listen", "0.0.0.0:0", "--api-key-file", short.to_str().unwrap()]).fails(2, 404);
    let key = home.path().join("key");
    std::fs::write(&key, "0123456789abcdef\n").unwrap();
    let server = server(&["--api-key-file", key.to_str().unwrap()]);
    assert_eq!(server.get("/health").status, 200);
    assert!(server.get("/v1/models").error(401).contains("Authorization"));
    let with_key = |key: &str| {
        let header = format!("Authorization: Bearer {key}\r\n");
        server.ask("GET", "/v1/models", &header, "")
    };
    assert_eq!(with_key("0123456789abcdef").status, 200);
    with_key("0123456789abcdeg").error(401);
    let origin = |origin: &str| server.ask("GET", "/health", &format!("Origin: {origin}\r\n"), "");
    assert!(origin("http://example.org").error(403).contains("origin"));
    let answer = origin("null");
    assert!(answer.status == 403 && !answer.head.contains("access-control"));
    let foreign =
        server.raw(b"GET /health HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n");
    Answer::new(&foreign).error(403);
}

#[test]
fn a_server_that_ends_finishes_what_it_has_begun() {
    let server = server(&["--slots", "1"]);
    let ask = with(&chat("one", 400, 1), json!({"stream": true}));
    let mut stream = server.connect();
    stream.write_all(&server.request("POST", CHAT, "", &ask.to_string())).unwrap();
    let mut first = [0; 64];
    let read = stream.read(&mut first).unwrap();
    server.terminate();
    let text = String::from_utf8(first[..read].to_vec()).unwrap() + &rest(stream);
    let events = Answer::new(&text).events();
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "length");
    assert!(server.wait().success());
}
