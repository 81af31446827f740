//! GGUF files.

use super::checkpoint::{self, WIDTH, scratch, use_source};
use kinglet_quant::source::Source;
use std::fs;

thread_local! {
    static FOLDER: tempfile::TempDir = scratch();
}

/// Values that metadata has in seeds.
pub enum Entry {
    Number(u32),
    Float(f32),
    Text(&'static str),
    Texts(Vec<String>),
    Integers(Vec<i32>),
}

pub fn run(input: &[u8]) -> bool {
    FOLDER.with(|folder| {
        let path = folder.path().join("model.gguf");
        fs::write(&path, input).unwrap();
        let source = Source::open(&path);
        source.inspect(use_source).is_ok()
    })
}

/// A GGUF file with these entries, and tensors in f32.
pub fn file(entries: &[(&str, Entry)], tensors: &[(String, Vec<usize>)]) -> Vec<u8> {
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((entries.len() as u64).to_le_bytes());
    for (key, entry) in entries {
        put_text(&mut out, key);
        put_entry(&mut out, entry);
    }
    let mut data = Vec::new();
    for (name, shape) in tensors {
        put_text(&mut out, name);
        out.extend((shape.len() as u32).to_le_bytes());
        out.extend(shape.iter().rev().flat_map(|&width| (width as u64).to_le_bytes()));
        out.extend(0_u32.to_le_bytes());
        out.extend((data.len() as u64).to_le_bytes());
        let count: usize = shape.iter().product();
        data.extend((0..count).flat_map(|index| (index as f32 / 64.0).sin().to_le_bytes()));
        data.resize(data.len().next_multiple_of(32), 0);
    }
    out.resize(out.len().next_multiple_of(32), 0);
    out.extend(data);
    out
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    let kind: u32 = match entry {
        Entry::Number(_) => 4,
        Entry::Float(_) => 6,
        Entry::Text(_) => 8,
        Entry::Texts(_) | Entry::Integers(_) => 9,
    };
    out.extend(kind.to_le_bytes());
    match entry {
        Entry::Number(value) => out.extend(value.to_le_bytes()),
        Entry::Float(value) => out.extend(value.to_le_bytes()),
        Entry::Text(text) => put_text(out, text),
        Entry::Texts(texts) => {
            out.extend(8_u32.to_le_bytes());
            out.extend((texts.len() as u64).to_le_bytes());
            texts.iter().for_each(|text| put_text(out, text));
        }
        Entry::Integers(all) => {
            out.extend(5_u32.to_le_bytes());
            out.extend((all.len() as u64).to_le_bytes());
            out.extend(all.iter().flat_map(|value| value.to_le_bytes()));
        }
    }
}

/// The tokens of the checkpoint, by their ids.
fn tokens() -> Vec<String> {
    let tokenizer = checkpoint::tokenizer();
    let vocab = tokenizer["model"]["vocab"].as_object().unwrap();
    let mut tokens: Vec<(&String, u64)> =
        vocab.iter().map(|(token, id)| (token, id.as_u64().unwrap())).collect();
    tokens.sort_by_key(|(_, id)| *id);
    tokens.into_iter().map(|(token, _)| token.clone()).collect()
}

/// The names and shapes that the checkpoint's tensors have in GGUF.
fn tensors() -> Vec<(String, Vec<usize>)> {
    let names = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("model.layers", "blk"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    let renamed = |name: String| names.iter().fold(name, |name, (from, to)| name.replace(from, to));
    checkpoint::shapes().into_iter().map(|(name, shape)| (renamed(name), shape)).collect()
}

pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let (tokens, width) = (tokens(), Entry::Number(WIDTH as u32));
    let kinds = (0..tokens.len()).map(|token| if token < 3 { 3 } else { 1 }).collect();
    let merges = ["t h", "th e", "i n"].map(str::to_owned).to_vec();
    let entries = [
        ("general.architecture", Entry::Text("llama")),
        ("general.name", Entry::Text("tiny")),
        ("llama.block_count", Entry::Number(1)),
        ("llama.context_length", Entry::Number(64)),
        ("llama.embedding_length", width),
        ("llama.feed_forward_length", Entry::Number(WIDTH as u32)),
        ("llama.attention.head_count", Entry::Number(2)),
        ("llama.attention.head_count_kv", Entry::Number(1)),
        ("llama.attention.layer_norm_rms_epsilon", Entry::Float(1e-5)),
        ("llama.rope.freq_base", Entry::Float(10_000.0)),
        // Reducing a template that is a frame would take most of the time.
        ("tokenizer.chat_template", Entry::Text("{{ messages[0].content }}")),
        ("tokenizer.ggml.model", Entry::Text("gpt2")),
        ("tokenizer.ggml.pre", Entry::Text("smollm")),
        ("tokenizer.ggml.token_type", Entry::Integers(kinds)),
        ("tokenizer.ggml.tokens", Entry::Texts(tokens)),
        ("tokenizer.ggml.merges", Entry::Texts(merges)),
        ("tokenizer.ggml.bos_token_id", Entry::Number(1)),
        ("tokenizer.ggml.eos_token_id", Entry::Number(2)),
    ];
    vec![("whole", file(&entries, &tensors()))]
}
