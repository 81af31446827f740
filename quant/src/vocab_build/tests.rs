use super::*;
use crate::{Config, Vocab};
use serde_json::{Value, json};

/// A tokenizer of every kind of entry: bytes, merges, a hole (id 6) and two added tokens.
fn small() -> Value {
    json!({
           "added_tokens": [added(7, "<|end|>", true), added(8, "two words", false)],
           "normalizer": null,
           "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
               {"type": "Digits", "individual_digits": true},
               {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
    "use_regex": true},
           ]},
           "post_processor": null,
           "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true},
           "model": {
               "type": "BPE",
               "dropout": null,
               "vocab": {"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4, "é": 5},
               "merges": ["a b", ["Ġ", "ab"]],
           },
       })
}

fn added(id: u32, content: &str, special: bool) -> Value {
    json!({"id": id, "content": content, "special": special, "single_word": false,
           "lstrip": false, "rstrip": false, "normalized": false})
}

fn config(vocab_size: u32) -> Config {
    Config { vocab_size, ..bytemuck::Zeroable::zeroed() }
}

/// `section` moved to an address that a mapped file would give it.
fn aligned(section: &[u8]) -> Vec<u64> {
    let mut words = vec![0u64; section.len().div_ceil(8)];
    bytemuck::cast_slice_mut(&mut words)[..section.len()].copy_from_slice(section);
    words
}

#[test]
fn reads_every_kind_of_entry() {
    let tables = TokenizerTables::from_tokenizer_json(&small().to_string()).unwrap();
    assert_eq!(tables.len(), 9);
    assert_eq!(tables.token_id("<|end|>"), Some(7));
    assert_eq!(tables.token_id(" ab"), Some(4));
    assert_eq!(tables.token_id("none"), None);
    let words = aligned(&tables.to_section());
    let vocab = Vocab::new(bytemuck::cast_slice(&words), &config(9)).unwrap();
    let texts: Vec<&[u8]> = (0..9).map(|token| vocab.text(token)).collect();
    let expected: [&[u8]; 9] =
        [b"a", b"b", b" ", b"ab", b" ab", b"\xE9", b"", b"<|end|>", b"two words"];
    assert_eq!(texts, expected);
    assert_eq!(vocab.byte_token(b'b'), Some(1));
    assert_eq!(vocab.byte_token(0xE9), Some(5));
    assert_eq!(vocab.byte_token(b'c'), None);
    assert_eq!(vocab.merge(0, 1), Some(Merge { right: 1, rank: 0, token: 3 }));
    assert_eq!(vocab.merge(2, 3), Some(Merge { right: 3, rank: 1, token: 4 }));
    assert_eq!(vocab.merge(1, 0), None);
    assert!(vocab.is_control(7) && !vocab.is_control(8));
    assert!(vocab.has(FLAG_SINGLE_DIGITS) && vocab.has(FLAG_GPT2_SPLIT));
}

#[test]
fn padding_adds_empty_tokens() {
    let mut tables = TokenizerTables::from_tokenizer_json(&small().to_string()).unwrap();
    tables.pad_to(4);
    assert_eq!(tables.len(), 9);
    tables.pad_to(32);
    let words = aligned(&tables.to_section());
    let vocab = Vocab::new(bytemuck::cast_slice(&words), &config(32)).unwrap();
    assert_eq!(vocab.text(31), b"");
}

#[test]
fn gguf_gives_the_same_tables() {
    let tokens = ["a", "b", "Ġ", "ab", "Ġab", "é", "[PAD6]", "<|end|>", "two words"];
    let tokens = tokens.map(String::from);
    let merges = ["a b", "Ġ ab"].map(String::from);
    let types = [1, 1, 1, 1, 1, 1, 5, 3, 4];
    let gguf = TokenizerTables::from_gguf(&tokens, &merges, &types, "smollm").unwrap();
    let json = TokenizerTables::from_tokenizer_json(&small().to_string()).unwrap();
    assert_eq!(gguf.to_section(), json.to_section());
    let code = |result: Result<TokenizerTables>| result.unwrap_err().code();
    let other_split = TokenizerTables::from_gguf(&tokens, &merges, &types, "qwen2");
    assert_eq!(code(other_split), Code::UnsupportedTokenizer);
    let few_types = TokenizerTables::from_gguf(&tokens, &merges, &types[1..], "smollm");
    assert_eq!(code(few_types), Code::BadSource);
    let bad_merge = TokenizerTables::from_gguf(&tokens, &["ab".into()], &types, "smollm");
    assert_eq!(code(bad_merge), Code::BadSource);
}

