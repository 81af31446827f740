use crate::source::testing::{Checkpoint, encode, every_type};
use crate::tensor::NO_LAYER;
use crate::{Code, Error, Role, Source, tensor};
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize_to_file};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use tempfile::TempDir;

const GATE: &str = "base_model.model.model.layers.1.mlp.gate_proj";
const EMBEDDING: &str = "base_model.model.model.embed_tokens";

/// A small adapter for [`Checkpoint`] that tests change before they write it.
struct Lora {
    config: Value,
    dtype: Dtype,
    /// Values of each tensor, with its shape.
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Lora {
    /// Rank 4 for one matrix of 96 × 64.
    fn new() -> Self {
        let config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none"});
        let mut lora = Self { config, dtype: Dtype::F32, tensors: BTreeMap::new() };
        lora.add(&format!("{GATE}.lora_A.weight"), &[4, 64]);
        lora.add(&format!("{GATE}.lora_B.weight"), &[96, 4]);
        lora
    }

    /// Adds a tensor with values that depend on its name.
    fn add(&mut self, name: &str, shape: &[usize]) {
        let seed = name.bytes().map(u64::from).sum();
        let mut random = fastrand::Rng::with_seed(seed);
        let values = (0..shape.iter().product()).map(|_| random.f32() - 0.5).collect();
        self.tensors.insert(name.to_owned(), (shape.to_vec(), values));
    }

    fn rename(&mut self, from: &str, to: &str) {
        let tensor = self.tensors.remove(from).unwrap();
        self.tensors.insert(to.to_owned(), tensor);
    }

    fn write(&self) -> TempDir {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("adapter_config.json"), self.config.to_string()).unwrap();
        let encoded = self
            .tensors
            .iter()
            .map(|(name, (shape, values))| (name, shape.clone(), encode(self.dtype, values)));
        let encoded: Vec<_> = encoded.collect();
        let views = encoded.iter().map(|(name, shape, bytes)| {
            (name, TensorView::new(self.dtype, shape.clone(), bytes).unwrap())
        });
        let path = folder.path().join("adapter_model.safetensors");
        serialize_to_file(views.collect::<Vec<_>>(), None, &path).unwrap();
        folder
    }

    /// A source with this adapter merged.
    fn merged(&self, scale: f64) -> Source {
        let mut source = base();
        source.merge(self.write().path(), scale).unwrap();
        source
    }
}

fn base() -> Source {
    Source::open(Checkpoint::new().write().path()).unwrap()
}

/// The error of merging a bent adapter.
fn rejected(bend: impl FnOnce(&mut Lora)) -> Error {
    let mut lora = Lora::new();
    bend(&mut lora);
    let mut source = base();
    let error = source.merge(lora.write().path(), 1.0).expect_err("the adapter is unusable");
    assert_eq!(source.adapters().count(), 0);
    error
}

/// Checks an error's number and that its message has these words, and none of a parser.
fn assert_says(error: &Error, code: Code, words: &[&str]) {
    assert_eq!(error.code(), code, "{error}");
    for word in words {
        assert!(error.message().contains(word), "{error} lacks {word}");
    }
    for word in ["serde", "expected", "invalid", "Err("] {
        assert!(!error.message().contains(word), "{error}");
    }
}

/// The tensors in which two sources of one shape differ.
fn differences(one: &Source, other: &Source) -> Vec<String> {
    let differ = |&(role, layer): &(Role, u16)| {
        one.load(role, layer).unwrap() != other.load(role, layer).unwrap()
    };
    let names = tensor::order(one.config()).filter(differ);
    names.map(|(role, layer)| tensor::name(role, layer).to_string()).collect()
}

#[test]
fn adapters_are_merged_before_zeros_fill_widths_up() {
    let query = "base_model.model.model.layers.1.self_attn.q_proj";
    let mut lora = Lora::new();
    lora.tensors.clear();
    lora.add(&format!("{query}.lora_A.weight"), &[4, 48]);
    lora.add(&format!("{query}.lora_B.weight"), &[72, 4]);
    let folder = Checkpoint::relative().write();
    let plain = Source::open(folder.path()).unwrap();
    let mut merged = Source::open(folder.path()).unwrap();
    merged.merge(lora.write().path(), 1.0).unwrap();
    assert_eq!(differences(&merged, &plain), ["layers.1.q"]);
    let [before, after] = [&plain, &merged].map(|source| source.load(Role::Q, 1).unwrap());
    let [a, b] = ["A", "B"].map(|part| &lora.tensors[&format!("{query}.lora_{part}.weight")].1);
    let mut filled = 0;
    for (at, (before, after)) in before.iter().zip(&after).enumerate() {
        // A head of 24 rows has two halves of 12, each with 4 rows of zeros behind it.
        let (row, col) = (at / 64, at % 64);
        let is_filled = col >= 48 || row % 16 >= 12;
        filled += usize::from(is_filled);
        let row = row / 16 * 12 + row % 16;
        let update = || 2.0 * (0..4).map(|k| b[row * 4 + k] * a[k * 48 + col]).sum::<f32>();
        let wanted = if is_filled { 0.0 } else { before + update() };
        assert!((after - wanted).abs() < 1e-6, "{at}: {after} is not {wanted}");
    }
    assert_eq!(filled, before.len() - 72 * 48);
}

