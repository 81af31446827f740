//! `tokenizer.json`, and the tables that are made of it.

use super::checkpoint;
use kinglet_core::tokenizer::{Specials, Tokenizer};
use kinglet_quant::{Config, TokenizerTables, Vocab};
use kinglet_tests::aligned::Aligned;

/// Texts that are tokenized, the input itself beside them.
const TEXTS: [&str; 4] = [
    "in the end 2026\n<|im_start|>user",
    "<|im_end|>'s  \u{a0}\u{301}\u{65e5}\u{672c}\u{1F600}",
    "a\r\n\t\0b",
    "",
];
/// Bytes of the input that are tokenized.
const MOST_BYTES: usize = 512;
/// Tokens whose texts are looked for again.
const MOST_TOKENS: u32 = 1 << 12;

pub fn run(input: &[u8]) -> bool {
    let Ok(json) = str::from_utf8(input) else { return false };
    let Ok(tables) = TokenizerTables::from_tokenizer_json(json) else { return false };
    let section = Aligned::copy_of(&tables.to_section());
    let config = Config { vocab_size: tables.len() as u32, ..bytemuck::Zeroable::zeroed() };
    let vocab = Vocab::new(section.as_ref(), &config).expect("what is written can be read");
    let tokenizer = Tokenizer::new(vocab);
    for token in 0..tables.len() as u32 {
        assert_eq!(vocab.text(token), tables.text(token));
    }
    for token in 0..(tables.len() as u32).min(MOST_TOKENS) {
        if let Ok(text) = str::from_utf8(tables.text(token)) {
            let found = tables.token_id(text).expect("there is this text");
            assert_eq!(tables.text(found), tables.text(token));
        }
    }
    let head = &input[..input.len().min(MOST_BYTES)];
    for text in TEXTS.iter().map(|text| text.as_bytes()).chain([head]) {
        check_text(&tokenizer, text);
    }
    true
}

/// A text comes back from its tokens, but for bytes that no token stands for.
fn check_text(tokenizer: &Tokenizer<'_>, text: &[u8]) {
    for specials in [Specials::Parse, Specials::AsText] {
        let mut tokens = vec![0; Tokenizer::max_tokens(text.len())];
        let count = tokenizer.encode(text, specials, &mut tokens).expect("there is room");
        let decoded: Vec<u8> =
            tokens[..count].iter().flat_map(|&token| tokenizer.decode(token)).copied().collect();
        let whole = String::from_utf8_lossy(text);
        let is_known = |&byte: &u8| tokenizer.vocab().byte_token(byte).is_some();
        if whole.as_bytes().iter().all(is_known) {
            assert_eq!(decoded, whole.as_bytes(), "{specials:?}");
        }
        let settled = tokenizer.encode_settled(text, true, &mut vec![0; tokens.len()]);
        assert!(settled.expect("there is room") <= tokens.len());
    }
}

pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let small = checkpoint::tokenizer();
    let mut other = small.clone();
    other["pre_tokenizer"] = serde_json::json!({"type": "ByteLevel", "add_prefix_space": false});
    other["post_processor"] = serde_json::json!({
        "type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [], "special_tokens": {},
    });
    other["normalizer"] = serde_json::json!({"type": "Sequence", "normalizers": []});
    other["added_tokens"][1]["special"] = false.into();
    other["model"]["merges"] = serde_json::json!([["t", "h"], ["th", "e"]]);
    vec![
        ("small", small.to_string().into_bytes()),
        ("other", other.to_string().into_bytes()),
        ("bytes", include_bytes!("../../quant/goldens/small-tokenizer.json").to_vec()),
    ]
}
