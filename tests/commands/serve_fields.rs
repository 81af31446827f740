//! `kinglet serve` and bodies with numbers, texts and nesting that make no sense: each gets an
//! answer, and none ends the server.

use crate::serve::{CHAT, COMPLETIONS, MODEL, chat, server};
use kinglet_tests::server::Server;

/// Numbers as clients write them by mistake, and what is no JSON.
const NUMBERS: [&str; 14] = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e999",
    "-1",
    "-0.0",
    "0.5",
    "1e308",
    "1e-320",
    "18446744073709551616",
    "-9223372036854775809",
    "\"1\"",
    "[1]",
];

/// A place for a number in a body for a path: `@` is that place.
const PLACES: [(&str, &str); 36] = [
    (CHAT, r#""max_tokens": @"#),
    (CHAT, r#""max_completion_tokens": @"#),
    (CHAT, r#""temperature": @"#),
    (CHAT, r#""top_p": @"#),
    (CHAT, r#""presence_penalty": @"#),
    (CHAT, r#""frequency_penalty": @"#),
    (CHAT, r#""seed": @"#),
    (CHAT, r#""n": @"#),
    (CHAT, r#""logprobs": true, "top_logprobs": @"#),
    (CHAT, r#""logit_bias": {"3": @}"#),
    (COMPLETIONS, r#""max_tokens": @"#),
    (COMPLETIONS, r#""logprobs": @"#),
    (COMPLETIONS, r#""best_of": @"#),
    (COMPLETIONS, r#""n": @"#),
    (COMPLETIONS, r#""prompt": @"#),
    (COMPLETIONS, r#""prompt": [@]"#),
    (COMPLETIONS, r#""prompt": [[@]]"#),
    ("/v1/embeddings", r#""dimensions": @"#),
    ("/v1/embeddings", r#""input": @"#),
    ("/v1/embeddings", r#""input": [[@]]"#),
    ("/v1/responses", r#""max_output_tokens": @"#),
    ("/v1/responses", r#""temperature": @"#),
    ("/v1/responses", r#""top_p": @"#),
    ("/v1/responses", r#""top_logprobs": @"#),
    ("/detokenize", r#""tokens": [@]"#),
    ("/api/chat", r#""options": {"num_predict": @}"#),
    ("/api/chat", r#""options": {"temperature": @}"#),
    ("/api/chat", r#""options": {"top_k": @}"#),
    ("/api/chat", r#""options": {"top_p": @}"#),
    ("/api/chat", r#""options": {"min_p": @}"#),
    ("/api/chat", r#""options": {"seed": @}"#),
    ("/api/chat", r#""options": {"repeat_penalty": @}"#),
    ("/api/chat", r#""options": {"repeat_last_n": @}"#),
    ("/api/chat", r#""options": {"presence_penalty": @}"#),
    ("/api/chat", r#""options": {"frequency_penalty": @}"#),
    ("/api/embed", r#""dimensions": @"#),
];

/// What a body for each path needs besides.
fn base(path: &str) -> String {
    let messages = r#""messages": [{"role": "user", "content": "a"}]"#;
    match path {
        CHAT => messages.to_owned(),
        COMPLETIONS => r#""prompt": "a""#.to_owned(),
        "/detokenize" => r#""tokens": []"#.to_owned(),
        "/api/chat" => format!(r#""model": "{MODEL}", {messages}"#),
        "/api/embed" => format!(r#""model": "{MODEL}", "input": "a""#),
        _ => r#""input": "a""#.to_owned(),
    }
}

/// Whether a server still makes what it should.
fn assert_well(server: &Server) {
    let answer = server.post(CHAT, &chat("one", 4, 1)).document();
    assert_eq!(answer["usage"]["completion_tokens"], 4);
}

/// What is no number is refused, and a number has an effect or is refused; of the same field twice,
/// the second one counts.
#[test]
fn every_number_is_checked() {
    let server = server(&[]);
    for (path, place) in PLACES {
        for number in NUMBERS {
            let body = format!("{{{}, {}}}", base(path), place.replace('@', number));
            let answer = server.ask("POST", path, "", &body);
            let fits = match number {
                "NaN" | "Infinity" | "-Infinity" | "1e999" | "-1e999" => answer.status == 400,
                _ => [200, 400].contains(&answer.status),
            };
            assert!(fits, "{path} {body}: {answer:?}");
        }
    }
    assert_well(&server);
}

/// Values that are nested as deeply as the parser allows, and more deeply, in every place that
/// takes any value.
#[test]
fn nesting_is_bounded() {
    let server = server(&[]);
    let parameters =
        r#""tools": [{"type": "function", "function": {"name": "f", "parameters": @}}]"#;
    let schema = r#""response_format": {"type": "json_schema", "json_schema": {"schema": @}}"#;
    let arguments = r#""messages": [{"role": "user", "content": "a"}, {"role": "assistant",
        "tool_calls": [{"function": {"name": "f", "arguments": @}}]}]"#;
    let places = [
        (CHAT, "\"unknown\": @"),
        (CHAT, parameters),
        (CHAT, schema),
        ("/v1/responses", "\"metadata\": @"),
        ("/v1/responses", r#""text": {"format": {"type": "json_schema", "schema": @}}"#),
        ("/api/chat", "\"format\": @"),
        ("/api/chat", parameters),
        ("/api/chat", arguments),
    ];
    for (path, place) in places {
        for depth in [20, 100, 120, 10_000] {
            for (open, close) in [(r#"{"a": "#, "}"), (r#"{"items": "#, "}"), ("[", "]")] {
                let nested = open.repeat(depth) + "{}" + &close.repeat(depth);
                let body = format!(
                    "{{\"max_tokens\": 1, {}, {}}}",
                    base(path),
                    place.replace('@', &nested)
                );
                let answer = server.ask("POST", path, "", &body);
                let fits = match depth {
                    10_000 => answer.status == 400,
                    _ => [200, 400].contains(&answer.status),
                };
                assert!(fits, "{path} {place} {depth}: {answer:?}");
            }
        }
        // A text that is JSON itself.
        let arguments = format!("{:?}", "[".repeat(100_000));
        let body = format!("{{{}, {}}}", base(path), place.replace('@', &arguments));
        assert!([200, 400].contains(&server.ask("POST", path, "", &body).status), "{path} {place}");
    }
    assert_well(&server);
}

/// Texts whose characters are cut, doubled, or halves of pairs.
#[test]
fn malformed_texts_are_refused() {
    let server = server(&[]);
    let texts: [&[u8]; 7] = [
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\xf5\x80\x80\x80",
        b"\xc0\xaf",
        b"\\ud800",
        b"\\udc00\\ud800",
    ];
    for path in [CHAT, COMPLETIONS, "/v1/embeddings", "/v1/responses", "/tokenize", "/api/chat"] {
        for text in texts {
            let body = [b"{\"content\": \"".as_slice(), text, b"\"}"].concat();
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 Content-Length: {}\r\n\r\n",
                body.len()
            );
            let answer = server.raw(&[head.as_bytes(), &body].concat());
            assert!(answer.starts_with("HTTP/1.1 400 "), "{path} {text:?}: {answer}");
            assert!(answer.contains("the body is not JSON"), "{path} {text:?}: {answer}");
        }
    }
    assert_well(&server);
}