#[test]
fn only_what_an_adapter_names_changes() {
    let lora = Lora::new();
    assert_eq!(differences(&lora.merged(1.0), &base()), ["layers.1.gate"]);
    let merged = lora.merged(0.5);
    let name = merged.adapters().next().unwrap();
    assert_eq!((name.scale, name.matrices, name.ranks, name.replaced), (0.5, 1, (4, 4), 0));
    let text = name.to_string();
    assert!(text.contains(": scale 0.5, 1 matrices of rank 4, sha256 "), "{text}");
}

#[test]
fn merged_rows_are_those_of_the_whole() {
    let mut lora = Lora::new();
    lora.add(&format!("{EMBEDDING}.lora_embedding_A"), &[4, 970]);
    lora.add(&format!("{EMBEDDING}.lora_embedding_B"), &[64, 4]);
    let source = lora.merged(1.0);
    for (role, layer) in [(Role::Gate, 1), (Role::Embedding, NO_LAYER)] {
        let whole = source.load(role, layer).unwrap();
        let mut rows = Vec::new();
        source.load_rows(role, layer, 17..93, &mut rows).unwrap();
        assert_eq!(rows, whole[17 * 64..93 * 64]);
    }
}

#[test]
fn every_spelling_of_names_is_read() {
    let expected = Lora::new().merged(1.0).load(Role::Gate, 1).unwrap();
    let short = GATE.strip_prefix("base_model.model.").unwrap();
    for (at, name) in [(GATE, ".style"), (short, ""), (short, ".default")] {
        let mut lora = Lora::new();
        for factor in ["A", "B"] {
            let to = format!("{at}.lora_{factor}{name}.weight");
            lora.rename(&format!("{GATE}.lora_{factor}.weight"), &to);
        }
        assert_eq!(lora.merged(1.0).load(Role::Gate, 1).unwrap(), expected);
    }
}

#[test]
fn factors_follow_alpha_rank_and_patterns() {
    // Factors of powers of two are exact.
    let update = |config: Value, scale: f64| {
        let mut lora = Lora::new();
        let (config, all) = (config.as_object().unwrap().clone(), &mut lora.config);
        all.as_object_mut().unwrap().extend(config);
        lora.merged(scale).load(Role::Gate, 1).unwrap()
    };
    let plain = |factor: f64| update(json!({"lora_alpha": 4}), factor);
    assert_eq!(update(json!({"lora_alpha": 8}), 1.0), plain(2.0));
    assert_eq!(update(json!({"lora_alpha": 8}), 0.25), plain(0.5));
    assert_eq!(update(json!({"lora_alpha": null}), 1.0), plain(2.0));
    assert_eq!(update(json!({"lora_alpha": 8, "use_rslora": true}), 1.0), plain(4.0));
    assert_eq!(update(json!({"fan_in_fan_out": true}), 1.0), plain(2.0));
    for (pattern, factor) in [
        (json!({"gate_proj": 1}), 0.25),
        (json!({"layers\\.[01]\\.mlp\\..*": 16}), 4.0),
        (json!({"^model.layers.1.mlp.gate_proj": 16}), 4.0),
        (json!({"ate_proj": 1, "^layers.1.mlp.gate_proj": 1}), 2.0),
    ] {
        let found = update(json!({"alpha_pattern": pattern}), 1.0);
        assert!(found == plain(factor), "{pattern}");
    }
    let ranks = json!({"r": 16, "lora_alpha": 8, "rank_pattern": {"mlp.gate_proj": 4}});
    assert_eq!(update(ranks, 1.0), plain(2.0));
}

