use super::testing::{Checkpoint, every_type};
use super::*;
use crate::tensor::{self, NO_LAYER};
// `self::safetensors` is the reader.
use ::safetensors::Dtype;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn open(checkpoint: &Checkpoint) -> Result<Source> {
    Source::open(checkpoint.write().path())
}

/// The code that opening a bent checkpoint fails with.
fn rejected(bend: impl FnOnce(&mut Checkpoint)) -> Code {
    let mut checkpoint = Checkpoint::new();
    bend(&mut checkpoint);
    open(&checkpoint).expect_err("the checkpoint is unusable").code()
}

#[test]
fn every_gguf_type_decodes_as_the_reference_does() {
    let hashes = include_str!("../../goldens/every_type.json");
    let hashes: Value = serde_json::from_str(hashes).unwrap();
    let source = Source::open(&every_type()).unwrap();
    let mut compared = 0;
    for (role, layer) in tensor::order(source.config()) {
        let name = tensor::name(role, layer).to_string();
        let values = source.load(role, layer).unwrap();
        let hash = Sha256::digest(bytemuck::cast_slice::<f32, u8>(&values));
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hashes[&name]["sha256"], hash, "{name}, a {}", hashes[&name]["type"]);
        compared += 1;
    }
    assert_eq!(compared, hashes.as_object().unwrap().len());
}

#[test]
fn gguf_metadata_becomes_the_configuration() {
    let source = Source::open(&every_type()).unwrap();
    let config = source.config();
    assert_eq!((config.hidden, config.ffn, config.layers), (256, 32, 3));
    assert_eq!((config.heads, config.kv_heads, config.head_dim), (2, 1, 16));
    assert_eq!((config.vocab_size, config.tied, config.max_context), (260, 0, 512));
    assert_eq!((config.bos, config.pad, config.eos_tokens()), (1, 2, &[2, 0][..]));
    assert_eq!((config.rope_theta, config.rms_eps), (1e5, 1e-5));
    assert_eq!(source.texts().name, "Every type");
    assert_eq!(source.texts().licence.as_deref(), Some("apache-2.0"));
    assert_eq!(source.texts().chat_template.as_deref(), Some("{{ messages }}"));
    assert_eq!(source.tokenizer().token_id("<|im_end|>"), Some(2));
}

#[test]
fn rows_are_those_of_the_whole_tensor() {
    let folder = Checkpoint::new().write();
    for source in [Source::open(&every_type()).unwrap(), Source::open(folder.path()).unwrap()] {
        for role in [Role::Q, Role::K, Role::Down] {
            let whole = source.load(role, 1).unwrap();
            let (_, cols) = role.shape(source.config());
            let mut part = vec![9.0; 3];
            source.load_rows(role, 1, 5..11, &mut part).unwrap();
            assert_eq!(part, whole[5 * cols..11 * cols]);
        }
    }
}

#[test]
fn damaged_gguf_files_are_errors_or_models() {
    let whole = std::fs::read(every_type()).unwrap();
    let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    let attempt = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let source = Source::open(&path)?;
        tensor::order(source.config())
            .try_for_each(|(role, layer)| source.load(role, layer).map(drop))
    };
    assert!(attempt(&whole).is_ok());
    let head = 10_000;
    for end in (0..head).step_by(61).chain((head..whole.len()).step_by(4096)) {
        assert!(attempt(&whole[..end]).is_err(), "cut to {end} bytes");
    }
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..600 {
        let mut bytes = whole.clone();
        bytes[random.usize(..head)] ^= 1 << random.u32(..8);
        // Whatever it is, it comes back.
        let _ = attempt(&bytes);
    }
}

#[test]
fn hugging_face_dtypes_and_shards_give_the_same_weights() {
    let mut checkpoint = Checkpoint::new();
    for (_, values) in checkpoint.tensors.values_mut() {
        // Exact in all three.
        values.iter_mut().for_each(|v| *v = (*v * 64.0).round() / 64.0);
    }
    let expected = checkpoint.tensors["model.layers.1.self_attn.k_proj.weight"].1.clone();
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        for shards in [1, 3] {
            checkpoint.dtype = dtype;
            checkpoint.shards = shards;
            let folder = checkpoint.write();
            let source = Source::open(folder.path()).unwrap();
            assert_eq!(source.load(Role::K, 1).unwrap(), expected, "{dtype:?} in {shards}");
        }
    }
}