#[test]
fn refuses_what_would_split_otherwise() {
    let byte_level = |prefix: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix});
    let changes = [
        ("/normalizer", json!({"type": "NFC"})),
        ("/pre_tokenizer", json!({"type": "Whitespace"})),
        ("/pre_tokenizer", Value::Null),
        ("/pre_tokenizer", byte_level(true)),
        ("/pre_tokenizer/pretokenizers/0/individual_digits", json!(false)),
        ("/pre_tokenizer/pretokenizers/0", byte_level(false)),
        ("/post_processor", json!({"type": "TemplateProcessing"})),
        ("/decoder", json!({"type": "Metaspace"})),
        ("/model/type", json!("Unigram")),
        ("/model/dropout", json!(0.1)),
        ("/added_tokens/0/lstrip", json!(true)),
        ("/added_tokens/0/rstrip", json!(true)),
        ("/added_tokens/0/single_word", json!(true)),
        ("/added_tokens/0/content", json!("\u{FFFD}")),
        ("/added_tokens/1/content", json!("a".repeat(1025))),
    ];
    for (pointer, value) in changes {
        let mut json = small();
        *json.pointer_mut(pointer).unwrap() = value.clone();
        let error = TokenizerTables::from_tokenizer_json(&json.to_string()).unwrap_err();
        assert_eq!(error.code(), Code::UnsupportedTokenizer, "{pointer} = {value}: {error}");
    }
    for (name, value) in [
        ("unk_token", json!("a")),
        ("continuing_subword_prefix", json!("##")),
        ("end_of_word_suffix", json!("</w>")),
        ("byte_fallback", json!(true)),
    ] {
        let mut json = small();
        json["model"][name] = value;
        let error = TokenizerTables::from_tokenizer_json(&json.to_string()).unwrap_err();
        assert_eq!(error.code(), Code::UnsupportedTokenizer, "{name}: {error}");
    }
}

const PIECES: &str = include_str!("../../goldens/pieces-tokenizer.json");
const LLAMA3: &str = include_str!("../../goldens/llama3-tokenizer.json");

#[test]
fn refuses_pieces_that_would_be_split_otherwise() {
    let metaspace = |split: bool, scheme: &str| {
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme,
               "split": split})
    };
    let strip = json!({"type": "Strip", "strip_left": true, "strip_right": false});
    let whole: Value = serde_json::from_str(PIECES).unwrap();
    for (pointer, value) in [
        ("/normalizer", strip.clone()),
        ("/normalizer/normalizers/1", strip),
        ("/normalizer/normalizers/0/prepend", json!("_")),
        ("/normalizer", Value::Null),
        ("/pre_tokenizer", metaspace(true, "never")),
        ("/pre_tokenizer", metaspace(false, "always")),
        ("/pre_tokenizer", json!({"type": "Whitespace"})),
        ("/decoder", json!({"type": "Fuse"})),
        ("/decoder/decoders/0/content", json!("_")),
        ("/model/ignore_merges", json!(true)),
        ("/model/byte_fallback", json!(false)),
        ("/added_tokens/1", json!({"id": 1, "content": "<s>", "normalized": true})),
    ] {
        let mut json = whole.clone();
        *json.pointer_mut(pointer).unwrap() = value.clone();
        let error = TokenizerTables::from_tokenizer_json(&json.to_string()).unwrap_err();
        assert_eq!(error.code(), Code::UnsupportedTokenizer, "{pointer} = {value}: {error}");
    }
    for token in ["<0x0A>", "▁"] {
        let mut json = whole.clone();
        json["model"]["vocab"].as_object_mut().unwrap().remove(token);
        json["model"]["merges"] = json!([]);
        let error = TokenizerTables::from_tokenizer_json(&json.to_string()).unwrap_err();
        assert!(error.message().contains("no token for each byte"), "{token}: {error}");
    }
}

