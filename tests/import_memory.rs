//! Converting a model as wide as the 1.7B one takes little memory, and so does refusing what claims
//! to be larger than it is.

use kinglet_quant::convert::{Options, convert};
use kinglet_quant::tensor::{self, Role};
use kinglet_quant::{Code, Config, Source, Type};
use serde_json::{Map, Value, json};
use std::fs::{self, File};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

/// Layers of the test model; memory must not depend on it, time and disk do.
const LAYERS: u32 = 1;
/// The whole 1.7B model must stay below 1.5 GB; its weights alone have 3.4 GB.
const MAX_BYTES: u64 = 256 << 20;

/// The shape of the 1.7B model.
fn wide() -> Config {
    Config {
        vocab_size: 49152,
        hidden: 2048,
        layers: LAYERS,
        heads: 32,
        kv_heads: 32,
        head_dim: 64,
        ffn: 8192,
        tied: 1,
        ..bytemuck::Zeroable::zeroed()
    }
}

/// A checkpoint of zeros, which takes no room on most disks.
fn write_checkpoint(folder: &Path, shapes: &Config) {
    let config = json!({
        "model_type": "llama", "vocab_size": shapes.vocab_size, "hidden_size": shapes.hidden,
        "intermediate_size": shapes.ffn, "num_hidden_layers": shapes.layers,
        "num_attention_heads": shapes.heads, "num_key_value_heads": shapes.kv_heads,
        "tie_word_embeddings": true, "rope_theta": 130000.0,
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let tokenizer = include_str!("../quant/goldens/small-tokenizer.json");
    fs::write(folder.join("tokenizer.json"), tokenizer).unwrap();
    let mut header = Map::new();
    let mut end = 0;
    for (role, layer) in tensor::order(shapes) {
        let (rows, cols) = role.shape(shapes);
        let shape = if role.is_vector() { vec![cols] } else { vec![rows, cols] };
        let start = end;
        end += rows * cols * 2;
        let entry = json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, end]});
        header.insert(tensor_name(role, layer), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = File::create(folder.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
}

fn tensor_name(role: Role, layer: u16) -> String {
    let part = match role {
        Role::Embedding => return "model.embed_tokens.weight".to_owned(),
        Role::Head => return "lm_head.weight".to_owned(),
        Role::FinalNorm => return "model.norm.weight".to_owned(),
        Role::AttnNorm => "input_layernorm",
        Role::Q => "self_attn.q_proj",
        Role::K => "self_attn.k_proj",
        Role::V => "self_attn.v_proj",
        Role::O => "self_attn.o_proj",
        Role::FfnNorm => "post_attention_layernorm",
        Role::Gate => "mlp.gate_proj",
        Role::Up => "mlp.up_proj",
        Role::Down => "mlp.down_proj",
        role => unreachable!("SmolLM has no {role:?}"),
    };
    format!("model.layers.{layer}.{part}.weight")
}

/// The most memory that this process has had in use.
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn converting_takes_little_memory() {
    let folder = tempfile::TempDir::new().unwrap();
    write_checkpoint(folder.path(), &wide());
    let source = Source::open(folder.path()).unwrap();
    for kind in [Type::Bf16, Type::Q4] {
        let output = folder.path().join("model.kinglet");
        let options = Options::new(kind, 2);
        convert(&source, &output, &options, &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(peak_bytes() < MAX_BYTES, "{} bytes as {}", peak_bytes(), kind.name());
    }
}

#[test]
fn refusing_takes_little_memory() {
    let folder = tempfile::TempDir::new().unwrap();
    let narrow = Config { hidden: 64, heads: 1, kv_heads: 1, ffn: 64, ..wide() };
    write_checkpoint(folder.path(), &Config { vocab_size: 1 << 24, ..narrow });
    let refused = |word: &str| {
        let error = Source::open(folder.path()).unwrap_err();
        assert!(error.message().contains(word), "{error:?}");
        assert!(peak_bytes() < MAX_BYTES, "{} bytes", peak_bytes());
        error.code()
    };
    assert_eq!(refused("16777216 rows"), Code::TokenizerMismatch);
    let path = folder.path().join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    tokenizer["added_tokens"][0]["id"] = 16_000_000.into();
    fs::write(&path, tokenizer.to_string()).unwrap();
    assert_eq!(refused("id 16000000"), Code::BadSource);
}