#[test]
fn both_spellings_of_the_rope_settings_are_read() {
    let mut checkpoint = Checkpoint::new();
    assert_eq!(open(&checkpoint).unwrap().config().rope_theta, 10_000.0);
    checkpoint.config.as_object_mut().unwrap().remove("rope_theta");
    checkpoint.config["rope_parameters"] = json!({"rope_theta": 2e5, "rope_type": "default"});
    assert_eq!(open(&checkpoint).unwrap().config().rope_theta, 2e5);
    checkpoint.config["rope_parameters"]["rope_type"] = json!("llama3");
    assert_eq!(open(&checkpoint).unwrap_err().code(), Code::UnsupportedArchitecture);
}

#[test]
fn end_tokens_come_from_all_files() {
    let mut checkpoint = Checkpoint::new();
    checkpoint.config["eos_token_id"] = json!([2, 7]);
    checkpoint.config.as_object_mut().unwrap().remove("bos_token_id");
    let generation = json!({"eos_token_id": [0, 2]}).to_string();
    checkpoint.files.insert("generation_config.json", generation.clone());
    let names = json!({
        "bos_token": "<|im_start|>", "eos_token": {"content": "<file_sep>"},
        "chat_template": [{"name": "tools", "template": "T"}, {"name": "default", "template": "D"}],
    });
    checkpoint.files.insert("tokenizer_config.json", names.to_string());
    let source = open(&checkpoint).unwrap();
    assert_eq!(source.config().eos_tokens(), [2, 7, 0, 5]);
    assert_eq!(source.config().bos, 1);
    assert_eq!(source.texts().chat_template.as_deref(), Some("D"));
    assert_eq!(source.texts().generation_config.as_ref(), Some(&generation));
    checkpoint.files.insert("chat_template.jinja", "J".into());
    assert_eq!(open(&checkpoint).unwrap().texts().chat_template.as_deref(), Some("J"));
}

#[test]
fn licences_are_texts_or_identifiers() {
    let mut checkpoint = Checkpoint::new();
    assert_eq!(open(&checkpoint).unwrap().texts().licence, None);
    checkpoint.files.insert("README.md", "---\nlicense: apache-2.0\n---\n# Model\n".into());
    assert_eq!(open(&checkpoint).unwrap().texts().licence.as_deref(), Some("apache-2.0"));
    checkpoint.files.insert("LICENSE", "All of it.".into());
    assert_eq!(open(&checkpoint).unwrap().texts().licence.as_deref(), Some("All of it."));
}

#[test]
fn absent_keys_have_the_defaults_of_the_architecture() {
    let mut checkpoint = Checkpoint::new();
    checkpoint.untie();
    let keys = checkpoint.config.as_object_mut().unwrap();
    for key in ["tie_word_embeddings", "rms_norm_eps", "rope_theta", "max_position_embeddings"] {
        keys.remove(key);
    }
    let source = open(&checkpoint).unwrap();
    let config = source.config();
    assert_eq!((config.tied, config.rms_eps), (0, 1e-6));
    assert_eq!((config.rope_theta, config.max_context), (1e4, 2048));
    let head = source.load(Role::Head, NO_LAYER).unwrap();
    let embedding = source.load(Role::Embedding, NO_LAYER).unwrap();
    assert!(head.iter().zip(&embedding).all(|(h, e)| *h == -e));
}

