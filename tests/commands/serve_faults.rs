//! `kinglet serve` and clients that leave, lie, flood and dawdle.

use crate::serve::{CHAT, COMPLETIONS, MODEL, chat, server, with};
use kinglet_tests::server::{Answer, Server, rest};
use serde_json::json;
use std::io::{Read, Write};
use std::thread;

/// Asks for what makes no sense; the answer must name it.
fn refused(server: &Server, path: &str, body: &str, named: &str) {
    let message = server.ask("POST", path, "", body).error(400);
    assert!(message.contains(named), "{body}: {message}");
}

/// Whether a server still makes what it should.
fn assert_well(server: &Server) {
    let answer = server.post(CHAT, &chat("one", 4, 1)).document();
    assert_eq!(answer["usage"]["completion_tokens"], 4);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let server = server(&[]);
    for body in ["", "{", "[]", "null", "{\"messages\": NaN}", "{\"temperature\": 1e999}"] {
        refused(&server, CHAT, body, "the body is not");
    }
    refused(&server, CHAT, &("[".repeat(100_000)), "the body is not JSON");
    let base = chat("one", 4, 1);
    let image = json!([{"type": "image_url", "image_url": {"url": "data:,"}}]);
    for (fields, named) in [
        (json!({"messages": []}), "messages is empty"),
        (json!({"messages": null}), "messages is missing"),
        (json!({"messages": "one"}), "messages must be a list"),
        (json!({"messages": [{"role": "user", "content": image}]}), "text alone"),
        (json!({"messages": [{"role": "user"}]}), "no content"),
        (json!({"messages": [{"role": "king", "content": "one"}]}), "king"),
        (json!({"messages": [{"role": "tool", "content": "one"}]}), "tool_call_id"),
        (json!({"max_tokens": -1}), "max_tokens"),
        (json!({"max_tokens": 1.5}), "max_tokens"),
        (json!({"max_completion_tokens": "4"}), "max_completion_tokens"),
        (json!({"temperature": -0.1}), "temperature"),
        (json!({"temperature": 1e300}), "temperature"),
        (json!({"top_p": 1.01}), "top_p"),
        (json!({"presence_penalty": 3}), "presence_penalty"),
        (json!({"frequency_penalty": -3}), "frequency_penalty"),
        (json!({"n": 0}), "n must be"),
        (json!({"n": 100_000}), "n must be"),
        (json!({"seed": 0.5}), "seed"),
        (json!({"stop": ["a", 1]}), "stop"),
        (json!({"stop": ""}), "stop"),
        (json!({"stop": vec!["a"; 99]}), "stop"),
        (json!({"logit_bias": {"640": 1}}), "logit_bias"),
        (json!({"logit_bias": {"1": 101}}), "logit_bias"),
        (json!({"logit_bias": [1]}), "logit_bias"),
        (json!({"top_logprobs": 2}), "logprobs"),
        (json!({"logprobs": true, "top_logprobs": 21}), "top_logprobs"),
        (json!({"stream": "yes"}), "stream"),
        (json!({"response_format": {"type": "xml"}}), "response_format"),
        (json!({"response_format": {"type": "json_schema"}}), "json_schema"),
        (
            json!({"response_format": {"type": "json_schema",
                "json_schema": {"schema": {"type": "array", "uniqueItems": true}}}}),
            "uniqueItems",
        ),
        (json!({"tools": [{"type": "function"}]}), "no name"),
        (json!({"tools": [{"name": "f", "description": 1}]}), "description of f"),
        (json!({"tools": [{"name": "f", "type": 1}]}), "only functions"),
        (json!({"tools": [{"name": "f"}], "tool_choice": "g"}), "tool_choice"),
        (
            json!({"tools": [{"name": "f"}], "tool_choice": {"function": {"name": "g"}}}),
            "no tool g",
        ),
        (json!({"messages": [{"role": "user", "content": "one ".repeat(600)}]}), "the context 512"),
    ] {
        refused(&server, CHAT, &with(&base, fields).to_string(), named);
    }
    server.get("/nothing").error(404);
    let wrong = server.get(CHAT);
    wrong.error(405);
    assert!(wrong.head.contains("\nallow: post"), "{wrong:?}");
    assert_well(&server);
}

