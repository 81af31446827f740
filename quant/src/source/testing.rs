//! Checkpoints made on the fly for tests.

use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize_to_file};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A tokenizer of 952 tokens.
pub(crate) const TOKENIZER: &str = include_str!("../../goldens/small-tokenizer.json");

/// The GGUF file with a tensor of every type; see `goldens/make_every_type.py`.
pub(crate) fn every_type() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/every_type.gguf")
}

/// A small Hugging Face checkpoint that tests change before they write it.
pub(crate) struct Checkpoint {
    pub config: Value,
    pub dtype: Dtype,
    pub shards: usize,
    /// Values of each tensor, with its shape.
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// Further files: name and text.
    pub files: BTreeMap<&'static str, String>,
}

impl Checkpoint {
    /// Two layers, odd shapes, a tied head, and a vocabulary that is no multiple of 16.
    pub fn new() -> Self {
        Self::of_shape([64, 96, 32])
    }

    /// Widths that fill no blocks, biases, and positions that are scaled as in Llama 3.1.
    pub fn relative() -> Self {
        let mut relative = Self::of_shape([48, 80, 24]);
        relative.config["attention_bias"] = json!(true);
        relative.config["mlp_bias"] = json!(true);
        relative.config["rope_scaling"] = json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        });
        let mut random = fastrand::Rng::with_seed(8);
        let projections = relative.tensors.iter().filter(|(name, _)| name.contains("_proj."));
        let biases = projections.map(|(name, (shape, _))| {
            let values = (0..shape[0]).map(|_| random.f32() * 2.0 - 1.0).collect();
            (name.replace(".weight", ".bias"), (vec![shape[0]], values))
        });
        let biases: Vec<_> = biases.collect();
        relative.tensors.extend(biases);
        relative
    }

    /// A checkpoint with these widths of the residual stream, of the feed-forward layer and of each
    /// of its three heads, which share one key.
    fn of_shape([hidden, ffn, head_dim]: [usize; 3]) -> Self {
        let (vocab, q, kv) = (970, 3 * head_dim, head_dim);
        let config = json!({
            "model_type": "llama", "vocab_size": vocab, "hidden_size": hidden,
            "intermediate_size": ffn, "num_hidden_layers": 2, "num_attention_heads": 3,
            "num_key_value_heads": 1, "head_dim": head_dim, "max_position_embeddings": 512,
            "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": null,
            "tie_word_embeddings": true, "attention_bias": false, "hidden_act": "silu",
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
        });
        let mut tensors = BTreeMap::new();
        let mut random = fastrand::Rng::with_seed(7);
        let mut add = |name: String, shape: &[usize]| {
            let count = shape.iter().product();
            let values = (0..count).map(|_| random.f32() * 2.0 - 1.0).collect();
            tensors.insert(name, (shape.to_vec(), values));
        };
        add("model.embed_tokens.weight".into(), &[vocab, hidden]);
        add("model.norm.weight".into(), &[hidden]);
        for layer in 0..2 {
            for (part, shape) in [
                ("input_layernorm", &[hidden][..]),
                ("self_attn.q_proj", &[q, hidden]),
                ("self_attn.k_proj", &[kv, hidden]),
                ("self_attn.v_proj", &[kv, hidden]),
                ("self_attn.o_proj", &[hidden, q]),
                ("post_attention_layernorm", &[hidden]),
                ("mlp.gate_proj", &[ffn, hidden]),
                ("mlp.up_proj", &[ffn, hidden]),
                ("mlp.down_proj", &[hidden, ffn]),
            ] {
                add(format!("model.layers.{layer}.{part}.weight"), shape);
            }
        }
        let files = BTreeMap::from([("tokenizer.json", TOKENIZER.to_owned())]);
        Self { config, dtype: Dtype::F32, shards: 1, tensors, files }
    }

    /// Gives the model a head of its own.
    pub fn untie(&mut self) {
        self.config["tie_word_embeddings"] = json!(false);
        let (shape, values) = &self.tensors["model.embed_tokens.weight"];
        let head = values.iter().map(|value| -value).collect();
        self.tensors.insert("lm_head.weight".into(), (shape.clone(), head));
    }

    /// Writes the folder.
    pub fn write(&self) -> TempDir {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("config.json"), self.config.to_string()).unwrap();
        for (name, text) in &self.files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let encoded: Vec<(&String, &Vec<usize>, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, (shape, values))| (name, shape, encode(self.dtype, values)))
            .collect();
        let mut index = BTreeMap::new();
        for shard in 0..self.shards {
            let file = match self.shards {
                1 => "model.safetensors".to_owned(),
                shards => format!("model-{:05}-of-{shards:05}.safetensors", shard + 1),
            };
            let own = encoded.iter().skip(shard).step_by(self.shards);
            let views = own.map(|(name, shape, bytes)| {
                index.insert(name.as_str(), file.clone());
                (name, TensorView::new(self.dtype, (*shape).clone(), bytes).unwrap())
            });
            let views: Vec<_> = views.collect();
            serialize_to_file(views, None, &folder.path().join(&file)).unwrap();
        }
        if self.shards > 1 {
            let index = json!({ "weight_map": index }).to_string();
            std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
        }
        folder
    }
}

/// Values as bytes of a number format.
pub(crate) fn encode(dtype: Dtype, values: &[f32]) -> Vec<u8> {
    match dtype {
        Dtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Dtype::F16 => values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect(),
        Dtype::BF16 => values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect(),
        other => vec![0; values.len() * other.bitsize() / 8],
    }
}