#[test]
fn whole_copies_replace_and_part_the_head() {
    let mut lora = Lora::new();
    lora.add(&format!("{EMBEDDING}.weight"), &[970, 64]);
    lora.add("base_model.model.model.norm.weight", &[64]);
    let copy = lora.tensors[&format!("{EMBEDDING}.weight")].1.clone();
    let (before, source) = (base().load(Role::Embedding, NO_LAYER).unwrap(), lora.merged(1.0));
    assert_eq!((base().config().tied, source.config().tied), (1, 0));
    assert_eq!(source.load(Role::Embedding, NO_LAYER).unwrap(), copy);
    assert_eq!(source.load(Role::Head, NO_LAYER).unwrap(), before);
    let norm = &lora.tensors["base_model.model.model.norm.weight"].1;
    assert_eq!(&source.load(Role::FinalNorm, NO_LAYER).unwrap(), norm);
    assert_eq!(source.adapters().next().unwrap().replaced, 2);
    let error = base().merge(lora.write().path(), 0.5).unwrap_err();
    assert_says(&error, Code::BadArgument, &["replaces whole tensors", "leave =SCALE out"]);
    let mut twice = lora.merged(1.0);
    let error = twice.merge(lora.write().path(), 1.0).unwrap_err();
    assert_says(&error, Code::BadArgument, &["both change", "merge only one"]);
    // Trained as one, they stay one.
    lora.config["ensure_weight_tying"] = json!(true);
    let source = lora.merged(1.0);
    assert_eq!(source.config().tied, 1);
    assert_eq!(source.load(Role::Embedding, NO_LAYER).unwrap(), copy);
}

#[test]
fn kept_base_weights_come_before_all_updates() {
    let mut kept = Lora::new();
    kept.add(&format!("{EMBEDDING}.base_layer.weight"), &[970, 64]);
    let base_weights = kept.tensors[&format!("{EMBEDDING}.base_layer.weight")].1.clone();
    let mut source = Lora::new().merged(1.0);
    source.merge(kept.write().path(), 1.0).unwrap();
    // Nothing else changes the embedding, so that it is still the head.
    assert_eq!(source.config().tied, 1);
    assert_eq!(source.load(Role::Embedding, NO_LAYER).unwrap(), base_weights);
    let twice = source.load(Role::Gate, 1).unwrap();
    assert_ne!(twice, kept.merged(1.0).load(Role::Gate, 1).unwrap());
    kept.add("base_model.model.lm_head.lora_A.weight", &[4, 64]);
    kept.add("base_model.model.lm_head.lora_B.weight", &[970, 4]);
    let source = kept.merged(1.0);
    assert_eq!(source.config().tied, 0);
    assert_eq!(source.load(Role::Embedding, NO_LAYER).unwrap(), base_weights);
    assert_ne!(source.load(Role::Head, NO_LAYER).unwrap(), base_weights);
}

#[test]
fn adapters_of_hugging_face_fit_gguf_models() {
    let mut lora = Lora::new();
    lora.tensors.clear();
    let q = "base_model.model.model.layers.0.self_attn.q_proj";
    lora.add(&format!("{q}.lora_A.weight"), &[4, 256]);
    lora.add(&format!("{q}.lora_B.weight"), &[32, 4]);
    let mut source = Source::open(&every_type()).unwrap();
    let mut expected = source.load(Role::Q, 0).unwrap();
    source.merge(lora.write().path(), 1.0).unwrap();
    let values = |factor: &str| &lora.tensors[&format!("{q}.lora_{factor}.weight")].1;
    for (i, weight) in expected.iter_mut().enumerate() {
        let (row, col) = (i / 256, i % 256);
        let product =
            |sum: f32, k: usize| values("B")[row * 4 + k].mul_add(values("A")[k * 256 + col], sum);
        *weight += (0..4).fold(0.0, product) * 2.0;
    }
    assert_eq!(source.load(Role::Q, 0).unwrap(), expected);
}