#[test]
fn unusable_checkpoints_say_why() {
    let config = |key: &'static str, value: Value| move |c: &mut Checkpoint| c.config[key] = value;
    let architecture = Code::UnsupportedArchitecture;
    assert_eq!(rejected(config("model_type", json!("qwen2"))), architecture);
    assert_eq!(rejected(config("attention_bias", json!(true))), Code::MissingTensor);
    assert_eq!(rejected(config("mlp_bias", json!(true))), Code::MissingTensor);
    assert_eq!(rejected(config("hidden_act", json!("gelu"))), architecture);
    assert_eq!(rejected(config("rope_scaling", json!({"type": "linear"}))), architecture);
    assert_eq!(rejected(config("head_dim", json!(24))), Code::WrongShape);
    assert_eq!(rejected(config("head_dim", json!(31))), architecture);
    assert_eq!(rejected(config("head_dim", json!(1024))), architecture);
    assert_eq!(rejected(config("num_attention_heads", json!(0))), Code::BadSource);
    assert_eq!(rejected(config("hidden_size", json!("wide"))), Code::BadSource);
    assert_eq!(rejected(config("hidden_size", json!(1u64 << 40))), Code::BadSource);
    assert_eq!(rejected(config("vocab_size", json!(980))), Code::WrongShape);
    let shrink = |c: &mut Checkpoint| {
        c.config["vocab_size"] = json!(900);
        let (shape, values) = c.tensors.get_mut("model.embed_tokens.weight").unwrap();
        shape[0] = 900;
        values.truncate(900 * 64);
    };
    assert_eq!(rejected(shrink), Code::TokenizerMismatch);
    let grow = |c: &mut Checkpoint| {
        let rows = 952 + MAX_UNUSED + 1;
        c.config["vocab_size"] = json!(rows);
        let (shape, values) = c.tensors.get_mut("model.embed_tokens.weight").unwrap();
        shape[0] = rows;
        values.resize(rows * 64, 0.0);
    };
    assert_eq!(rejected(grow), Code::TokenizerMismatch);
    assert_eq!(rejected(config("intermediate_size", json!(128))), Code::WrongShape);
    assert_eq!(rejected(config("num_hidden_layers", json!(3))), Code::MissingTensor);
    assert_eq!(rejected(config("tie_word_embeddings", json!(false))), Code::MissingTensor);
    assert_eq!(rejected(|c| c.dtype = Dtype::I8), Code::UnsupportedTensorType);
    assert_eq!(rejected(|c| drop(c.files.remove("tokenizer.json"))), Code::NotFound);
    assert_eq!(rejected(|c| drop(c.files.insert("tokenizer.json", "{".into()))), Code::BadSource);
}

#[test]
fn damaged_folders_are_errors() {
    let folder = Checkpoint::new().write();
    let weights = folder.path().join("model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    for end in [0, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&weights, &whole[..end]).unwrap();
        assert!(Source::open(folder.path()).is_err(), "cut to {end} bytes");
    }
    let mut bytes = whole.clone();
    bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    std::fs::write(&weights, &bytes).unwrap();
    assert_eq!(Source::open(folder.path()).unwrap_err().code(), Code::BadSource);
    std::fs::remove_file(&weights).unwrap();
    assert_eq!(Source::open(folder.path()).unwrap_err().code(), Code::NotFound);
    let index = json!({"weight_map": {"model.norm.weight": "../elsewhere.safetensors"}});
    let path = folder.path().join("model.safetensors.index.json");
    std::fs::write(path, index.to_string()).unwrap();
    assert_eq!(Source::open(folder.path()).unwrap_err().code(), Code::BadSource);
}

#[test]
fn values_that_are_no_numbers_are_errors() {
    let mut checkpoint = Checkpoint::new();
    checkpoint.tensors.get_mut("model.layers.0.mlp.up_proj.weight").unwrap().1[77] = f32::NAN;
    let folder = checkpoint.write();
    let source = Source::open(folder.path()).unwrap();
    assert_eq!(source.load(Role::Up, 0).unwrap_err().code(), Code::BadSource);
    assert!(source.load(Role::Gate, 0).is_ok());
}

#[test]
fn other_paths_are_errors() {
    let folder = tempfile::TempDir::new().unwrap();
    let text = folder.path().join("notes.txt");
    assert_eq!(Source::open(&text).unwrap_err().code(), Code::NotFound);
    std::fs::write(&text, "hi").unwrap();
    assert_eq!(Source::open(&text).unwrap_err().code(), Code::BadSource);
    assert_eq!(Source::open(folder.path()).unwrap_err().code(), Code::NotFound);
}
