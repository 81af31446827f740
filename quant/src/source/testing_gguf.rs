//! GGUF files made on the fly for tests.

use super::testing::Checkpoint;
use std::collections::BTreeMap;

/// A metadata value that a test writes.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Text(&'static str),
    Texts(Vec<String>),
    Integers(Vec<i32>),
    Longs(Vec<u64>),
    Floats(Vec<f32>),
}

/// A tensor: its name, its widths, the number of its type, and its bytes.
pub(crate) type Tensor = (String, Vec<u64>, u32, Vec<u8>);

/// A small GGUF file that tests change before they write it.
pub(crate) struct GgufFile {
    pub entries: BTreeMap<String, Entry>,
    pub tensors: Vec<Tensor>,
    /// What data is aligned to, whatever the entries say.
    pub alignment: usize,
}

impl GgufFile {
    /// The model of [`Checkpoint::new`] in f32, with tokens that are only names.
    pub fn new() -> Self {
        let checkpoint = Checkpoint::new();
        let count = |key: &str| {
            let value = checkpoint.config[key].as_u64().expect("the settings are whole");
            Entry::U32(value as u32)
        };
        let tokens: Vec<String> = (0..970).map(|token| format!("token{token}")).collect();
        let entries = [
            ("general.architecture", Entry::Text("llama")),
            ("llama.block_count", count("num_hidden_layers")),
            ("llama.context_length", count("max_position_embeddings")),
            ("llama.embedding_length", count("hidden_size")),
            ("llama.feed_forward_length", count("intermediate_size")),
            ("llama.attention.head_count", count("num_attention_heads")),
            ("llama.attention.head_count_kv", count("num_key_value_heads")),
            ("llama.attention.key_length", count("head_dim")),
            ("llama.attention.layer_norm_rms_epsilon", Entry::F32(1e-5)),
            ("llama.rope.freq_base", Entry::F32(20_000.0)),
            ("tokenizer.ggml.model", Entry::Text("gpt2")),
            ("tokenizer.ggml.pre", Entry::Text("smollm")),
            ("tokenizer.ggml.token_type", Entry::Integers(vec![1; tokens.len()])),
            ("tokenizer.ggml.tokens", Entry::Texts(tokens)),
            ("tokenizer.ggml.merges", Entry::Texts(Vec::new())),
            ("tokenizer.ggml.bos_token_id", Entry::U32(1)),
            ("tokenizer.ggml.eos_token_id", Entry::U32(2)),
        ];
        let entries = entries.map(|(key, entry)| (key.to_owned(), entry));
        let tensors = checkpoint.tensors.iter().map(|(name, (shape, values))| {
            let dims = shape.iter().rev().map(|&width| width as u64).collect();
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (gguf_name(name), dims, 0, bytes)
        });
        Self { entries: entries.into(), tensors: tensors.collect(), alignment: 32 }
    }

    /// Sets an entry.
    pub fn set(&mut self, key: &str, entry: Entry) {
        self.entries.insert(key.to_owned(), entry);
    }

    /// The tensor with this name.
    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.0 == name).expect("the file has the tensor")
    }

    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut offset = 0;
        let offsets = self.tensors.iter().map(|(_, _, _, bytes)| {
            let start = offset;
            offset += (bytes.len() as u64).next_multiple_of(32);
            start
        });
        self.bytes_at(&offsets.collect::<Vec<_>>())
    }

    /// The whole file, with these offsets in its directory.
    pub fn bytes_at(&self, offsets: &[u64]) -> Vec<u8> {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.entries.len() as u64).to_le_bytes());
        for (key, entry) in &self.entries {
            put_text(&mut out, key);
            put_entry(&mut out, entry);
        }
        for ((name, dims, kind, _), offset) in self.tensors.iter().zip(offsets) {
            put_text(&mut out, name);
            out.extend((dims.len() as u32).to_le_bytes());
            out.extend(dims.iter().flat_map(|width| width.to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
        }
        for (_, _, _, bytes) in &self.tensors {
            out.resize(out.len().next_multiple_of(self.alignment), 0);
            out.extend(bytes);
        }
        out
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    let mut put = |kind: u32, bytes: &[u8]| {
        out.extend(kind.to_le_bytes());
        out.extend(bytes);
    };
    match entry {
        Entry::U32(value) => put(4, &value.to_le_bytes()),
        Entry::I32(value) => put(5, &value.to_le_bytes()),
        Entry::F32(value) => put(6, &value.to_le_bytes()),
        Entry::Bool(value) => put(7, &[u8::from(*value)]),
        Entry::Text(text) => {
            put(8, &[]);
            put_text(out, text);
        }
        Entry::Texts(texts) => {
            put(9, &8_u32.to_le_bytes());
            out.extend((texts.len() as u64).to_le_bytes());
            texts.iter().for_each(|text| put_text(out, text));
        }
        Entry::Floats(all) => {
            put(9, &6_u32.to_le_bytes());
            out.extend((all.len() as u64).to_le_bytes());
            out.extend(all.iter().flat_map(|value| value.to_le_bytes()));
        }
        Entry::Longs(all) => {
            put(9, &10_u32.to_le_bytes());
            out.extend((all.len() as u64).to_le_bytes());
            out.extend(all.iter().flat_map(|value| value.to_le_bytes()));
        }
        Entry::Integers(all) => {
            put(9, &5_u32.to_le_bytes());
            out.extend((all.len() as u64).to_le_bytes());
            out.extend(all.iter().flat_map(|value| value.to_le_bytes()));
        }
    }
}

/// What llama.cpp calls a tensor.
fn gguf_name(name: &str) -> String {
    let mut name = name.to_owned();
    for (from, to) in [
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
    ] {
        name = name.replace(from, to);
    }
    name
}