#[test]
fn settings_that_cannot_be_merged_are_refused_by_name() {
    let set = |key: &'static str, value: Value| move |lora: &mut Lora| lora.config[key] = value;
    let unsupported = Code::UnsupportedArchitecture;
    for (key, value) in [
        ("use_dora", json!(true)),
        ("lora_bias", json!(true)),
        ("bias", json!("lora_only")),
        ("layer_replication", json!([[0, 1]])),
        ("trainable_token_indices", json!([1, 2])),
        ("target_parameters", json!(["experts.up"])),
        ("alora_invocation_tokens", json!([1])),
        ("init_lora_weights", json!("pissa_niter_4")),
        ("init_lora_weights", json!("loftq")),
        ("peft_type", json!("IA3")),
    ] {
        assert_says(&rejected(set(key, value)), unsupported, &[key, "adapter_config.json"]);
    }
    for (key, value) in [
        ("r", json!(0)),
        ("r", json!(-4)),
        ("r", json!(2.5)),
        ("r", json!("four")),
        ("rank_pattern", json!({"gate_proj": 0})),
        ("lora_alpha", json!("eight")),
        ("lora_alpha", json!(0)),
        ("lora_alpha", json!(1e60)),
        ("alpha_pattern", json!([1])),
        ("alpha_pattern", json!({"gate_proj": "much"})),
        ("alpha_pattern", json!({"(": 1})),
        ("alpha_pattern", json!({"(?=gate)": 1})),
    ] {
        assert_says(&rejected(set(key, value)), Code::BadSource, &["adapter_"]);
    }
    let wrong_rank = rejected(set("r", json!(8)));
    assert_says(&wrong_rank, Code::WrongShape, &["layers.1.mlp.gate_proj", "rank 4", "says 8"]);
}

#[test]
fn tensors_that_fit_nothing_are_refused_by_name() {
    let a = format!("{GATE}.lora_A.weight");
    let add = |name: String, shape: &'static [usize]| move |lora: &mut Lora| lora.add(&name, shape);
    let unsupported = Code::UnsupportedArchitecture;
    let dora = rejected(add(format!("{GATE}.lora_magnitude_vector"), &[96]));
    assert_says(&dora, unsupported, &["lora_magnitude_vector", "DoRA"]);
    let bias = rejected(add(format!("{GATE}.lora_B.bias"), &[96]));
    assert_says(&bias, unsupported, &["gate_proj.lora_B.bias", "lora_bias"]);
    let tokens = rejected(add(format!("{EMBEDDING}.token_adapter.delta"), &[2, 64]));
    assert_says(&tokens, unsupported, &["token_adapter", "trainable_token_indices"]);
    let odd = rejected(add(format!("{GATE}.hada_w1_a"), &[4, 64]));
    assert_says(&odd, Code::BadSource, &["hada_w1_a"]);
    for module in ["layers.2.mlp.gate_proj", "layers.1.mlp.gate_up_proj"] {
        let mut lora = Lora::new();
        lora.config["base_model_name_or_path"] = json!("someone/other");
        lora.rename(&a, &format!("base_model.model.model.{module}.lora_A.weight"));
        let error = base().merge(lora.write().path(), 1.0).unwrap_err();
        assert_says(&error, Code::MissingTensor, &[module, "someone/other"]);
    }
    let half = rejected(|lora| drop(lora.tensors.remove(&a)));
    assert_says(&half, Code::MissingTensor, &["gate_proj.lora_B.weight", "other factor"]);
    let twin = rejected(add(format!("{GATE}.lora_A.other.weight"), &[4, 64]));
    assert_says(&twin, Code::BadSource, &["both", "lora_A.other.weight"]);
    let norm = rejected(add("base_model.model.model.norm.lora_A.weight".into(), &[4, 64]));
    assert_says(&norm, Code::WrongShape, &["model.norm", "no matrix"]);
    let table = rejected(add(format!("{GATE}.lora_embedding_A"), &[4, 64]));
    assert_says(&table, Code::BadSource, &["lora_embedding_A", "no embedding"]);
    let linear = rejected(add(format!("{EMBEDDING}.lora_A.weight"), &[4, 64]));
    assert_says(&linear, Code::BadSource, &["embed_tokens", "an embedding"]);
    let nothing = rejected(|lora| lora.tensors.clear());
    assert_says(&nothing, Code::MissingTensor, &["holds no update"]);
}

