//! The small JSON files of a Hugging Face folder: `config.json`, `generation_config.json`,
//! `tokenizer_config.json` and `special_tokens_map.json`.

use super::checkpoint::{Folder, TEMPLATE, config, use_source};
use super::parts::{join, split};
use kinglet_quant::source::Source;
use serde_json::{Value, json};

const NAMES: [&str; 4] =
    ["config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"];

thread_local! {
    static FOLDER: Folder = Folder::new();
}

pub fn run(input: &[u8]) -> bool {
    let parts: [&[u8]; NAMES.len()] = split(input);
    FOLDER.with(|folder| {
        for (name, text) in NAMES.into_iter().zip(parts) {
            match text {
                b"" => folder.remove(name),
                text => folder.put(name, text),
            }
        }
        Source::open(folder.path()).inspect(use_source).is_ok()
    })
}

pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let generation = json!({
        "_from_model_config": true, "bos_token_id": 1, "eos_token_id": [2, 0], "pad_token_id": 2,
        "temperature": 0.6, "top_p": 0.92, "transformers_version": "4.42.3",
    });
    let end = json!({"content": "<|im_end|>", "lstrip": false, "special": true});
    let tokenizer = json!({
        "add_prefix_space": false, "add_bos_token": false, "eos_token": end,
        "bos_token": "<|im_start|>", "pad_token": "<|im_end|>", "chat_template": TEMPLATE,
        "added_tokens_decoder": {"0": {"content": "<|endoftext|>", "special": true}},
        "tokenizer_class": "GPT2Tokenizer",
    });
    let named = json!({
        "chat_template": [{"name": "default", "template": TEMPLATE},
                          {"name": "tool_use", "template": "{{ tools }}"}],
        "extra_special_tokens": ["<|im_start|>"],
    });
    let map = json!({"eos_token": end, "additional_special_tokens": ["<|im_start|>"]});
    let mut scaled = config();
    scaled["rope_parameters"] =
        json!({"rope_type": "linear", "type": "linear", "factor": 1.0, "rope_theta": 5e5});
    scaled["quantization_config"] = Value::Null;
    let seed = |parts: [&Value; 4]| {
        let texts = parts.map(|part| if part.is_null() { String::new() } else { part.to_string() });
        join(&texts.each_ref().map(|text| text.as_bytes()))
    };
    vec![
        ("plain", seed([&config(), &Value::Null, &Value::Null, &Value::Null])),
        ("whole", seed([&config(), &generation, &tokenizer, &map])),
        ("scaled", seed([&scaled, &generation, &named, &Value::Null])),
    ]
}