#[test]
fn gguf_gives_the_tables_of_llama_3() {
    let json: Value = serde_json::from_str(LLAMA3).unwrap();
    let mut tables = TokenizerTables::from_tokenizer_json(LLAMA3).unwrap();
    let mut tokens = vec![String::new(); tables.len()];
    let mut types = vec![1; tables.len()];
    for (token, id) in json["model"]["vocab"].as_object().unwrap() {
        tokens[id.as_u64().unwrap() as usize] = token.clone();
    }
    for token in json["added_tokens"].as_array().unwrap() {
        let id = token["id"].as_u64().unwrap() as usize;
        tokens[id] = token["content"].as_str().unwrap().to_owned();
        types[id] = 3;
    }
    let pair =
        |merge: &Value| format!("{} {}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap());
    let merges: Vec<String> =
        json["model"]["merges"].as_array().unwrap().iter().map(pair).collect();
    let mut gguf = TokenizerTables::from_gguf(&tokens, &merges, &types, "llama-bpe").unwrap();
    assert_eq!((tables.begin(), gguf.begin()), (tables.token_id("<|begin_of_text|>"), None));
    gguf.begin_with(tables.begin().unwrap());
    assert_eq!(gguf.to_section(), tables.to_section());
    // Padding does not touch what is looked up.
    tables.pad_to(1024);
    let words = aligned(&tables.to_section());
    let vocab = Vocab::new(bytemuck::cast_slice(&words), &config(1024)).unwrap();
    assert_eq!(vocab.whole(b" wholly").map(|token| vocab.text(token)), Some(&b" wholly"[..]));
    assert_eq!(vocab.whole(b"the"), None);
}

#[test]
fn refuses_normalized_tokens_only_where_they_could_differ() {
    for (content, is_fine) in [("words", false), ("<", false), ("end|>", false), ("b", true)] {
        let mut json = small();
        json["added_tokens"][1] = added(8, content, false);
        json["added_tokens"][1]["normalized"] = json!(true);
        if content == "words" {
            json["added_tokens"][0]["content"] = json!("two words");
        }
        if content == "b" {
            json["added_tokens"][1]["id"] = json!(1);
        }
        let result = TokenizerTables::from_tokenizer_json(&json.to_string());
        assert_eq!(result.is_ok(), is_fine, "{content}: {result:?}");
    }
}

#[test]
fn refuses_contradictions() {
    let changes = [
        ("/added_tokens/0/id", json!(4)),
        ("/added_tokens/0/content", json!("ab")),
        ("/added_tokens/0/id", json!(u32::MAX)),
        ("/added_tokens/0/id", json!(16_000_000)),
        ("/model/merges/0", json!("b a")),
        ("/model/merges/0", json!("a")),
        ("/model/merges/0", json!("a b c")),
        ("/model/vocab", json!([1, 2])),
    ];
    for (pointer, value) in changes {
        let mut json = small();
        *json.pointer_mut(pointer).unwrap() = value.clone();
        let error = TokenizerTables::from_tokenizer_json(&json.to_string()).unwrap_err();
        assert_eq!(error.code(), Code::BadSource, "{pointer} = {value}: {error}");
    }
    let error = TokenizerTables::from_tokenizer_json("{").unwrap_err();
    assert_eq!(error.code(), Code::BadSource);
}

#[test]
fn a_tokenizer_without_tokens_is_refused() {
    let mut empty = small();
    empty["added_tokens"] = json!([]);
    empty["model"]["vocab"] = json!({});
    empty["model"]["merges"] = json!([]);
    let json = TokenizerTables::from_tokenizer_json(&empty.to_string()).unwrap_err();
    let gguf = TokenizerTables::from_gguf(&[], &[], &[], "smollm").unwrap_err();
    for error in [json, gguf] {
        assert_eq!(error.code(), Code::BadSource);
        assert!(error.message().contains("no tokens"), "{error}");
    }
}
