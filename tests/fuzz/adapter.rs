//! LoRA adapters: `adapter_config.json` and the weights, or a GGUF file.

use super::checkpoint::{self, Folder, WIDTH, scratch, use_source, weights};
use super::gguf::{Entry, file};
use super::parts::{join, split};
use kinglet_quant::source::Source;
use serde_json::json;
use std::fs;

thread_local! {
    static FOLDER: Folder = Folder::new();
    static ADAPTER: tempfile::TempDir = scratch();
}

pub fn run(input: &[u8]) -> bool {
    let base = checkpoint::folder();
    let mut source = Source::open(base.path()).expect("the model is whole");
    let merged = if input.starts_with(b"GGUF") {
        ADAPTER.with(|folder| {
            let path = folder.path().join("adapter.gguf");
            fs::write(&path, input).unwrap();
            source.merge(&path, 1.0)
        })
    } else {
        let [config, weights] = split(input);
        FOLDER.with(|folder| {
            folder.put("adapter_config.json", config);
            folder.put("adapter_model.safetensors", weights);
            source.merge(folder.path(), 1.0)
        })
    };
    let is_merged = merged.is_ok();
    if is_merged {
        let told: Vec<String> = source.adapters().map(ToString::to_string).collect();
        assert!(told.len() == 1 && !told[0].contains('\n'));
        use_source(&source);
    }
    is_merged
}

pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let config = json!({
        "peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_rslora": false, "bias": "none",
        "target_modules": ["q_proj", "down_proj"], "rank_pattern": {}, "alpha_pattern": {},
        "fan_in_fan_out": false, "modules_to_save": null, "base_model_name_or_path": "tiny",
    });
    let layer = "base_model.model.model.layers.0";
    let low_rank = [
        (format!("{layer}.self_attn.q_proj.lora_A.weight"), vec![2, WIDTH]),
        (format!("{layer}.self_attn.q_proj.lora_B.weight"), vec![WIDTH, 2]),
        (format!("{layer}.mlp.down_proj.lora_A.weight"), vec![2, WIDTH]),
        (format!("{layer}.mlp.down_proj.lora_B.weight"), vec![WIDTH, 2]),
    ];
    let head = "base_model.model.lm_head.weight".to_owned();
    let whole = [(head, vec![checkpoint::vocabulary(), WIDTH])];
    let mut saved = config.clone();
    saved["modules_to_save"] = json!(["lm_head"]);
    let seed = |config: &serde_json::Value, shapes: &[(String, Vec<usize>)]| {
        join(&[config.to_string().as_bytes(), &weights(shapes)])
    };
    let entries = [
        ("general.architecture", Entry::Text("llama")),
        ("general.type", Entry::Text("adapter")),
        ("adapter.type", Entry::Text("lora")),
        ("adapter.lora.alpha", Entry::Float(4.0)),
    ];
    let tensors = [
        ("blk.0.ffn_down.weight.lora_a", vec![2, WIDTH]),
        ("blk.0.ffn_down.weight.lora_b", vec![WIDTH, 2]),
    ];
    let tensors = tensors.map(|(name, shape)| (name.to_owned(), shape));
    vec![
        ("low-rank", seed(&config, &low_rank)),
        ("whole", seed(&saved, &[low_rank.to_vec(), whole.to_vec()].concat())),
        ("gguf", file(&entries, &tensors)),
    ]
}