#[test]
fn prompts_and_tokens_that_make_no_sense_are_refused() {
    let server = server(&[]);
    for (body, named) in [
        (json!({}), "prompt is missing"),
        (json!({"prompt": []}), "prompt"),
        (json!({"prompt": ""}), "empty"),
        (json!({"prompt": [640]}), "below 640"),
        (json!({"prompt": [-1]}), "below 640"),
        (json!({"prompt": [["a"]]}), "a token must be"),
        (json!({"prompt": "a", "suffix": "b"}), "suffix"),
        (json!({"prompt": vec!["a"; 1000]}), "more than"),
    ] {
        refused(&server, COMPLETIONS, &body.to_string(), named);
    }
    refused(&server, "/detokenize", "{\"tokens\": [\"a\"]}", "a token must be");
    refused(&server, "/tokenize", "{}", "content is missing");
    assert_well(&server);
}

#[test]
fn malformed_http_is_refused() {
    let server = server(&[]);
    let host = "Host: localhost\r\n";
    let body = chat("one", 1, 1).to_string();
    let length = body.len();
    let status = |bytes: &[u8]| {
        let text = server.raw(bytes);
        let answer = Answer::new(&text);
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "one answer, then the end: {text}");
        answer.status
    };
    let post = |headers: &str, body: &str| {
        status(format!("POST {CHAT} HTTP/1.1\r\n{host}{headers}\r\n{body}").as_bytes())
    };
    let smuggled = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // What a proxy may have taken for the body of another request is never answered.
    let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(post(both, &format!("0\r\n\r\n{smuggled}")), 400);
    let both = "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n";
    assert_eq!(post(both, &format!("0\r\n\r\n{smuggled}")), 400);
    let twice = format!("Content-Length: {length}\r\nContent-Length: 3\r\n");
    assert_eq!(post(&twice, &body), 400);
    assert_eq!(post("Transfer-Encoding: gzip\r\n", &body), 400);
    assert_eq!(post("Transfer-Encoding: chunked\r\n", &format!("zz\r\n{body}")), 400);
    assert_eq!(post("Content-Length: -1\r\n", &body), 400);
    assert_eq!(post("Content-Length: 99999999999\r\n", &body), 413);
    for chunk in ["-1\r\n", "+5\r\n", "0x5\r\n", "fffffffffffffffff\r\n", "5\r\nabcdeX", "5 5\r\n"]
    {
        assert_eq!(
            post("Transfer-Encoding: chunked\r\n", &format!("{chunk}{body}")),
            400,
            "{chunk}"
        );
    }
    for header in ["Transfer-Encoding : chunked", "Transfer-Encoding: xchunked"] {
        let smuggled = format!("0\r\n\r\n{smuggled}");
        assert_eq!(post(&format!("{header}\r\n"), &smuggled), 400, "{header}");
    }
    for length in ["+5", "0x5", "5, 6", "5 5", "", "5\r\n 6"] {
        let smuggled = format!("{{    {smuggled}");
        assert_eq!(post(&format!("Content-Length: {length}\r\n"), &smuggled), 400, "{length}");
    }
    let endless = format!("100001\r\n{}\r\n0\r\n\r\n", " ".repeat(0x10_0001));
    assert_eq!(post("Transfer-Encoding: chunked\r\n", &endless), 413);
    let flood = "X: y\r\n".repeat(1000);
    assert_eq!(post(&flood, ""), 431);
    let long = format!("X: {}\r\n", "y".repeat(100_000));
    assert_eq!(post(&long, ""), 431);
    let path = format!("GET /health?{} HTTP/1.1\r\n{host}\r\n", "y".repeat(20_000));
    assert_eq!(status(path.as_bytes()), 431);
    assert_eq!(status(b"\0\0\0\0\r\n\r\n"), 400);
    assert_eq!(status(b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n"), 400);
    assert_eq!(post("Content-Length: 4\r\n", "\u{0}\u{1}\u{2}\u{3}"), 400);
    let invalid = [
        &b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 17\r\n\r\n"[..],
        b"{\"content\": \"\xff\xfe\"}",
    ]
    .concat();
    assert_eq!(status(&invalid), 400);
    assert_well(&server);
}

#[test]
fn nothing_is_made_for_clients_that_have_left() {
    // One token of a prompt in each pass, and one reply at a time.
    let server = server(&["--slots", "1", "--batch", "1"]);
    let prompts: Vec<Vec<u32>> = (0..32).map(|first| (first..first + 480).collect()).collect();
    let ask = json!({"prompt": prompts, "max_tokens": 1}).to_string();
    let mut stream = server.connect();
    stream.write_all(&server.request("POST", COMPLETIONS, "", &ask)).unwrap();
    // It reads the first prompt, or has read it.
    while server.metric("kinglet_running_replies") == 0
        && server.metric("kinglet_prompt_tokens_total") == 0
    {
        thread::yield_now();
    }
    drop(stream);
    server.settle();
    let read = server.metric("kinglet_prompt_tokens_total");
    assert!(read < 32 * 480, "{read} tokens of prompts were read for nobody");
    for streams in [true, false] {
        let before = server.metric("kinglet_reply_tokens_total");
        let ask = with(&chat("one", 450, 1), json!({"n": 8, "stream": streams})).to_string();
        let mut stream = server.connect();
        stream.write_all(&server.request("POST", CHAT, "", &ask)).unwrap();
        while server.metric("kinglet_reply_tokens_total") == before {
            thread::yield_now();
        }
        drop(stream);
        server.settle();
        let made = server.metric("kinglet_reply_tokens_total") - before;
        assert!(made < 8 * 450, "{made} tokens were made for nobody");
    }
    assert!(server.metric("kinglet_abandoned_total") >= 1);
    assert_well(&server);
}

#[test]
fn who_leaves_the_queue_is_never_served() {
    let server = server(&["--slots", "1"]);
    let ask = with(&chat("one", 480, 1), json!({"stream": true, "n": 8})).to_string();
    let mut first = server.connect();
    first.write_all(&server.request("POST", CHAT, "", &ask)).unwrap();
    server.await_metric("kinglet_running_replies", |running| running == 1);
    let prompt: Vec<u32> = (20..400).collect();
    let mut second = server.connect();
    let ask = json!({"prompt": prompt, "max_tokens": 8, "n": 8}).to_string();
    second.write_all(&server.request("POST", COMPLETIONS, "", &ask)).unwrap();
    server.await_metric("kinglet_waiting_replies", |waiting| waiting >= 8);
    drop(second);
    assert_eq!(Answer::new(&rest(first)).status, 200);
    server.settle();
    assert_eq!(server.metric("kinglet_reply_seconds_count"), 8, "those of the first alone");
    assert!(server.metric("kinglet_prompt_tokens_total") < 380, "the prompt was read for nobody");
    assert_well(&server);
}

#[test]
fn a_large_answer_takes_little_more_than_its_text() {
    let server = server(&["--slots", "2", "--memory-budget", "96MB"]);
    let told = json!({"n": 8, "logprobs": true, "top_logprobs": 20});
    let answer = server.post(CHAT, &with(&chat("one", 450, 1), told));
    let document = answer.document();
    let mut entries = 0;
    for choice in document["choices"].as_array().unwrap() {
        let told = choice["logprobs"]["content"].as_array().unwrap();
        assert!(told.iter().all(|entry| entry["top_logprobs"].as_array().unwrap().len() == 20));
        entries += told.len() as u64;
    }
    assert_eq!(document["usage"]["completion_tokens"], entries);
    let peak = server.metric("kinglet_peak_resident_bytes");
    let most = server.metric("kinglet_anonymous_bytes");
    assert!(peak <= 96_000_000, "{peak} bytes, {most} of them left, for {}", answer.body.len());
}

#[test]
fn answers_that_memory_cannot_hold_are_refused() {
    let server = server(&["--slots", "2", "--memory-budget", "96MB"]);
    let told =
        json!({"n": 8, "logprobs": 20, "max_tokens": 450, "prompt": ["one", "two", "three"]});
    let answer = server.post("/v1/completions", &told);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.body.contains("fewer logprobs"), "{answer:?}");
    server.settle();
    let made = server.metric("kinglet_reply_tokens_total");
    assert!(made < 3 * 8 * 450, "{made} tokens: the rest was made for nobody");
    let peak = server.metric("kinglet_peak_resident_bytes");
    assert!(peak <= 96_000_000, "{peak} bytes");
    // What was refused has left its room to others.
    let answer = server.post(CHAT, &with(&chat("one", 400, 1), json!({"n": 4})));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_well(&server);
}

