//! `kinglet serve` as Ollama's clients see it.

use crate::serve::{CHAT, END, MODEL, chat, model, server, with};
use kinglet::{Pooling, SessionOptions, Specials, Type};
use kinglet_tests::models;
use kinglet_tests::server::{Answer, Server};
use serde_json::{Value, json};

/// A chat that takes 40 tokens, and none that ends it before.
fn ask(text: &str, options: Value) -> Value {
    let options = with(&json!({"num_predict": 40, "seed": 3, "temperature": 1}), options);
    json!({
        "model": MODEL, "messages": [{"role": "user", "content": text}], "options": options,
    })
}

/// The documents of a stream of lines.
fn lines(answer: &Answer) -> Vec<Value> {
    assert!(answer.status == 200 && answer.head.contains("content-type: application/x-ndjson"));
    answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Asserts an error of this status in Ollama's form; returns its message.
fn refused(server: &Server, path: &str, body: &Value, status: u16) -> String {
    let answer = server.post(path, body);
    assert_eq!(answer.status, status, "{body}: {answer:?}");
    let document: Value = serde_json::from_str(&answer.body).unwrap();
    document["error"].as_str().expect("the error is a text").to_owned()
}

/// The protocols translate into the same request and from the same events.
#[test]
fn chats_say_what_they_say_by_the_other_protocol() {
    let server = server(&[]);
    let other = with(&chat("one two", 40, 3), json!({"logit_bias": null, "top_p": 0.9}));
    let other = server.post(CHAT, &other).document();
    let whole =
        server.post("/api/chat", &with(&ask("one two", json!({})), json!({"stream": false})));
    let whole = whole.document();
    let choice = &other["choices"][0];
    assert_eq!(
        whole["message"],
        json!({"role": "assistant", "content": choice["message"]["content"]})
    );
    assert_eq!((&whole["done"], &whole["done_reason"]), (&json!(true), &choice["finish_reason"]));
    assert_eq!(whole["model"], MODEL);
    let counts = [&whole["prompt_eval_count"], &whole["eval_count"]];
    assert_eq!(counts, [&other["usage"]["prompt_tokens"], &other["usage"]["completion_tokens"]]);
    let time = |name: &str| whole[name].as_u64().expect("nanoseconds");
    assert!(time("total_duration") >= time("prompt_eval_duration") + time("eval_duration"));
    assert!(time("prompt_eval_duration") > 0 && time("eval_duration") > 0);
    // Without `stream` it is a stream, whose last line has no text.
    let streamed = lines(&server.post("/api/chat", &ask("one two", json!({}))));
    let (last, before) = streamed.split_last().unwrap();
    assert_eq!((&last["done"], &last["message"]["content"]), (&json!(true), &json!("")));
    assert_eq!(last["eval_count"], whole["eval_count"]);
    assert!(before.iter().all(|line| line["done"] == false && line.get("eval_count").is_none()));
    let text: String =
        before.iter().map(|line| line["message"]["content"].as_str().unwrap()).collect();
    assert_eq!(text, whole["message"]["content"]);
}

#[test]
fn chats_have_shapes_and_call_functions() {
    let server = server(&[]);
    let schema = json!({"type": "object", "properties": {"a": {"enum": [1, 2]}},
        "required": ["a"], "additionalProperties": false});
    let base = with(
        &ask("one", json!({"num_predict": 200, "temperature": 0.5})),
        json!({"stream": false, "keep_alive": "5m", "think": false}),
    );
    let answer = server.post("/api/chat", &with(&base, json!({"format": schema}))).document();
    let reply: Value =
        serde_json::from_str(answer["message"]["content"].as_str().unwrap()).unwrap();
    assert!([1, 2].contains(&reply["a"].as_u64().unwrap()));
    assert_eq!(answer["done_reason"], "stop");
    let prompt = json!({"prompt": "one", "format": schema, "messages": null});
    let answer = server.post("/api/generate", &with(&base, prompt)).document();
    let reply: Value = serde_json::from_str(answer["response"].as_str().unwrap()).unwrap();
    assert!([1, 2].contains(&reply["a"].as_u64().unwrap()));
    let tools = json!([{"type": "function", "function": {"name": "look", "parameters": schema}}]);
    let named = json!({"type": "function", "function": {"name": "look"}});
    // Left to itself, a random model hardly ever calls.
    let must = with(
        &ask("one", json!({"num_predict": 200})),
        json!({"tools": tools, "tool_choice": named}),
    );
    let document = server.post("/api/chat", &with(&must, json!({"stream": false}))).document();
    let calls = document["message"]["tool_calls"].as_array().unwrap().clone();
    assert_eq!(
        (&document["message"]["content"], &document["done_reason"]),
        (&json!(""), &json!("stop"))
    );
    assert_eq!(calls[0]["function"]["name"], "look");
    assert!([1, 2].contains(&calls[0]["function"]["arguments"]["a"].as_u64().unwrap()));
    let streamed = lines(&server.post("/api/chat", &must));
    let told: Vec<&Value> =
        streamed.iter().filter_map(|line| line["message"].get("tool_calls")).collect();
    assert_eq!(told.len(), calls.len());
    assert_eq!(told[0][0]["function"], calls[0]["function"]);
    // The conversation goes on with the result, with its function's name or without.
    for result in [json!({"tool_name": "look"}), json!({})] {
        let result = with(&json!({"role": "tool", "content": "two"}), result);
        let messages = json!([{"role": "user", "content": "one"}, document["message"], result]);
        let go_on = with(&base, json!({"messages": messages, "tools": tools}));
        assert_eq!(server.post("/api/chat", &go_on).document()["done"], true);
    }
}

#[test]
fn texts_go_on_as_they_are_or_by_the_template() {
    let server = server(&[]);
    let post = |fields: Value| {
        let ask = with(&ask("", json!({})), json!({"messages": null, "stream": false}));
        server.post("/api/generate", &with(&ask, fields)).document()
    };
    let by_template = post(json!({"prompt": "one two", "system": "Be brief."}));
    let messages = json!([
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "one two"},
    ]);
    let chat = with(&ask("", json!({})), json!({"messages": messages, "stream": false}));
    let chat = server.post("/api/chat", &chat).document();
    assert_eq!(by_template["response"], chat["message"]["content"]);
    assert_eq!(by_template["prompt_eval_count"], chat["prompt_eval_count"]);
    let raw = post(json!({"prompt": "one two", "raw": true}));
    let completion = json!({"prompt": "one two", "max_tokens": 40, "seed": 3, "temperature": 1});
    let completion = server.post("/v1/completions", &completion).document();
    assert_eq!(raw["response"], completion["choices"][0]["text"]);
    // The options choose as the library does.
    let greedy = json!({"temperature": 0, "top_k": 3, "min_p": 0.1, "repeat_penalty": 1.3,
        "repeat_last_n": -1, "presence_penalty": 0.1, "frequency_penalty": 0.1, "num_ctx": 99999});
    let greedy = |seed: u32| {
        let options = with(&greedy, json!({"seed": seed, "num_predict": 30}));
        post(json!({"prompt": "one two", "raw": true, "options": options}))["response"].clone()
    };
    assert_eq!(greedy(1), greedy(2));
    let without = post(json!({"prompt": "one two", "raw": true,
        "options": {"temperature": 0, "num_predict": 30}}));
    assert_ne!(greedy(1), without["response"], "what was said is penalized");
    let text = without["response"].as_str().unwrap();
    let stop: String = text.chars().skip(4).take(2).collect();
    let stopped = post(json!({"prompt": "one two", "raw": true,
        "options": {"temperature": 0, "num_predict": 30, "stop": [stop]}}));
    assert_eq!(stopped["response"], text.split(&stop).next().unwrap());
    let all = post(json!({"prompt": "one two", "raw": true,
        "options": {"temperature": 0, "num_predict": -1}}));
    assert!(all["response"].as_str().unwrap().starts_with(text));
}

