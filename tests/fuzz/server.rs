//! Requests to `kinglet serve`, which a tiny model answers. The first line of an input is the path.

use super::checkpoint::{converted, scratch};
use kinglet::{Backend, Model, SessionOptions, Tier, Type};
use kinglet_cli::check::{Answer, Server};
use serde_json::{Value, json};
use std::fs;
use std::sync::OnceLock;

/// The status of a queue that is full.
const BUSY: u16 = 503;

fn server() -> Server {
    let folder = scratch();
    let path = folder.path().join("tiny.kinglet");
    fs::write(&path, converted(Type::Q8)).unwrap();
    let model = Model::open(&path).unwrap();
    let options = SessionOptions {
        texts: 2,
        context: Some(640),
        threads: Some(1),
        logit_rows: 8,
        backend: Some(Backend::Cpu(Tier::best())),
        ..SessionOptions::default()
    };
    Server::start(&model, options).unwrap()
}

pub fn run(input: &[u8]) -> bool {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let line = input.iter().position(|&byte| byte == b'\n').unwrap_or(input.len());
    let Ok(path) = str::from_utf8(&input[..line]) else { return false };
    let body = input.get(line + 1..).unwrap_or_default();
    // So that replies are always the same; a request may ask for others.
    fastrand::seed(1);
    let server = SERVER.get_or_init(server);
    let Some(Answer { status, body, is_whole }) = server.answer(path, body) else {
        return false;
    };
    let text = String::from_utf8(body).expect("answers are text");
    // A request must not be the server's fault.
    assert!(status < 500 || status == BUSY, "{status}: {text}");
    assert!(is_whole || status == 200, "only a stream can be cut");
    if is_whole && serde_json::from_str::<Value>(&text).is_err() {
        text.lines().for_each(check_line);
    }
    status == 200
}

/// A line of a stream, of either framing.
fn check_line(line: &str) {
    let is_document = |text: &str| serde_json::from_str::<Value>(text).is_ok();
    let is_right = match line.split_once(": ") {
        Some(("event", name)) => !name.is_empty(),
        Some(("data", data)) => data == "[DONE]" || is_document(data),
        _ => line.is_empty() || is_document(line),
    };
    assert!(is_right, "{line}");
}

pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let seed = |(name, path, body): (&'static str, &str, Value)| {
        (name, format!("{path}\n{body}").into_bytes())
    };
    let all: Vec<_> = openai().into_iter().chain(ollama()).collect();
    let is_there = |path: &str| all.iter().any(|(_, seed, _)| *seed == path);
    assert!(Server::paths().all(is_there), "a path has no request to begin with");
    all.into_iter().map(seed).collect()
}

/// A function's parameters, and the form of a reply.
fn shape() -> Value {
    json!({"type": "object", "properties": {"a": {"type": "integer"}}})
}

fn tool() -> Value {
    let function = json!({"name": "add", "description": "adds", "parameters": shape()});
    json!({"type": "function", "function": function})
}

fn openai() -> Vec<(&'static str, &'static str, Value)> {
    let content = json!([{"type": "text", "text": "the end"}]);
    let messages = json!([{"role": "system", "content": "be short"},
                          {"role": "user", "content": content}]);
    let chat = json!({"model": "m", "messages": messages, "max_tokens": 9, "n": 2, "stream": true,
        "stream_options": {"include_usage": true}, "logprobs": true, "top_logprobs": 2,
        "temperature": 0.5, "top_p": 0.9, "seed": 1, "stop": ["z", "qq"], "presence_penalty": 0.1,
        "frequency_penalty": -0.1, "logit_bias": {"5": -100}});
    let schema = json!({"name": "s", "strict": true, "schema": shape()});
    let format = json!({"type": "json_schema", "json_schema": schema});
    let shaped =
        json!({"messages": messages, "max_completion_tokens": 30, "response_format": format});
    let calls = json!({"messages": messages, "tools": [tool()], "tool_choice": "required",
        "parallel_tool_calls": false, "max_tokens": 60});
    let said = json!({"prompt": ["in the", [5, 6]], "max_tokens": 4, "echo": true, "logprobs": 2,
        "suffix": null, "best_of": 1});
    let response = json!({"input": [{"role": "user", "content": "hi"}], "stream": true,
        "instructions": "be", "max_output_tokens": 9,
        "text": {"format": {"type": "json_object"}}});
    let embeddings = json!({"input": ["a", "b c"], "encoding_format": "base64"});
    vec![
        ("chat", "/v1/chat/completions", chat),
        ("shaped", "/v1/chat/completions", shaped),
        ("calls", "/v1/chat/completions", calls),
        ("completion", "/v1/completions", said),
        ("embeddings", "/v1/embeddings", embeddings),
        ("responses", "/v1/responses", response),
        ("tokenize", "/tokenize", json!({"content": "the end", "with_pieces": true})),
        ("detokenize", "/detokenize", json!({"tokens": [5, 6, 7]})),
    ]
}

fn ollama() -> Vec<(&'static str, &'static str, Value)> {
    let options = json!({"temperature": 0, "num_predict": 9, "top_k": 3, "repeat_penalty": 1.1});
    let chat = json!({"model": "model", "messages": [{"role": "user", "content": "hi"}],
        "options": options, "format": shape(), "keep_alive": "5m"});
    let calls = json!({"model": "model", "messages": [{"role": "user", "content": "hi"}],
        "options": options, "tools": [tool()], "stream": false});
    let said = json!({"model": "model", "prompt": "in", "system": "be", "options": options,
        "raw": false, "stream": false});
    let embed = json!({"model": "model", "input": "in the end", "truncate": true});
    vec![
        ("show", "/api/show", json!({"model": "model", "verbose": true})),
        ("ollama-chat", "/api/chat", chat),
        ("ollama-calls", "/api/chat", calls),
        ("generate", "/api/generate", said),
        ("embed", "/api/embed", embed),
        ("embed-one", "/api/embeddings", json!({"model": "model", "prompt": "in the end"})),
    ]
}