/// What nobody reads takes little memory, and others get their replies meanwhile.
#[test]
fn who_reads_nothing_hinders_nobody() {
    let server = server(&["--slots", "2", "--memory-budget", "96MB"]);
    let long = json!({"stream": true, "n": 8, "logprobs": true, "top_logprobs": 20});
    let ask = with(&chat("one", 450, 1), long).to_string();
    let slow: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(&server.request("POST", CHAT, "", &ask)).unwrap();
            stream
        })
        .collect();
    server.await_metric("kinglet_reply_tokens_total", |made| made > 0);
    assert_well(&server);
    drop(slow);
    server.settle();
    let peak = server.metric("kinglet_peak_resident_bytes");
    assert!(peak <= 96_000_000, "{peak} bytes");
}

#[test]
fn many_connections_are_served_or_told_to_come_again() {
    let server = server(&["--slots", "8", "--memory-budget", "96MB"]);
    // They wait for the rest of a head, of a body, and for nothing at all.
    let half: Vec<_> = (0..60)
        .map(|number| {
            let mut stream = server.connect();
            let whole = server.request("POST", CHAT, "", &chat("one", 1, 1).to_string());
            stream.write_all(&whole[..[0, 30, whole.len() - 3][number % 3]]).unwrap();
            stream
        })
        .collect();
    let statuses = thread::scope(|scope| {
        let ask = |number: u64| {
            let server = &server;
            scope.spawn(move || {
                let answer = server.post(CHAT, &chat("one two", 3, number));
                if answer.status == 503 {
                    assert!(answer.head.contains("\nretry-after: "), "{answer:?}");
                }
                answer.status
            })
        };
        let asked: Vec<_> = (0..200).map(ask).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect::<Vec<u16>>()
    });
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    assert!(statuses.iter().filter(|&&status| status == 200).count() >= 8);
    for stream in half {
        let text = rest(stream);
        assert!(text.is_empty() || Answer::new(&text).status == 408, "{text}");
    }
    assert_well(&server);
    let peak = server.metric("kinglet_peak_resident_bytes");
    assert!(peak <= 96_000_000, "{peak} bytes");
}