#[test]
fn the_model_is_listed_and_shown() {
    let server = server(&[]);
    let models = server.get("/api/tags").document()["models"].clone();
    let name = format!("{MODEL}:latest");
    assert_eq!((models.as_array().unwrap().len(), &models[0]["name"]), (1, &json!(name)));
    let size = std::fs::metadata(model()).unwrap().len();
    assert_eq!(models[0]["size"], size);
    assert_eq!(models[0]["digest"].as_str().unwrap().len(), 64);
    assert_eq!(models[0]["details"]["quantization_level"], "q4");
    assert_eq!(server.get("/api/ps").document()["models"][0]["digest"], models[0]["digest"]);
    for named in [MODEL, &name, &MODEL.to_uppercase()] {
        let shown = server.post("/api/show", &json!({"model": named})).document();
        assert_eq!(shown["details"], models[0]["details"]);
        assert_eq!(shown["model_info"]["llama.context_length"], 512);
        assert!(shown["capabilities"].as_array().unwrap().contains(&json!("tools")));
    }
    assert!(server.get("/api/version").document()["version"].is_string());
    // What asks for no reply asks whether the model is there.
    for (path, body) in [("/api/chat", json!({"messages": []})), ("/api/generate", json!({}))] {
        let body = with(&body, json!({"model": name, "keep_alive": -1}));
        let line = &lines(&server.post(path, &body))[0];
        assert_eq!((&line["done"], &line["done_reason"]), (&json!(true), &json!("load")));
        let whole = server.post(path, &with(&body, json!({"stream": false}))).document();
        assert_eq!(whole["done_reason"], "load");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let server = server(&[]);
    for path in ["/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show"] {
        let other = json!({"model": "llama3.2", "input": "a", "prompt": "a"});
        assert_eq!(refused(&server, path, &other, 404), "model 'llama3.2' not found");
        assert_eq!(refused(&server, path, &json!({}), 400), "model is required");
        assert_eq!(
            refused(&server, path, &json!({"model": 1}), 400),
            "model must be a text, not 1"
        );
    }
    let answer = server.get("/api/pull");
    assert_eq!(answer.status, 404);
    assert!(answer.body.starts_with("{\"error\":\""), "{answer:?}");
    let image = json!([{"role": "user", "content": "a", "images": ["aGk="]}]);
    let long = json!([{"role": "user", "content": "one ".repeat(600)}]);
    for (fields, named) in [
        (json!({"messages": image}), "images"),
        (json!({"messages": long}), "the context 512"),
        (json!({"messages": "a"}), "messages must be a list"),
        (json!({"messages": [{"role": "king"}]}), "king"),
        (json!({"messages": [{"role": "tool", "content": "a"}]}), "tool_name"),
        (json!({"format": "xml"}), "format"),
        (json!({"format": {"type": "array", "uniqueItems": true}}), "uniqueItems"),
        (json!({"think": true}), "does not support thinking"),
        (json!({"tools": [{"type": "function"}]}), "no name"),
        (json!({"options": []}), "options must be a JSON object"),
        (json!({"options": {"temperature": -1}}), "temperature"),
        (json!({"options": {"temperature": "hot"}}), "temperature"),
        (json!({"options": {"top_k": -1}}), "top_k"),
        (json!({"options": {"top_p": 1.5}}), "top_p"),
        (json!({"options": {"min_p": 2}}), "min_p"),
        (json!({"options": {"repeat_penalty": 0}}), "repeat_penalty"),
        (json!({"options": {"repeat_last_n": -3}}), "repeat_last_n"),
        (json!({"options": {"num_predict": -3}}), "num_predict"),
        (json!({"options": {"num_predict": 1e300}}), "num_predict"),
        (json!({"options": {"seed": 0.5}}), "seed"),
        (json!({"options": {"stop": [1]}}), "stop"),
    ] {
        let message = refused(&server, "/api/chat", &with(&ask("a", json!({})), fields), 400);
        assert!(message.contains(named), "{message}");
    }
    for (fields, named) in [
        (json!({"images": ["aGk="]}), "images"),
        (json!({"suffix": "b"}), "suffix"),
        (json!({"template": "{{ .Prompt }}"}), "template"),
        (json!({"context": [1, 2]}), "/api/chat"),
        (json!({"raw": true, "system": "b"}), "system"),
    ] {
        let body = with(&json!({"model": MODEL, "prompt": "a"}), fields);
        let message = refused(&server, "/api/generate", &body, 400);
        assert!(message.contains(named), "{message}");
    }
    let chat = with(&chat("one", 4, 1), json!({"logit_bias": {END: -100}}));
    assert_eq!(server.post(CHAT, &chat).document()["usage"]["completion_tokens"], 4);
}

#[test]
fn embeddings_are_the_librarys() {
    let server = server(&["--kv", "f16", "--batch", "4"]);
    let library = models::small(MODEL, Type::Q4);
    let options =
        SessionOptions { kv: kinglet::KvType::F16, batch: 4, ..SessionOptions::default() };
    let mut session = library.session(&options).unwrap();
    let texts = ["one two three four five", "a"];
    let ask = json!({"model": MODEL, "input": texts, "pooling": "last"});
    let answer = server.post("/api/embed", &ask).document();
    let mut tokens = 0;
    for (text, found) in texts.iter().zip(answer["embeddings"].as_array().unwrap()) {
        let text = library.tokenize_as(text.as_bytes(), Specials::AsText).unwrap();
        tokens += text.len();
        assert_eq!(*found, json!(session.embed(&text, Pooling::Last).unwrap()));
    }
    assert_eq!(answer["prompt_eval_count"], tokens);
    let one = server.post("/api/embeddings", &json!({"model": MODEL, "prompt": texts[0]}));
    let text = library.tokenize_as(texts[0].as_bytes(), Specials::AsText).unwrap();
    let expected = session.embed(&text, Pooling::Mean).unwrap();
    assert_eq!(one.document()["embedding"], json!(expected));
    let long = json!({"model": MODEL, "input": "one ".repeat(600)});
    assert!(refused(&server, "/api/embed", &long, 400).contains("the context 512"));
    let cut = server.post("/api/embed", &with(&long, json!({"truncate": true}))).document();
    assert_eq!(cut["prompt_eval_count"], 512);
}