#[test]
fn wrong_shapes_and_values_are_refused_by_name() {
    let a = format!("{GATE}.lora_A.weight");
    let shaped = |shape: &'static [usize]| rejected(|lora| lora.add(&a, shape));
    assert_says(&shaped(&[4, 96]), Code::WrongShape, &[&a, "4 × 96", "4 × 64"]);
    assert_says(&shaped(&[5, 64]), Code::WrongShape, &["lora_B.weight", "96 × 4", "96 × 5"]);
    assert_says(&shaped(&[0, 64]), Code::WrongShape, &[&a, "rank 0"]);
    assert_says(&shaped(&[4, 64, 1]), Code::WrongShape, &[&a, "3 dimensions"]);
    let grown = rejected(|lora| lora.add(&format!("{EMBEDDING}.weight"), &[972, 64]));
    assert_says(&grown, Code::WrongShape, &["embed_tokens", "972 × 64", "970 × 64"]);
    for value in [f32::NAN, f32::INFINITY] {
        let error = rejected(|lora| lora.tensors.get_mut(&a).unwrap().1[77] = value);
        assert_says(&error, Code::BadSource, &[&a, "not finite"]);
    }
    let integers = rejected(|lora| lora.dtype = Dtype::I8);
    assert_says(&integers, Code::UnsupportedTensorType, &[&a, "I8"]);
    for scale in [0.0, f64::NAN, f64::INFINITY] {
        let error = base().merge(Lora::new().write().path(), scale).unwrap_err();
        assert_says(&error, Code::BadArgument, &["scale"]);
    }
    let mut source = Lora::new().merged(1.6e38);
    for _ in 0..3 {
        source.merge(Lora::new().write().path(), 1.6e38).unwrap();
    }
    let error = source.load(Role::Gate, 1).err().unwrap();
    assert_says(&error, Code::BadSource, &["layers.1.gate", "smaller scales"]);
}

#[test]
fn paths_that_hold_no_adapter_say_what_to_name() {
    let merge = |path: &std::path::Path| base().merge(path, 1.0).unwrap_err();
    let folder = Lora::new().write();
    let weights = folder.path().join("adapter_model.safetensors");
    let settings = folder.path().join("adapter_config.json");
    assert_says(&merge(&folder.path().join("no")), Code::NotFound, &["does not exist"]);
    assert_says(&merge(&weights), Code::BadArgument, &["name the folder"]);
    assert_says(&merge(&settings), Code::BadSource, &["no GGUF file"]);
    assert_says(&merge(&every_type()), Code::BadSource, &["is no adapter", "general.type"]);
    let model = Checkpoint::new().write();
    assert_says(&merge(model.path()), Code::NotFound, &["no adapter_config.json"]);
    fs::rename(&weights, folder.path().join("adapter_model.bin")).unwrap();
    assert_says(&merge(folder.path()), Code::NotFound, &["adapter_model.bin", "as safetensors"]);
    fs::write(&settings, "{\"r\": 4,\n oops").unwrap();
    assert_says(&merge(folder.path()), Code::BadSource, &["damaged at line 2"]);
    fs::write(&settings, "[]").unwrap();
    assert_says(&merge(folder.path()), Code::BadSource, &["holds no settings"]);
}

#[test]
fn an_adapter_is_no_model() {
    let mut lora = Lora::new();
    let says = |lora: &Lora, words: &[&str]| {
        let error = Source::open(lora.write().path()).unwrap_err();
        assert_says(&error, Code::BadArgument, words);
    };
    says(&lora, &["is an adapter, not a model", "kinglet convert BASE --lora"]);
    lora.config["base_model_name_or_path"] = json!("some/base");
    says(&lora, &["kinglet convert some/base --lora"]);
}

#[test]
fn the_hash_is_that_of_settings_and_values() {
    let hash = |bend: fn(&mut Lora)| {
        let mut lora = Lora::new();
        bend(&mut lora);
        lora.merged(1.0).adapters().next().unwrap().sha256
    };
    let plain = hash(|_| {});
    assert_eq!(hash(|_| {}), plain);
    assert_ne!(hash(|lora| lora.config["lora_alpha"] = json!(9)), plain);
    let value = |lora: &mut Lora| lora.tensors.values_mut().next().unwrap().1[200] += 1.0;
    assert_ne!(hash(value), plain);
}

#[test]
fn damaged_adapters_are_errors_or_merged() {
    let folder = Lora::new().write();
    let attempt = || {
        let mut source = base();
        source.merge(folder.path(), 1.0)?;
        source.load(Role::Gate, 1).map(drop)
    };
    let mut random = fastrand::Rng::with_seed(5);
    for name in ["adapter_model.safetensors", "adapter_config.json"] {
        let path = folder.path().join(name);
        let whole = fs::read(&path).unwrap();
        for end in (0..whole.len()).step_by(whole.len().div_ceil(40)) {
            fs::write(&path, &whole[..end]).unwrap();
            assert!(attempt().is_err(), "{name} cut to {end} bytes");
        }
        for _ in 0..150 {
            let mut bytes = whole.clone();
            bytes[random.usize(..whole.len().min(300))] ^= 1 << random.u32(..8);
            fs::write(&path, bytes).unwrap();
            // Whatever it is, it comes back.
            let _ = attempt();
        }
        fs::write(&path, whole).unwrap();
    }
    assert!(attempt().is_ok());
}