#[test]
fn requests_follow_one_another_on_a_connection() {
    let server = server(&[]);
    let first = b"HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n\
        GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let bytes = [&first[..], &server.request("GET", "/v1/models", "", "")].concat();
    let text = server.raw(&bytes);
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3, "{text}");
    assert_eq!(text.matches("{\"status\":\"ok\"}").count(), 1, "{text}");
}

/// The queue has room for 128: what comes then is refused, and heard once there is room.
#[test]
fn a_full_queue_says_so() {
    let server = server(&["--slots", "1"]);
    let ask = with(&chat("one", 480, 1), json!({"n": 8})).to_string();
    let streams: Vec<_> = (0..17)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(&server.request("POST", CHAT, "", &ask)).unwrap();
            stream
        })
        .collect();
    while server.metric("kinglet_waiting_replies") < 100 {
        thread::yield_now();
    }
    assert_eq!(server.get("/health").status, 200);
    let full = with(&chat("one", 1, 1), json!({"n": 8}));
    // The last of the requests may still be on their way.
    let refused = loop {
        let mut stream = server.connect();
        stream.write_all(&server.request("POST", CHAT, "", &full.to_string())).unwrap();
        if server.metric("kinglet_refused_total") > 0 {
            break stream;
        }
    };
    drop((streams, refused));
    server.settle();
    assert_well(&server);
}

#[test]
fn memory_stays_flat_and_within_its_budget() {
    let server = server(&["--slots", "2", "--memory-budget", "96MB"]);
    let ask = |number: u64| {
        let mut ask = chat(&"one two ".repeat(number as usize % 9 + 1), 4, number);
        ask["stream"] = number.is_multiple_of(2).into();
        if number.is_multiple_of(10) {
            ask["response_format"] = json!({"type": "json_object"});
            ask["logit_bias"] = json!({});
        }
        assert_eq!(server.post(CHAT, &ask).status, 200);
        let words = "one two ".repeat(number as usize % 7 + 1);
        let (path, ask) = match number % 4 {
            0 => ("/v1/embeddings", json!({"input": [words, "a"]})),
            1 => ("/v1/responses", json!({"input": words, "max_output_tokens": 2, "stream": true})),
            2 => ("/api/chat", with(&ask, json!({"model": MODEL, "options": {"num_predict": 2}}))),
            _ => return,
        };
        assert_eq!(server.post(path, &ask).status, 200);
    };
    (0..100).for_each(ask);
    let before = server.metric("kinglet_anonymous_bytes");
    (0..1000).for_each(ask);
    let after = server.metric("kinglet_anonymous_bytes");
    assert!(after < before + (1 << 20), "{before} bytes, 1,000 requests later {after}");
    let peak = server.metric("kinglet_peak_resident_bytes");
    assert!(peak <= 96_000_000, "{peak} bytes");
}

#[test]
fn events_hold_whole_characters() {
    let server = server(&[]);
    let ask = with(&chat("one", 400, 9), json!({"stream": true, "temperature": 2.0, "top_p": 1}));
    let mut stream = server.connect();
    stream.write_all(&server.request("POST", CHAT, "", &ask.to_string())).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    // Each event is parsed for itself.
    let events = Answer::new(&text).events();
    let content = |event: &serde_json::Value| {
        event["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
    };
    let streamed: String = events.iter().map(content).collect();
    let whole = server.post(CHAT, &with(&ask, json!({"stream": false}))).document();
    assert_eq!(streamed, whole["choices"][0]["message"]["content"]);
    assert!(!streamed.is_ascii(), "the model wrote characters of several bytes");
}
